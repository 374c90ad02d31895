//! What a task with `kind: train` takes: how long, by which steps, and what stays as it is.

use serde::Serialize;

use super::{
    By, Loss, Optimiser, PlanDraft, Rule, Schedule, metric::METRICS, pattern, rule::RULE, schedule::SCHEDULE,
    server::SERVER, threshold::THRESHOLD,
};
use crate::{
    Name, limits, model,
    settings::{
        Absent, Checked, Fault, Key, PlanError, Range, Section, Takes, Text, check, did_you_mean, number_of,
    },
};

/// Settings of a training task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainSpec {
    /// How long.
    pub length: TrainLength,
    /// Samples a step.
    pub batch: u32,
    /// The local optimiser.
    pub optimiser: Optimiser,
    /// The loss.
    #[serde(serialize_with = "Loss::as_word")]
    pub loss: Loss,
    /// FedProx's μ (Li et al., arXiv:1812.06127); 0 leaves the term out.
    pub fedprox_mu: f32,
    /// How updates become a model.
    pub rule: Rule,
    /// How the learning rate changes; `None` leaves it as it is.
    pub schedule: Option<Schedule>,
    /// The largest Euclidean norm of a step's gradient; `None` leaves gradients as they are.
    pub clip_norm: Option<f64>,
    /// Batches whose mean gradient makes one step of the optimiser.
    pub accumulate: u32,
    /// Tensors that the task leaves as they are; a final `*` stands for any ending.
    pub freeze: Vec<String>,
}

/// Epochs or steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainLength {
    /// Passes over the training rows.
    Epochs(u32),
    /// Batches.
    Steps(u32),
}

impl TrainSpec {
    /// Whether the task leaves the tensor as it is.
    #[must_use]
    pub fn freezes(&self, name: &str) -> bool {
        self.freeze.iter().any(|pattern| pattern::matches(pattern, name))
    }

    pub(super) fn read(task: &Section<'_>) -> Result<Self, PlanError> {
        let path = task.field().path();
        let length = match (task.get("epochs")?, task.get("steps")?) {
            (Some(epochs), None) => TrainLength::Epochs(epochs),
            (None, Some(steps)) => TrainLength::Steps(steps),
            (None, None) => return Err(task.field().error(format!("{path} needs either epochs or steps"))),
            (Some(_), Some(_)) => {
                let message = format!("{path} has both epochs and steps; it takes one of them");
                return Err(task.optional("steps").as_ref().unwrap_or(task.field()).error(message));
            }
        };
        Ok(Self {
            length,
            batch: task.get("batch")?,
            optimiser: task.get("optimiser")?,
            loss: task.get("loss")?,
            fedprox_mu: task.get("fedprox_mu")?,
            rule: task.get("rule")?,
            schedule: task.get("schedule")?,
            clip_norm: task.get("clip_norm")?,
            accumulate: task.get("accumulate")?,
            freeze: task.get("freeze")?,
        })
    }
}

/// Checks a task's training against the plan's rows, rounds and tensors. `at` gives the path of one of the
/// task's keys.
pub(super) fn check_in(
    plan: &PlanDraft,
    task: &Name,
    at: &dyn Fn(&str) -> String,
    spec: &TrainSpec,
) -> Checked {
    match &spec.length {
        TrainLength::Epochs(epochs) => check(TRAIN, &at("epochs"), epochs)?,
        TrainLength::Steps(steps) => check(TRAIN, &at("steps"), steps)?,
    }
    check(TRAIN, &at("batch"), &spec.batch)?;
    check(TRAIN, &at("optimiser"), &spec.optimiser)?;
    check(TRAIN, &at("loss"), &spec.loss)?;
    check(TRAIN, &at("schedule"), &spec.schedule)?;
    check(TRAIN, &at("clip_norm"), &spec.clip_norm)?;
    check(TRAIN, &at("accumulate"), &spec.accumulate)?;
    frozen(plan, task, at, spec)?;
    warm_up(plan, at, spec)?;
    check(TRAIN, &at("fedprox_mu"), &spec.fedprox_mu)?;
    rows(task, plan.data.split.train)
}

/// Refuses a name in `freeze` that no tensor has, and a model of which nothing is left to train.
fn frozen(plan: &PlanDraft, task: &Name, at: &dyn Fn(&str) -> String, spec: &TrainSpec) -> Checked {
    number_of(&at("freeze"), spec.freeze.len(), limits::HOLD_OUT)?;
    if spec.freeze.is_empty() {
        return Ok(());
    }
    let tensors = model::tensors(&plan.model).unwrap_or_default();
    let names = || tensors.iter().map(|tensor| tensor.name.as_str());
    for (index, pattern) in spec.freeze.iter().enumerate() {
        if !names().any(|name| pattern::matches(pattern, name)) {
            let message = format!("the model has no tensor {pattern:?} to freeze");
            return Err(Fault::new(at(&format!("freeze/{index}")), message)
                .hint(did_you_mean(pattern, names()).or_else(|| Some(NAMES.to_owned()))));
        }
    }
    if names().all(|name| model::is_statistic(name) || spec.freezes(name)) {
        let message = format!("the task {task} freezes every tensor: nothing is left to train");
        return Err(Fault::new(at("freeze"), message).hint(Some(NAMES.to_owned())));
    }
    Ok(())
}

/// Refuses a warm-up that never ends.
fn warm_up(plan: &PlanDraft, at: &dyn Fn(&str) -> String, spec: &TrainSpec) -> Checked {
    let Some(schedule) = &spec.schedule else { return Ok(()) };
    let (warm_up, takes) = (at(&format!("schedule/{}/warm_up", schedule.word())), schedule.warm_up());
    let most = match (schedule.by(), spec.length) {
        (By::Rounds, _) => plan.rounds,
        (By::Steps, TrainLength::Steps(steps)) => steps,
        (By::Steps, TrainLength::Epochs(_)) => return Ok(()),
    };
    if takes < most {
        return Ok(());
    }
    let by = schedule.by().word();
    let message = format!("the warm-up takes {takes} {by}, and there are {most}");
    let hint = format!("lower warm_up below {most}: the learning rate reaches its value after the warm-up");
    Err(Fault::new(warm_up, message).hint(Some(hint)))
}

fn rows(task: &Name, share: f64) -> Checked {
    if share > 0.0 {
        return Ok(());
    }
    let message = format!("data.split.train is 0, and the task {task} needs training rows");
    Err(Fault::new("data/split/train", message))
}

pub(super) const TRAIN: &[Key] = &[
    Key {
        name: "epochs",
        takes: LENGTH,
        absent: Absent::Means("the task has `steps`"),
        meaning: "Passes over the training rows in one round. A task has either epochs or steps.",
        example: "1",
    },
    Key {
        name: "steps",
        takes: LENGTH,
        absent: Absent::Means("the task has `epochs`"),
        meaning: "Batches of one round. A task has either epochs or steps.",
        example: "100",
    },
    Key {
        name: "batch",
        takes: Takes::Whole { least: 1, most: 1_000_000, unit: "rows" },
        absent: Absent::Refused,
        meaning: "Rows of one step.",
        example: "32",
    },
    Key {
        name: "optimiser",
        takes: Takes::Variant(Optimiser::TABLE),
        absent: Absent::Refused,
        meaning: "The local optimiser.",
        example: "{sgd: {learning_rate: 0.1, momentum: 0.9}}",
    },
    SCHEDULE,
    Key {
        name: "clip_norm",
        takes: Takes::Number(Range::AboveZero),
        absent: Absent::Means("gradients are not clipped"),
        meaning: "The largest Euclidean norm of a step's gradient over the whole model. A longer gradient is scaled down.",
        example: "1.0",
    },
    Key {
        name: "accumulate",
        takes: Takes::Whole { least: 1, most: 1_000_000, unit: "batches" },
        absent: Absent::Default("1"),
        meaning: "Batches whose mean gradient makes one step of the optimiser: a larger batch in the memory of a small one.",
        example: "4",
    },
    Key {
        name: "freeze",
        takes: Takes::List {
            kind: "a list of tensor names; a final * stands for any ending",
            of: &Takes::Text(Text::Any("name of a tensor")),
        },
        absent: Absent::Default("[]"),
        meaning: "Tensors that the task leaves as they are. `fl-host model show` lists the names.",
        example: "[\"conv1.*\"]",
    },
    Key {
        name: "loss",
        takes: Takes::Variant(Loss::TABLE),
        absent: Absent::Refused,
        meaning: "The loss that training makes small.",
        example: "cross_entropy",
    },
    Key {
        name: "fedprox_mu",
        takes: Takes::Number(Range::FromZero),
        absent: Absent::Default("0"),
        meaning: "The weight μ of FedProx's term, which holds the model near the base (Li et al., arXiv:1812.06127). \
                  0 leaves the term out.",
        example: "0.01",
    },
    METRICS,
    Key { absent: Absent::Default("weighted_mean"), ..RULE },
    SERVER,
    THRESHOLD,
];

const NAMES: &str = "`fl-host model show` lists the names of the tensors";
const LENGTH: Takes = Takes::Whole { least: 1, most: 100_000_000, unit: "" };
