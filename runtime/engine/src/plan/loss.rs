//! `loss`: what it needs of data and model, and which metrics it defines.

use serde::Serialize;

use super::Metric;
use crate::settings::words;

words! {
    /// A loss.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    pub enum Loss {
        /// Softmax cross-entropy over the plan's classes: the model has one output for each class.
        CrossEntropy = "cross_entropy",
        /// Binary cross-entropy: the plan has two classes, the model one output.
        BinaryCrossEntropy = "binary_cross_entropy",
        /// Mean squared error of a regression: the model has one output.
        Mse = "mse",
    }
}

impl Loss {
    /// What the loss takes, when that is not a model with this output (the batch left out) on a plan with
    /// these classes.
    #[must_use]
    pub fn needs(self, classes: Option<u32>, output: &[u32]) -> Option<String> {
        match (self, classes) {
            (Self::CrossEntropy, Some(classes)) if output == [classes] => None,
            (Self::CrossEntropy, Some(classes)) => {
                Some(format!("cross_entropy over {classes} classes takes [{classes}]"))
            }
            (Self::CrossEntropy, None) => Some("cross_entropy needs the plan's data.classes".to_owned()),
            (Self::BinaryCrossEntropy, Some(2)) if output == [1] => None,
            (Self::BinaryCrossEntropy, _) => Some("binary_cross_entropy takes [1], and 2 classes".to_owned()),
            (Self::Mse, _) if output == [1] => None,
            (Self::Mse, _) => Some("mse takes [1]".to_owned()),
        }
    }

    /// Whether the loss and the plan's classes define the metric.
    ///
    /// # Errors
    /// What the metric would need.
    pub fn defines(self, classes: Option<u32>, metric: Metric) -> Result<(), &'static str> {
        match (metric, self) {
            (Metric::Loss, _)
            | (Metric::Accuracy, Self::CrossEntropy | Self::BinaryCrossEntropy)
            | (Metric::Rmse, Self::Mse)
            | (Metric::Auc, Self::BinaryCrossEntropy) => Ok(()),
            (Metric::Auc, Self::CrossEntropy) if classes == Some(2) => Ok(()),
            (Metric::Accuracy, Self::Mse) => Err("needs classes: a cross-entropy loss"),
            (Metric::Auc, _) => Err("needs two classes"),
            (Metric::Rmse, _) => Err("needs a regression: the loss mse"),
        }
    }
}
