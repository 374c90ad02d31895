//! Metrics over rows, from a model's outputs and the rows' labels.
//!
//! Training and validation use the same accumulator; training adds each batch's outputs from before its step.
//! Sums are f64 and in the order of the rows, so the batch size changes no metric.

use fl_engine::plan::{Loss, Metric};

/// Sums over the rows seen so far.
#[derive(Clone, Debug)]
pub(crate) struct Scores {
    loss: Loss,
    rows: usize,
    loss_sum: f64,
    right: usize,
    squares: f64,
    /// Score and truth of each row, if there are two classes.
    ranked: Vec<(f32, bool)>,
}

#[cfg_attr(not(feature = "train"), allow(dead_code, reason = "only burn's trainer fills scores"))]
impl Scores {
    pub(crate) fn new(loss: Loss) -> Self {
        Self { loss, rows: 0, loss_sum: 0.0, right: 0, squares: 0.0, ranked: Vec::new() }
    }

    /// Adds rows. `outputs` holds the same number of values for each label.
    pub(crate) fn add(&mut self, outputs: &[f32], labels: &[f32]) {
        let width = outputs.len() / labels.len().max(1);
        for (row, &label) in outputs.chunks_exact(width.max(1)).zip(labels) {
            self.rows += 1;
            match self.loss {
                Loss::CrossEntropy => self.add_classes(row, label as usize),
                Loss::BinaryCrossEntropy => {
                    let (logit, truth) = (f64::from(row[0]), label > 0.5);
                    // −log σ(±x), without overflow on either side.
                    let signed = if truth { -logit } else { logit };
                    self.loss_sum += signed.max(0.0) + (-signed.abs()).exp().ln_1p();
                    self.right += usize::from((logit > 0.0) == truth);
                    self.ranked.push((row[0], truth));
                }
                Loss::Mse => {
                    let difference = f64::from(row[0]) - f64::from(label);
                    self.loss_sum += difference * difference;
                    self.squares += difference * difference;
                }
            }
        }
    }

    /// The metric's value; `None` without rows, or if these rows or the loss do not define the metric.
    pub(crate) fn value(&self, metric: Metric) -> Option<f64> {
        let rows = self.rows as f64;
        if self.rows == 0 {
            return None;
        }
        match (metric, self.loss) {
            (Metric::Loss, _) => Some(self.loss_sum / rows),
            (Metric::Accuracy, Loss::CrossEntropy | Loss::BinaryCrossEntropy) => {
                Some(self.right as f64 / rows)
            }
            (Metric::Rmse, Loss::Mse) => Some((self.squares / rows).sqrt()),
            (Metric::Auc, _) => auc(&self.ranked),
            _ => None,
        }
    }

    fn add_classes(&mut self, logits: &[f32], label: usize) {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|&x| (f64::from(x) - f64::from(largest)).exp()).sum();
        let truth = logits.get(label).copied().unwrap_or(f32::NAN);
        self.loss_sum += sum.ln() + f64::from(largest) - f64::from(truth);
        // The first of equal outputs.
        self.right += usize::from(logits.iter().position(|&x| x == largest) == Some(label));
        if let [no, yes] = logits {
            self.ranked.push((yes - no, label == 1));
        }
    }
}

/// Area under the ROC curve as the Mann-Whitney statistic: ranks, equal scores sharing their mean rank
/// (Hanley and McNeil, Radiology 143, 1982). `None` unless both classes are present.
fn auc(rows: &[(f32, bool)]) -> Option<f64> {
    let mut rows = rows.to_vec();
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let positives = rows.iter().filter(|(_, truth)| *truth).count() as f64;
    let negatives = rows.len() as f64 - positives;
    if positives == 0.0 || negatives == 0.0 {
        return None;
    }
    let (mut before, mut ranks) = (0.0, 0.0);
    for equals in rows.chunk_by(|a, b| a.0 == b.0) {
        let mean_rank = before + (equals.len() as f64 + 1.0) / 2.0;
        ranks += mean_rank * equals.iter().filter(|(_, truth)| *truth).count() as f64;
        before += equals.len() as f64;
    }
    Some((ranks - positives * (positives + 1.0) / 2.0) / (positives * negatives))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(loss: Loss, outputs: &[f32], labels: &[f32]) -> Scores {
        let mut scores = Scores::new(loss);
        scores.add(outputs, labels);
        scores
    }

    #[test]
    fn classes_are_scored_by_their_largest_output() {
        let scores = scores(Loss::CrossEntropy, &[2.0, 0.0, 1.0, 0.0, 0.0, 0.0], &[0.0, 2.0]);
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
        let classes = scores(Loss::CrossEntropy, &[1e30, -1e30], &[0.0]);
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
        assert_eq!(Scores::new(Loss::Mse).value(Metric::Loss), None);
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
        assert_eq!(auc(&rows), Some(pairs / 9.0));
        assert_eq!(auc(&[(1.0, true), (2.0, true)]), None);
        let two = scores(Loss::CrossEntropy, &[0.0, 1.0, 0.0, -1.0], &[1.0, 0.0]);
        assert_eq!(two.value(Metric::Auc), Some(1.0));
    }
}
