//! Metrics: what a task reports, which way is better, who may read them.

use serde::{Deserialize, Serialize};

use crate::settings::{Absent, Key, Takes, words};

words! {
    /// A metric.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    pub enum Metric {
        /// Share of labels that the model gives rightly, from 0 to 1. It needs another loss than mse, l1 and
        /// huber.
        Accuracy = "accuracy",
        /// The loss of the task, from 0; the loss dice is from -1.
        Loss = "loss",
        /// Area under the ROC curve, from 0 to 1. It needs two classes.
        Auc = "auc",
        /// Root of the mean squared error, from 0. It needs a regression.
        Rmse = "rmse",
        /// Mean over the samples of the Dice score that the loss dice has, without a threshold: from 0 to 1,
        /// and up to 2 for empty masks. It needs masks.
        Dice = "dice",
        /// Mean over the samples of intersection over union, from 0 to 1. An output above one half is a yes.
        /// Empty masks that the model finds empty count 1. It needs masks.
        Iou = "iou",
        /// Harmonic mean of precision and sensitivity, from 0 to 1. With more than two classes, the mean over
        /// the classes that labels or outputs have.
        F1 = "f1",
        /// Share of the positive labels that the model finds, from 0 to 1; also called recall. With more than
        /// two classes, the mean over the classes that labels have.
        Sensitivity = "sensitivity",
        /// Share of the negative labels that the model finds, from 0 to 1. With more than two classes, the
        /// mean over the classes.
        Specificity = "specificity",
        /// Share of the positive answers that are right, from 0 to 1. With more than two classes, the mean
        /// over the classes that labels or outputs have.
        Precision = "precision",
        /// Share of labels among the 2 largest outputs, from 0 to 1.
        Top2 = "top_2",
        /// Share of labels among the 3 largest outputs, from 0 to 1.
        Top3 = "top_3",
        /// Share of labels among the 5 largest outputs, from 0 to 1.
        Top5 = "top_5",
        /// Share of labels among the 10 largest outputs, from 0 to 1.
        Top10 = "top_10",
        /// Mean absolute error, from 0. It needs a regression.
        Mae = "mae",
        /// Coefficient of determination, at most 1. It needs a regression of one number or a vector, and
        /// targets that differ.
        R2 = "r2",
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
    /// Every metric.
    pub const ALL: [Self; 16] = [
        Self::Accuracy,
        Self::Loss,
        Self::Auc,
        Self::Rmse,
        Self::Dice,
        Self::Iou,
        Self::F1,
        Self::Sensitivity,
        Self::Specificity,
        Self::Precision,
        Self::Top2,
        Self::Top3,
        Self::Top5,
        Self::Top10,
        Self::Mae,
        Self::R2,
    ];

    /// Which way the metric improves.
    #[must_use]
    pub fn better(self) -> Direction {
        match self {
            Self::Loss | Self::Rmse | Self::Mae => Direction::Min,
            _ => Direction::Max,
        }
    }

    /// How many of the largest outputs a label may be among.
    #[must_use]
    pub fn among(self) -> Option<usize> {
        match self {
            Self::Top2 => Some(2),
            Self::Top3 => Some(3),
            Self::Top5 => Some(5),
            Self::Top10 => Some(10),
            _ => None,
        }
    }

    /// The values that the metric can have, and for people. A loss has no bound by its meaning, but training
    /// computes it in single precision.
    fn bounds(self) -> (f64, f64, &'static str) {
        let most = f32::MAX.into();
        match self {
            Self::Loss => (-1.0, most, "from -1 to 3.4e38"),
            Self::Rmse | Self::Mae => (0.0, most, "from 0 to 3.4e38"),
            Self::R2 => (-most, 1.0, "from -3.4e38 to 1"),
            Self::Dice => (0.0, 2.0, "from 0 to 2"),
            _ => (0.0, 1.0, "from 0 to 1"),
        }
    }

    /// The range of its values, for people.
    #[must_use]
    pub fn range(self) -> &'static str {
        self.bounds().2
    }

    /// Whether the metric can have this value.
    #[must_use]
    pub fn allows(self, value: f64) -> bool {
        let (least, most, _) = self.bounds();
        (least..=most).contains(&value)
    }
}

pub(super) const METRICS: Key = Key {
    name: "metrics",
    takes: Takes::List {
        kind: "a list of metrics, such as accuracy, loss, auc, dice, rmse",
        of: &Takes::Word(Metric::TABLE),
    },
    absent: Absent::Default("[]"),
    meaning: "Metrics that the task reports.",
    example: "[accuracy, loss]",
};
