//! How good the final model is on rows that were held out of training.

use fl_engine::{
    model::safetensors,
    plan::{Loader, Metric},
};
use fl_learn::{
    data,
    task::{evaluate, majority_baseline},
};
use serde_json::{Value, json};

use super::Federation;
use crate::{
    exit::{Exit, Failure},
    model::refused_model,
};

/// The final model's test result.
pub(super) struct Evaluation {
    pub(super) metrics: Vec<(Metric, f64)>,
    /// Accuracy of always naming the most frequent class; `None` where labels are not classes.
    pub(super) baseline: Option<f64>,
    pub(super) rows: usize,
}

impl Evaluation {
    pub(super) fn metrics_json(&self) -> Value {
        let pairs = self.metrics.iter().map(|(metric, value)| (metric.word().to_owned(), json!(value)));
        Value::Object(pairs.collect())
    }

    /// `accuracy 0.974, loss 0.081`.
    pub(super) fn summary(&self) -> String {
        let shown: Vec<String> =
            self.metrics.iter().map(|(metric, value)| format!("{} {value:.3}", metric.word())).collect();
        shown.join(", ")
    }
}

/// Loads the aggregator's last model and the owner's held-out rows.
pub(super) fn on_held_out_rows(federation: &Federation) -> Result<Evaluation, Failure> {
    let (plan, mut data) = (&federation.plan, federation.plan.data.clone());
    if let Loader::Csv(spec) = &mut data.loader {
        "test.csv".clone_into(&mut spec.file);
    }
    let folder = match data.loader {
        Loader::Pictures(_) => federation.owner.join("data/test"),
        _ => federation.owner.join("data"),
    };
    let label = plan.label_shape().unwrap_or_default();
    let rows =
        data::load(&data, &plan.model.input, &label, &folder).map_err(|e| Failure::of(Exit::Data, &e))?;
    let path = federation.last_model();
    let layout = plan.layout().map_err(|e| refused_model(&e))?;
    let bytes = std::fs::read(&path)
        .map_err(|e| Failure::new(Exit::File, format!("cannot read {}: {e}", path.display())))?;
    let (state, _) = safetensors::read(&bytes, &layout)
        .map_err(|e| Failure::new(Exit::Model, format!("{}: {e}", path.display())))?;
    let metrics =
        evaluate(plan, &state, &rows).map_err(|e| Failure::of(Exit::Data, &e).maybe_hint(e.hint()))?;
    let has_classes = plan.data.classes.is_some() && rows.labels.ndim() == 1;
    let baseline = has_classes.then(|| majority_baseline(&rows));
    Ok(Evaluation { metrics, baseline, rows: rows.rows() })
}
