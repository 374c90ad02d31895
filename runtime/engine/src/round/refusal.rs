//! Why an update does not count: told to its sender, kept in the facts.

use serde::{Deserialize, Serialize};

use crate::{ByteCount, Digest, Name, RoundNo, aggregate::PayloadFault};

/// Why an update does not count. New variants are added at the end only, because their numbers are on the
/// wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Work for another round, another base, or another run of the aggregator.
    #[error("the update is for another round: the open round is {open}")]
    Stale {
        /// The open round.
        open: RoundNo,
    },
    /// This collaborator has an update in this round already.
    #[error("this collaborator already has an update in this round, counted or under way")]
    Duplicate,
    /// The round closed, or its deadline passed, before the update was complete.
    #[error("the update came too late: the round has closed")]
    Late,
    /// The collaborator was not asked for this.
    #[error("the update was not asked for: the task {0} is not assigned to this collaborator in this round")]
    NotAssigned(Name),
    /// Weight past the plan's bound.
    #[error("the update's weight {0} is outside the plan's range (limits.rows, exact.weight_bits)")]
    Weight(u64),
    /// Not the layout's length.
    #[error("the update has {} bytes; an update of this plan has {}", .given.0, .expected.0)]
    Length {
        /// Offered or sent.
        given: ByteCount,
        /// The layout's.
        expected: ByteCount,
    },
    /// The values do not hash to the offered root.
    #[error("the hash of the update is not the hash that was offered")]
    Root,
    /// NaN or an infinity.
    #[error("the update has a value that is not finite, in tensor {tensor:?} at element {element}")]
    NotFinite {
        /// Its name.
        tensor: String,
        /// Index within the tensor.
        element: u64,
    },
    /// Outside the exact accumulator's range.
    #[error(
        "the update has a value outside the plan's range (exact.value_bits), in tensor {tensor:?} at element {element}"
    )]
    OutOfRange {
        /// Its name.
        tensor: String,
        /// Index within the tensor.
        element: u64,
    },
    /// The sender dropped it half-way, or its link broke.
    #[error("the collaborator stopped sending the update after {got} of {expected}")]
    Dropped {
        /// Bytes received.
        got: ByteCount,
        /// Bytes offered.
        expected: ByteCount,
    },
    /// Too few bytes for too long.
    #[error("the update came too slowly and was stopped after {got} of {expected}")]
    TooSlow {
        /// Bytes received.
        got: ByteCount,
        /// Bytes offered.
        expected: ByteCount,
    },
    /// The collaborator left the roster.
    #[error("the collaborator is no longer on the roster")]
    NotOnRoster,
    /// The weights of the round would not fit into the sum.
    #[error("the row counts of this round's updates add up to more than the exact sum can hold")]
    TotalWeight,
    /// The aggregator could not keep the update (disk, memory). The sender did nothing wrong.
    #[error("the aggregator could not keep the update: {0}")]
    Internal(String),
    /// The collaborator's metric does not pass the plan's threshold, and enough others' metrics do. The text
    /// has no value: the aggregator logs refusals, and the plan may hide metrics from its host.
    #[error("the update does not count: the collaborator's metric does not pass the plan's threshold")]
    BelowThreshold,
    /// The names of the columns of the collaborator's table are not those of the others.
    #[error("{}", columns_differ(own, others.as_ref()))]
    Columns {
        /// The digest that the collaborator told.
        own: Digest,
        /// The digest that counts; `None` when no digest has more than half of the collaborators.
        others: Option<Digest>,
    },
}

impl Refusal {
    /// Whether the same collaborator may try again in the same round: nothing was wrong with the update
    /// itself.
    #[must_use]
    pub fn may_retry(&self) -> bool {
        matches!(self, Self::Dropped { .. } | Self::TooSlow { .. } | Self::Internal(_))
    }

    /// What the owner or the site can do about it, if it is not in the site's own program.
    #[must_use]
    pub fn cure(&self) -> Option<&'static str> {
        match self {
            Self::OutOfRange { .. } => Some(
                "standardise the data, lower the learning rate, raise exact.value_bits in the plan, or leave the \
                 tensor out with the plan's key hold_out",
            ),
            Self::NotFinite { .. } => Some("lower the learning rate in the plan, or standardise the data"),
            Self::Weight(_) => Some("raise limits.rows in the plan, within what exact.weight_bits allows"),
            Self::Columns { .. } => Some(
                "list the columns in the plan's key data.features: each site then finds its columns by name, in any order",
            ),
            Self::TotalWeight => Some("lower limits.rows and exact.weight_bits in the plan"),
            _ => None,
        }
    }
}

fn columns_differ(own: &Digest, others: Option<&Digest>) -> String {
    let own = own.short();
    match others {
        Some(others) => format!(
            "the columns of the sites differ: the names at this site have the digest {own}, those at the other sites {}",
            others.short()
        ),
        None => format!(
            "the columns of the sites differ, and no digest is that of more than half of the sites: the names at this site have the digest {own}"
        ),
    }
}

impl From<PayloadFault> for Refusal {
    fn from(fault: PayloadFault) -> Self {
        match fault {
            PayloadFault::NotFinite { tensor, element } => {
                Self::NotFinite { tensor, element: element as u64 }
            }
            PayloadFault::OutOfRange { tensor, element } => {
                Self::OutOfRange { tensor, element: element as u64 }
            }
            PayloadFault::Length { given, expected } => {
                Self::Length { given: ByteCount(given as u64), expected: ByteCount(expected as u64) }
            }
        }
    }
}
