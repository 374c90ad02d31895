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

    /// The shape of one sample's label for a model with this output: `[]` is one number, the index of a class
    /// or a target. Outputs of one score a class and place, `[classes, height, width]`, take masks of class
    /// indices, `[height, width]`; the other losses take a label of the output's own shape.
    #[must_use]
    pub fn label_shape(self, _classes: Option<u32>, output: &[u32]) -> Vec<u32> {
        match (self, output) {
            (Self::CrossEntropy, [_, places @ ..]) => places.to_vec(),
            (_, [1]) => Vec::new(),
            _ => output.to_vec(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_a_number_a_mask_of_classes_or_like_the_output() {
        let shape = |loss: Loss, output: &[u32]| loss.label_shape(Some(2), output);
        assert_eq!(shape(Loss::CrossEntropy, &[2]), [0u32; 0]);
        assert_eq!(shape(Loss::CrossEntropy, &[2, 4, 5]), [4, 5]);
        assert_eq!(shape(Loss::BinaryCrossEntropy, &[1]), [0u32; 0]);
        assert_eq!(shape(Loss::BinaryCrossEntropy, &[1, 4, 5]), [1, 4, 5]);
        assert_eq!(shape(Loss::Mse, &[3]), [3]);
    }
}
