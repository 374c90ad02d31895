//! Whether a plan makes sense: ranges, names that must be answered, parts that must fit each other.
//!
//! Works on the resolved [`Plan`], so the YAML and the canonical bytes meet the same rules. A fault names its place as
//! a path of keys, which `read` turns into a line and a column.

mod aggregation;
mod task;

use std::collections::BTreeMap;

use super::fault::{Checked, PlanFault, ranges, registered, unknown_task, within};
use super::{ExactRange, Loader, Plan, Split, TaskSpec, release};
use crate::model::ModelError;
use crate::{ByteCount, limits};

/// Checks everything; the first fault in the plan's order is told.
pub(super) fn check(plan: &Plan) -> Checked {
    within("rounds", plan.rounds, &ranges::ROUNDS)?;
    let payload = model(plan)?;
    data(plan)?;
    task::tasks(plan)?;
    aggregation::aggregation(plan)?;
    groups(plan)?;
    quorum(plan)?;
    exact(plan.exact)?;
    aggregation::fits(plan)?;
    best(plan)?;
    release::check(plan)?;
    if plan.memory_budget < payload {
        let message = format!(
            "limits.memory is {} B; one model of this plan takes {} B",
            plan.memory_budget.0, payload.0
        );
        return Err(PlanFault::new("limits/memory", message));
    }
    within("threads/link", plan.threads.link, &ranges::THREADS)?;
    within("threads/cpu", plan.threads.cpu, &ranges::THREADS)
}

/// Bytes of one model.
fn model(plan: &Plan) -> Result<ByteCount, PlanFault> {
    if plan.hold_out.len() > limits::HOLD_OUT {
        let message = format!("{} entries; hold_out has at most {}", plan.hold_out.len(), limits::HOLD_OUT);
        return Err(PlanFault::new("hold_out", message).hint(Some("a final * takes a prefix".to_owned())));
    }
    let layout = plan.layout().map_err(|error| {
        let path = match &error {
            ModelError::Input(_) => "model/input".to_owned(),
            ModelError::Layers(_) => "model/layers".to_owned(),
            ModelError::Shape { layer, .. }
            | ModelError::Setting { layer, .. }
            | ModelError::FieldName(layer)
            | ModelError::Reserved(layer)
            | ModelError::Duplicate { second: layer, .. }
            | ModelError::TooLarge { layer } => format!("model/layers/{}", layer.index),
            ModelError::HoldOut { pattern, .. } => {
                let index = plan.hold_out.iter().position(|p| p == pattern).unwrap_or(0);
                format!("hold_out/{index}")
            }
            ModelError::NoParameters | ModelError::OtherModel | ModelError::Layout(_) => "model".to_owned(),
        };
        PlanFault::new(path, error.to_string()).hint(error.hint())
    })?;
    Ok(ByteCount(layout.byte_len() as u64))
}

fn data(plan: &Plan) -> Checked {
    let file = |key: &str, name: &str| {
        let path = format!("data/{key}");
        let parts = || name.split('/');
        if name.is_empty() || name.contains(['\0', '\\']) || parts().any(|p| matches!(p, "" | "." | "..")) {
            let message = format!("data.{key} is {name:?}; it names a file inside the data folder");
            return Err(PlanFault::new(path, message)
                .hint(Some("the folder itself is each site's own: plan/data.yaml".to_owned())));
        }
        Ok(())
    };
    match &plan.data.loader {
        Loader::Csv { file: name, .. } => file("file", name)?,
        Loader::Npy { features, labels } | Loader::Idx { features, labels } => {
            file("features", features)?;
            file("labels", labels)?;
        }
        Loader::Custom { name } => registered("data/name", name)?,
    }
    if let Some(classes) = plan.data.classes {
        within("data/classes", classes, &ranges::CLASSES)?;
    }
    if let Some(statistics) = &plan.data.standardise {
        let features: u64 = plan.model.input.iter().map(|side| u64::from(*side)).product();
        for (key, list) in [("mean", &statistics.mean), ("std", &statistics.std)] {
            if list.len() != 1 && list.len() as u64 != features {
                let message =
                    format!("data.standardise.{key} has {} values; it takes 1 or {features}", list.len());
                return Err(PlanFault::new(format!("data/standardise/{key}"), message));
            }
            let bad = list.iter().position(|v| !v.is_finite() || key == "std" && *v <= 0.0);
            if let Some(index) = bad {
                let takes = if key == "std" { "numbers above 0" } else { "finite numbers" };
                let message = format!("data.standardise.{key}[{index}] is {}; it takes {takes}", list[index]);
                return Err(PlanFault::new(format!("data/standardise/{key}/{index}"), message));
            }
        }
    }
    split(&plan.data.split)
}

fn split(split: &Split) -> Checked {
    let shares = [("train", split.train), ("validation", split.validation), ("test", split.test)];
    for (key, share) in shares {
        if !(0.0..=1.0).contains(&share) {
            let message = format!("data.split.{key} is {share}; a share is 0 to 1");
            return Err(PlanFault::new(format!("data/split/{key}"), message));
        }
    }
    let sum: f64 = shares.iter().map(|(_, share)| share).sum();
    if (sum - 1.0).abs() > 1e-9 {
        return Err(PlanFault::new("data/split", format!("the shares of data.split sum to {sum}, not to 1")));
    }
    Ok(())
}

fn groups(plan: &Plan) -> Checked {
    if plan.groups.is_empty() {
        return Err(PlanFault::new(
            "groups",
            "groups is empty; leave the key out to give every task to everyone",
        ));
    }
    if plan.groups.len() > limits::GROUPS {
        let message = format!("{} groups; a plan has at most {}", plan.groups.len(), limits::GROUPS);
        return Err(PlanFault::new("groups", message));
    }
    let mut groups = BTreeMap::new();
    let mut members = BTreeMap::new();
    let mut takes_all = None;
    for group in &plan.groups {
        let at = |rest: &str| format!("groups/{}{rest}", group.name);
        if groups.insert(&group.name, ()).is_some() {
            return Err(PlanFault::new(at(""), format!("two groups are named {}", group.name)));
        }
        match &group.collaborators {
            None => {
                if let Some(first) = takes_all.replace(&group.name) {
                    let message = format!("groups {first} and {} both take everyone", group.name);
                    return Err(PlanFault::new(at(""), message)
                        .hint(Some("name the collaborators of all groups but one".to_owned())));
                }
            }
            Some(names) => {
                for (index, name) in names.iter().enumerate() {
                    if let Some(first) = members.insert(name, &group.name) {
                        let message = format!("collaborator {name} is in group {first} already");
                        return Err(PlanFault::new(at(&format!("/collaborators/{index}")), message));
                    }
                }
            }
        }
        let tasks = group_tasks(plan, group)?;
        let mut sending = tasks.iter().filter(|task| task.kind.sends_update());
        if let (Some(first), Some(second)) = (sending.next(), sending.next()) {
            let message = format!(
                "group {}: {} and {} both send an update; a group has at most one such task",
                group.name, first.name, second.name
            );
            let hint = (plan.groups.len() == 1)
                .then(|| "give the tasks to different groups: see `groups`".to_owned());
            let path = format!("tasks/{}", second.name);
            return Err(PlanFault::new(path, message).hint(hint));
        }
        task::order(group, &tasks)?;
    }
    Ok(())
}

/// A group's tasks in the order in which they run: the plan's.
fn group_tasks<'a>(plan: &'a Plan, group: &super::TaskGroup) -> Result<Vec<&'a TaskSpec>, PlanFault> {
    let mut seen = BTreeMap::new();
    for (index, name) in group.tasks.iter().enumerate() {
        let path = || format!("groups/{}/tasks/{index}", group.name);
        unknown_task(plan, name.as_str(), &path)?;
        if seen.insert(name, ()).is_some() {
            return Err(PlanFault::new(path(), format!("group {} has the task {name} twice", group.name)));
        }
    }
    if seen.is_empty() {
        let message = format!("group {} has no tasks", group.name);
        return Err(PlanFault::new(format!("groups/{}/tasks", group.name), message));
    }
    Ok(plan.tasks.iter().filter(|task| seen.contains_key(&task.name)).collect())
}

fn quorum(plan: &Plan) -> Checked {
    let quorum = plan.quorum;
    within("quorum/count/min", quorum.count_min, &ranges::COUNT)?;
    if let Some(max) = quorum.count_max {
        within("quorum/count/max", max, &ranges::COUNT)?;
        if max < quorum.count_min {
            let message =
                format!("quorum.count.max is {max}, below count.min, which is {}", quorum.count_min);
            return Err(PlanFault::new("quorum/count/max", message));
        }
    }
    if quorum.time_max.0 == 0 || quorum.time_max > LONGEST_ROUND {
        let message = "quorum.time.max is the deadline; it takes 1ms to 720h";
        return Err(PlanFault::new("quorum/time/max", message));
    }
    if quorum.time_max < quorum.time_min {
        let message =
            format!("quorum.time.max is {}, below time.min, which is {}", quorum.time_max, quorum.time_min);
        return Err(PlanFault::new("quorum/time/max", message));
    }
    if let Some(sample) = plan.sample {
        within("sample", sample, &ranges::COUNT)?;
        if sample < quorum.count_min {
            let message = format!(
                "sample draws {sample} collaborators a round; quorum.count.min asks for {}",
                quorum.count_min
            );
            return Err(PlanFault::new("sample", message));
        }
    }
    Ok(())
}

/// 30 days.
const LONGEST_ROUND: crate::Millis = crate::Millis(720 * 3_600_000);

fn exact(range: ExactRange) -> Checked {
    within("exact/value_bits", range.value_bits, &ranges::VALUE_BITS)?;
    within("exact/weight_bits", range.weight_bits, &ranges::WEIGHT_BITS)?;
    // The accumulator's upper bin has 51 - value_bits - weight_bits fraction bits.
    if range.value_bits + range.weight_bits > 51 {
        let message = format!(
            "exact.value_bits {} and exact.weight_bits {} sum to {}; they sum to at most 51",
            range.value_bits,
            range.weight_bits,
            range.value_bits + range.weight_bits
        );
        return Err(PlanFault::new("exact", message).hint(Some(
            "16 value bits hold |value| below 65536, 29 weight bits half a billion rows".to_owned(),
        )));
    }
    Ok(())
}

fn best(plan: &Plan) -> Checked {
    let best = &plan.best;
    unknown_task(plan, best.task.as_str(), &|| "best/task".to_owned())?;
    let reports = |task: &TaskSpec| task.name == best.task && task.metrics.contains(&best.metric);
    // A plan that measures nothing keeps no best model.
    if plan.tasks.iter().any(reports) || plan.tasks.iter().all(|task| task.metrics.is_empty()) {
        return Ok(());
    }
    let metric = best.metric.word();
    let message = format!("best.metric is {metric}, which the task {} does not report", best.task);
    let hint = format!("add {metric} to the task's metrics");
    Err(PlanFault::new("best/metric", message).hint(Some(hint)))
}
