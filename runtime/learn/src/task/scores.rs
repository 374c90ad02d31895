//! Metrics over rows, from a model's outputs and the rows' labels.
//!
//! Training and validation use the same accumulator; training adds each batch's outputs from before its step.
//! Sums are f64 and in the order of the rows, so the batch size changes no metric. Metrics that no mean over
//! samples gives, such as f1 and r2, are computed over all rows of the site.

mod auc;
mod counts;
mod errors;
mod loss;
mod masks;

use fl_engine::plan::{Loss, Metric, Truth};

use self::{counts::Counts, errors::Errors};

/// Sums over the rows seen so far.
#[derive(Clone, Debug)]
pub(crate) struct Scores {
    loss: Loss,
    rows: usize,
    /// Numerator and denominator of the mean loss.
    loss_sum: (f64, f64),
    counts: Counts,
    errors: Errors,
    /// Sums over the samples with masks.
    dice: f64,
    iou: f64,
    /// Score and truth of each row, if a row has one label and there are two classes.
    ranked: Vec<(f32, bool)>,
}

#[cfg_attr(not(feature = "train"), allow(dead_code, reason = "only burn's trainer fills scores"))]
impl Scores {
    pub(crate) fn new(loss: &Loss) -> Self {
        Self {
            loss: loss.clone(),
            rows: 0,
            loss_sum: (0.0, 0.0),
            counts: Counts::default(),
            errors: Errors::default(),
            dice: 0.0,
            iou: 0.0,
            ranked: Vec::new(),
        }
    }

    /// Adds rows. `outputs` and `labels` hold the same number of values for each of the rows, the classes of
    /// a pixel one plane after another.
    pub(crate) fn add(&mut self, outputs: &[f32], labels: &[f32], rows: usize) {
        let (width, places) = (outputs.len() / rows.max(1), labels.len() / rows.max(1));
        for (outputs, labels) in outputs.chunks_exact(width.max(1)).zip(labels.chunks_exact(places.max(1))) {
            self.rows += 1;
            let (sum, weight) = loss::of(&self.loss, outputs, labels);
            self.loss_sum = (self.loss_sum.0 + sum, self.loss_sum.1 + weight);
            match self.loss.truth() {
                Truth::Class => self.add_classes(outputs, labels),
                Truth::Share => self.add_shares(outputs, labels),
                Truth::Number => self.errors.add(outputs, labels),
            }
        }
    }

    /// The metric's value; `None` without rows, or if these rows or the loss do not define the metric.
    pub(crate) fn value(&self, metric: Metric) -> Option<f64> {
        if self.rows == 0 {
            return None;
        }
        let rows = self.rows as f64;
        match metric {
            Metric::Loss => Some(self.loss_sum.0 / self.loss_sum.1),
            Metric::Auc => auc::of(&self.ranked),
            Metric::Dice => (self.loss.truth() == Truth::Share).then(|| self.dice / rows),
            Metric::Iou => (self.loss.truth() != Truth::Number).then(|| self.iou / rows),
            Metric::Rmse | Metric::Mae | Metric::R2 => self.errors.value(metric),
            _ => self.counts.value(metric),
        }
    }

    /// One score a class and place: class after class, the places of each.
    fn add_classes(&mut self, outputs: &[f32], labels: &[f32]) {
        let (places, classes) = (labels.len(), outputs.len() / labels.len());
        let mut found = Vec::with_capacity(places);
        for (place, label) in labels.iter().enumerate() {
            let scores = || (0..classes).map(|class| outputs[class * places + place]);
            let answer = answer(outputs, places, place);
            let truth = *label as usize;
            let own = scores().nth(truth).unwrap_or(f32::NAN);
            let before =
                scores().enumerate().filter(|(at, score)| *score > own || *score == own && *at < truth);
            self.counts.add_class(answer, truth, before.count(), classes);
            found.push(answer);
        }
        match outputs {
            [no, yes] => self.ranked.push((yes - no, labels[0] == 1.0)),
            _ if places > 1 => {
                let truths: Vec<usize> = labels.iter().map(|label| *label as usize).collect();
                self.iou += masks::iou_of_classes(&found, &truths, classes);
            }
            _ => {}
        }
    }

    /// One output a place.
    fn add_shares(&mut self, outputs: &[f32], labels: &[f32]) {
        let bound = bound(&self.loss);
        for (output, label) in outputs.iter().zip(labels) {
            self.counts.add_answer(*output > bound, *label > 0.5);
        }
        match (outputs, labels) {
            ([score], [label]) => self.ranked.push((*score, *label > 0.5)),
            _ => {
                self.dice += masks::dice(&loss::shares(&self.loss, outputs), labels);
                self.iou += masks::iou(outputs, labels, bound);
            }
        }
    }
}

/// The class with the largest output at a place; the first of equal outputs. The outputs are those of one
/// class after another, and of all `places` of each.
pub(super) fn answer(outputs: &[f32], places: usize, place: usize) -> usize {
    let classes = outputs.len() / places.max(1);
    let score = |class: usize| outputs[class * places + place];
    let largest = (0..classes).map(score).fold(f32::NEG_INFINITY, f32::max);
    (0..classes).position(|class| score(class) == largest).unwrap_or(classes)
}

/// An output above the bound is a yes: one half is a no, and so is a logit of 0.
pub(super) fn bound(loss: &Loss) -> f32 {
    if matches!(loss, Loss::Dice { logits: false }) { 0.5 } else { 0.0 }
}

/// How likely each output is yes, for a loss whose labels are from 0 to 1.
pub(super) fn shares(loss: &Loss, outputs: &[f32]) -> Vec<f64> {
    loss::shares(loss, outputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(loss: Loss, outputs: &[f32], labels: &[f32]) -> Scores {
        let mut scores = Scores::new(&loss);
        scores.add(outputs, labels, labels.len());
        scores
    }

    #[test]
    fn classes_are_scored_by_their_largest_output() {
        let scores = scores(Loss::cross_entropy(), &[2.0, 0.0, 1.0, 0.0, 0.0, 0.0], &[0.0, 2.0]);
        // log(1 + e⁻² + e⁻¹) and log 3.
        let expected = (0.407_605_964 + 1.098_612_289) / 2.0;
        assert!((scores.value(Metric::Loss).unwrap() - expected).abs() < 1e-8);
        assert_eq!(scores.value(Metric::Accuracy), Some(0.5));
        assert_eq!(scores.value(Metric::Auc), None);
        assert_eq!(scores.value(Metric::Rmse), None);
    }

    #[test]
    fn huge_outputs_overflow_nothing() {
        let binary = scores(Loss::BinaryCrossEntropy, &[1e30, -1e30, 1e30], &[1.0, 0.0, 0.0]);
        assert!((binary.value(Metric::Loss).unwrap() - 1e30 / 3.0).abs() < 1e23);
        let classes = scores(Loss::cross_entropy(), &[1e30, -1e30], &[0.0]);
        assert_eq!(classes.value(Metric::Loss), Some(0.0));
    }

    #[test]
    fn binary_loss_is_that_of_the_logit() {
        let binary = scores(Loss::BinaryCrossEntropy, &[0.0, 2.0, -3.0], &[1.0, 0.0, 0.0]);
        let expected = (std::f64::consts::LN_2 + 2.126_928_011 + 0.048_587_352) / 3.0;
        assert!((binary.value(Metric::Loss).unwrap() - expected).abs() < 1e-8);
        assert_eq!(binary.value(Metric::Accuracy), Some(1.0 / 3.0));
    }

    #[test]
    fn errors_of_a_regression_are_squared_and_averaged() {
        let regression = scores(Loss::Mse, &[1.0, 5.0], &[2.0, 2.0]);
        assert_eq!(regression.value(Metric::Loss), Some(5.0));
        assert_eq!(regression.value(Metric::Rmse), Some(5f64.sqrt()));
        assert_eq!(Scores::new(&Loss::Mse).value(Metric::Loss), None);
    }

    #[test]
    fn auc_counts_pairs_in_order_and_ties_as_half() {
        let rows = [(0.1, false), (0.4, true), (0.4, false), (0.8, true), (0.4, true), (0.9, false)];
        let mut pairs = 0.0;
        for (a, _) in rows.iter().filter(|r| r.1) {
            for (b, _) in rows.iter().filter(|r| !r.1) {
                pairs += if a > b {
                    1.0
                } else if a == b {
                    0.5
                } else {
                    0.0
                };
            }
        }
        assert_eq!(auc::of(&rows), Some(pairs / 9.0));
        assert_eq!(auc::of(&[(1.0, true), (2.0, true)]), None);
        let two = scores(Loss::cross_entropy(), &[0.0, 1.0, 0.0, -1.0], &[1.0, 0.0]);
        assert_eq!(two.value(Metric::Auc), Some(1.0));
    }
}
