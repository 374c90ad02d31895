//! The aggregator's memory, added up before it is taken.
//!
//! `fl-host plan check` shows it and the aggregator refuses to start on a plan that does not fit. The plan's
//! `memory_budget` bounds *all* memory of the aggregator's process: two models, the memory of the rule, bytes
//! under way to and from peers, and a fixed overhead. The rest holds whole updates. Further updates are
//! spilled to disk, up to `spill_budget`.
//!
//! | rule | beside the rest | whole updates |
//! |---|---|---|
//! | means | an accumulator of four models | any number takes its turn: one is enough |
//! | medians, trimmed mean | a chunk of each spilled update and a block of elements, a thread | all of a round, in memory or on disk |
//! | Krum, Bulyan, geometric median | the same, and dot products of all pairs of updates | the same |
//! | any, with a threshold | | the same: each waits for its collaborator's report |
//!
//! So the memory of a mean depends mostly on the model, and the memory of the other rules mostly on the
//! number of collaborators, as long as the disk has room.

use std::fmt;

use super::{Measure, Scratch, state_layout};
use crate::{
    ByteCount, limits,
    plan::{PlanDraft, Rule, Scope, Server},
    tensor::{Combine, Dtype, Layout},
};

/// Bytes that an aggregator may have under way to each of this many peers, unacknowledged.
#[must_use]
pub fn send_window(peers: u64) -> ByteCount {
    ByteCount((SENDING / peers.max(1)).clamp(LEAST_SENT, MOST_SENT))
}

/// Memory of all links: bytes from peers that are not read yet, and bytes to peers that are not acknowledged.
fn windows(peers: u64) -> u64 {
    peers * (PEER_BYTES.0 + send_window(peers).0 / REMEMBERED)
}

/// What an aggregator's memory goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Everything but whole updates.
    pub terms: Vec<Term>,
    /// Length of one update.
    pub payload: ByteCount,
    /// Whole updates that fit into memory beside the terms.
    pub slots: u64,
    /// Whole updates that fit onto the disk.
    pub spilled: u64,
    /// Whole updates that must have a place at once: one, or all updates of a round where the rule needs them
    /// or a threshold may hold them.
    pub needed: u64,
    sums: Sums,
    /// What needs all updates of a round.
    keeps: &'static str,
    budget: ByteCount,
    spill_budget: ByteCount,
}

/// One line of a [`Footprint`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// What it is for.
    pub name: String,
    /// How much.
    pub bytes: ByteCount,
}

/// What the sum is for any number of slots in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sums {
    /// Whatever the number; spill buffers are among it.
    fixed: u64,
    peers: u64,
    /// Of one spilled update while it arrives.
    buffer: u64,
    payload: u64,
    /// Whole updates that fit onto the disk.
    spilled: u64,
    needed: u64,
    /// Most updates that a round reads, and most that senders have in slots at once.
    read: u64,
    givers: u64,
    /// Of one spilled update that is read, in all threads.
    chunks: u64,
}

/// Adds up the aggregator's memory for `peers` collaborators on the roster, which the plan does not hold.
#[must_use]
pub fn footprint(plan: &PlanDraft, layout: &Layout, peers: u32) -> Footprint {
    let aggregation = plan.aggregation();
    let rule = aggregation.map_or(&Rule::WeightedMean, |a| a.rule);
    let need = Need::of(rule);
    let holds = aggregation.is_some_and(|a| a.threshold.is_some());
    let (payload, peers) = (layout.byte_len() as u64, u64::from(peers));
    let chunk = payload.min(limits::SPILL_CHUNK_BYTES as u64);
    let spilled = plan.spill_budget.0.checked_div(on_disk(payload)).unwrap_or(u64::MAX);
    let round = Round::of(plan, peers, holds);
    let term = |name: String, bytes: u64| Term { name, bytes: ByteCount(bytes) };
    let mut terms = vec![term(format!("{LIVE_MODELS} models"), LIVE_MODELS * payload)];
    if need == Need::Sum {
        let accumulator = layout.f32_len() as u64 * 16 + layout.i64_len() as u64 * 8;
        terms.push(term("accumulator".into(), accumulator));
    }
    if let Some(server) = aggregation.and_then(|a| a.server)
        && let Some(state) = server_state(server, layout)
    {
        terms.push(term(format!("2 states of {}", server.word()), 2 * state));
    }
    if plan.release.is_some_and(|release| release.is_best_to_members()) {
        terms.push(term("best model, for members".into(), payload));
    }
    terms.push(term(format!("windows of {peers} peers"), windows(peers)));
    let buffer = chunk + SPILL_SLACK;
    terms.push(term("spill buffers".into(), spilled.min(peers) * buffer));
    let threads = u64::from(plan.threads.cpu);
    if let Need::Scores(scope) = need {
        terms.push(term(format!("products of {} updates", round.read), products(layout, scope, round.read)));
    }
    if need != Need::Sum {
        let block = Scratch::most(usize::try_from(round.read).unwrap_or(usize::MAX)).0;
        terms.push(term(format!("blocks of {threads} threads"), threads * block));
    }
    terms.push(term("fixed overhead".into(), OVERHEAD_BYTES.0));
    let sums = Sums {
        fixed: sum(&terms),
        peers,
        buffer,
        payload,
        spilled,
        needed: if need == Need::Sum && !holds { 1 } else { round.needed.max(1) },
        read: round.read,
        givers: round.givers,
        chunks: if need == Need::Sum { 0 } else { threads * buffer },
    };
    let slots = sums.most_slots(plan.memory_budget.0);
    if need != Need::Sum {
        let read = sums.read_from_disk(slots);
        let name = format!("chunks of {read} updates");
        terms.insert(terms.len() - 1, term(name, read * sums.chunks));
    }
    Footprint {
        terms,
        payload: ByteCount(payload),
        slots,
        spilled,
        needed: sums.needed,
        sums,
        keeps: if need == Need::Sum { "a threshold" } else { rule.word() },
        budget: plan.memory_budget,
        spill_budget: plan.spill_budget,
    }
}

/// What a rule needs beside the models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// An accumulator.
    Sum,
    /// Every update of a round.
    Updates,
    /// These, and their products.
    Scores(Scope),
}

impl Need {
    fn of(rule: &Rule) -> Self {
        match rule {
            Rule::WeightedMean | Rule::Mean | Rule::ClippedMean { .. } => Self::Sum,
            Rule::Median | Rule::WeightedMedian | Rule::TrimmedMean { .. } => Self::Updates,
            Rule::GeometricMedian { scope, .. } => Self::Scores(*scope),
            Rule::Krum { .. } | Rule::MultiKrum { .. } | Rule::Bulyan { .. } => Self::Scores(Scope::Model),
            // A plan does not say which of the two a user's rule is.
            Rule::Custom { .. } => Self::Scores(Scope::Model),
        }
    }
}

/// How many updates there are at once.
struct Round {
    /// Places that a round's updates need at least.
    needed: u64,
    /// Most that it combines.
    read: u64,
    /// Most collaborators that send.
    givers: u64,
}

impl Round {
    /// `holds`: a threshold holds updates beyond `count.max` too, until it applies.
    fn of(plan: &PlanDraft, peers: u64, holds: bool) -> Self {
        let givers = plan.sample.map_or(peers, |sample| peers.min(sample.into()));
        let enough = plan.quorum.count_max.filter(|_| !holds);
        let most = enough.map_or(givers, |most| givers.min(most.into()));
        // Until time.min has passed, updates beyond count.max are taken where there is room.
        let read = if plan.quorum.time_min.0 == 0 { most } else { givers };
        Self { needed: most, read, givers }
    }
}

/// Dot products while they are summed by shards, merged, and turned into scores.
fn products(layout: &Layout, scope: Scope, updates: u64) -> u64 {
    let parts = match scope {
        Scope::Model => 1,
        Scope::Tensor => {
            let combined =
                |t: &&crate::tensor::TensorSpec| t.dtype == Dtype::F32 && t.combine == Combine::Rule;
            layout.tensors().iter().filter(combined).count() as u64
        }
    };
    let shards = Measure::new(layout, scope, 1).shards().len() as u64;
    // Every part is in one shard, or in one more for each border between two; all of them merged; scores are
    // a square.
    let triangles = (parts + shards - 1) + parts + 2;
    triangles * (updates * (updates + 1) / 2) * 8
}

/// Bytes of one version.
fn server_state(server: Server, layout: &Layout) -> Option<u64> {
    // A layout that has no name or element left for the state is refused where the state is made.
    state_layout(server, layout).ok().flatten().map(|state| state.byte_len() as u64)
}

impl Sums {
    /// The same with room for so many updates on the disk.
    fn with_disk_for(&self, spilled: u64) -> Self {
        let buffers = |spilled: u64| spilled.min(self.peers) * self.buffer;
        let fixed = self.fixed - buffers(self.spilled) + buffers(spilled);
        Self { fixed, spilled, ..*self }
    }

    /// With so many slots in memory.
    fn total(&self, slots: u64) -> u64 {
        let updates = slots.saturating_mul(self.payload);
        self.fixed.saturating_add(updates).saturating_add(self.read_from_disk(slots) * self.chunks)
    }

    /// Most updates that a round reads from the disk: slots in memory are taken first.
    fn read_from_disk(&self, slots: u64) -> u64 {
        self.read.min(self.givers.saturating_sub(slots)).min(self.spilled)
    }

    /// Slots that the disk leaves to the memory.
    fn least_slots(&self) -> u64 {
        self.needed.saturating_sub(self.spilled)
    }

    /// The least total: with as few slots as may be, or, where reading from the disk takes more memory, with
    /// all.
    fn least(&self) -> u64 {
        let least = self.least_slots();
        self.total(least).min(self.total(self.givers.max(least)))
    }

    /// Most slots that fit a budget.
    fn most_slots(&self, budget: u64) -> u64 {
        if self.chunks == 0 || self.total(self.givers) <= budget {
            return budget.saturating_sub(self.fixed).checked_div(self.payload).unwrap_or(u64::MAX);
        }
        (0..self.givers).rev().find(|slots| self.total(*slots) <= budget).unwrap_or(0)
    }
}

impl Footprint {
    /// Whether a memory budget holds the terms and, in memory or on disk, the updates that must have a place
    /// at once.
    #[must_use]
    pub fn fits(&self, memory_budget: ByteCount) -> bool {
        memory_budget >= self.least()
    }

    /// The smallest memory budget that fits.
    #[must_use]
    pub fn least(&self) -> ByteCount {
        ByteCount(self.sums.least())
    }

    /// Memory for whole updates: what a slot store is made with.
    #[must_use]
    pub fn slot_memory(&self) -> ByteCount {
        ByteCount(self.slots.saturating_mul(self.payload.0))
    }

    /// The largest sum that the process reaches.
    #[must_use]
    pub fn total(&self) -> ByteCount {
        ByteCount(sum(&self.terms) + self.slot_memory().0)
    }

    /// The memory that would be enough if the disk had room for every update that must have a place, and that
    /// disk; `None` when it has.
    fn with_more_disk(&self) -> Option<(ByteCount, ByteCount)> {
        let each = on_disk(self.payload.0);
        let disk = raised(ByteCount(self.needed.saturating_mul(each)));
        let spilled = disk.0.checked_div(each).unwrap_or(u64::MAX);
        (self.spilled < self.needed).then(|| (ByteCount(self.sums.with_disk_for(spilled).least()), disk))
    }
}

/// One term a line, the sum, and whether it fits the plan's budget.
impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line =
            |f: &mut fmt::Formatter<'_>, name: &str, bytes: ByteCount| writeln!(f, "{name:<24} {bytes:>10}");
        self.terms.iter().try_for_each(|term| line(f, &term.name, term.bytes))?;
        line(f, &format!("{} updates in memory", self.slots), self.slot_memory())?;
        line(f, "sum", self.total())?;
        line(f, "limits.memory", self.budget)?;
        write!(f, "{} further updates of {} fit into limits.spill", self.spilled, self.payload)?;
        write!(f, " of {}", self.spill_budget)?;
        if self.needed > 1 {
            write!(f, "\n{} keeps updates of a round: up to {}", self.keeps, self.needed)?;
        }
        if self.fits(self.budget) {
            return Ok(());
        }
        write!(f, "\nlimits.memory is too small: it needs at least {}", raised(self.least()))?;
        match self.with_more_disk() {
            Some((memory, disk)) if self.needed > 1 => {
                write!(f, ", or {} with limits.spill of {disk}", raised(memory))
            }
            _ => Ok(()),
        }
    }
}

/// Bytes of a sealed update.
fn on_disk(payload: u64) -> u64 {
    payload.saturating_add(payload.div_ceil(limits::SPILL_CHUNK_BYTES as u64) * SPILL_TAG)
}

/// To the next MiB, so that what is shown is enough.
fn raised(bytes: ByteCount) -> ByteCount {
    ByteCount(bytes.0.next_multiple_of(1 << 20))
}

fn sum(terms: &[Term]) -> u64 {
    terms.iter().map(|term| term.bytes.0).sum()
}

/// Models alive at once: the one that is sent and stored, the one that is built.
pub const LIVE_MODELS: u64 = 2;
/// What each connected peer may cause: the idle window of its link (192 KiB of unread bytes), and the link
/// itself: TLS and QUIC state, tasks, mailboxes (64 KiB; about 40 are measured, 60 after rounds).
pub const PEER_BYTES: ByteCount = ByteCount(256 * 1024);
/// The fixed rest: program and libraries (8 MB), thread stacks and the allocator's slack, decryption buffers
/// of the CPU threads (1 MiB each), and what granted uploads have under way beyond the idle window.
pub const OVERHEAD_BYTES: ByteCount = ByteCount(30_000_000);
/// Bytes under way to all peers together, unacknowledged, unless that is less than [`LEAST_SENT`] each.
const SENDING: u64 = 64 << 20;
/// Least bound of what is under way to one peer, bytes: 10 Mbit/s over a path of 100 ms.
const LEAST_SENT: u64 = 128 * 1024;
/// The largest, bytes: 670 Mbit/s there.
const MOST_SENT: u64 = 8 << 20;
/// Of each byte under way QUIC remembers a sixth: a datagram of 1,200 takes a hundred in a tree that is half
/// full. The bytes themselves are the model's.
const REMEMBERED: u64 = 6;
/// What sealing adds to each chunk on disk.
const SPILL_TAG: u64 = 16;
/// A spilled update's place among a thread's buffers, beside the chunk.
const SPILL_SLACK: u64 = 64;

#[cfg(test)]
mod tests;
