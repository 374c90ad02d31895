//! Why an update does not count: told to its sender, kept in the facts.

use serde::{Deserialize, Serialize};

use crate::{ByteCount, Name, RoundNo, aggregate::Fault};

/// Why an update does not count. New variants are added at the end only, because their numbers are on the
/// wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Work for another round, another base, or another run of the aggregator.
    #[error("stale: the open round is {open}")]
    Stale {
        /// The open round.
        open: RoundNo,
    },
    /// This collaborator has an update in this round already.
    #[error("duplicate: an update of this round is already counted or under way")]
    Duplicate,
    /// The round closed, or its deadline passed, before the update was complete.
    #[error("late: the round has closed")]
    Late,
    /// The collaborator was not asked for this.
    #[error("not asked for: task {0} is not assigned to this collaborator in this round")]
    NotAssigned(Name),
    /// Weight zero or past the plan's bound.
    #[error("weight {0} is outside the plan's range")]
    Weight(u64),
    /// Not the layout's length.
    #[error("{} bytes offered where the layout has {}", .given.0, .expected.0)]
    Length {
        /// Offered or sent.
        given: ByteCount,
        /// The layout's.
        expected: ByteCount,
    },
    /// The values do not hash to the offered root.
    #[error("the payload's root is not the one that was offered")]
    Root,
    /// NaN or an infinity.
    #[error("tensor {tensor:?} holds a value that is not finite, at element {element}")]
    NotFinite {
        /// Its name.
        tensor: String,
        /// Index within the tensor.
        element: u64,
    },
    /// Outside the exact accumulator's range.
    #[error("tensor {tensor:?} holds a value outside the plan's range, at element {element}")]
    OutOfRange {
        /// Its name.
        tensor: String,
        /// Index within the tensor.
        element: u64,
    },
    /// The sender dropped it half-way, or its link broke.
    #[error("dropped by its sender after {got} of {expected}")]
    Dropped {
        /// Bytes received.
        got: ByteCount,
        /// Bytes offered.
        expected: ByteCount,
    },
    /// Too few bytes for too long.
    #[error("too slow: stopped after {got} of {expected}")]
    TooSlow {
        /// Bytes received.
        got: ByteCount,
        /// Bytes offered.
        expected: ByteCount,
    },
    /// The collaborator left the roster.
    #[error("no longer on the roster")]
    NotOnRoster,
    /// The weights of the round would not fit into the sum.
    #[error("the weights of this round would sum past what the accumulator holds")]
    TotalWeight,
    /// The aggregator could not keep the update (disk, memory). The sender did nothing wrong.
    #[error("the aggregator could not keep the update: {0}")]
    Internal(String),
    /// The collaborator's metric does not pass the plan's threshold, and another collaborator's does. The
    /// text has no value: the aggregator logs refusals, and the plan may hide metrics from its host.
    #[error("left out: its collaborator's metric does not pass the plan's threshold")]
    BelowThreshold,
}

impl Refusal {
    /// Whether the same collaborator may try again in the same round: nothing was wrong with the update
    /// itself.
    #[must_use]
    pub fn may_retry(&self) -> bool {
        matches!(self, Self::Dropped { .. } | Self::TooSlow { .. } | Self::Internal(_))
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NotFinite { tensor, element } => Self::NotFinite { tensor, element: element as u64 },
            Fault::OutOfRange { tensor, element } => Self::OutOfRange { tensor, element: element as u64 },
            Fault::Length { given, expected } => {
                Self::Length { given: ByteCount(given as u64), expected: ByteCount(expected as u64) }
            }
        }
    }
}
