//! `tasks`: what collaborators do in a round.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    Loader, Loss, Metric, PlanDraft, Rows, Rule, Server, Threshold, TrainSpec, When,
    measuring::{LOSS, ROWS, WHEN},
    metric::METRICS,
    rule::RULE,
    server::SERVER,
    threshold::THRESHOLD,
    train::{self, TRAIN},
};
use crate::{
    Name, Weight, limits,
    model::{Layer, output_shape},
    settings::{
        Absent, Checked, Fault, Field, Key, PlanError, Tagged, Takes, Text, check, did_you_mean, number_of,
        words,
    },
};

/// One task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskSpec {
    /// `train`, `aggregated_model_validation`, `locally_tuned_model_validation`, or the user's own.
    pub name: Name,
    /// What it does.
    pub kind: TaskKind,
    /// Metrics it reports.
    pub metrics: Vec<Metric>,
    /// What the aggregator makes of the rule's answer; `None` takes it as the next model.
    pub server: Option<Server>,
    /// Which updates count, by a metric; `None` counts all.
    pub threshold: Option<Threshold>,
    /// The rows that a validation measures on.
    pub rows: Rows,
    /// When a validation runs.
    pub when: When,
    /// The loss of a validation in a plan without training.
    pub loss: Option<Loss>,
}

/// What a task does.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TaskKind {
    /// Trains from the round's base model and sends an update.
    Train(TrainSpec),
    /// Measures a model on the validation rows.
    Validate(ModelUnderTest),
    /// Adds a derived perturbation to the base and sends it: for benches and tests of the link.
    Synthetic {
        /// Weight that each collaborator claims.
        weight: u32,
        /// How updates become a model; `None` is [`Rule::WeightedMean`].
        rule: Option<Rule>,
    },
    /// A task that a user's crate registered, and whether it sends an update.
    Custom {
        /// Its registered name.
        name: String,
        /// The rule for its updates; `None` when it sends only metrics.
        rule: Option<Rule>,
    },
}

words! {
    /// The model that a validation measures.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    pub enum ModelUnderTest {
        /// The base model of the round, as received.
        Aggregated = "aggregated",
        /// The model after the collaborator's own training in this round.
        LocallyTuned = "locally_tuned",
    }
}

words! {
    /// The word of a task's kind.
    #[derive(Clone, Copy, Debug, Serialize)]
    enum Kind {
        /// Trains from the base model of the round and sends an update.
        Train = "train" => TRAIN,
        /// Measures a model on the validation rows.
        Validate = "validate" => VALIDATE,
        /// Adds a derived perturbation to the base model and sends it: for benches and tests of the link.
        Synthetic = "synthetic" => SYNTHETIC,
        /// Runs a task that a user's crate registered.
        Custom = "custom" => CUSTOM,
    }
}

impl TaskKind {
    /// Whether it ends in an update.
    #[must_use]
    pub fn sends_update(&self) -> bool {
        self.rule().is_some()
    }

    /// How its updates become a model; `None` when it sends none.
    #[must_use]
    pub fn rule(&self) -> Option<&Rule> {
        match self {
            Self::Train(spec) => Some(&spec.rule),
            Self::Validate(_) => None,
            Self::Synthetic { rule, .. } => Some(rule.as_ref().unwrap_or(&Rule::WeightedMean)),
            Self::Custom { rule, .. } => rule.as_ref(),
        }
    }
}

impl TaskSpec {
    /// The path of one of its keys in the plan.
    pub(super) fn path(&self, key: &str) -> String {
        format!("tasks/{}/{key}", self.name)
    }

    /// The task `name`.
    pub(super) fn read(name: Name, field: &Field<'_>) -> Result<Self, PlanError> {
        let (kind, task) = field.tagged()?;
        let kind = kind.ok_or_else(|| field.refused())?;
        let validates = matches!(kind, Kind::Validate);
        let (metrics, updates) = match kind {
            Kind::Train | Kind::Custom => (true, true),
            Kind::Validate => (true, false),
            Kind::Synthetic => (false, true),
        };
        let kind = match kind {
            Kind::Train => TaskKind::Train(TrainSpec::read(&task)?),
            Kind::Validate => TaskKind::Validate(task.get("model")?),
            Kind::Synthetic => TaskKind::Synthetic { weight: task.get("weight")?, rule: task.get("rule")? },
            Kind::Custom => TaskKind::Custom { name: task.get("name")?, rule: task.get("rule")? },
        };
        Ok(Self {
            name,
            kind,
            metrics: if metrics { task.get("metrics")? } else { Vec::new() },
            server: if updates { task.get("server")? } else { None },
            threshold: if updates { task.get("threshold")? } else { None },
            rows: if validates { task.get("rows")? } else { Rows::Validation },
            when: if validates { task.get("when")? } else { When::Always },
            loss: if validates { task.get("loss")? } else { None },
        })
    }
}

impl PlanDraft {
    /// The loss that validations report: the first training task's, else that of a validation, else the one
    /// that suits the classes.
    #[must_use]
    pub fn loss(&self) -> Loss {
        let trained = self.tasks.iter().find_map(|task| match &task.kind {
            TaskKind::Train(spec) => Some(spec.loss.clone()),
            _ => None,
        });
        let said = || self.tasks.iter().find_map(|task| task.loss.clone());
        trained.or_else(said).unwrap_or(if self.data.classes.is_some() {
            Loss::cross_entropy()
        } else {
            Loss::Mse
        })
    }

    /// The shape of one sample's label ([`Loss::label_shape`]); `None` for a plan whose tasks have no loss,
    /// which takes labels of any shape.
    #[must_use]
    pub fn label_shape(&self) -> Option<Vec<u32>> {
        let computes = |task: &TaskSpec| matches!(task.kind, TaskKind::Train(_) | TaskKind::Validate(_));
        let output = output_shape(&self.model).ok().filter(|_| self.tasks.iter().any(computes))?;
        Some(self.loss().label_shape(&output))
    }
}

/// Checks every task, alone and against the plan's model and data.
pub(super) fn check_in(plan: &PlanDraft) -> Checked {
    if plan.tasks.is_empty() {
        return Err(Fault::new("tasks", "tasks is empty; a plan has at least one task"));
    }
    number_of("tasks", plan.tasks.len(), limits::TASKS)?;
    let found = output_shape(&plan.model).unwrap_or_default();
    let mut names = BTreeMap::new();
    for task in &plan.tasks {
        let at = |key: &str| task.path(key);
        if names.insert(&task.name, ()).is_some() {
            return Err(Fault::new(at(""), format!("two tasks are named {}", task.name)));
        }
        let loss = match &task.kind {
            TaskKind::Train(spec) => {
                train::check_in(plan, &task.name, &at, spec)?;
                Some(spec.loss.clone())
            }
            TaskKind::Validate(model) => {
                validation(plan, task, *model)?;
                Some(plan.loss())
            }
            TaskKind::Synthetic { weight, .. } => {
                check(SYNTHETIC, &at("weight"), weight)?;
                if *weight >> plan.exact.weight_bits > 0 {
                    let message = format!(
                        "the task {} has the weight {weight}; exact.weight_bits allows weights below 2^{}",
                        task.name, plan.exact.weight_bits
                    );
                    let hint = "lower the weight or raise exact.weight_bits".to_owned();
                    return Err(Fault::new(at("weight"), message).hint(Some(hint)));
                }
                None
            }
            TaskKind::Custom { name, .. } => {
                check(CUSTOM, &at("name"), name)?;
                None
            }
        };
        if let Some(loss) = &loss {
            output(plan, &at("loss"), loss, &found)?;
        }
        metrics(plan, task, loss.as_ref(), &found)?;
    }
    evaluation(plan)
}

/// A plan of validations alone measures the initial model once.
fn evaluation(plan: &PlanDraft) -> Checked {
    if plan.training_rounds() > 0 {
        return Ok(());
    }
    if plan.rounds != 1 {
        let message = format!("all tasks are validations, and rounds is {}", plan.rounds);
        let hint = "write rounds: 1 to measure the initial model once, or add a task that trains".to_owned();
        return Err(Fault::new("rounds", message).hint(Some(hint)));
    }
    Ok(())
}

/// Checks a validation's rows, and that nothing decides by a task of the end.
fn validation(plan: &PlanDraft, task: &TaskSpec, model: ModelUnderTest) -> Checked {
    let share = if task.rows == Rows::Test { plan.data.split.test } else { plan.data.split.validation };
    if share <= 0.0 {
        let (key, name) = (task.rows.word(), &task.name);
        let message = format!("data.split.{key} is 0, and the task {name} needs {key} rows");
        return Err(Fault::new(format!("data/split/{key}"), message));
    }
    if let Some(loss) = &task.loss {
        check(VALIDATE, &task.path("loss"), loss)?;
        if *loss != plan.loss() {
            let message = format!(
                "the task {} has the loss {}, and validations report {}",
                task.name,
                loss.word(),
                plan.loss().word()
            );
            let hint = "remove loss from the validation: it reports the loss of the first task that trains"
                .to_owned();
            return Err(Fault::new(task.path("loss"), message).hint(Some(hint)));
        }
    }
    if task.when == When::Always {
        return Ok(());
    }
    if model == ModelUnderTest::LocallyTuned {
        let message =
            format!("the task {} measures the locally tuned model, which the end does not have", task.name);
        let hint = "write model: aggregated, or leave out when".to_owned();
        return Err(Fault::new(task.path("when"), message).hint(Some(hint)));
    }
    let judges =
        |other: &TaskSpec| other.threshold.as_ref().is_some_and(|threshold| threshold.task == task.name);
    let (path, what) = match () {
        () if plan.best.task == task.name => {
            ("best/task".to_owned(), "best compares the models of all rounds")
        }
        () if plan.tasks.iter().any(judges) => {
            (task.path("when"), "a threshold asks for the task in every round")
        }
        () => return Ok(()),
    };
    let message = format!("the task {} runs at the end alone, and {what}", task.name);
    Err(Fault::new(path, message).hint(Some("name a task that runs in every round".to_owned())))
}

/// Whether the loss takes `found`, the shape of the model's output, and the loader gives labels for both.
fn output(plan: &PlanDraft, at: &str, loss: &Loss, found: &[u32]) -> Checked {
    let classes = plan.data.classes;
    if let Some(needs) = loss.needs(classes, found) {
        let linear = matches!(plan.model.layers.last(), Some(Layer::Linear { .. }));
        let hint = "put a flatten layer before the linear layers".to_owned();
        let hint = Some(hint).filter(|_| linear && found.len() > 1);
        let message = format!("the model's output has the shape {found:?}; the loss {needs}");
        return Err(Fault::new(at, message).hint(hint));
    }
    let label = loss.label_shape(found);
    if plan.loss().label_shape(found) != label {
        let message =
            format!("the loss {} takes other labels than the loss {}", loss.word(), plan.loss().word());
        let hint = "give all tasks losses over the same labels".to_owned();
        return Err(Fault::new(at, message).hint(Some(hint)));
    }
    if matches!(plan.data.loader, Loader::Csv(_)) && !label.is_empty() {
        let message = format!(
            "the model's output has the shape {found:?}: the loss {} takes labels of the shape {label:?}, and a table has one number a row",
            loss.word()
        );
        let hint = "give the model one output, or keep samples and labels in arrays (loader: npy)".to_owned();
        return Err(Fault::new(at, message).hint(Some(hint)));
    }
    if let Loader::Pictures(spec) = &plan.data.loader
        && let Some(message) = spec.lacks(&plan.model.input, classes, &label)
    {
        let hint = if label.is_empty() {
            "choose a loss that takes masks, such as dice, and a model whose output has the size of the pictures"
        } else {
            "give the model an output of the label's shape, or choose another loss; masks are data.label: masks"
        };
        return Err(Fault::new("data/label", message).hint(Some(hint.to_owned())));
    }
    loss.check_in(at, classes, &plan.model)
}

fn metrics(plan: &PlanDraft, task: &TaskSpec, loss: Option<&Loss>, output: &[u32]) -> Checked {
    number_of(&task.path("metrics"), task.metrics.len(), limits::METRICS)?;
    let at = |index: usize| task.path(&format!("metrics/{index}"));
    for (index, metric) in task.metrics.iter().enumerate() {
        if task.metrics[..index].contains(metric) {
            return Err(Fault::new(
                at(index),
                format!("the task {} lists the metric {} twice", task.name, metric.word()),
            ));
        }
        if let Some(Err(needs)) = loss.map(|loss| loss.defines(plan.data.classes, output, *metric)) {
            let message = format!("the task {} cannot report {}, which {needs}", task.name, metric.word());
            return Err(Fault::new(at(index), message));
        }
    }
    Ok(())
}

/// Checks that a validation of the locally tuned model has a training before it. `tasks` are a group's, in
/// their order.
pub(super) fn check_order(group: &Name, tasks: &[&TaskSpec]) -> Checked {
    let tuned = |task: &&TaskSpec| matches!(task.kind, TaskKind::Validate(ModelUnderTest::LocallyTuned));
    let Some(at) = tasks.iter().position(tuned) else { return Ok(()) };
    if tasks[..at].iter().any(|task| matches!(task.kind, TaskKind::Train(_) | TaskKind::Custom { .. })) {
        return Ok(());
    }
    let message = format!(
        "the task {} measures the locally tuned model, and no task before this task in group {group} trains a model",
        tasks[at].name
    );
    Err(Fault::new(tasks[at].path("model"), message)
        .hint(Some("tasks run in the order in which the plan lists them".to_owned())))
}

/// Refuses a name that no task has.
pub(super) fn exists(plan: &PlanDraft, name: &str, path: &dyn Fn() -> String) -> Checked {
    let known = || plan.tasks.iter().map(|task| task.name.as_str());
    if known().any(|task| task == name) {
        return Ok(());
    }
    let message =
        format!("no task is named {name:?}; tasks here: {}", known().collect::<Vec<_>>().join(", "));
    Err(Fault::new(path(), message).hint(did_you_mean(name, known())))
}

/// One task's keys.
pub(super) const TAGGED: &Tagged = &Tagged {
    tag: Key {
        name: "kind",
        takes: Takes::Word(Kind::TABLE),
        absent: Absent::Refused,
        meaning: "What the task does.",
        example: "train",
    },
    common: &[],
    untagged: None,
};

const VALIDATE: &[Key] = &[
    Key {
        name: "model",
        takes: Takes::Word(ModelUnderTest::TABLE),
        absent: Absent::Refused,
        meaning: "The model that the task measures.",
        example: "aggregated",
    },
    ROWS,
    WHEN,
    LOSS,
    METRICS,
];

const SYNTHETIC: &[Key] = &[
    Key {
        name: "weight",
        takes: Takes::Whole { least: 1, most: (1 << Weight::BITS) - 1, unit: "" },
        absent: Absent::Default("1"),
        meaning: "Weight that each collaborator claims for its update. It is below 2^weight_bits of `exact`.",
        example: "100",
    },
    Key { absent: Absent::Means("weighted_mean"), ..RULE },
    SERVER,
    THRESHOLD,
];

const CUSTOM: &[Key] = &[
    Key {
        name: "name",
        takes: Takes::Text(Text::Registered("registered name")),
        absent: Absent::Refused,
        meaning: "The name under which the task is registered.",
        example: "my_task",
    },
    METRICS,
    Key { absent: Absent::Means("the task sends no update"), ..RULE },
    SERVER,
    THRESHOLD,
];
