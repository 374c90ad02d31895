//! Metrics: what a task reports, which way is better, who may read them.

use serde::{Deserialize, Serialize};

use crate::settings::words;

words! {
    /// A metric.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    pub enum Metric {
        /// Share of rows classified rightly. It needs a loss over classes.
        Accuracy = "accuracy",
        /// The loss of the task.
        Loss = "loss",
        /// Area under the ROC curve. It needs two classes.
        Auc = "auc",
        /// Root of the mean squared error. It needs the loss mse.
        Rmse = "rmse",
    }
}

words! {
    /// Which way a metric improves.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    pub enum Direction {
        /// Larger is better.
        Max = "max",
        /// Smaller is better.
        Min = "min",
    }
}

words! {
    /// Who may read metrics.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    pub enum MetricsTo {
        /// The host of the aggregator: its log shows them.
        Host = "host",
        /// Every collaborator, and the host of the aggregator.
        Members = "members",
        /// Nobody. Only the choice of the best model and the threshold use them.
        None = "none",
    }
}

impl Metric {
    /// Which way the metric improves.
    #[must_use]
    pub fn better(self) -> Direction {
        match self {
            Self::Accuracy | Self::Auc => Direction::Max,
            Self::Loss | Self::Rmse => Direction::Min,
        }
    }
}
