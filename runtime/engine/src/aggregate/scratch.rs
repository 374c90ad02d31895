//! Memory that a thread combines in.

use super::Bins;
use crate::Bytes;
use crate::plan::ExactRange;

/// What one thread works in: made once, grown by its first run of a round, kept for the next.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    /// A block's values.
    pub(super) values: Vec<f32>,
    /// Pairs of value and weight, or deltas.
    pub(super) wide: Vec<f64>,
    /// A block of the base.
    pub(super) base: Vec<f32>,
    /// A block of answers.
    pub(super) out: Vec<f32>,
    pub(super) bins: Option<(ExactRange, Bins)>,
}

impl Scratch {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The most that a scratch grows to in rounds of up to this many updates, whatever the rule.
    #[must_use]
    pub fn most(updates: usize) -> Bytes {
        let block = (updates * super::combiner::columns(updates)).max(updates * super::products::STEP);
        Bytes((block * (4 + 8) + super::PASS * (4 + 4 + 16)) as u64)
    }
}
