//! What the round engine tells the shell to do.

use std::sync::Arc;

use super::{AggregatedMetric, Lost, Refusal, ReportFault, RoundFacts, SlotId, Stamp, StatisticsFacts};
use crate::{
    Digest, Millis, Name, RoundNo, Weight,
    plan::{EndsEarly, Standardise},
    statistics::{NoStatistics, SumsFault},
};

/// Something to do. Effects of one call are carried out in order.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Effect {
    /// Give a collaborator its tasks; it is sent the base model first if it does not hold it.
    Assign {
        /// The collaborator.
        peer: Name,
        /// The round and its base.
        stamp: Stamp,
        /// Names of tasks, in the order in which they run. Empty in the closing round of a plan without
        /// validation: the collaborator only receives the final model.
        tasks: Vec<Name>,
    },
    /// Ask a collaborator for the sums of its data.
    AskSums {
        /// The collaborator.
        peer: Name,
    },
    /// A site's sums do not count.
    SumsRefused {
        /// The collaborator.
        peer: Name,
        /// The reason.
        fault: SumsFault,
    },
    /// Too few sites had sent their sums at the deadline: the aggregator goes on waiting.
    CollectingAgain {
        /// Deadlines that have passed by now.
        times: u32,
        /// Sites whose sums count.
        have: u32,
        /// As many are needed.
        need: u32,
        /// Collaborators that were asked and have not answered.
        missing: Vec<Name>,
        /// Collaborators whose sums were refused.
        refused: Vec<Name>,
    },
    /// Write the statistics of all sites, then report `StatisticsDurable`.
    StoreStatistics(Box<StatisticsFacts>),
    /// Send a collaborator the statistics of all sites. This comes before any task.
    Statistics {
        /// The collaborator.
        peer: Name,
        /// By which its features are scaled.
        statistics: Arc<Standardise>,
    },
    /// Let the collaborator send its update.
    Grant {
        /// The collaborator.
        peer: Name,
        /// The task of the update.
        task: Name,
        /// The round and its base.
        stamp: Stamp,
    },
    /// Tell a collaborator that its update does not count, and why.
    Refuse {
        /// The collaborator.
        peer: Name,
        /// The task of the update.
        task: Name,
        /// The reason.
        refusal: Refusal,
    },
    /// Tell a collaborator that its update was received. It counts unless the plan's threshold leaves it out.
    Received {
        /// The collaborator.
        peer: Name,
        /// The task of the update.
        task: Name,
        /// The round and its base.
        stamp: Stamp,
    },
    /// Add this update to the sum.
    Absorb {
        /// The collaborator that sent the update.
        peer: Name,
        /// The slot that holds it; the shell frees the slot afterwards.
        slot: SlotId,
        /// The weight of the update.
        weight: Weight,
    },
    /// Free this update; it does not count.
    Discard {
        /// The slot that holds the update.
        slot: SlotId,
    },
    /// The round's work of this collaborator is no longer wanted.
    Cancel {
        /// The collaborator.
        peer: Name,
        /// The round and its base.
        stamp: Stamp,
    },
    /// Finish the sum when all absorbed updates are in it, then report `Finalised`. The model becomes the
    /// base of the next round.
    Finalise {
        /// The round.
        round: RoundNo,
    },
    /// The base model of this round is the best so far. This effect comes before the base is replaced.
    Best {
        /// The round that measured it.
        round: RoundNo,
        /// The model's root.
        root: Digest,
        /// The plan's best-model metric.
        value: f64,
        /// Everything that the round has measured.
        metrics: Vec<AggregatedMetric>,
    },
    /// The run ends after this round, before the plan's last: the next round is the closing round.
    EndsEarly {
        /// The round.
        round: RoundNo,
        /// The reason.
        why: EndsEarly,
    },
    /// A round had too few updates at its deadline and is open again: it keeps what it has.
    Reopened {
        /// The round.
        round: RoundNo,
        /// How often it was opened again by now.
        times: u32,
        /// Updates that it has.
        have: u32,
        /// `count.min`.
        need: u32,
        /// Collaborators that were asked and have not answered.
        missing: Vec<Name>,
        /// Collaborators that have answered without an update that counts. They were asked again.
        lost: Vec<Lost>,
    },
    /// Nobody called the engine for so long: the machine stood still. The open round's deadline is as much
    /// later.
    StoodStill {
        /// How long.
        by: Millis,
    },
    /// The collaborator has missed so many deadlines in a row: rounds ask it and do not wait for it.
    Unawaited {
        /// The collaborator.
        peer: Name,
        /// Deadlines.
        missed: u32,
    },
    /// The collaborator has answered: rounds wait for it again.
    AwaitedAgain {
        /// The collaborator.
        peer: Name,
    },
    /// All rounds were run and measured before: give the collaborator the model that members end with, and
    /// tell it that the run is over.
    Serve {
        /// The collaborator.
        peer: Name,
    },
    /// A round is over: tell logs and members.
    RoundClosed(Box<RoundSummary>),
    /// Write the newest model and the facts of the round, then report `Durable`.
    Store {
        /// What happened, with the model's root.
        facts: Box<RoundFacts>,
    },
    /// Tell a contributor that the round in which its update counted is on disk.
    Counted {
        /// The collaborator.
        peer: Name,
        /// The round.
        round: RoundNo,
    },
    /// Training is over. This is the last effect.
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
    /// A round's deadline passed with too few updates, or too few could come, and the plan ends the run then.
    QuorumMissed {
        /// The round.
        round: RoundNo,
        /// Updates that had come.
        have: u32,
        /// `count.min`.
        need: u32,
    },
    /// Too few sites had sent their sums at the deadline, and the plan ends the run then.
    TooFewSites {
        /// Sites whose sums count.
        have: u32,
        /// As many are needed.
        need: u32,
    },
    /// The sites' data have no statistics that the plan could use.
    NoStatistics(NoStatistics),
    /// Every collaborator that the round asked for an update has failed, or its update was refused.
    NoUpdate {
        /// The round.
        round: RoundNo,
    },
}

/// Why a round closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhyClosed {
    /// Every collaborator that was asked has answered, or will no longer answer.
    Everybody,
    /// `count.max` updates have come.
    Enough,
    /// `time.max` has passed.
    Deadline,
}

/// A closed round, for logs and members.
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
    /// Collaborators that were asked, and have neither answered nor had an update refused.
    pub missing: Vec<Name>,
    /// Reports that do not count: collaborator, task and reason.
    pub ignored: Vec<(Name, Name, ReportFault)>,
    /// Collaborators that have answered without an update that counts, by name, with the reason.
    pub lost: Vec<Lost>,
    /// How often the round was opened again.
    pub reopened: u32,
    /// Means of the metrics, weighted by samples.
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
