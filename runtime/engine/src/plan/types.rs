//! What a resolved plan holds.

use serde::{Deserialize, Serialize};

use super::{Direction, Metric, Rule, Server, Threshold};
use crate::{Millis, Name};

/// How a collaborator reads its data folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataSpec {
    /// File format and its settings.
    pub loader: Loader,
    /// Feature scaling with declared statistics: one mean and one standard deviation a feature, or none.
    pub standardise: Option<Standardise>,
    /// Shares of train, validation and test rows; they sum to 1.
    pub split: Split,
    /// Number of classes; `None` for regression.
    pub classes: Option<u32>,
}

/// A file format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Loader {
    /// One row a sample.
    Csv {
        /// File name in the data folder.
        file: String,
        /// Whether the first line names the columns.
        header: bool,
        /// The label's column.
        label: Column,
    },
    /// NumPy: two `.npy` files, or one `.npz` with two arrays (`file.npz:array`).
    Npy {
        /// Samples, first axis.
        features: String,
        /// Labels.
        labels: String,
    },
    /// MNIST's IDX format.
    Idx {
        /// Samples, first axis.
        features: String,
        /// Labels.
        labels: String,
    },
    /// A loader that a user's crate registered.
    Custom {
        /// Its registered name.
        name: String,
    },
}

/// A CSV column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Column {
    /// By header name.
    Name(String),
    /// By index from 0; negative counts from the end.
    Index(i32),
}

/// Declared statistics: `(x − mean) / std`, feature by feature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standardise {
    /// One value a feature, or a single one for all.
    pub mean: Vec<f32>,
    /// Likewise, each above 0.
    pub std: Vec<f32>,
}

/// Shares of a site's rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// Rows trained on.
    pub train: f64,
    /// Rows for the validation tasks.
    pub validation: f64,
    /// Rows that nothing in a run reads.
    pub test: f64,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
}

/// What a task does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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

/// The model that a validation measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModelUnderTest {
    /// The round's base, as received.
    Aggregated,
    /// The model after the collaborator's own training in this round.
    LocallyTuned,
}

/// Settings of a training task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainSpec {
    /// How long.
    pub length: TrainLength,
    /// Samples a step.
    pub batch: u32,
    /// The local optimiser.
    pub optimiser: Optimiser,
    /// The loss.
    pub loss: Loss,
    /// FedProx's μ (Li et al., arXiv:1812.06127); 0 leaves the term out.
    pub fedprox_mu: f32,
    /// How updates become a model.
    pub rule: Rule,
}

/// Epochs or steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrainLength {
    /// Passes over the training rows.
    Epochs(u32),
    /// Batches.
    Steps(u32),
}

/// A local optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Optimiser {
    /// Stochastic gradient descent.
    Sgd {
        /// Learning rate.
        learning_rate: f64,
        /// 0 for none.
        momentum: f64,
        /// L2 penalty.
        weight_decay: f64,
    },
    /// Kingma and Ba, arXiv:1412.6980.
    Adam {
        /// Learning rate.
        learning_rate: f64,
    },
    /// Loshchilov and Hutter, arXiv:1711.05101.
    AdamW {
        /// Learning rate.
        learning_rate: f64,
        /// Decoupled decay.
        weight_decay: f64,
    },
}

/// A loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Loss {
    /// Softmax cross-entropy over classes.
    CrossEntropy,
    /// Binary cross-entropy on one logit.
    BinaryCrossEntropy,
    /// Mean squared error.
    Mse,
}

/// Tasks for some collaborators.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskGroup {
    /// Shown in logs.
    pub name: Name,
    /// Whom it takes; `None` takes everyone that no group names.
    pub collaborators: Option<Vec<Name>>,
    /// Names of tasks.
    pub tasks: Vec<Name>,
}

/// Four numbers that decide when a round closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quorum {
    /// Fewest contributors of a valid round.
    pub count_min: u32,
    /// Enough: the round closes at once. `None`: all that were asked.
    pub count_max: Option<u32>,
    /// Never closes earlier than this, unless everybody asked has answered.
    pub time_min: Millis,
    /// The deadline.
    pub time_max: Millis,
}

/// What becomes of local optimiser state at a round's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OptimiserState {
    /// Fresh each round.
    Reset,
    /// The collaborator's own goes on.
    ContinueLocal,
    /// Aggregated with the model, as further tensors of its layout ([`Plan::layout`]).
    ContinueGlobal,
}

/// Range of the exact accumulator: `|x| < 2^value_bits`, `weight < 2^weight_bits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExactRange {
    /// 1 to 40; 16 by default.
    pub value_bits: u32,
    /// 1 to 29; with `value_bits` at most 51. 29 by default, 19 for [`Rule::ClippedMean`].
    pub weight_bits: u32,
}

/// What makes a model the best so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BestModel {
    /// The task that reports it.
    pub task: Name,
    /// The metric.
    pub metric: Metric,
    /// Its better direction.
    pub direction: Direction,
}

/// Fixed thread counts, never derived from the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Threads {
    /// Link threads.
    pub link: u32,
    /// CPU pool: digests, absorption, training.
    pub cpu: u32,
}
