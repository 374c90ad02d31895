//! How updates become the next model: the rule, the server's step and the threshold, which all tasks that
//! send updates share.

use std::fmt;

use super::{Direction, PlanDraft, Rule, Server, TaskSpec, Threshold, exact, task, threshold};
use crate::{
    Name,
    settings::{Checked, Fault, Setting, Takes, check},
};

/// How a round's updates become the next model: the rule, what the server makes of its answer, which updates
/// count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Aggregation<'a> {
    /// How updates become one model.
    pub rule: &'a Rule,
    /// The server's step from the base towards it.
    pub server: Option<Server>,
    /// Which updates count.
    pub threshold: Option<&'a Threshold>,
}

/// Checks everything that the quorum and the accumulator have no part in.
pub(super) fn check_in(plan: &PlanDraft) -> Checked {
    let mut first: Option<(&TaskSpec, &Rule)> = None;
    for task in &plan.tasks {
        let Some(rule) = task.kind.rule() else {
            sends_nothing(task)?;
            continue;
        };
        match first {
            None => {
                first = Some((task, rule));
                rule.check(&Takes::Variant(Rule::TABLE), &task.path("rule"))?;
                task.server.check(&Takes::Variant(Server::TABLE), &task.path("server"))?;
                check_threshold(plan, task)?;
            }
            Some((other, others)) => {
                let told = |threshold: &Option<Threshold>| threshold.as_ref().map(ToString::to_string);
                same(task, other, "rule", Some(rule), Some(others))?;
                same(task, other, "server", task.server, other.server)?;
                same(task, other, "threshold", told(&task.threshold), told(&other.threshold))?;
            }
        }
    }
    Ok(())
}

/// Checks what the rule needs of a round's size and of the accumulator's range.
pub(super) fn check_needs(plan: &PlanDraft) -> Checked {
    let Some(Aggregation { rule, .. }) = plan.aggregation() else { return Ok(()) };
    // A sample and count.max are no smaller: `quorum` has checked that.
    let (least, found) = (rule.least_updates(), plan.quorum.count_min);
    if u64::from(found) < least {
        let message = format!("quorum.count.min is {found}; the rule {rule} needs {least} updates a round");
        return Err(Fault::new("quorum/count/min", message).hint(Some(why_so_many(rule))));
    }
    match rule {
        Rule::ClippedMean { .. } => exact::check_clipping(plan.exact),
        _ => Ok(()),
    }
}

fn why_so_many(rule: &Rule) -> String {
    match rule {
        Rule::Krum { .. } => {
            "raise quorum.count.min or lower byzantine: krum needs 2 byzantine + 3 updates".to_owned()
        }
        Rule::MultiKrum { .. } => {
            "raise quorum.count.min: multi_krum needs 2 byzantine + 3 updates, and byzantine + keep"
                .to_owned()
        }
        Rule::Bulyan { .. } => {
            "raise quorum.count.min or lower byzantine: bulyan needs 4 byzantine + 3 updates".to_owned()
        }
        _ => "raise quorum.count.min or trim: with fewer updates, no value is cut off".to_owned(),
    }
}

/// A task without an update has none of the three.
fn sends_nothing(task: &TaskSpec) -> Checked {
    let key = match task {
        TaskSpec { server: Some(_), .. } => "server",
        TaskSpec { threshold: Some(_), .. } => "threshold",
        _ => return Ok(()),
    };
    let message = format!("the task {} has a {key} and sends no update", task.name);
    Err(Fault::new(task.path(key), message).hint(Some("give the task a key `rule`".to_owned())))
}

fn same<T: PartialEq + fmt::Display>(
    task: &TaskSpec,
    other: &TaskSpec,
    key: &str,
    here: Option<T>,
    there: Option<T>,
) -> Checked {
    if here == there {
        return Ok(());
    }
    let told = |value: Option<T>| value.map_or_else(|| "none".to_owned(), |value| value.to_string());
    let message = format!(
        "the {key} of {} is {}; the {key} of {} is {}",
        task.name,
        told(here),
        other.name,
        told(there)
    );
    let hint = "give every task that sends an update the same rule, server and threshold";
    Err(Fault::new(task.path(key), message).hint(Some(hint.to_owned())))
}

/// Checks the threshold of a task against the plan's other tasks and groups.
fn check_threshold(plan: &PlanDraft, sending: &TaskSpec) -> Checked {
    let Some(Threshold { task: judge, metric, bound, direction }) = &sending.threshold else { return Ok(()) };
    let (path, word) = (|key: &str| sending.path(&format!("threshold/{key}")), metric.word());
    task::exists(plan, judge.as_str(), &|| path("task"))?;
    let reports = |task: &TaskSpec| task.name == *judge && task.metrics.contains(metric);
    if !plan.tasks.iter().any(reports) {
        let message = format!("threshold.metric is {word}, which the task {judge} does not report");
        let hint = format!("add {word} to the metrics of the task {judge}");
        return Err(Fault::new(path("metric"), message).hint(Some(hint)));
    }
    let (key, wrong, better) = match metric.better() {
        Direction::Max => (threshold::MIN, threshold::MAX, "larger"),
        Direction::Min => (threshold::MAX, threshold::MIN, "smaller"),
    };
    if *direction != metric.better() {
        let message = format!("a threshold for {word} has {key}, not {wrong}: a {better} value is better");
        return Err(Fault::new(path(wrong), message));
    }
    check(threshold::KEYS, &path(key), bound)?;
    let sends = |name: &Name| plan.tasks.iter().any(|t| t.name == *name && t.kind.sends_update());
    let without =
        plan.groups.iter().find(|group| group.tasks.iter().any(sends) && !group.tasks.contains(judge));
    without.map_or(Ok(()), |group| {
        let message = format!(
            "the group {} sends updates and does not run {judge}, which the threshold asks for",
            group.name
        );
        let hint = format!("add {judge} to the tasks of the group {}", group.name);
        Err(Fault::new(format!("groups/{}/tasks", group.name), message).hint(Some(hint)))
    })
}
