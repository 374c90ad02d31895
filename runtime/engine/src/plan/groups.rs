//! `groups`: which collaborators run which tasks.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{PlanDraft, TaskSpec, task};
use crate::{
    Name, limits,
    settings::{Absent, Checked, Fault, Field, Key, PlanError, Takes, Text, number_of},
};

/// Tasks for some collaborators.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskGroup {
    /// Shown in logs.
    pub name: Name,
    /// Whom it takes; `None` takes everyone that no group names.
    pub collaborators: Option<Vec<Name>>,
    /// Names of tasks.
    pub tasks: Vec<Name>,
}

impl TaskGroup {
    /// The groups of a file; every group without tasks has all `tasks`.
    pub(super) fn read_all(field: &Field<'_>, tasks: &[TaskSpec]) -> Result<Vec<Self>, PlanError> {
        let groups = field.named(limits::GROUPS)?;
        let group = |(name, field): (Name, Field<'_>)| {
            let group = field.section()?;
            let given: Option<Vec<Name>> = group.get("tasks")?;
            let tasks = given.unwrap_or_else(|| names_of(tasks));
            Ok(Self { name, collaborators: group.get("collaborators")?, tasks })
        };
        groups.into_iter().map(group).collect()
    }

    /// The group of a plan that has no groups: every task, for everyone.
    pub(super) fn everyone(tasks: &[TaskSpec], field: &Field<'_>) -> Result<Self, PlanError> {
        let name = "all".parse().map_err(|e: crate::name::NameError| field.error(e.to_string()))?;
        Ok(Self { name, collaborators: None, tasks: names_of(tasks) })
    }
}

fn names_of(tasks: &[TaskSpec]) -> Vec<Name> {
    tasks.iter().map(|task| task.name.clone()).collect()
}

/// Checks every group against the plan's tasks.
pub(super) fn check_in(plan: &PlanDraft) -> Checked {
    if plan.groups.is_empty() {
        let message = "groups is empty; leave the key groups out to give every task to every collaborator";
        return Err(Fault::new("groups", message));
    }
    number_of("groups", plan.groups.len(), limits::GROUPS)?;
    let mut groups = BTreeMap::new();
    let mut members = BTreeMap::new();
    let mut takes_all = None;
    for group in &plan.groups {
        let at = |rest: &str| format!("groups/{}{rest}", group.name);
        if groups.insert(&group.name, ()).is_some() {
            return Err(Fault::new(at(""), format!("two groups are named {}", group.name)));
        }
        match &group.collaborators {
            None => {
                if let Some(first) = takes_all.replace(&group.name) {
                    let message = format!("groups {first} and {} both take everyone", group.name);
                    let hint = "name the collaborators of all groups but one".to_owned();
                    return Err(Fault::new(at(""), message).hint(Some(hint)));
                }
            }
            Some(names) => {
                for (index, name) in names.iter().enumerate() {
                    if let Some(first) = members.insert(name, &group.name) {
                        let message = format!("the collaborator {name} is in group {first} already");
                        return Err(Fault::new(at(&format!("/collaborators/{index}")), message));
                    }
                }
            }
        }
        let tasks = tasks_of(plan, group)?;
        let mut sending = tasks.iter().filter(|task| task.kind.sends_update());
        if let (Some(first), Some(second)) = (sending.next(), sending.next()) {
            let message = format!(
                "group {}: {} and {} both send an update; a group has at most one such task",
                group.name, first.name, second.name
            );
            let hint = "give the tasks to different groups: see `groups`".to_owned();
            let path = format!("tasks/{}", second.name);
            return Err(Fault::new(path, message).hint((plan.groups.len() == 1).then_some(hint)));
        }
        task::check_order(&group.name, &tasks)?;
    }
    Ok(())
}

/// A group's tasks in the order in which they run: the plan's.
fn tasks_of<'a>(plan: &'a PlanDraft, group: &TaskGroup) -> Result<Vec<&'a TaskSpec>, Fault> {
    let mut seen = BTreeMap::new();
    for (index, name) in group.tasks.iter().enumerate() {
        let path = || format!("groups/{}/tasks/{index}", group.name);
        task::exists(plan, name.as_str(), &path)?;
        if seen.insert(name, ()).is_some() {
            return Err(Fault::new(path(), format!("group {} has the task {name} twice", group.name)));
        }
    }
    if seen.is_empty() {
        let message = format!("group {} has no tasks", group.name);
        return Err(Fault::new(format!("groups/{}/tasks", group.name), message));
    }
    Ok(plan.tasks.iter().filter(|task| seen.contains_key(&task.name)).collect())
}

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "collaborators",
        takes: Takes::List {
            kind: "a list of collaborators' names",
            of: &Takes::Text(Text::Name("name of a collaborator")),
        },
        absent: Absent::Means("every collaborator that no other group names"),
        meaning: "The collaborators of the group. A collaborator is in one group at most.",
        example: "[one, two]",
    },
    Key {
        name: "tasks",
        takes: Takes::List {
            kind: "a list of names of tasks",
            of: &Takes::Text(Text::Name("name of a task")),
        },
        absent: Absent::Means("every task"),
        meaning: "The tasks of the group. The tasks run in the order in which `tasks` lists them. A group has at most one task \
                  that sends an update.",
        example: "[aggregated_model_validation, train]",
    },
];
