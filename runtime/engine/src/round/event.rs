//! What the shell tells the round engine.

use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::{ByteCount, Digest, Name, RoundNo, Weight, plan::Metric};

/// Which work a message belongs to. Whatever carries another stamp than the open round's is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// The aggregator's run: drawn at its start, so that work from before a crash is told apart.
    pub incarnation: u64,
    /// The round.
    pub round: RoundNo,
    /// Root of the model that the round starts from.
    pub base: Digest,
}

/// A staged update in the shell's keeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub u64);

/// What a collaborator says of an update before it sends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The work it answers.
    pub stamp: Stamp,
    /// The task that made it.
    pub task: Name,
    /// How much it counts.
    pub weight: Weight,
    /// Length of its payload.
    pub bytes: ByteCount,
    /// Chunk-tree root of its payload.
    pub root: Digest,
}

/// A collaborator's metrics of one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The work it answers.
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
        /// Who.
        peer: Name,
    },
    /// Its link is gone. When a new link replaces an old one, this comes before the new link's `Joined` or
    /// not at all.
    Left {
        /// Who.
        peer: Name,
    },
    /// The roster was replaced. Members that are no longer on it are treated as gone, and their updates that
    /// are under way as refused; one that is in the sum stays there.
    RosterChanged {
        /// Everybody on it.
        members: Vec<Name>,
    },
    /// A collaborator wants to send an update.
    Offered {
        /// Who.
        peer: Name,
        /// What.
        offer: Offer,
    },
    /// An offered update has arrived in full and passed every check.
    Staged {
        /// Who.
        peer: Name,
        /// What.
        offer: Offer,
        /// Where it lies.
        slot: SlotId,
    },
    /// The data plane turned an offered update down, or its sender dropped it.
    Refused {
        /// Who.
        peer: Name,
        /// What it was.
        offer: Offer,
        /// Why.
        refusal: Refusal,
    },
    /// A task of the round failed at the collaborator: nothing more will come for it.
    Failed {
        /// Who.
        peer: Name,
        /// The work.
        stamp: Stamp,
        /// The task.
        task: Name,
    },
    /// Metrics of one task.
    Reported {
        /// Who.
        peer: Name,
        /// What.
        report: Report,
    },
    /// The model that [`super::Effect::Finalise`] asked for exists.
    Finalised {
        /// Its round.
        round: RoundNo,
        /// Its root.
        root: Digest,
    },
    /// What [`super::Effect::Store`] asked for is on disk.
    Durable {
        /// Its round.
        round: RoundNo,
    },
    /// Time passed; due at the engine's `wake`.
    Tick,
    /// The operator wants to stop.
    Stop,
}
