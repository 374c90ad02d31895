//! Metrics: what a task reports, which way is better, who may read them.

use serde::{Deserialize, Serialize};

use super::error::PlanError;
use super::field::Field;

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Metric {
    /// Share of rows classified rightly.
    Accuracy,
    /// The task's loss.
    Loss,
    /// Area under the ROC curve; two classes.
    Auc,
    /// Root of the mean squared error.
    Rmse,
}

impl Metric {
    /// As a plan spells it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::Loss => "loss",
            Self::Auc => "auc",
            Self::Rmse => "rmse",
        }
    }

    /// Which way the metric improves.
    #[must_use]
    pub fn better(self) -> Direction {
        match self {
            Self::Accuracy | Self::Auc => Direction::Max,
            Self::Loss | Self::Rmse => Direction::Min,
        }
    }
}

/// Which way a metric improves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// Larger is better.
    Max,
    /// Smaller is better.
    Min,
}

/// Who may read metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetricsTo {
    /// The aggregator's log.
    Host,
    /// Every collaborator.
    Members,
    /// Nobody: only the best-model decision and the threshold use them.
    None,
}

impl Metric {
    /// A metric's word.
    pub(super) fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        field.choice(&[
            ("accuracy", Self::Accuracy),
            ("loss", Self::Loss),
            ("auc", Self::Auc),
            ("rmse", Self::Rmse),
        ])
    }
}
