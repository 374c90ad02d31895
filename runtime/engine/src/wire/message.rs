//! The messages of the control stream.

use serde::{Deserialize, Serialize};

use super::error::WireError;
use crate::{
    Digest, Name, RoundNo, limits,
    plan::roster::Resumption,
    round::{AggregatedMetric, Offer, Refusal, Report, Stamp},
    statistics::ColumnSums,
};

/// Every message that an envelope can hold. Sessions know which side sends which message.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Message {
    /// First from the collaborator.
    Hello(Hello),
    /// The aggregator's answer to a [`Hello`] that it accepts.
    Welcome(Welcome),
    /// The aggregator's answer to one that it does not; the link closes after it.
    Rejected(Rejection),
    /// Tasks of a round. The base model follows on a uni stream of its own unless it is held already.
    Assign(Assigned),
    /// The collaborator has an update.
    Offer(Offer),
    /// The offered update may come.
    Grant(Granted),
    /// The update does not count.
    Refused(RefusedUpdate),
    /// The update arrived in full; it counts unless the plan's threshold leaves it out.
    Received(Received),
    /// The round in which the update counted is on disk.
    Counted(Counted),
    /// Metrics of one task.
    Report(Report),
    /// A task failed at the collaborator.
    Failed(Failed),
    /// The round's work is no longer wanted.
    Cancel(Cancelled),
    /// Optional: how a round went.
    RoundDone(RoundDone),
    /// The run is over.
    Finished(Verdict),
    /// The sender is about to close the link on purpose.
    Leaving(Leaving),
    /// Optional: the columns of the collaborator's table, where the plan does not name them.
    Columns(Columns),
    /// Optional, after the Welcome: the owner has taken the run back, see [`Resumption`].
    Resumed(Resumed),
    /// The aggregator wants the sums of the site's data. Only for a collaborator with the feature, as the two
    /// messages that follow.
    AskSums(AskSums),
    /// A part of the site's sums.
    Sums(SiteSums),
    /// A part of the statistics of all sites, before any task.
    Statistics(Statistics),
    /// Optional, after the Welcome: the samples that the collaborator cannot read and leaves out.
    LeftOut(LeftOut),
    /// Optional, before the Welcome: a newer roster or newer collateral than the collaborator holds.
    Newer(Newer),
}

/// A collaborator introduces itself. Its name comes from its certificate, not from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Least and greatest version that it speaks.
    pub versions: (u16, u16),
    /// Features that it has, one bit each: [`super::FEATURES`].
    pub features: u64,
    /// The federation that it means to join.
    pub federation: Name,
    /// Hash of the plan that its operator accepted.
    pub plan: Digest,
    /// Highest roster serial that it has seen; 0 for none.
    pub roster_serial: u64,
    /// Root of the model that it holds from an earlier link.
    pub holds: Option<Digest>,
    /// An [`Evidence`](super::Evidence), at most 32 KiB; empty on a link without keys, and from an older
    /// program.
    pub evidence: Vec<u8>,
}

/// The aggregator admits a collaborator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version that both will speak.
    pub version: u16,
    /// Features that both have.
    pub features: u64,
    /// The aggregator's run.
    pub incarnation: u64,
    /// The name under which the collaborator was admitted.
    pub name: Name,
    /// The roster's serial.
    pub roster_serial: u64,
    /// The round that is open or opens next.
    pub round: RoundNo,
    /// As in [`Hello`].
    pub evidence: Vec<u8>,
}

/// Why the aggregator does not admit a collaborator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// No version in common.
    #[error("the aggregator speaks protocol versions {0} to {1} only")]
    Version(u16, u16),
    /// Another federation.
    #[error("this is the aggregator of federation {0}")]
    Federation(Name),
    /// Another plan.
    #[error("the aggregator runs plan {0}")]
    Plan(Digest),
    /// Not on the roster, revoked, or a certificate that does not fit.
    #[error("not admitted: {0}")]
    Identity(String),
    /// Reserved, never sent: a newer link of the same name takes the older one's place.
    #[error("a collaborator of this name is connected already")]
    Duplicate,
    /// The aggregator's roster is older than one that the collaborator has seen.
    #[error("the aggregator's roster has serial {0}, which is older than this collaborator's roster")]
    Roster(u64),
    /// Training is over.
    #[error("training is over")]
    Over,
    /// The peer broke the protocol.
    #[error("protocol broken: {0}")]
    Protocol(String),
    /// A certificate or the roster has ended, by the aggregator's clock. The same collaborator is admitted
    /// after a renewal, or when the clock is right.
    #[error("not admitted now: {0}")]
    Ended(String),
    /// The collaborator's evidence is refused. Only to a collaborator with the feature.
    #[error("not admitted: {0}")]
    Evidence(String),
}

/// Tasks of a round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    /// The round and its base.
    pub stamp: Stamp,
    /// Names, in the order in which they run.
    pub tasks: Vec<Name>,
}

/// Which update may come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// The round and its base.
    pub stamp: Stamp,
    /// The task.
    pub task: Name,
}

/// Which update does not count, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedUpdate {
    /// The task that was named.
    pub task: Name,
    /// The reason.
    pub refusal: Refusal,
}

/// Which update was received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// The round and its base.
    pub stamp: Stamp,
    /// The task.
    pub task: Name,
}

/// Which round is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// The round.
    pub round: RoundNo,
}

/// Which task failed at the collaborator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The round and its base.
    pub stamp: Stamp,
    /// The task.
    pub task: Name,
    /// The reason, in words; at most 512 bytes.
    pub why: String,
}

/// The round's tasks are no longer wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled {
    /// The round and its base.
    pub stamp: Stamp,
}

/// How a round went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundDone {
    /// The round.
    pub round: RoundNo,
    /// Updates that counted.
    pub contributors: u32,
    /// Means over collaborators; empty unless the plan lets members see them. At most [`limits::METRICS`].
    pub metrics: Vec<AggregatedMetric>,
}

/// How the run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Verdict {
    /// Every round was run; the root is that of the model that members end with.
    Completed {
        /// Rounds that made a model.
        rounds: u32,
        /// Root of the final model, or of the best where the plan releases that to members.
        root: Digest,
    },
    /// The operator stopped the aggregator; it may come back.
    Stopped,
    /// A round's deadline passed with too few updates.
    QuorumMissed {
        /// The round.
        round: RoundNo,
    },
    /// The data of the sites have no statistics that the plan could use, for this reason; at most 512 bytes.
    NoStatistics(String),
}

/// The last message of a link that the sender closes on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {}

/// Which columns the features of a collaborator are. Two sites whose digests are equal read the same columns
/// in the same order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Columns {
    /// The digest of the columns' names.
    pub digest: Digest,
}

/// The owner's last order to take the run back, as the roster has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumed {
    /// The round whose model the run went back to.
    pub round: RoundNo,
    /// The members that are left out; at most [`limits::WITHDRAWN`].
    pub without: Vec<Name>,
    /// Serial of the first roster with the order.
    pub serial: u64,
    /// The CA's signature over all of this and the federation; 64 bytes.
    pub proof: Vec<u8>,
}

/// The sums of the site's data are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskSums {
    /// The aggregator's run.
    pub incarnation: u64,
}

/// Sums of some columns of a site's data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteSums {
    /// The run that asked.
    pub incarnation: u64,
    /// Which column is the first of `columns`, from 0.
    pub first: u32,
    /// At most [`limits::STATISTICS_PART`], in their order.
    pub columns: Vec<ColumnSums>,
}

/// Statistics of some columns over all sites.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Which column is the first of `columns`, from 0.
    pub first: u32,
    /// Mean and standard deviation of each column, at most [`limits::STATISTICS_PART`].
    pub columns: Vec<(f64, f64)>,
}

/// Samples that a site cannot read and leaves out, as the plan allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// How many.
    pub samples: u64,
    /// The first of them: at most [`limits::LEFT_OUT`] names of at most [`limits::LEFT_OUT_BYTES`] bytes.
    pub names: Vec<String>,
}

/// A part of a file that the collaborator judges the aggregator by. The file is signed: the owner signs a
/// roster, and Intel signs collateral.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newer {
    /// Which file.
    pub file: NewerFile,
    /// Whether this is the file's last part.
    pub ends: bool,
    /// 1 to [`limits::NEWER_PART`] bytes.
    pub part: Vec<u8>,
}

/// A file that an aggregator hands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NewerFile {
    /// The owner's roster.
    Roster,
    /// Intel's collateral.
    Collateral,
}

impl Newer {
    /// A file, in messages that are short enough. None for an empty file.
    pub fn parts(file: NewerFile, text: &[u8]) -> impl Iterator<Item = Self> {
        let last = text.len().div_ceil(limits::NEWER_PART);
        let parts = text.chunks(limits::NEWER_PART).zip(1..);
        parts.map(move |(part, number)| Self { file, ends: number == last, part: part.to_vec() })
    }
}

impl NewerFile {
    /// Longest file, bytes.
    #[must_use]
    pub fn most_bytes(self) -> usize {
        match self {
            Self::Roster => limits::PLAN_FILE_BYTES,
            Self::Collateral => limits::COLLATERAL_BYTES,
        }
    }
}

impl LeftOut {
    /// The message for these names; `None` if there is none. Long names are cut.
    #[must_use]
    pub fn of(names: &[String]) -> Option<Self> {
        let name = |name: &String| cut(name, limits::LEFT_OUT_BYTES);
        let first = names.iter().take(limits::LEFT_OUT).map(name).collect();
        (!names.is_empty()).then_some(Self { samples: names.len() as u64, names: first })
    }
}

impl From<Resumption> for Resumed {
    fn from(order: Resumption) -> Self {
        let Resumption { round, without, serial, proof } = order;
        Self { round, without, serial, proof: proof.to_vec() }
    }
}

impl TryFrom<Resumed> for Resumption {
    /// The order, whose proof has another length than a signature.
    type Error = Resumed;

    fn try_from(order: Resumed) -> Result<Self, Resumed> {
        let Ok(proof) = <[u8; PROOF_BYTES]>::try_from(&order.proof[..]) else { return Err(order) };
        let Resumed { round, without, serial, .. } = order;
        Ok(Self { round, without, serial, proof })
    }
}

impl Message {
    /// Checks the bounds that the types do not carry.
    pub(super) fn check(&self) -> Result<(), WireError> {
        match self {
            Self::Hello(m) => at_most("evidence bytes", m.evidence.len(), EVIDENCE_BYTES),
            Self::Welcome(m) => at_most("evidence bytes", m.evidence.len(), EVIDENCE_BYTES),
            Self::Assign(m) => at_most("tasks", m.tasks.len(), limits::TASKS),
            Self::Report(m) => at_most("metrics", m.metrics.len(), limits::METRICS),
            Self::RoundDone(m) => at_most("metrics", m.metrics.len(), limits::METRICS),
            Self::Sums(m) => m.check(),
            Self::Statistics(m) => at_most("columns", m.columns.len(), limits::STATISTICS_PART),
            Self::Finished(Verdict::NoStatistics(why)) => at_most("text bytes", why.len(), TEXT_BYTES),
            Self::Failed(m) => at_most("text bytes", m.why.len(), TEXT_BYTES),
            Self::LeftOut(m) => m.check(),
            Self::Newer(m) if m.part.is_empty() => Err(WireError::Empty("a part of a file")),
            Self::Newer(m) => at_most("bytes of a file", m.part.len(), limits::NEWER_PART),
            Self::Resumed(m) => at_most("names", m.without.len(), limits::WITHDRAWN)
                .and_then(|()| at_most("proof bytes", m.proof.len(), PROOF_BYTES)),
            Self::Rejected(
                Rejection::Identity(text)
                | Rejection::Protocol(text)
                | Rejection::Ended(text)
                | Rejection::Evidence(text),
            ) => at_most("text bytes", text.len(), TEXT_BYTES),
            _ => Ok(()),
        }
    }
}

impl LeftOut {
    fn check(&self) -> Result<(), WireError> {
        at_most("names", self.names.len(), limits::LEFT_OUT)?;
        self.names.iter().try_for_each(|name| at_most("bytes of a name", name.len(), limits::LEFT_OUT_BYTES))
    }
}

impl SiteSums {
    /// All of a site's sums, in messages that are short enough.
    pub fn parts(incarnation: u64, all: &[ColumnSums]) -> impl Iterator<Item = Self> {
        parts(all).map(move |(first, columns)| Self { incarnation, first, columns })
    }

    /// A digit can be one byte on the wire and is eight in memory, where a site's parts are kept until
    /// all are there.
    fn check(&self) -> Result<(), WireError> {
        at_most("columns", self.columns.len(), limits::STATISTICS_PART)?;
        self.columns
            .iter()
            .flat_map(ColumnSums::digits)
            .try_for_each(|(what, given, limit)| at_most(what, given, limit))
    }
}

impl Statistics {
    /// The statistics of all columns, in messages that are short enough.
    pub fn parts(all: &[(f64, f64)]) -> impl Iterator<Item = Self> {
        parts(all).map(|(first, columns)| Self { first, columns })
    }
}

/// Parts of [`limits::STATISTICS_PART`] columns, each with the index of its first.
fn parts<T: Clone>(all: &[T]) -> impl Iterator<Item = (u32, Vec<T>)> {
    (0..).step_by(limits::STATISTICS_PART).zip(all.chunks(limits::STATISTICS_PART).map(<[T]>::to_vec))
}

/// Text cut to 512 bytes, the longest that a message may carry.
#[must_use]
pub fn cut_text(text: &str) -> String {
    cut(text, TEXT_BYTES)
}

fn cut(text: &str, most: usize) -> String {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

fn at_most(what: &'static str, given: usize, limit: usize) -> Result<(), WireError> {
    if given > limit { Err(WireError::TooMany { what, given, limit }) } else { Ok(()) }
}

/// A DCAP quote with its collateral is under 24 KiB.
const EVIDENCE_BYTES: usize = 32 << 10;
const TEXT_BYTES: usize = 512;
/// A signature of Ed25519.
const PROOF_BYTES: usize = 64;
