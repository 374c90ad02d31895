//! Checks of the rule, the server's step and the threshold.

use std::fmt;

use crate::Weight;
use crate::plan::fault::{Checked, PlanFault, ranges, registered, unknown_task, within};
use crate::plan::{Aggregation, Direction, Plan, Rule, Server, TaskSpec, Threshold};

/// Everything but what the quorum and the accumulator have to say to it.
pub(super) fn aggregation(plan: &Plan) -> Checked {
    let mut first: Option<(&TaskSpec, &Rule)> = None;
    for task in &plan.tasks {
        let Some(rule) = task.kind.rule() else {
            sends_nothing(task)?;
            continue;
        };
        match first {
            None => {
                first = Some((task, rule));
                self::rule(task, rule)?;
                server(task)?;
                threshold(plan, task)?;
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

/// What of a round's size and of the accumulator's range a rule needs.
pub(super) fn fits(plan: &Plan) -> Checked {
    let Some(Aggregation { rule, .. }) = plan.aggregation() else { return Ok(()) };
    // A sample and count.max are no smaller: `quorum` has checked that.
    let (least, found) = (rule.least_updates(), plan.quorum.count_min);
    if u64::from(found) < least {
        let message = format!("quorum.count.min is {found}; the rule {rule} needs {least} updates a round");
        return Err(PlanFault::new("quorum/count/min", message).hint(Some(why_so_many(rule))));
    }
    let range = plan.exact;
    if let Rule::ClippedMean { .. } = rule {
        let most = Weight::BITS.min(51 - range.value_bits).saturating_sub(CLIPPING_BITS);
        if range.weight_bits > most {
            let message = format!(
                "exact.weight_bits is {}; clipped_mean takes at most {most} beside {} value bits",
                range.weight_bits, range.value_bits
            );
            let hint = "the other bits hold how much of each update is kept; without the key it is 19, half a million \
                        rows";
            return Err(PlanFault::new("exact/weight_bits", message).hint(Some(hint.to_owned())));
        }
    }
    Ok(())
}

/// Bits of a factor by which an update is cut.
const CLIPPING_BITS: u32 = 8;

fn why_so_many(rule: &Rule) -> String {
    match rule {
        Rule::Krum { .. } => "2 byzantine + 3".to_owned(),
        Rule::MultiKrum { .. } => "2 byzantine + 3, and byzantine + keep".to_owned(),
        Rule::Bulyan { .. } => "4 byzantine + 3".to_owned(),
        _ => "with fewer, less than one value is cut off at each end".to_owned(),
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
    Err(PlanFault::new(at(task, key), message).hint(Some("give it a rule".to_owned())))
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
    let message =
        format!("the {key} of {} is {}; that of {} is {}", task.name, told(here), other.name, told(there));
    let hint = "the updates of a round become one model: every task that sends one has the same rule, server and threshold";
    Err(PlanFault::new(at(task, key), message).hint(Some(hint.to_owned())))
}

fn rule(task: &TaskSpec, rule: &Rule) -> Checked {
    let path = |key: &str| at(task, &format!("rule/{}/{key}", rule.word()));
    match rule {
        Rule::WeightedMean | Rule::Mean | Rule::Median | Rule::WeightedMedian => Ok(()),
        Rule::ClippedMean { norm } => positive(path("norm"), *norm),
        Rule::TrimmedMean { trim } => {
            let takes = "a number from 0, below 0.5";
            number(path("trim"), *trim, takes, (0.0..0.5).contains(trim))
        }
        Rule::Krum { byzantine } | Rule::Bulyan { byzantine } => {
            within(&path("byzantine"), *byzantine, &ranges::BYZANTINE)
        }
        Rule::MultiKrum { byzantine, keep } => {
            within(&path("byzantine"), *byzantine, &ranges::BYZANTINE)?;
            keep.map_or(Ok(()), |keep| within(&path("keep"), keep, &ranges::COUNT))
        }
        Rule::GeometricMedian { iterations, smoothing, .. } => {
            within(&path("iterations"), *iterations, &ranges::ITERATIONS)?;
            positive(path("smoothing"), *smoothing)
        }
        Rule::Custom { name } => registered(&path("name"), name),
    }
}

fn server(task: &TaskSpec) -> Checked {
    let Some(server) = task.server else { return Ok(()) };
    let path = |key: &str| at(task, &format!("server/{}/{key}", server.word()));
    let share = |key: &str, share: f64| {
        number(path(key), share, "a number from 0, below 1", (0.0..1.0).contains(&share))
    };
    match server {
        Server::FedAvgM { learning_rate, momentum } => {
            positive(path("learning_rate"), learning_rate)?;
            share("momentum", momentum)
        }
        Server::FedAdagrad { learning_rate, beta1, tau } => {
            positive(path("learning_rate"), learning_rate)?;
            share("beta1", beta1)?;
            positive(path("tau"), tau)
        }
        Server::FedAdam { learning_rate, beta1, beta2, tau }
        | Server::FedYogi { learning_rate, beta1, beta2, tau } => {
            positive(path("learning_rate"), learning_rate)?;
            share("beta1", beta1)?;
            share("beta2", beta2)?;
            positive(path("tau"), tau)
        }
        Server::Smoothing { keep } => share("keep", keep),
    }
}

fn threshold(plan: &Plan, task: &TaskSpec) -> Checked {
    let Some(threshold) = &task.threshold else { return Ok(()) };
    let Threshold { task: judge, metric, bound, direction } = threshold;
    let (path, word) = (|key: &str| at(task, &format!("threshold/{key}")), metric.word());
    unknown_task(plan, judge.as_str(), &|| path("task"))?;
    let reports = |task: &TaskSpec| task.name == *judge && task.metrics.contains(metric);
    if !plan.tasks.iter().any(reports) {
        let message = format!("threshold.metric is {word}, which the task {judge} does not report");
        let hint = format!("add {word} to the task's metrics");
        return Err(PlanFault::new(path("metric"), message).hint(Some(hint)));
    }
    let better = metric.better();
    let key = match better {
        Direction::Max => "min",
        Direction::Min => "max",
    };
    if *direction != better {
        let (side, wrong) = if better == Direction::Max { ("larger", "max") } else { ("smaller", "min") };
        let message = format!("a threshold for {word} is its {key}, not its {wrong}: {side} is better");
        return Err(PlanFault::new(path(wrong), message));
    }
    let (takes, fits) = match better {
        Direction::Max => ("a number from 0 to 1", (0.0..=1.0).contains(bound)),
        Direction::Min => ("a number from 0", bound.is_finite() && *bound >= 0.0),
    };
    number(path(key), *bound, takes, fits)?;
    let sends = |name: &crate::Name| plan.tasks.iter().any(|t| t.name == *name && t.kind.sends_update());
    let without =
        plan.groups.iter().find(|group| group.tasks.iter().any(sends) && !group.tasks.contains(judge));
    without.map_or(Ok(()), |group| {
        let message = format!(
            "the group {} sends updates and does not run {judge}, which the threshold asks for",
            group.name
        );
        let hint = format!("add {judge} to the group's tasks");
        Err(PlanFault::new(format!("groups/{}/tasks", group.name), message).hint(Some(hint)))
    })
}

fn at(task: &TaskSpec, rest: &str) -> String {
    format!("tasks/{}/{rest}", task.name)
}

fn positive(path: String, value: f64) -> Checked {
    number(path, value, "a number above 0", value.is_finite() && value > 0.0)
}

fn number(path: String, value: f64, takes: &str, fits: bool) -> Checked {
    if fits {
        return Ok(());
    }
    let message = format!("{} is {value}; it takes {takes}", path.replace('/', "."));
    Err(PlanFault::new(path, message))
}
