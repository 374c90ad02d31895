//! Measures of a model outside a federation's rounds.

use fl_engine::{
    model::output_shape,
    plan::{Metric, Plan},
    tensor::ModelState,
};

use super::{error::TaskError, team::alone, trainer::Trainer};
use crate::data::Dataset;

/// Measures a model on any rows, with the usual metrics and those of the plan's tasks, as far as the plan's
/// loss, classes and model define them.
///
/// # Errors
/// [`TaskError`] if model, plan and rows do not fit; [`TaskError::NoTraining`] without the feature `train`.
pub fn evaluate(plan: &Plan, state: &ModelState, rows: &Dataset) -> Result<Vec<(Metric, f64)>, TaskError> {
    let scores = Trainer::new(plan, state.layout())?.score(state, rows, &|| false, &alone)?;
    let (loss, classes, output) = (plan.loss(), plan.data.classes, output_shape(&plan.model)?);
    let usual = [Metric::Accuracy, Metric::Loss, Metric::Auc, Metric::Rmse];
    let asked =
        |metric: &Metric| usual.contains(metric) || plan.tasks.iter().any(|t| t.metrics.contains(metric));
    let metrics = Metric::ALL.into_iter().filter(asked);
    let defined = metrics.filter(|m| loss.defines(classes, &output, *m).is_ok());
    Ok(defined.filter_map(|m| Some((m, scores.value(m)?))).collect())
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
