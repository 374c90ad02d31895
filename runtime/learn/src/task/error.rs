//! Why a task has no result.

use fl_engine::{Name, RoundNo, model::ModelError, units::WeightError};

use crate::data::DataError;

/// Why a task has no result, or cannot have one on this site.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The aggregator no longer wants the result.
    #[error("the task was cancelled")]
    Cancelled,
    /// A defect: the task ended in the middle.
    #[error("the task failed: {0}")]
    Panicked(String),
    /// The task is not one of the member's tasks.
    #[error("the plan gives this collaborator no task {0}")]
    Unknown(Name),
    /// The plan names a custom task that this program does not have.
    #[error("task {task} needs the custom task {name:?}, which this program does not have")]
    Custom {
        /// The task.
        task: Name,
        /// The custom task's name in the plan.
        name: String,
        /// A registered name that is close to that name.
        nearest: Option<String>,
    },
    /// A custom task failed, in its own words.
    #[error("task {task}: {what}")]
    Failed {
        /// The task.
        task: Name,
        /// For example `no row has a label`.
        what: String,
    },
    /// This program was compiled without the feature `train`.
    #[error("this program can neither train nor validate")]
    NoTraining,
    /// The task needs data, and the runner was made without data.
    #[error("task {0} needs data, but this collaborator has none")]
    NoData(Name),
    /// The task needs rows of a part of the split that is empty.
    #[error("task {task} needs {part} rows, but the plan's split leaves none")]
    NoRows {
        /// The task.
        task: Name,
        /// `train`, `validation` or `test`.
        part: &'static str,
    },
    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The loss cannot use the model's output.
    #[error("the model outputs {found:?} values per sample, but {needs}")]
    Output {
        /// Shape of the last layer's output.
        found: Vec<u32>,
        /// What the loss needs.
        needs: String,
    },
    /// The plan's model is refused.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model has another layout than the plan's model.
    #[error("the model's tensors are not those of the plan's model")]
    Layout,
    /// A validation of the tuned model before any training in the round.
    #[error("task {task} measures the model trained in round {round}, but no task has trained one")]
    NotTrained {
        /// The task.
        task: Name,
        /// The round.
        round: RoundNo,
    },
    /// Training diverged, or values of data or model are too large for f32.
    #[error("task {task}: {what} is not finite")]
    NotFinite {
        /// The task.
        task: Name,
        /// For example `the loss of step 12`.
        what: String,
    },
    /// A number of a sample that names no row of an embedding.
    #[error("a sample has the number {found}; the embedding has the rows 0 to {}", rows - 1)]
    Index {
        /// The number.
        found: f32,
        /// Rows of the embedding.
        rows: usize,
    },
    /// There are more rows than a weight can count.
    #[error("there are too many training rows")]
    Weight(#[from] WeightError),
    /// A layer, optimiser or kind of task that the plan's format has and this program does not have.
    #[error("this program is older than the plan and does not know its {0}")]
    Foreign(String),
}

impl TaskError {
    /// What the user can do about the error.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Custom { nearest: Some(name), .. } => {
                return Some(format!("did you mean {name:?}, a custom task that this program has?"));
            }
            Self::Data(error) => return error.hint(),
            Self::NoTraining => "build fl-runtime with its default features (the feature `train`)",
            Self::Custom { .. } => "start your own program, which adds the task with `with_task`",
            Self::NoData(_) => "name this collaborator's data folder in plan/data.yaml",
            Self::NoRows { .. } => "raise that part's share in the plan's data.split, or add rows",
            Self::Index { .. } => {
                "raise `rows` of the embedding, or change the data; `standardise` does not go with it"
            }
            Self::NotFinite { .. } => "lower the learning rate, or standardise the features",
            Self::NotTrained { .. } => "put a train task before this task in the plan",
            Self::Model(error) => return error.hint(),
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
