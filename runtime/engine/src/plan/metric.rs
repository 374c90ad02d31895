//! Metrics: what a task reports, which way is better, who may read them.

use serde::{Deserialize, Serialize};

use crate::settings::words;

words! {
    /// A metric.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    pub enum Metric {
        /// Share of rows classified rightly, from 0 to 1. It needs a loss over classes.
        Accuracy = "accuracy",
        /// The loss of the task, from 0.
        Loss = "loss",
        /// Area under the ROC curve, from 0 to 1. It needs two classes.
        Auc = "auc",
        /// Root of the mean squared error, from 0. It needs the loss mse.
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

    /// The largest value that the metric can have; the smallest is 0. A loss has no bound by its meaning, but
    /// training computes it in single precision.
    fn most(self) -> f64 {
        match self {
            Self::Accuracy | Self::Auc => 1.0,
            Self::Loss | Self::Rmse => f32::MAX.into(),
        }
    }

    /// The range of its values, for people.
    #[must_use]
    pub fn range(self) -> &'static str {
        match self {
            Self::Accuracy | Self::Auc => "from 0 to 1",
            Self::Loss | Self::Rmse => "from 0 to 3.4e38",
        }
    }

    /// Whether the metric can have this value.
    #[must_use]
    pub fn allows(self, value: f64) -> bool {
        (0.0..=self.most()).contains(&value)
    }
}
