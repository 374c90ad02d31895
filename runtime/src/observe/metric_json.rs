//! Aggregated metrics as JSON, in the history, in model files and in `--json` lines.

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
    /// All of them, in their order.
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

    /// All of them as a JSON array.
    #[must_use]
    pub fn json(metrics: &'a [AggregatedMetric]) -> String {
        // Texts and numbers: it cannot fail.
        serde_json::to_string(&Self::all(metrics)).unwrap_or_default()
    }
}
