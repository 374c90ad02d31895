//! What the round engine tells the shell to do.

use crate::{Digest, Millis, Name, RoundNo, Weight};

use super::{AggregatedMetric, Refusal, RoundFacts, SlotId, Stamp};

/// Something to do. Effects of one call are carried out in order.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Effect {
    /// Give a collaborator its tasks; it is sent the base model first if it does not hold it.
    Assign {
        /// Who.
        peer: Name,
        /// The work.
        stamp: Stamp,
        /// Names of tasks, in the order in which they run. Empty in the closing round of a plan without
        /// validation: the collaborator only receives the final model.
        tasks: Vec<Name>,
    },
    /// Let the update come.
    Grant {
        /// Who.
        peer: Name,
        /// Its task.
        task: Name,
        /// The work.
        stamp: Stamp,
    },
    /// Tell a collaborator that its update does not count, and why.
    Refuse {
        /// Who.
        peer: Name,
        /// Its task.
        task: Name,
        /// Why.
        refusal: Refusal,
    },
    /// Tell a collaborator that its update was received. It counts unless the plan's threshold leaves it out.
    Received {
        /// Who.
        peer: Name,
        /// Its task.
        task: Name,
        /// The work.
        stamp: Stamp,
    },
    /// Add this update to the sum.
    Absorb {
        /// Whose.
        peer: Name,
        /// Where it lies; the shell frees it afterwards.
        slot: SlotId,
        /// How much it counts.
        weight: Weight,
    },
    /// Empty the sum of this round, and free what lies in it: the first update that passes the plan's
    /// threshold comes, and none of those before it did.
    Clear {
        /// The round.
        round: RoundNo,
    },
    /// Free this update; it does not count.
    Discard {
        /// Where it lies.
        slot: SlotId,
    },
    /// The round's work of this collaborator is no longer wanted.
    Cancel {
        /// Who.
        peer: Name,
        /// The work.
        stamp: Stamp,
    },
    /// Finish the sum once everything absorbed is in it, then say `Finalised`. The model becomes the next
    /// round's base.
    Finalise {
        /// The round.
        round: RoundNo,
    },
    /// The base model of this round is the best so far. Comes before the base is replaced.
    Best {
        /// The round that measured it.
        round: RoundNo,
        /// Its root.
        root: Digest,
        /// The plan's best-model metric.
        value: f64,
        /// Everything that the round has measured.
        metrics: Vec<AggregatedMetric>,
    },
    /// A round is over; for logs and members.
    RoundClosed(Box<RoundSummary>),
    /// Write the newest model and the round's facts, then say `Durable`.
    Store {
        /// What happened, with the model's root.
        facts: Box<RoundFacts>,
    },
    /// Tell a contributor that the round it counted in is on disk.
    Counted {
        /// Who.
        peer: Name,
        /// The round.
        round: RoundNo,
    },
    /// Training is over; nothing comes after this.
    Finished(Reason),
}

/// Why training is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Every round of the plan was run.
    Completed,
    /// The operator asked for it.
    Stopped,
    /// A round's deadline passed with too few updates.
    QuorumMissed {
        /// The round.
        round: RoundNo,
        /// Updates that had come.
        have: u32,
        /// `count.min`.
        need: u32,
    },
}

/// Why a round closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhyClosed {
    /// Everybody asked has answered, or will not any more.
    Everybody,
    /// `count.max` updates have come.
    Enough,
    /// `time.max` has passed.
    Deadline,
}

/// A closed round as logs tell it.
#[derive(Clone, Debug, PartialEq)]
pub struct RoundSummary {
    /// The work: round and the base's root.
    pub stamp: Stamp,
    /// Whether this was the closing round, which only measures the final model.
    pub closing: bool,
    /// Contributors with their updates' weights, by name; empty in the closing round.
    pub contributors: Vec<(Name, Weight)>,
    /// Refused updates.
    pub refused: Vec<(Name, Refusal)>,
    /// Asked, and neither answered nor refused.
    pub missing: Vec<Name>,
    /// Means by sample count.
    pub metrics: Vec<AggregatedMetric>,
    /// Why it closed.
    pub why: WhyClosed,
    /// When it opened.
    pub opened: Millis,
    /// When the first update was staged.
    pub first_staged: Option<Millis>,
    /// When it closed, before the sum was finished.
    pub closed: Millis,
    /// When the sum was finished; `closed` in the closing round.
    pub finalised: Millis,
}
