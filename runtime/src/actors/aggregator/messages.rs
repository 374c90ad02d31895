//! Every message between the parts of the aggregator's side. The parts import this file, not each other.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fl_engine::{
    Digest, Name, RoundNo,
    round::{AggregatedMetric, Offer, Refusal, RoundFacts, Stamp, StatisticsFacts},
    wire::Message,
};

use crate::{
    actors::greeting::AdmittedPeer, aggregation::StagedUpdate, exit::Failure, memory::StagedSlot,
    payload::Payload,
};

/// What the coordinator is told.
pub(crate) enum AggregatorMessage {
    /// A collaborator was admitted.
    Admitted(AdmittedPeer),
    /// A link is gone.
    LinkEnded { peer: Name, session: SessionNo, why: String },
    /// A collaborator sent an offer, a report, or the message that a task failed.
    Heard { peer: Name, session: SessionNo, message: Message },
    /// An update arrived in full between these instants, and passed every check.
    Staged { peer: Name, offer: Offer, slot: StagedSlot, began: Instant, staged: Instant },
    /// An update was refused while it was received.
    UpdateRefused { peer: Name, offer: Offer, refusal: Refusal },
    /// A collaborator holds a model in full.
    ModelDelivered { stamp: Stamp, took: Duration },
    /// A round's model exists.
    Aggregated(AggregatedRound),
    /// A round is on disk.
    Stored { round: RoundNo, took: Duration },
    /// The statistics of the sites' data are on disk.
    StatisticsStored,
    /// The best model and its round, for members to end with. `None` when no round has measured one.
    BestRead(Option<(RoundNo, Payload)>),
    /// The store failed.
    StoreFailed(Failure),
    /// Another part of the aggregator failed.
    PartFailed(String),
    /// It is time to see whether a certificate or the roster has ended.
    ClockLook,
    /// The roster has changed; everybody who is on it now.
    RosterChanged(Vec<Name>),
    /// The first message.
    Start,
    /// The engine asked to be called at this time.
    Tick,
    /// It is time to see what the run waits for.
    Look,
    /// The operator wants to stop.
    Stop,
    /// The owner takes the run back: this run ends, and another begins from an earlier model.
    GoBack,
}

/// Tells two links of one collaborator apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SessionNo(pub(crate) u64);

/// What a session is told.
pub(crate) enum SessionMessage {
    /// Give the collaborator work, and the model unless it holds it.
    Assign { stamp: Stamp, tasks: Vec<Name>, model: Payload },
    /// Let this update come.
    Grant(Offer),
    /// The round's work is cancelled: stop its uploads and send this message.
    Cancel(Message),
    /// A new model exists: stop sending an older one.
    StopSending,
    /// Send this message.
    Say(Message),
    /// Send `last` as the last message. Close the link when the collaborator holds `last` and a model:
    /// `model`, or the one that is being sent.
    Finish { last: Message, model: Option<(Stamp, Payload)> },
}

/// What the aggregation task does, in order.
pub(crate) enum AggregationJob {
    /// Take an update of the round that began at this base.
    Absorb {
        update: StagedUpdate,
        base: Payload,
        /// Whether the next update is the round's last.
        last_but_one: bool,
    },
    /// Make the round's model of every update that was taken since the last finished round.
    Finalise { round: RoundNo, base: Payload },
}

/// A round's model, and how long the aggregation took.
pub(crate) struct AggregatedRound {
    pub(crate) round: RoundNo,
    pub(crate) model: Payload,
    /// State of the server's step after this round, if the plan's step has a state.
    pub(crate) state: Option<Bytes>,
    /// Collaborators whose updates the rule left out.
    pub(crate) left_out: Vec<Name>,
    /// Time to take updates before the last pass, over the whole round.
    pub(crate) absorb: Duration,
    /// Time of the last pass: the updates that were left, the model, the server's step, the root.
    pub(crate) finalise: Duration,
}

/// What the store's thread does, in order.
pub(crate) enum StoreJob {
    /// Make a finished round durable: its model, and the state of the server's step if there is one.
    Round { facts: Box<RoundFacts>, model: Payload, state: Option<Bytes> },
    /// Make the statistics of the sites' data durable.
    Statistics { facts: Box<StatisticsFacts> },
    /// Write what the closing round measured on the final model.
    Final { metrics: Vec<AggregatedMetric>, model: Payload },
    /// All rounds are run: write what the plan releases at the end.
    Release { model: Payload },
    /// All rounds are run, and members are sent the best model: read it for them.
    ReadBest,
    /// Write the best model so far.
    Best { round: RoundNo, root: Digest, value: f64, metrics: Vec<AggregatedMetric>, model: Payload },
}
