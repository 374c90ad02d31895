//! The plan's threshold: whose update counts, by a metric of its collaborator.
//!
//! A staged update waits for its collaborator's report of the threshold's task. The threshold applies when as
//! many updates pass as a round needs (`count.min`); until then all staged updates are held. So one
//! collaborator that claims a good metric leaves nobody out alone, and the order of arrival does not matter:
//!
//! ```text
//!  staged, held ─┬─ count.min of the held updates pass ─▶ these: Absorb; those that do not pass: Discard
//!                │                                        from then on each update as its report comes
//!                └─ the round closes before ────────────▶ all: Absorb
//! ```

use super::{Refusal, Report, SlotId};
use crate::{
    Name, Weight, limits,
    plan::{Direction, Threshold},
};

impl Threshold {
    /// Whether a report of the threshold's task is good enough. One without the metric, or over no rows, says
    /// nothing, as in the round's means.
    pub(super) fn passes(&self, report: &Report) -> bool {
        let value = report.metrics.iter().take(limits::METRICS).find(|(metric, _)| *metric == self.metric);
        report.samples > 0
            && value.is_some_and(|(_, value)| match self.direction {
                Direction::Max => *value >= self.bound,
                Direction::Min => *value <= self.bound,
            })
    }
}

/// What is known of one collaborator's metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its report may still come.
    Open,
    /// Good enough, or the plan has no threshold.
    Passes,
    /// Not good enough, or it will never be known.
    Fails,
}

/// What becomes of a staged update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Count { slot: SlotId, weight: Weight },
    LeaveOut { slot: SlotId, task: Name, refusal: Refusal },
}
