//! Checks of tasks, alone and among their group's.

use std::collections::BTreeMap;

use crate::limits;
use crate::model::output_shape;
use crate::plan::fault::{Checked, PlanFault, ranges, registered, within};
use crate::plan::{
    Loss, ModelUnderTest, Optimiser, Plan, TaskGroup, TaskKind, TaskSpec, TrainLength, TrainSpec,
};

pub(super) fn tasks(plan: &Plan) -> Checked {
    if plan.tasks.is_empty() || plan.tasks.len() > limits::TASKS {
        let message = format!("{} tasks; a plan has 1 to {}", plan.tasks.len(), limits::TASKS);
        return Err(PlanFault::new("tasks", message));
    }
    let mut names = BTreeMap::new();
    for task in &plan.tasks {
        let at = |rest: &str| format!("tasks/{}{rest}", task.name);
        if names.insert(&task.name, ()).is_some() {
            return Err(PlanFault::new(at(""), format!("two tasks are named {}", task.name)));
        }
        let split = plan.data.split;
        let loss = match &task.kind {
            TaskKind::Train(spec) => {
                train(&at(""), spec)?;
                rows(task, "training", "train", split.train)?;
                Some(spec.loss)
            }
            TaskKind::Validate(_) => {
                rows(task, "validation", "validation", split.validation)?;
                Some(plan.loss())
            }
            TaskKind::Synthetic { weight, .. } => {
                within(&at("/weight"), *weight, &ranges::WEIGHT)?;
                if *weight >> plan.exact.weight_bits > 0 {
                    let message = format!("weight {weight} is not below 2^{}", plan.exact.weight_bits);
                    return Err(PlanFault::new(at("/weight"), message)
                        .hint(Some("exact.weight_bits bounds every weight".to_owned())));
                }
                None
            }
            TaskKind::Custom { name, .. } => {
                registered(&at("/name"), name)?;
                None
            }
        };
        if let Some(loss) = loss {
            output(plan, &at("/loss"), loss)?;
        }
        metrics(plan, task, loss)?;
    }
    Ok(())
}

fn train(at: &str, spec: &TrainSpec) -> Checked {
    let positive = |key: &str, number: f64| {
        if number.is_finite() && number > 0.0 { Ok(()) } else { wrong(at, key, number, "a number above 0") }
    };
    let not_negative = |key: &str, number: f64| {
        if number.is_finite() && number >= 0.0 { Ok(()) } else { wrong(at, key, number, "a number from 0") }
    };
    match spec.length {
        TrainLength::Epochs(epochs) => within(&format!("{at}/epochs"), epochs, &ranges::LENGTH)?,
        TrainLength::Steps(steps) => within(&format!("{at}/steps"), steps, &ranges::LENGTH)?,
    }
    within(&format!("{at}/batch"), spec.batch, &ranges::BATCH)?;
    match spec.optimiser {
        Optimiser::Sgd { learning_rate, momentum, weight_decay } => {
            positive("optimiser/sgd/learning_rate", learning_rate)?;
            if !(0.0..1.0).contains(&momentum) {
                return wrong(at, "optimiser/sgd/momentum", momentum, "a number from 0, below 1");
            }
            not_negative("optimiser/sgd/weight_decay", weight_decay)?;
        }
        Optimiser::Adam { learning_rate } => positive("optimiser/adam/learning_rate", learning_rate)?,
        Optimiser::AdamW { learning_rate, weight_decay } => {
            positive("optimiser/adamw/learning_rate", learning_rate)?;
            not_negative("optimiser/adamw/weight_decay", weight_decay)?;
        }
    }
    not_negative("fedprox_mu", f64::from(spec.fedprox_mu))
}

fn wrong(at: &str, key: &str, number: f64, takes: &str) -> Checked {
    let path = format!("{at}/{key}");
    let message = format!("{} is {number}; it takes {takes}", path.replace('/', "."));
    Err(PlanFault::new(path, message))
}

fn rows(task: &TaskSpec, what: &str, key: &str, share: f64) -> Checked {
    if share > 0.0 {
        return Ok(());
    }
    let message = format!("data.split.{key} is 0, and the task {} needs {what} rows", task.name);
    Err(PlanFault::new(format!("data/split/{key}"), message))
}

/// Whether the model's output is one that the loss takes.
fn output(plan: &Plan, at: &str, loss: Loss) -> Checked {
    let found = output_shape(&plan.model).unwrap_or_default();
    match loss.needs(plan.data.classes, &found) {
        None => Ok(()),
        Some(needs) => Err(PlanFault::new(at, format!("the model's output is {found:?}; {needs}"))),
    }
}

fn metrics(plan: &Plan, task: &TaskSpec, loss: Option<Loss>) -> Checked {
    let at = |index: usize| format!("tasks/{}/metrics/{index}", task.name);
    if task.metrics.len() > limits::METRICS {
        let message = format!("{} metrics; a task reports at most {}", task.metrics.len(), limits::METRICS);
        return Err(PlanFault::new(format!("tasks/{}/metrics", task.name), message));
    }
    for (index, metric) in task.metrics.iter().enumerate() {
        if task.metrics[..index].contains(metric) {
            return Err(PlanFault::new(at(index), format!("the metric {} is listed twice", metric.word())));
        }
        if let Some(Err(needs)) = loss.map(|loss| loss.defines(plan.data.classes, *metric)) {
            let message = format!("the task {} cannot report {}, which {needs}", task.name, metric.word());
            return Err(PlanFault::new(at(index), message));
        }
    }
    Ok(())
}

/// A validation of the locally tuned model needs a training before it.
pub(super) fn order(group: &TaskGroup, tasks: &[&TaskSpec]) -> Checked {
    let tuned = |task: &&TaskSpec| matches!(task.kind, TaskKind::Validate(ModelUnderTest::LocallyTuned));
    let Some(at) = tasks.iter().position(tuned) else { return Ok(()) };
    if tasks[..at].iter().any(|task| matches!(task.kind, TaskKind::Train(_) | TaskKind::Custom { .. })) {
        return Ok(());
    }
    let message = format!(
        "the task {} measures the locally tuned model, and nothing before it in group {} trains one",
        tasks[at].name, group.name
    );
    Err(PlanFault::new(format!("tasks/{}/model", tasks[at].name), message)
        .hint(Some("tasks run in the order in which the plan lists them".to_owned())))
}
