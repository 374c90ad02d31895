//! Tasks of a user's crate: they compute in their own way, and their results are sent like any other task's.

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
/// A value lives as long as the collaborator's process, so a task may remember things from round to round.
/// Tasks run on a pool thread.
pub trait CustomTask: Send {
    /// Checks that the task can run for this member. Called once, before the first round.
    ///
    /// # Errors
    /// Why the task cannot run, in a few lower-case words.
    fn check(&mut self, plan: &Plan, data: Option<&SplitData>) -> Result<(), String> {
        let _ = (plan, data);
        Ok(())
    }

    /// Does the task's work of one round.
    ///
    /// If the plan gives the task a rule, the task must return an update; otherwise it must not. The update
    /// has the base's layout. The values of tensors that are held out of aggregation stay with the member.
    /// Metrics that the plan does not list for the task are dropped.
    ///
    /// # Errors
    /// [`TaskError::Cancelled`] soon after `job.cancelled` returned true. [`TaskError::Failed`] for the
    /// task's own failures.
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
    /// The collaborator that runs the task.
    pub member: &'a Name,
    /// The round.
    pub round: RoundNo,
    /// The round's model, with the member's own values in tensors that are held out of aggregation.
    pub base: &'a ModelState,
    /// The member's rows; `None` if it has no data.
    pub data: Option<&'a SplitData>,
    /// A seed of this member, task and round. A task that takes all its randomness from this seed is
    /// repeatable.
    pub seed: u64,
    /// Returns true once the aggregator no longer wants the result. A task should ask often.
    pub cancelled: &'a dyn Fn() -> bool,
}
