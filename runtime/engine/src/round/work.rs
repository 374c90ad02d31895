//! What a task group asks of its members, resolved once from the plan.

use crate::{
    Name,
    plan::{ModelUnderTest, Plan, TaskGroup, TaskKind},
};

/// One group's tasks, in the plan's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Work {
    /// Tasks of a round.
    pub(super) tasks: Vec<Name>,
    /// The one of them that ends in an update; the plan's check lets no group have two.
    pub(super) update: Option<Name>,
    /// Tasks of the closing round: those that measure the model as received.
    pub(super) closing: Vec<Name>,
}

impl Work {
    /// What `group` asks; nothing when there is no group.
    pub(super) fn new(plan: &Plan, group: Option<&TaskGroup>) -> Self {
        let mut work = Self::default();
        let of_group = plan.tasks.iter().filter(|t| group.is_some_and(|g| g.tasks.contains(&t.name)));
        for task in of_group {
            work.tasks.push(task.name.clone());
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
