//! Stands in for `train` in a build without it: a trainer that cannot exist.

use std::sync::Arc;

use fl_engine::{
    plan::Plan,
    tensor::{Layout, ModelState},
};

use super::{Fit, Scores, TaskError};
use crate::data::Dataset;

/// Nobody makes one, so nothing that has one is reached.
pub(super) enum Trainer {}

impl Trainer {
    pub(super) fn new(_: &Plan, _: &Arc<Layout>) -> Result<Self, TaskError> {
        Err(TaskError::NoTraining)
    }

    pub(super) fn fit(&mut self, _: &Fit<'_>) -> Result<(ModelState, Scores), TaskError> {
        match *self {}
    }

    pub(super) fn score(
        &self,
        _: &ModelState,
        _: &Dataset,
        _: &dyn Fn() -> bool,
    ) -> Result<Scores, TaskError> {
        match *self {}
    }
}
