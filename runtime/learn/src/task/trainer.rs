//! The trainer that this build has: [`training`] with the feature `train`, otherwise one that cannot exist.
//!
//! Both are called `Trainer` and have the same functions, so that [`super::Runner`] is the same with either.

#[cfg(not(feature = "train"))]
mod absent;
#[cfg(feature = "train")]
mod training;

use fl_engine::{Name, RoundNo, plan::TrainSpec, tensor::ModelState};

#[cfg(not(feature = "train"))]
pub(super) use self::absent::Trainer;
#[cfg(feature = "train")]
pub(super) use self::training::Trainer;
use super::{progress::Progress, seed::Seed, team::Team};
use crate::data::Dataset;

/// Gets outputs and labels of some rows, and how many rows they are.
type Each<'a> = &'a mut dyn FnMut(&[f32], &[f32], usize);

/// One training.
#[cfg_attr(not(feature = "train"), allow(dead_code, reason = "only the trainer reads the fields"))]
pub(super) struct Fit<'a> {
    /// Optimiser state is kept under this name.
    pub(super) task: &'a Name,
    pub(super) spec: &'a TrainSpec,
    pub(super) data: &'a Dataset,
    /// Where training starts, and where FedProx pulls the model to.
    pub(super) start: &'a ModelState,
    /// The round, and how many the plan has.
    pub(super) round: RoundNo,
    pub(super) rounds: u32,
    /// The seed of the member, task and round.
    pub(super) seed: Seed,
    /// Called before every batch.
    pub(super) cancelled: &'a dyn Fn() -> bool,
    /// Called after every epoch, where there are several.
    pub(super) progress: &'a dyn Fn(&Progress),
    /// The threads that compute.
    pub(super) team: Team<'a>,
}
