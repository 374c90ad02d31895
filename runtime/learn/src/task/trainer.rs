//! The trainer that this build has: [`burn`] with the feature `train`, otherwise one that cannot exist.
//!
//! Both are called `Trainer` and have the same functions, so that [`super::Runner`] is the same with either.

#[cfg(not(feature = "train"))]
mod absent;
#[cfg(feature = "train")]
mod burn;

use fl_engine::{Name, plan::TrainSpec, tensor::ModelState};

#[cfg(not(feature = "train"))]
pub(super) use self::absent::Trainer;
#[cfg(feature = "train")]
pub(super) use self::burn::Trainer;
use super::seed::Seed;
use crate::data::Dataset;

/// One training, as [`Trainer`] is asked for it.
#[cfg_attr(not(feature = "train"), allow(dead_code, reason = "a trainer reads them"))]
pub(super) struct Fit<'a> {
    /// Names the optimiser's state.
    pub(super) task: &'a Name,
    pub(super) spec: &'a TrainSpec,
    pub(super) data: &'a Dataset,
    /// Where training starts, and what FedProx pulls towards.
    pub(super) start: &'a ModelState,
    /// Of the member, task and round.
    pub(super) seed: Seed,
    /// Asked before every batch.
    pub(super) cancelled: &'a dyn Fn() -> bool,
}
