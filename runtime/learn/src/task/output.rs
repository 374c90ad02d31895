//! What a task returns: an update, and metrics.

use fl_engine::{
    Weight,
    plan::{Metric, TaskSpec},
    tensor::ModelState,
};

use super::{error::TaskError, scores::Scores};

/// What one task returns.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskOutput {
    /// The model to aggregate, and its weight in the aggregation; `None` for a validation.
    pub update: Option<(ModelState, Weight)>,
    /// How many rows the metrics are over.
    pub samples: u64,
    /// Metrics and their values, in the plan's order. A metric that these rows do not define is left out: for
    /// example AUC, if all rows are of one class.
    pub metrics: Vec<(Metric, f64)>,
}

impl TaskOutput {
    /// The metrics that the plan gives `task`, out of `scores` over `rows` rows.
    pub(super) fn new(
        task: &TaskSpec,
        scores: &Scores,
        rows: usize,
        update: Option<(ModelState, Weight)>,
    ) -> Result<Self, TaskError> {
        let values = task.metrics.iter().filter_map(|m| Some((*m, scores.value(*m)?)));
        Ok(Self { update, samples: rows as u64, metrics: finite(task, values.collect())? })
    }
}

/// Refuses a metric that is not a finite number.
pub(super) fn finite(task: &TaskSpec, metrics: Vec<(Metric, f64)>) -> Result<Vec<(Metric, f64)>, TaskError> {
    if let Some((metric, _)) = metrics.iter().find(|(_, value)| !value.is_finite()) {
        let what = format!("metric {metric:?}").to_lowercase();
        return Err(TaskError::NotFinite { task: task.name.clone(), what });
    }
    Ok(metrics)
}
