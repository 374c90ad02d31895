//! What a plan says of how updates become the next model.

use serde::{Deserialize, Serialize};

use super::{Direction, Metric};
use crate::Name;

/// How a round's updates become the next model: the rule, what the server makes of its answer, which updates count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Aggregation<'a> {
    /// How updates become one model.
    pub rule: &'a Rule,
    /// The server's step from the base towards it.
    pub server: Option<Server>,
    /// Which updates count.
    pub threshold: Option<&'a Threshold>,
}

/// How the updates of a round become one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Rule {
    /// Mean weighted by samples (McMahan et al., arXiv:1602.05629).
    WeightedMean,
    /// Mean in which every update counts the same.
    Mean,
    /// Mean weighted by samples, of updates whose distance from the base is cut to `norm` (norm clipping: Sun et al.,
    /// arXiv:1911.07963).
    ClippedMean {
        /// Largest Euclidean distance of an update from the base, above 0.
        norm: f64,
    },
    /// Median of each element (Yin et al., arXiv:1803.01498); weights do not count.
    Median,
    /// Weighted median of each element.
    WeightedMedian,
    /// Mean of each element without its largest and smallest values (Yin et al., arXiv:1803.01498); weights do not
    /// count.
    TrimmedMean {
        /// Share of the updates that is cut at each end, in `0 .. 0.5`.
        trim: f64,
    },
    /// The update nearest to its neighbours (Blanchard et al., NeurIPS 2017); weights do not count.
    Krum {
        /// Most updates that may be hostile.
        byzantine: u32,
    },
    /// Mean of the updates nearest to their neighbours (Blanchard et al., NeurIPS 2017); weights do not count.
    MultiKrum {
        /// Most updates that may be hostile.
        byzantine: u32,
        /// Updates that are kept; `None` keeps all but `byzantine`.
        keep: Option<u32>,
    },
    /// Krum's choice, then a trimmed mean around the median (El Mhamdi et al., arXiv:1802.07927); weights do not count.
    Bulyan {
        /// Most updates that may be hostile; a round needs `4 byzantine + 3` updates.
        byzantine: u32,
    },
    /// Geometric median by smoothed Weiszfeld iterations (RFA: Pillutla et al., arXiv:1912.13445).
    GeometricMedian {
        /// Most iterations.
        iterations: u32,
        /// Smallest distance that an update counts with, above 0.
        smoothing: f64,
        /// What distances are measured over.
        scope: Scope,
    },
    /// A rule that a user's crate registered.
    Custom {
        /// Its registered name.
        name: String,
    },
}

/// What a rule that measures distances looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// The whole model.
    Model,
    /// Each tensor by itself.
    Tensor,
}

/// What the aggregator does with the rule's answer: a step from the base, of which the answer's distance from the base is
/// the gradient (Reddi et al., arXiv:2003.00295; no bias correction).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Server {
    /// Momentum (Hsu et al., arXiv:1909.06335): `v ← momentum·v + Δ`, `x ← x + learning_rate·v`.
    FedAvgM {
        /// η.
        learning_rate: f64,
        /// β.
        momentum: f64,
    },
    /// `m ← β₁m + (1 − β₁)Δ`, `v ← v + Δ²`, `x ← x + η·m / (√v + τ)`.
    FedAdagrad {
        /// η.
        learning_rate: f64,
        /// β₁.
        beta1: f64,
        /// τ.
        tau: f64,
    },
    /// As FedAdagrad with `v ← β₂v + (1 − β₂)Δ²`.
    FedAdam {
        /// η.
        learning_rate: f64,
        /// β₁.
        beta1: f64,
        /// β₂.
        beta2: f64,
        /// τ.
        tau: f64,
    },
    /// As FedAdagrad with `v ← v − (1 − β₂)Δ²·sign(v − Δ²)`.
    FedYogi {
        /// η.
        learning_rate: f64,
        /// β₁.
        beta1: f64,
        /// β₂.
        beta2: f64,
        /// τ.
        tau: f64,
    },
    /// Exponential smoothing over rounds: `x ← x + (1 − keep)·Δ`.
    Smoothing {
        /// Share of the base that stays, in `0 .. 1`.
        keep: f64,
    },
}

/// Updates count only from collaborators whose reported metric is good enough; when no one's is, all count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// The task that reports it, of the same group.
    pub task: Name,
    /// The metric.
    pub metric: Metric,
    /// The bound, which is good enough itself.
    pub bound: f64,
    /// Whether more or less than the bound is better.
    pub direction: Direction,
}
