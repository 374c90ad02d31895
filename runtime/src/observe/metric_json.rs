//! Aggregated metrics as JSON, for the history, model files and `--json` lines.

use fl_engine::round::AggregatedMetric;
use serde::Serialize;

/// One metric of one task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetricJson<'a> {
    task: &'a str,
    metric: &'static str,
    value: f64,
    samples: u64,
    collaborators: u32,
}

impl<'a> MetricJson<'a> {
    /// One object for each metric, in the given order.
    #[must_use]
    pub fn all(metrics: &'a [AggregatedMetric]) -> Vec<Self> {
        let one = |m: &'a AggregatedMetric| Self {
            task: m.task.as_str(),
            metric: m.metric.word(),
            value: m.value,
            samples: m.samples,
            collaborators: m.collaborators,
        };
        metrics.iter().map(one).collect()
    }

    /// The metrics as a JSON array.
    #[must_use]
    pub fn json(metrics: &'a [AggregatedMetric]) -> String {
        // Texts and numbers: it cannot fail.
        serde_json::to_string(&Self::all(metrics)).unwrap_or_default()
    }
}
