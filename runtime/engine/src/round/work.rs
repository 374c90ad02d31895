//! The tasks of a group's members, resolved once from the plan.

use crate::{
    Name,
    plan::{ModelUnderTest, Plan, TaskGroup, TaskKind, When},
};

/// One group's tasks, in the plan's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Work {
    /// Tasks of a round.
    pub(super) tasks: Vec<Name>,
    /// The task that ends in an update. The plan's check allows one in a group.
    pub(super) update: Option<Name>,
    /// Whether one of `tasks` may read the site's data.
    pub(super) reads_data: bool,
    /// Whether one of `tasks` reports the metric of the best model.
    pub(super) measures: bool,
    /// Tasks of the closing round: those that measure the model as received.
    pub(super) closing: Vec<Name>,
}

impl Work {
    /// The tasks of `group`; none without a group.
    pub(super) fn new(plan: &Plan, group: Option<&TaskGroup>) -> Self {
        let mut work = Self::default();
        let of_group = plan.tasks.iter().filter(|t| group.is_some_and(|g| g.tasks.contains(&t.name)));
        for task in of_group {
            let always = task.when == When::Always;
            if always {
                work.tasks.push(task.name.clone());
            }
            work.reads_data |= !matches!(task.kind, TaskKind::Synthetic { .. });
            work.measures |= task.name == plan.best.task;
            if task.kind.sends_update() && work.update.is_none() {
                work.update = Some(task.name.clone());
            }
            if task.kind == TaskKind::Validate(ModelUnderTest::Aggregated) {
                work.closing.push(task.name.clone());
            }
        }
        work
    }
}
