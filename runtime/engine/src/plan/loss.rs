//! `loss`: what it needs of data and model, and which metrics it defines.

use serde::{Serialize, Serializer};

use super::Metric;
use crate::{
    model::{Layer, ModelSpec},
    settings::{Absent, Checked, Fault, Range, Takes, words},
};

words! {
    /// A loss.
    #[derive(Clone, Debug, PartialEq, Serialize)]
    pub enum Loss {
        /// Softmax cross-entropy over the plan's classes: the model has one output for each class, or for
        /// each class and pixel.
        CrossEntropy = "cross_entropy" {
            /// A weight for each class, in the order of the classes. The loss is a weighted mean, as in
            /// PyTorch.
            weights: Vec<f64> = WEIGHTS, Absent::Default("[]"), "[1, 3]";
            /// Share of each label that is spread over all classes (label smoothing).
            smoothing: f64 = Takes::Number(Range::FromZeroBelowOne), Absent::Default("0"), "0.1";
        },
        /// Binary cross-entropy of outputs without a final sigmoid. The plan has two classes and the model
        /// one output, or labels are masks or vectors.
        BinaryCrossEntropy = "binary_cross_entropy",
        /// Mean squared error.
        Mse = "mse",
        /// 1 less the Dice score of masks, as OpenFL's U-Net has it: the mean over the samples of
        /// 2 (Σ pm + 1) / (Σ p + Σ m + 1), for probabilities p and masks m. From -1, which empty masks reach.
        Dice = "dice" {
            /// Whether the model leaves its final sigmoid to the loss.
            logits: bool = Takes::Flag, Absent::Default("false"), "true";
        },
        /// The sum of binary cross-entropy and dice, of outputs without a final sigmoid.
        BceDice = "bce_dice",
        /// Focal loss (Lin et al., arXiv:1708.02002), of outputs without a final sigmoid.
        Focal = "focal" {
            /// How much less sure outputs count.
            gamma: f64 = Takes::Number(Range::FromZero), Absent::Default("2"), "1.5";
            /// Weight of labels of 1; labels of 0 have the rest.
            alpha: f64 = Takes::Number(Range::FromZeroToOne), Absent::Default("0.25"), "0.5";
        },
        /// Mean absolute error.
        L1 = "l1",
        /// Half the squared error up to `delta`, then a line (Huber), as in PyTorch.
        Huber = "huber" {
            /// The error at which the line begins.
            delta: f64 = Takes::Number(Range::AboveZero), Absent::Default("1"), "0.5";
        },
    }
}

/// What a label says of a model's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// Which of several scores belongs to the label: the index of a class.
    Class,
    /// How likely the output is yes, from 0 to 1.
    Share,
    /// The number that the output should be.
    Number,
}

impl Loss {
    /// Cross-entropy in which all classes count the same.
    #[must_use]
    pub fn cross_entropy() -> Self {
        Self::CrossEntropy { weights: Vec::new(), smoothing: 0.0 }
    }

    /// What its labels say.
    #[must_use]
    pub fn truth(&self) -> Truth {
        match self {
            Self::CrossEntropy { .. } => Truth::Class,
            Self::BinaryCrossEntropy | Self::Dice { .. } | Self::BceDice | Self::Focal { .. } => Truth::Share,
            Self::Mse | Self::L1 | Self::Huber { .. } => Truth::Number,
        }
    }

    /// What the loss takes, when that is not a model with this output (the batch left out) on a plan with
    /// these classes.
    #[must_use]
    pub fn needs(&self, classes: Option<u32>, output: &[u32]) -> Option<String> {
        let word = self.word();
        match (self.truth(), classes, output) {
            (Truth::Class, None, _) => Some(format!("{word} needs the plan's data.classes")),
            (Truth::Class, Some(classes), [found, places @ ..]) if *found == classes && places.len() != 1 => {
                None
            }
            (Truth::Class, Some(classes), [_]) => {
                Some(format!("{word} over {classes} classes takes [{classes}]"))
            }
            (Truth::Class, Some(classes), _) => Some(format!(
                "{word} over {classes} classes takes [{classes}], or [{classes}, height, width]"
            )),
            // A score of one number alone has no overlap to measure.
            (Truth::Share, _, [1]) if self.overlaps() => {
                Some(format!("{word} takes masks, [1, height, width]"))
            }
            (Truth::Share, Some(2), [1]) | (Truth::Share, Some(2) | None, [_, _, ..]) => None,
            (Truth::Share, None, [found]) if *found > 1 => None,
            (Truth::Share, _, [_]) => Some(format!("{word} takes [1], and 2 classes")),
            (Truth::Share, ..) => Some(format!("{word} takes masks of 2 classes")),
            (Truth::Number, _, [1]) | (Truth::Number, None, _) => None,
            (Truth::Number, ..) => Some(format!("{word} takes [1], or any output without data.classes")),
        }
    }

    /// The shape of one sample's label for a model with this output: `[]` is one number, the index of a class
    /// or a target. Outputs of one score a class and place, `[classes, height, width]`, take masks of class
    /// indices, `[height, width]`; the other losses take a label of the output's own shape.
    #[must_use]
    pub fn label_shape(&self, output: &[u32]) -> Vec<u32> {
        match (self.truth(), output) {
            (Truth::Class, [_, places @ ..]) => places.to_vec(),
            (_, [1]) => Vec::new(),
            _ => output.to_vec(),
        }
    }

    /// Whether the loss, the plan's classes and the model's output define the metric.
    ///
    /// # Errors
    /// What the metric would need.
    pub fn defines(&self, classes: Option<u32>, output: &[u32], metric: Metric) -> Result<(), &'static str> {
        let (truth, masks) = (self.truth(), !self.label_shape(output).is_empty());
        let two = truth == Truth::Share || truth == Truth::Class && classes == Some(2);
        let (defined, needs) = match metric {
            Metric::Loss => (true, ""),
            Metric::Accuracy | Metric::F1 | Metric::Precision | Metric::Sensitivity | Metric::Specificity => {
                (truth != Truth::Number, "needs classes: a cross-entropy loss")
            }
            Metric::Auc => (two && !masks, "needs two classes"),
            Metric::Dice => (
                truth == Truth::Share && masks,
                "needs masks, and the loss dice, bce_dice, focal or binary_cross_entropy",
            ),
            Metric::Iou => (truth != Truth::Number && masks, "needs masks: an output for each pixel"),
            Metric::Top2 | Metric::Top3 | Metric::Top5 | Metric::Top10 => (
                truth == Truth::Class && classes > metric.among().and_then(|k| u32::try_from(k).ok()),
                "needs more classes, and the loss cross_entropy",
            ),
            Metric::Rmse | Metric::Mae => {
                (truth == Truth::Number, "needs a regression: the loss mse, l1 or huber")
            }
            Metric::R2 => (
                truth == Truth::Number && output.len() == 1,
                "needs a regression of one number or a vector: the loss mse, l1 or huber",
            ),
        };
        if defined { Ok(()) } else { Err(needs) }
    }

    /// Whether it measures how far two areas overlap.
    fn overlaps(&self) -> bool {
        matches!(self, Self::Dice { .. } | Self::BceDice)
    }

    /// Plans of the first release have cross-entropy as a word alone.
    pub(super) fn as_word<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if *self == Self::cross_entropy() {
            serializer.serialize_str(self.word())
        } else {
            self.serialize(serializer)
        }
    }

    /// Checks the number of weights, and whether the model's last layer fits. `path` is the loss's.
    pub(super) fn check_in(&self, path: &str, classes: Option<u32>, model: &ModelSpec) -> Checked {
        if let (Self::CrossEntropy { weights, .. }, Some(classes)) = (self, classes)
            && !weights.is_empty()
            && weights.len() != classes as usize
        {
            let count = weights.len();
            let message = format!("the loss has {count} weights, and data.classes is {classes}");
            let hint = "write one weight for each class, in the order of the classes".to_owned();
            return Err(Fault::new(format!("{path}/cross_entropy/weights"), message).hint(Some(hint)));
        }
        let last = End::of(model);
        let (message, hint) = match self {
            Self::Dice { logits: false } if last == End::Dropped => (
                "the loss dice takes probabilities, and a dropout after the sigmoid makes other values of them",
                "move the dropout above the sigmoid",
            ),
            Self::Dice { logits: false } if last != End::Sigmoid => (
                "the loss dice takes probabilities, and the model does not end in sigmoid",
                "add sigmoid as the model's last layer, or write loss: {dice: {logits: true}}",
            ),
            Self::Dice { logits: true } | Self::BceDice | Self::Focal { .. } if last != End::Other => (
                "the loss computes the sigmoid itself, and the model ends in sigmoid",
                "remove the layer sigmoid at the end of the model",
            ),
            _ => return Ok(()),
        };
        Err(Fault::new(path, message).hint(Some(hint.to_owned())))
    }
}

/// What a model ends in, apart from layers that move values or take means of them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Sigmoid,
    /// A sigmoid, with a dropout below it.
    Dropped,
    Other,
}

impl End {
    fn of(model: &ModelSpec) -> Self {
        let mut at = model.layers.len();
        let mut dropped = false;
        while let Some(layer) = at.checked_sub(1).and_then(|index| model.layers.get(index)) {
            match layer {
                Layer::Sigmoid if dropped => return Self::Dropped,
                Layer::Sigmoid => return Self::Sigmoid,
                Layer::Dropout { .. } => dropped = true,
                Layer::Flatten
                | Layer::Pad { .. }
                | Layer::PadTo
                | Layer::Crop { .. }
                | Layer::Upsample { .. }
                | Layer::MaxPool { .. }
                | Layer::AvgPool { .. }
                | Layer::AdaptiveAvgPool { .. }
                | Layer::Reshape { .. }
                | Layer::Permute { .. }
                | Layer::Slice { .. }
                | Layer::Select { .. }
                | Layer::Mean { .. }
                | Layer::Max { .. } => {}
                _ => return Self::Other,
            }
            // A layer takes what stands above it, so this ends.
            at = match model.from.get(at - 1) {
                Some(from) => from.first().map_or(0, |input| *input as usize).min(at - 1),
                None => at - 1,
            };
        }
        Self::Other
    }
}

const WEIGHTS: Takes =
    Takes::List { kind: "a list of numbers, one for each class", of: &Takes::Number(Range::AboveZero) };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Direction;

    #[test]
    fn a_label_is_a_number_a_mask_of_classes_or_like_the_output() {
        let shape = |loss: Loss, output: &[u32]| loss.label_shape(output);
        assert_eq!(shape(Loss::cross_entropy(), &[2]), [0u32; 0]);
        assert_eq!(shape(Loss::cross_entropy(), &[2, 4, 5]), [4, 5]);
        assert_eq!(shape(Loss::BinaryCrossEntropy, &[1]), [0u32; 0]);
        assert_eq!(shape(Loss::Dice { logits: false }, &[1, 4, 5]), [1, 4, 5]);
        assert_eq!(shape(Loss::Mse, &[3]), [3]);
    }

    #[test]
    fn losses_take_the_outputs_that_suit_them() {
        let takes = |loss: &Loss, classes, output: &[u32]| loss.needs(classes, output).is_none();
        let (entropy, dice) = (Loss::cross_entropy(), Loss::Dice { logits: true });
        for (loss, classes, output, taken) in [
            (&entropy, Some(3), &[3][..], true),
            (&entropy, Some(3), &[3, 4, 4], true),
            (&entropy, Some(3), &[3, 4], false),
            (&entropy, Some(3), &[2], false),
            (&entropy, None, &[3], false),
            (&dice, None, &[1, 4, 4], true),
            (&dice, Some(2), &[1, 4, 4], true),
            (&dice, Some(2), &[1], false),
            (&dice, Some(3), &[1, 4, 4], false),
            (&dice, None, &[5], true),
            (&Loss::BinaryCrossEntropy, Some(2), &[1], true),
            (&Loss::BinaryCrossEntropy, None, &[1], false),
            (&Loss::BinaryCrossEntropy, Some(2), &[2], false),
            (&Loss::L1, None, &[4], true),
            (&Loss::L1, Some(4), &[4], false),
        ] {
            assert_eq!(takes(loss, classes, output), taken, "{loss:?} {classes:?} {output:?}");
        }
    }

    #[test]
    fn metrics_are_defined_by_loss_classes_and_output() {
        let defined = |loss: &Loss, classes, output: &[u32]| -> Vec<&str> {
            let all = Metric::ALL.into_iter().filter(|metric| loss.defines(classes, output, *metric).is_ok());
            all.map(|metric| metric.word()).collect()
        };
        let counts = ["f1", "sensitivity", "specificity", "precision"];
        let entropy = Loss::cross_entropy();
        assert_eq!(defined(&entropy, Some(2), &[2]), [&["accuracy", "loss", "auc"][..], &counts].concat());
        let masks = defined(&entropy, Some(4), &[4, 8, 8]);
        assert_eq!(masks, [&["accuracy", "loss", "iou"][..], &counts, &["top_2", "top_3"]].concat());
        let dice = defined(&Loss::BceDice, None, &[1, 8, 8]);
        assert_eq!(dice, [&["accuracy", "loss", "dice", "iou"][..], &counts].concat());
        assert_eq!(defined(&Loss::L1, None, &[1]), ["loss", "rmse", "mae", "r2"]);
        assert_eq!(defined(&Loss::Mse, None, &[1, 8, 8]), ["loss", "rmse", "mae"]);
    }

    #[test]
    fn a_final_sigmoid_and_the_number_of_weights_have_to_fit_the_loss() {
        let refused = |loss: Loss, layers: &[Layer]| {
            let model = ModelSpec::chain(vec![1, 4, 4], layers.to_vec());
            loss.check_in("loss", Some(2), &model).map_err(|f| f.path)
        };
        let sigmoid = [Layer::Sigmoid, Layer::Flatten];
        assert_eq!(refused(Loss::Dice { logits: false }, &sigmoid), Ok(()));
        assert!(refused(Loss::Dice { logits: false }, &[Layer::Relu]).is_err());
        assert!(refused(Loss::Dice { logits: true }, &sigmoid).is_err());
        assert!(refused(Loss::Focal { gamma: 2.0, alpha: 0.25 }, &sigmoid).is_err());
        assert_eq!(refused(Loss::BceDice, &[Layer::Relu]), Ok(()));
        // Layers that move values, and a branch.
        let behind = |end: &str| {
            let text = format!(
                "{{input: [1, 4, 4], layers: [{{conv2d: {{name: a, out: 1, kernel: 1}}, as: a}}, {end}]}}"
            );
            ModelSpec::parse(&text).unwrap()
        };
        let refused_end =
            |loss: &Loss, end: &str| loss.check_in("loss", None, &behind(end)).map_err(|f| f.message);
        let (shares, logits) = (Loss::Dice { logits: false }, Loss::BceDice);
        for end in [
            "sigmoid, {crop: {by: 1}}",
            "sigmoid, {pad: {by: 1}}, {pad_to: , from: [a, a]}, sigmoid, {upsample: {mode: nearest, scale: 2}}",
        ] {
            assert_eq!(refused_end(&shares, end), Ok(()), "{end}");
            assert!(refused_end(&logits, end).unwrap_err().ends_with("the model ends in sigmoid"), "{end}");
        }
        let dropped = "sigmoid, {dropout: {p: 0.5}}";
        assert!(refused_end(&shares, dropped).unwrap_err().contains("a dropout after the sigmoid"));
        assert!(refused_end(&logits, dropped).unwrap_err().ends_with("the model ends in sigmoid"));
        let branch = "{sigmoid: , as: b}, {add: , from: [a, b]}";
        assert!(refused_end(&shares, branch).is_err());
        assert_eq!(refused_end(&logits, branch), Ok(()));
        let weights = |weights: &[f64]| Loss::CrossEntropy { weights: weights.to_vec(), smoothing: 0.0 };
        assert_eq!(refused(weights(&[1.0, 2.0]), &[]), Ok(()));
        assert_eq!(refused(weights(&[1.0]), &[]).unwrap_err(), "loss/cross_entropy/weights");
    }

    #[test]
    fn every_bound_of_a_metric_is_on_its_better_side_or_open() {
        for metric in Metric::ALL {
            let best = if metric.better() == Direction::Max { 1.0 } else { 0.0 };
            assert!(
                metric.allows(best) && !metric.allows(f64::NAN) && !metric.allows(f64::INFINITY),
                "{metric:?}"
            );
        }
        assert!(Metric::Dice.allows(2.0) && !Metric::Dice.allows(2.1));
        assert!(Metric::Loss.allows(-1.0) && !Metric::Loss.allows(-1.1));
        assert!(Metric::R2.allows(-7.0) && !Metric::R2.allows(1.1));
    }
}
