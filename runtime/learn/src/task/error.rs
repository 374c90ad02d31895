//! Why a task has no result.

use fl_engine::{Name, RoundNo, model::ModelError, plan::Metric, units::WeightError};

use crate::data::DataError;

/// Why a task has no result, or cannot have one on this site.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The aggregator no longer wants it.
    #[error("cancelled")]
    Cancelled,
    /// A defect: the task ended in the middle.
    #[error("the task failed: {0}")]
    Panicked(String),
    /// Not one of the member's tasks.
    #[error("the plan gives this collaborator no task {0}")]
    Unknown(Name),
    /// The plan names a task of a user's crate.
    #[error("task {task} is custom: {name:?}, which this build does not know")]
    Custom {
        /// The task.
        task: Name,
        /// As the plan has it.
        name: String,
        /// A registered one that may be meant.
        nearest: Option<String>,
    },
    /// What a custom task found, in its own words.
    #[error("task {task}: {what}")]
    Failed {
        /// The task.
        task: Name,
        /// For example `no row has a label`.
        what: String,
    },
    /// Compiled without the feature `train`.
    #[error("this build neither trains nor validates")]
    NoTraining,
    /// The runner was made without data.
    #[error("task {0} needs data, and this collaborator has none")]
    NoData(Name),
    /// A part of the split is empty.
    #[error("task {task} needs {part} rows, and the plan's split leaves none")]
    NoRows {
        /// The task.
        task: Name,
        /// `train` or `validation`.
        part: &'static str,
    },
    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The metric means nothing for this plan.
    #[error("task {task} reports {}, which {why}", metric.word())]
    Metric {
        /// The task.
        task: Name,
        /// The metric.
        metric: Metric,
        /// What it would need.
        why: &'static str,
    },
    /// The model's output is not what the loss takes.
    #[error("the model gives {found:?} numbers a sample; {needs}")]
    Output {
        /// Shape of the last layer's output.
        found: Vec<u32>,
        /// What the loss takes.
        needs: String,
    },
    /// The model's spec is refused.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A model of another layout.
    #[error("the model has another layout than the plan's")]
    Layout,
    /// A validation of the tuned model before any training in the round.
    #[error("task {task} measures the model trained in round {round}, and there is none")]
    NotTrained {
        /// The task.
        task: Name,
        /// The round.
        round: RoundNo,
    },
    /// Training diverged, or data and model are beyond f32.
    #[error("task {task}: {what} is not finite")]
    NotFinite {
        /// The task.
        task: Name,
        /// For example `the loss of step 12`.
        what: String,
    },
    /// More rows than a weight can say.
    #[error("too many training rows")]
    Weight(#[from] WeightError),
    /// A layer, optimiser or kind of task that the plan knows and this build does not.
    #[error("this build does not know {0}")]
    Foreign(String),
}

impl TaskError {
    /// What to do about it, where there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Custom { nearest: Some(name), .. } => return Some(format!("{name:?} is registered")),
            Self::Data(error) => return error.hint(),
            Self::NoTraining => "build fl-runtime with its default features (the feature `train`)",
            Self::Custom { .. } => "run the binary of the crate in src/ that registers it",
            Self::NoData(_) => "name the data folder in plan/data.yaml",
            Self::NoRows { .. } => "raise the part's share in the plan's data.split, or give more rows",
            Self::NotFinite { .. } => "lower the learning rate, or standardise the features",
            Self::NotTrained { .. } => "put a train task before it in the plan",
            Self::Model(error) => return error.hint(),
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
