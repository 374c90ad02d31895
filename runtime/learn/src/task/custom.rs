//! The task that a user's crate brings: trained or measured in its own way, sent like any other.

use std::collections::BTreeMap;

use fl_engine::{
    Name, RoundNo,
    plan::{Plan, TaskSpec},
    tensor::ModelState,
};

use super::{error::TaskError, output::TaskOutput};
use crate::data::SplitData;

/// A task of a user's crate, registered by name ([`crate::registry::Registry::with_task`]).
///
/// One value lives as long as its member's [`super::Runner`], so it may remember things from round to round. It runs on a
/// pool thread.
pub trait CustomTask: Send {
    /// Whether the task can run for this member; asked once, before the first round.
    ///
    /// # Errors
    /// Why it cannot, in a few lower-case words.
    fn check(&mut self, plan: &Plan, data: Option<&SplitData>) -> Result<(), String> {
        let _ = (plan, data);
        Ok(())
    }

    /// Does the task's work of one round.
    ///
    /// The update, where the plan gives the task a rule, lies over the base's layout; its tensors that are held out of
    /// aggregation stay with the member. Metrics that the plan does not list are left out.
    ///
    /// # Errors
    /// [`TaskError::Cancelled`] soon after `job.cancelled` says yes; [`TaskError::Failed`] for what only this task
    /// knows.
    fn run(&mut self, job: &CustomJob<'_>) -> Result<TaskOutput, TaskError>;
}

/// The custom tasks of one member, by their names in the plan.
pub type CustomTasks = BTreeMap<Name, Box<dyn CustomTask>>;

/// What a [`CustomTask`] works on in one round.
#[non_exhaustive]
pub struct CustomJob<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The task's entry in the plan.
    pub task: &'a TaskSpec,
    /// Whose data these are.
    pub member: &'a Name,
    /// The round.
    pub round: RoundNo,
    /// The round's model, with the member's own values where tensors are held out.
    pub base: &'a ModelState,
    /// `None` when the member has none.
    pub data: Option<&'a SplitData>,
    /// Of this member, task and round: the only source of randomness, if a run is to be repeatable.
    pub seed: u64,
    /// Whether the aggregator no longer wants the result; to be asked often.
    pub cancelled: &'a dyn Fn() -> bool,
}
