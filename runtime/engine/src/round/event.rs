//! What the shell tells the round engine.

use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::{ByteCount, Digest, Name, RoundNo, Weight, plan::Metric, statistics::ColumnSums};

/// The round and base that a message belongs to. A message with another stamp than the open round's is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// The aggregator's run: drawn at its start, so that messages from before a crash can be recognised.
    pub incarnation: u64,
    /// The round.
    pub round: RoundNo,
    /// Root of the model that the round starts from.
    pub base: Digest,
}

/// The slot in which the shell keeps a staged update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub u64);

/// What a collaborator tells about an update before it sends the update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The round and base that it answers.
    pub stamp: Stamp,
    /// The task that made it.
    pub task: Name,
    /// The weight of the update.
    pub weight: Weight,
    /// Length of its payload.
    pub bytes: ByteCount,
    /// Chunk-tree root of its payload.
    pub root: Digest,
}

/// A collaborator's metrics of one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The round and base that it answers.
    pub stamp: Stamp,
    /// The task.
    pub task: Name,
    /// Rows that were measured.
    pub samples: u64,
    /// At most [`crate::limits::METRICS`].
    pub metrics: Vec<(Metric, f64)>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A collaborator on the roster is connected and was welcomed.
    Joined {
        /// The collaborator.
        peer: Name,
    },
    /// The collaborator's link is gone. When a new link replaces an old one, this event comes before the
    /// `Joined` of the new link, or not at all.
    Left {
        /// The collaborator.
        peer: Name,
    },
    /// The roster was replaced. Members that are no longer on it are treated as gone, and their updates that
    /// are under way as refused. An update that is in the sum already stays there.
    RosterChanged {
        /// Every collaborator on the new roster.
        members: Vec<Name>,
    },
    /// A collaborator tells the digest of the names of its table's columns.
    Columns {
        /// The collaborator.
        peer: Name,
        /// The digest.
        digest: Digest,
    },
    /// A collaborator tells which samples it leaves out.
    LeftOut {
        /// The collaborator.
        peer: Name,
        /// How many.
        samples: u64,
        /// Names of the first of them; at most [`crate::limits::LEFT_OUT`].
        names: Vec<String>,
    },
    /// A collaborator wants to send an update.
    Offered {
        /// The collaborator.
        peer: Name,
        /// The offer or report.
        offer: Offer,
    },
    /// An offered update has arrived in full and passed every check.
    Staged {
        /// The collaborator.
        peer: Name,
        /// The offer or report.
        offer: Offer,
        /// The slot that holds it.
        slot: SlotId,
    },
    /// The data plane turned an offered update down, or its sender dropped it.
    Refused {
        /// The collaborator.
        peer: Name,
        /// The offer.
        offer: Offer,
        /// The reason.
        refusal: Refusal,
    },
    /// A task of the round failed at the collaborator: no update or report will come for this task.
    Failed {
        /// The collaborator.
        peer: Name,
        /// The round and its base.
        stamp: Stamp,
        /// The task.
        task: Name,
        /// The reason, in the collaborator's words.
        why: String,
    },
    /// Metrics of one task.
    Reported {
        /// The collaborator.
        peer: Name,
        /// The offer or report.
        report: Report,
    },
    /// A part of a site's sums, as [`super::Effect::AskSums`] asked for them.
    Sums {
        /// The collaborator.
        peer: Name,
        /// The run that asked.
        incarnation: u64,
        /// Which column is the first of `columns`.
        first: u32,
        /// Columns in their order.
        columns: Vec<ColumnSums>,
    },
    /// What [`super::Effect::StoreStatistics`] asked for is on disk.
    StatisticsDurable,
    /// The model that [`super::Effect::Finalise`] asked for exists.
    Finalised {
        /// The round.
        round: RoundNo,
        /// The model's root.
        root: Digest,
    },
    /// What [`super::Effect::Store`] asked for is on disk.
    Durable {
        /// The round.
        round: RoundNo,
    },
    /// Time has passed. The event is due at the engine's `wake`.
    Tick,
    /// The operator wants to stop.
    Stop,
}
