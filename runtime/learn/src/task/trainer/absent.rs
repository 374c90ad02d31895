//! Stands in for `burn` in a build without the feature `train`: a trainer that cannot exist.

use std::sync::Arc;

use fl_engine::{
    plan::Plan,
    tensor::{Layout, ModelState},
};

use super::{Each, Fit};
use crate::{
    data::Dataset,
    task::{error::TaskError, scores::Scores, team::Team},
};

/// No value of this type can exist, so no code that takes one ever runs.
pub(in crate::task) enum Trainer {}

impl Trainer {
    pub(in crate::task) fn new(_: &Plan, _: &Arc<Layout>) -> Result<Self, TaskError> {
        Err(TaskError::NoTraining)
    }

    pub(in crate::task) fn planned_memory(_: &Plan) -> Option<(u64, u64)> {
        None
    }

    pub(in crate::task) fn note(&self) -> Option<&str> {
        match *self {}
    }

    pub(in crate::task) fn fit(&mut self, _: &Fit<'_>) -> Result<(ModelState, Scores), TaskError> {
        match *self {}
    }

    pub(in crate::task) fn forget(&mut self) {
        match *self {}
    }

    pub(in crate::task) fn score(
        &self,
        _: &ModelState,
        _: &Dataset,
        _: &dyn Fn() -> bool,
        _: Team<'_>,
    ) -> Result<Scores, TaskError> {
        match *self {}
    }

    pub(in crate::task) fn outputs(
        &self,
        _: &ModelState,
        _: &Dataset,
        _: &dyn Fn() -> bool,
        _: Team<'_>,
        _: Each<'_>,
    ) -> Result<(), TaskError> {
        match *self {}
    }
}
