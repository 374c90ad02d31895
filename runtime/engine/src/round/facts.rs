//! Round facts: what a round was made of. Their append-only log is the history; receipts sign them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    Digest, Name, RoundNo, Weight,
    plan::{Metric, Standardise},
};

/// One round, as the history keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundFacts {
    /// The round.
    pub round: RoundNo,
    /// The aggregator's run.
    pub incarnation: u64,
    /// The hash of the plan.
    pub plan: Digest,
    /// Root of the model it started from.
    pub base: Digest,
    /// Root of the model it made.
    pub root: Digest,
    /// The updates that counted, by collaborator.
    pub contributions: Vec<Contribution>,
    /// The updates that were refused, in order of arrival.
    pub refused: Vec<RefusalFact>,
    /// Metrics of the base model and of training in this round, by task, then metric.
    pub metrics: Vec<AggregatedMetric>,
    /// The samples that contributors left out, by collaborator. A collaborator's word.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOutFact>,
}

/// The statistics of all sites, as the history keeps them before the first round.
#[derive(Clone, Debug, PartialEq)]
pub struct StatisticsFacts {
    /// The hash of the plan.
    pub plan: Digest,
    /// The aggregator's run.
    pub incarnation: u64,
    /// Sites whose sums count, by name.
    pub collaborators: Vec<Name>,
    /// What they gave.
    pub statistics: Arc<Standardise>,
}

/// One counted update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contribution {
    /// The collaborator that sent the update.
    pub collaborator: Name,
    /// The task that made it.
    pub task: Name,
    /// The weight of the update.
    pub weight: Weight,
    /// Root of the update.
    pub root: Digest,
}

/// Samples that one contributor cannot read and left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOutFact {
    /// The collaborator.
    pub collaborator: Name,
    /// How many.
    pub samples: u64,
    /// Names of the first of them.
    pub names: Vec<String>,
}

/// One refused update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalFact {
    /// The collaborator that sent the update.
    pub collaborator: Name,
    /// The task that the update named.
    pub task: Name,
    /// The reason, in words.
    pub reason: String,
}

/// A metric's mean over collaborators, weighted by the rows that each measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AggregatedMetric {
    /// The task that measured it.
    pub task: Name,
    /// The metric.
    pub metric: Metric,
    /// Its mean.
    pub value: f64,
    /// Rows of all collaborators together.
    pub samples: u64,
    /// Number of collaborators.
    pub collaborators: u32,
}
