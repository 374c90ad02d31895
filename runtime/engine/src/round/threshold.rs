//! The plan's threshold: whose update counts, by a metric of its collaborator.
//!
//! A staged update waits for its collaborator's report of the threshold's task. Until an update passes,
//! updates that fail are summed, because all updates count when none passes. The first update that passes
//! empties the sum; from then on only updates that pass are summed. So the order of arrival does not matter:
//!
//! ```text
//!              its report is there, or its task failed, or the round closes
//!  staged, held ──┬─ passes ──────────────▶ the first: Clear, those before are left out;  Absorb
//!                 └─ does not ─┬─ nobody has passed yet ▶ Absorb
//!                              └─ somebody has ─────────▶ Discard, left out
//! ```

use super::{Refusal, Report, SlotId};
use crate::{
    Name, Weight, limits,
    plan::{Direction, Threshold},
};

impl Threshold {
    /// Whether a report of the threshold's task is good enough. One without the metric, with a value that is
    /// not finite, or over no rows says nothing, as in the round's means.
    pub(super) fn passes(&self, report: &Report) -> bool {
        let value = report
            .metrics
            .iter()
            .take(limits::METRICS)
            .find(|(metric, value)| *metric == self.metric && value.is_finite());
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
    Count {
        slot: SlotId,
        weight: Weight,
        /// In the sum until now; it is emptied of them first. Collaborators and their tasks.
        instead_of: Vec<(Name, Name)>,
    },
    LeaveOut {
        slot: SlotId,
        task: Name,
        refusal: Refusal,
    },
}
