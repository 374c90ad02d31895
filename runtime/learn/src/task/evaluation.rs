//! Measures of a model outside a federation's rounds.

use fl_engine::{
    model::output_shape,
    plan::{Loss, Metric, Plan, Truth},
    tensor::ModelState,
};

use super::{
    error::TaskError,
    scores::{self, Scores},
    team::alone,
    trainer::Trainer,
};
use crate::data::Dataset;

/// Measures a model on any rows, with the usual metrics and those of the plan's tasks, as far as the plan's
/// loss, classes and model define them.
///
/// # Errors
/// [`TaskError`] if model, plan and rows do not fit; [`TaskError::NoTraining`] without the feature `train`.
pub fn evaluate(plan: &Plan, state: &ModelState, rows: &Dataset) -> Result<Vec<(Metric, f64)>, TaskError> {
    Ok(assess(plan, state, rows)?.metrics)
}

/// What a model's answers are worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    /// As [`evaluate`] returns them.
    pub metrics: Vec<(Metric, f64)>,
    /// How many labels of each class got each answer: first by label, then by answer. Labels of yes and no
    /// are the classes 1 and 0. `None` for a regression, and for more than [`CONFUSION_CLASSES`] classes.
    pub confusion: Option<Vec<Vec<u64>>>,
}

/// As [`evaluate`], with the answers by class.
///
/// # Errors
/// As [`evaluate`].
pub fn assess(plan: &Plan, state: &ModelState, rows: &Dataset) -> Result<Assessment, TaskError> {
    let (loss, classes, output) = (plan.loss(), plan.data.classes, output_shape(&plan.model)?);
    let known = match loss.truth() {
        Truth::Class => classes.map(|count| count as usize),
        Truth::Share => Some(2),
        Truth::Number => None,
    };
    let mut confusion =
        known.filter(|count| *count <= CONFUSION_CLASSES).map(|count| vec![vec![0; count]; count]);
    let mut scores = Scores::new(&loss);
    Trainer::new(plan, state.layout())?.outputs(
        state,
        rows,
        &|| false,
        &alone,
        &mut |outputs, labels, count| {
            scores.add(outputs, labels, count);
            let Some(confusion) = &mut confusion else { return };
            for_each(&loss, outputs, labels, count, &mut |label, answer| {
                if let Some(cell) = confusion.get_mut(label).and_then(|row| row.get_mut(answer)) {
                    *cell += 1;
                }
            });
        },
    )?;
    let usual = [Metric::Accuracy, Metric::Loss, Metric::Auc, Metric::Rmse];
    let asked =
        |metric: &Metric| usual.contains(metric) || plan.tasks.iter().any(|t| t.metrics.contains(metric));
    let metrics = Metric::ALL.into_iter().filter(asked);
    let defined = metrics.filter(|m| loss.defines(classes, &output, *m).is_ok());
    let metrics = defined.filter_map(|m| Some((m, scores.value(m)?))).collect();
    Ok(Assessment { metrics, confusion })
}

/// Label and answer of each place of each row.
fn for_each(loss: &Loss, outputs: &[f32], labels: &[f32], rows: usize, see: &mut dyn FnMut(usize, usize)) {
    let (width, places) = (outputs.len() / rows.max(1), labels.len() / rows.max(1));
    for (outputs, labels) in outputs.chunks_exact(width.max(1)).zip(labels.chunks_exact(places.max(1))) {
        for (place, label) in labels.iter().enumerate() {
            match loss.truth() {
                Truth::Class => see(*label as usize, scores::answer(outputs, places, place)),
                _ => see(usize::from(*label > 0.5), usize::from(outputs[place] > scores::bound(loss))),
            }
        }
    }
}

/// What a model says of one sample.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Prediction {
    /// A class for each place: one, or one for each pixel.
    Classes {
        /// The answers.
        found: Vec<usize>,
        /// How likely each class is: the places of class 0, then those of class 1 and so on.
        shares: Vec<f64>,
    },
    /// How likely each output is yes.
    Shares(Vec<f64>),
    /// Numbers.
    Numbers(Vec<f64>),
}

/// Calls `each` with what the model says of each row, in their order. The labels of the rows are not used.
///
/// # Errors
/// As [`evaluate`].
pub fn predict(
    plan: &Plan,
    state: &ModelState,
    rows: &Dataset,
    each: &mut dyn FnMut(usize, Prediction),
) -> Result<(), TaskError> {
    let (loss, classes) = (plan.loss(), plan.data.classes.unwrap_or(1) as usize);
    let mut row = 0;
    Trainer::new(plan, state.layout())?.outputs(state, rows, &|| false, &alone, &mut |outputs, _, count| {
        for outputs in outputs.chunks_exact((outputs.len() / count.max(1)).max(1)) {
            let prediction = match loss.truth() {
                Truth::Class => {
                    let places = outputs.len() / classes.max(1);
                    let found = (0..places).map(|place| scores::answer(outputs, places, place)).collect();
                    Prediction::Classes { found, shares: likely(outputs, places) }
                }
                Truth::Share => Prediction::Shares(scores::shares(&loss, outputs)),
                Truth::Number => Prediction::Numbers(outputs.iter().map(|value| f64::from(*value)).collect()),
            };
            each(row, prediction);
            row += 1;
        }
    })
}

/// The softmax over the classes of each place.
fn likely(outputs: &[f32], places: usize) -> Vec<f64> {
    let mut shares: Vec<f64> = outputs.iter().map(|value| f64::from(*value)).collect();
    for place in 0..places {
        let of = || (place..outputs.len()).step_by(places);
        let largest = of().map(|at| shares[at]).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = of().map(|at| (shares[at] - largest).exp()).sum();
        of().for_each(|at| shares[at] = (shares[at] - largest).exp() / sum);
    }
    shares
}

/// The accuracy of a model that always answers the most frequent class of these rows' labels; 0 without rows.
/// A useful model is better than that.
#[must_use]
pub fn majority_baseline(rows: &Dataset) -> f64 {
    let mut labels: Vec<f32> = rows.labels.iter().copied().collect();
    labels.sort_by(f32::total_cmp);
    let most = labels.chunk_by(|a, b| a == b).map(<[f32]>::len).max().unwrap_or(0);
    most as f64 / labels.len().max(1) as f64
}

/// Most classes of a table of answers.
pub const CONFUSION_CLASSES: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_the_classes_of_a_place_sum_to_one() {
        let shares = likely(&[0.0, 3f32.ln(), 1000.0, -1000.0], 2);
        assert!((shares[0] + shares[2] - 1.0).abs() < 1e-12 && (shares[2] - 1.0).abs() < 1e-12);
        assert!((shares[1] + shares[3] - 1.0).abs() < 1e-12 && shares[3] < 1e-12);
        let pair = likely(&[0.0, 3f32.ln()], 1);
        assert!((pair[1] - 0.75).abs() < 1e-7, "{pair:?}");
    }

    #[test]
    fn labels_and_answers_are_paired_by_place() {
        let mut seen = Vec::new();
        // Two rows of two pixels and two classes.
        let outputs = [0.0, 1.0, 1.0, 0.0, 5.0, 5.0, 0.0, 6.0];
        for_each(&Loss::cross_entropy(), &outputs, &[1.0, 1.0, 0.0, 0.0], 2, &mut |a, b| seen.push((a, b)));
        assert_eq!(seen, [(1, 1), (1, 0), (0, 0), (0, 1)]);
        seen.clear();
        let dice = Loss::Dice { logits: false };
        for_each(&dice, &[0.5, 0.6], &[1.0, 0.2], 1, &mut |a, b| seen.push((a, b)));
        assert_eq!(seen, [(1, 0), (0, 1)]);
    }
}
