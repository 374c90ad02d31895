//! The aggregator's memory, added up before it is taken.
//!
//! `fl-host plan check` shows it and the aggregator refuses to start on a plan that does not fit. The plan's
//! `memory_budget` bounds *all* memory of the aggregator's process: two models, what the rule needs, what peers may have on
//! the wire, a fixed overhead; whole updates in memory get what is left, and further ones are spilled to disk up to
//! `spill_budget`.
//!
//! | rule | beside the rest | whole updates |
//! |---|---|---|
//! | means | an accumulator of four models | any number takes its turn: one is enough |
//! | medians, trimmed mean | a chunk of each spilled update and a block of elements, a thread | all of a round, in memory or on disk |
//! | Krum, Bulyan, geometric median | the same, and dot products of all pairs of updates | the same |
//! | any, with a threshold | | the same: each waits for its collaborator's report |
//!
//! So a mean's sum depends on the model and hardly on the number of collaborators, and that of the others on the number
//! of collaborators and hardly on the model, as long as the disk has room.

use std::fmt;

use super::{Measure, Scratch, state_layout};
use crate::{
    Bytes, limits,
    plan::{Plan, Rule, Scope, Server},
    tensor::{Combine, Dtype, Layout},
};

/// Models alive at once: the one that is sent and stored, the one that is built.
pub const LIVE_MODELS: u64 = 2;
/// What each connected peer may cause: the idle window of its link (192 KiB of unread bytes), and the link itself: TLS and
/// QUIC state, tasks, mailboxes (64 KiB; about 40 are measured, 60 after rounds).
pub const PEER_BYTES: Bytes = Bytes(256 * 1024);
/// The fixed rest: program and libraries (8 MB), thread stacks and the allocator's slack, decryption buffers of the CPU
/// threads (1 MiB each), and what granted uploads have under way beyond the idle window.
pub const OVERHEAD: Bytes = Bytes(30_000_000);
/// Bytes under way to all peers together, unacknowledged, unless that is less than [`LEAST_SENT`] each.
const SENDING: u64 = 64 << 20;
/// Least bound of what is under way to one peer, bytes: 10 Mbit/s over a path of 100 ms.
const LEAST_SENT: u64 = 128 * 1024;
/// The largest, bytes: 670 Mbit/s there.
const MOST_SENT: u64 = 8 << 20;
/// Of each byte under way QUIC remembers a sixth: a datagram of 1,200 takes a hundred in a tree that is half full. The bytes
/// themselves are the model's.
const REMEMBERED: u64 = 6;
/// What sealing adds to each chunk on disk.
const SPILL_TAG: u64 = 16;
/// A spilled update's place among a thread's buffers, beside the chunk.
const SPILL_SLACK: u64 = 64;

/// Bytes that an aggregator may have under way to each of this many peers, unacknowledged.
#[must_use]
pub fn send_window(peers: u64) -> Bytes {
    Bytes((SENDING / peers.max(1)).clamp(LEAST_SENT, MOST_SENT))
}

/// What peers cause, unread of theirs and unacknowledged of ours.
fn windows(peers: u64) -> u64 {
    peers * (PEER_BYTES.0 + send_window(peers).0 / REMEMBERED)
}

/// What an aggregator's memory goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Everything but whole updates.
    pub terms: Vec<Term>,
    /// Length of one update.
    pub payload: Bytes,
    /// Whole updates that fit into memory beside the terms.
    pub slots: u64,
    /// Whole updates that fit onto the disk.
    pub spilled: u64,
    /// Whole updates that must have a place at once: one, or those of a round where the rule needs them all or a threshold
    /// may hold them all.
    pub needed: u64,
    sums: Sums,
    /// What needs all updates of a round.
    keeps: &'static str,
    budget: Bytes,
    spill_budget: Bytes,
}

/// One line of a [`Footprint`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// What it is for.
    pub name: String,
    /// How much.
    pub bytes: Bytes,
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
pub fn footprint(plan: &Plan, layout: &Layout, peers: u32) -> Footprint {
    let aggregation = plan.aggregation();
    let rule = aggregation.map_or(&Rule::WeightedMean, |a| a.rule);
    let need = Need::of(rule);
    let holds = aggregation.is_some_and(|a| a.threshold.is_some());
    let (payload, peers) = (layout.byte_len() as u64, u64::from(peers));
    let chunk = payload.min(limits::SPILL_CHUNK_BYTES as u64);
    let spilled = plan.spill_budget.0.checked_div(on_disk(payload)).unwrap_or(u64::MAX);
    let round = Round::of(plan, peers);
    let term = |name: String, bytes: u64| Term { name, bytes: Bytes(bytes) };
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
    terms.push(term("fixed overhead".into(), OVERHEAD.0));
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
        payload: Bytes(payload),
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
    fn of(plan: &Plan, peers: u64) -> Self {
        let givers = plan.sample.map_or(peers, |sample| peers.min(sample.into()));
        let most = plan.quorum.count_max.map_or(givers, |most| givers.min(most.into()));
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
    // Every part is in one shard, or in one more for each border between two; all of them merged; scores are a square.
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

    /// The least total: with as few slots as may be, or, where reading from the disk takes more memory, with all.
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
    /// Whether a memory budget holds the terms and, in memory or on disk, the updates that must have a place at once.
    #[must_use]
    pub fn fits(&self, memory_budget: Bytes) -> bool {
        memory_budget >= self.least()
    }

    /// The smallest memory budget that fits.
    #[must_use]
    pub fn least(&self) -> Bytes {
        Bytes(self.sums.least())
    }

    /// Memory for whole updates: what a slot store is made with.
    #[must_use]
    pub fn slot_memory(&self) -> Bytes {
        Bytes(self.slots.saturating_mul(self.payload.0))
    }

    /// The largest sum that the process reaches.
    #[must_use]
    pub fn total(&self) -> Bytes {
        Bytes(sum(&self.terms) + self.slot_memory().0)
    }

    /// The memory that would be enough if the disk had room for every update that must have a place, and that disk;
    /// `None` when it has.
    fn with_more_disk(&self) -> Option<(Bytes, Bytes)> {
        let each = on_disk(self.payload.0);
        let disk = raised(Bytes(self.needed.saturating_mul(each)));
        let spilled = disk.0.checked_div(each).unwrap_or(u64::MAX);
        (self.spilled < self.needed).then(|| (Bytes(self.sums.with_disk_for(spilled).least()), disk))
    }
}

/// One term a line, the sum, and whether it fits the plan's budget.
impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line =
            |f: &mut fmt::Formatter<'_>, name: &str, bytes: Bytes| writeln!(f, "{name:<24} {bytes:>10}");
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
fn raised(bytes: Bytes) -> Bytes {
    Bytes(bytes.0.next_multiple_of(1 << 20))
}

fn sum(terms: &[Term]) -> u64 {
    terms.iter().map(|term| term.bytes.0).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{DataSpec, Loader, ModelSpec, Release, ReleaseTo, Released, Split, TaskKind};
    use crate::tensor::{Combine, Dtype, TensorSpec};

    fn plan(memory: u64, spill: u64) -> Plan {
        let model = ModelSpec { input: vec![1], layers: Vec::new() };
        let data = DataSpec {
            loader: Loader::Custom { name: "none".into() },
            standardise: None,
            split: Split { train: 1.0, validation: 0.0, test: 0.0 },
            classes: None,
        };
        let mut plan = Plan::trial("trial", model, data).unwrap();
        (plan.memory_budget, plan.spill_budget) = (Bytes(memory), Bytes(spill));
        plan
    }

    /// Ten million parameters and one counter.
    fn layout() -> std::sync::Arc<Layout> {
        let steps = TensorSpec { dtype: Dtype::I64, combine: Combine::Sum, ..TensorSpec::f32("n", []) };
        Layout::new(vec![TensorSpec::f32("a", [10_000_000]), steps]).unwrap()
    }

    const REST: u64 = 2 * 40_000_008 + 160_000_008 + 3 * (262_144 + 1_398_101) + 30_000_000;

    #[test]
    fn updates_in_memory_get_what_is_left() {
        let of = |memory| footprint(&plan(memory, 0), &layout(), 3);
        assert_eq!(of(REST + 3 * 40_000_008).slots, 3);
        assert_eq!(of(REST + 3 * 40_000_008).slot_memory(), Bytes(3 * 40_000_008));
        assert_eq!(of(REST + 3 * 40_000_008).total(), Bytes(REST + 3 * 40_000_008));
        assert_eq!(of(REST + 3 * 40_000_008 - 1).slots, 2);
        assert_eq!((of(0).slots, of(u64::MAX / 2).slots > 1000), (0, true));
    }

    #[test]
    fn one_update_must_fit_into_memory_or_onto_the_disk() {
        let needs = |spill| footprint(&plan(0, spill), &layout(), 3).least().0;
        // 611 chunks with a tag each.
        let on_disk = 40_000_008 + 611 * 16;
        assert_eq!(needs(0), REST + 40_000_008);
        assert_eq!(needs(on_disk - 1), REST + 40_000_008);
        assert_eq!(needs(on_disk), REST + 64 * 1024 + SPILL_SLACK);
        let footprint = footprint(&plan(0, 0), &layout(), 3);
        assert!(footprint.fits(footprint.least()));
        assert!(!footprint.fits(Bytes(footprint.least().0 - 1)));
    }

    #[test]
    fn ten_times_the_collaborators_cost_their_windows_alone() {
        let least = |peers| footprint(&plan(0, 0), &layout(), peers).least().0;
        assert_eq!(least(30) - least(3), 27 * PEER_BYTES.0 + 30 * 372_827 - 3 * 1_398_101);
        // However many they are, what is under way to all of them stays the same.
        let window = |peers| send_window(peers).0;
        assert_eq!((window(0), window(8), window(64)), (8 << 20, 8 << 20, 1 << 20));
        assert_eq!((window(512), window(513), window(60_000)), (128 << 10, 128 << 10, 128 << 10));
    }

    #[test]
    fn the_sum_is_shown_line_by_line() {
        let enough = footprint(&plan(512 << 20, 4 << 30), &layout(), 30);
        let shown = "\
2 models                     76 MiB
accumulator                 152 MiB
windows of 30 peers          18 MiB
spill buffers              1921 KiB
fixed overhead               28 MiB
6 updates in memory         228 MiB
sum                         506 MiB
limits.memory               512 MiB
107 further updates of 38 MiB fit into limits.spill of 4096 MiB";
        assert_eq!(enough.to_string(), shown);
        let small = footprint(&plan(64 << 20, 0), &layout(), 3).to_string();
        let last = "limits.memory is too small: it needs at least 301 MiB";
        assert_eq!(small.lines().last(), Some(last), "{small}");
    }

    /// A plan whose rule is `rule`.
    fn ruled(rule: Rule, memory: u64, spill: u64) -> Plan {
        let mut plan = plan(memory, spill);
        for task in &mut plan.tasks {
            if let TaskKind::Train(spec) = &mut task.kind {
                spec.rule = rule.clone();
            }
        }
        plan
    }

    fn floats(len: u32) -> std::sync::Arc<Layout> {
        Layout::new(vec![TensorSpec::f32("a", [len])]).unwrap()
    }

    fn krum() -> Rule {
        Rule::Krum { byzantine: 1 }
    }

    #[test]
    fn median_of_64_updates_of_ten_million_parameters_fits_into_250_megabytes() {
        let sum = footprint(&ruled(Rule::Median, 250_000_000, 4 << 30), &floats(10_000_000), 64);
        assert!(sum.fits(Bytes(250_000_000)), "{sum}");
        assert!(sum.total() <= Bytes(250_000_000), "{sum}");
        assert_eq!((sum.slots, sum.needed), (2, 64), "{sum}");
        assert!(sum.least() <= Bytes(156_000_000), "{}", sum.least().0);
        // Ten times the model costs two models and nothing else: the disk has the rest.
        let least = |len| footprint(&ruled(Rule::Median, 0, 1 << 40), &floats(len), 64).least().0;
        assert_eq!(least(100_000_000) - least(10_000_000), 2 * 360_000_000);
    }

    #[test]
    fn median_of_a_thousand_small_updates_fits_into_the_default_limits() {
        let sum = footprint(&ruled(Rule::Median, 512 << 20, 4 << 30), &floats(10_000), 1000);
        assert!(sum.fits(Bytes(512 << 20)) && sum.slots >= 1000, "{sum}");
        // Their windows alone are 284 MB.
        assert!(sum.least() < Bytes(400_000_000), "{}", sum.least().0);
        let krum = footprint(&ruled(krum(), 512 << 20, 4 << 30), &floats(10_000), 1000);
        assert!(krum.fits(Bytes(512 << 20)), "{krum}");
    }

    #[test]
    fn every_update_of_a_round_needs_a_place() {
        let of = |memory, spill| footprint(&ruled(Rule::Median, memory, spill), &floats(10_000_000), 10);
        let each = 40_000_000 + 611 * 16;
        let none = of(0, 0);
        assert_eq!(none.least().0, none.sums.fixed + 10 * 40_000_000, "without a disk, in memory");
        assert!(!none.fits(Bytes(none.least().0 - 1)));
        let some = of(none.least().0 - 1, 9 * each);
        assert_eq!(some.spilled, 9);
        let least = some.sums.fixed + 40_000_000 + 9 * some.sums.chunks;
        assert_eq!(some.least().0, least, "one in memory, nine read from the disk by each thread");
        for budget in [least, least + 1, least + 39_000_000, least + 40_000_000, none.least().0 + 40_000_000]
        {
            let sum = of(budget, 9 * each);
            assert!(sum.fits(Bytes(budget)) && sum.slots + sum.spilled >= 10, "{sum}");
            assert!(sum.total() <= Bytes(budget), "{sum}");
        }
        let short = of(100 << 20, 3 * each);
        assert!(!short.fits(Bytes(100 << 20)));
        let shown = short.to_string();
        let words = "median keeps updates of a round: up to 10\n\
                     limits.memory is too small: it needs at least 387 MiB, or 121 MiB with limits.spill of 382 MiB";
        assert!(shown.ends_with(words), "{shown}");
        let enough = of(387 << 20, 3 * each);
        assert!(enough.fits(Bytes(387 << 20)), "{enough}");
        let enough = of(121 << 20, 382 << 20);
        assert!(enough.fits(Bytes(121 << 20)), "{enough}");
    }

    #[test]
    fn threshold_may_hold_every_update_of_a_round() {
        let mut plan = plan(0, 0);
        assert_eq!(footprint(&plan, &layout(), 10).needed, 1);
        let (task, metric) = (plan.tasks[0].name.clone(), plan.tasks[0].metrics[0]);
        let direction = crate::plan::Direction::Max;
        plan.tasks[1].threshold = Some(crate::plan::Threshold { task, metric, bound: 0.5, direction });
        let sum = footprint(&plan, &layout(), 10);
        assert_eq!(sum.needed, 10);
        assert_eq!(sum.least().0, REST + windows(10) - windows(3) + 10 * 40_000_008);
        assert!(sum.to_string().contains("a threshold keeps updates of a round: up to 10"), "{sum}");
    }

    #[test]
    fn what_bounds_a_round_bounds_its_places() {
        let needed = |change: fn(&mut Plan)| {
            let mut plan = ruled(Rule::Median, 0, 0);
            change(&mut plan);
            let sum = footprint(&plan, &floats(1000), 100);
            (sum.needed, sum.sums.read)
        };
        assert_eq!(needed(|_| {}), (100, 100));
        assert_eq!(needed(|p| p.sample = Some(20)), (20, 20));
        assert_eq!(needed(|p| p.quorum.count_max = Some(30)), (30, 30));
        let floor = |p: &mut Plan| {
            p.quorum.count_max = Some(30);
            p.quorum.time_min = crate::Millis(1);
        };
        assert_eq!(needed(floor), (30, 100), "more than count.max may come before time.min");
        assert_eq!(needed(|p| p.quorum.count_max = Some(300)), (100, 100), "no more than there are");
    }

    #[test]
    fn scores_take_room_for_products_and_sums_do_not() {
        let fixed = |rule, layout: &Layout, peers| footprint(&ruled(rule, 0, 0), layout, peers).sums.fixed;
        let layout = floats(10_000_000);
        // Eight shards, their sum, and a square of distances.
        let products = 11 * (64 * 65 / 2) * 8;
        assert_eq!(fixed(krum(), &layout, 64) - fixed(Rule::Median, &layout, 64), products);
        let own = Rule::Custom { name: "own".to_owned() };
        assert_eq!(fixed(own, &layout, 64), fixed(krum(), &layout, 64));
        let rfa = |scope| Rule::GeometricMedian { iterations: 4, smoothing: 1e-5, scope };
        assert_eq!(fixed(rfa(Scope::Model), &layout, 64), fixed(krum(), &layout, 64));
        let tensors = (0..100).map(|n| TensorSpec::f32(format!("t{n}"), [1000])).collect();
        let many = Layout::new(tensors).unwrap();
        let by_tensor = fixed(rfa(Scope::Tensor), &many, 64) - fixed(Rule::Median, &many, 64);
        // In two shards.
        assert_eq!(by_tensor, (100 + 2 - 1 + 100 + 2) * (64 * 65 / 2) * 8);
        for rule in [Rule::Mean, Rule::ClippedMean { norm: 1.0 }] {
            assert_eq!(fixed(rule, &layout, 64), fixed(Rule::WeightedMean, &layout, 64));
        }
    }

    #[test]
    fn products_are_no_more_than_is_counted() {
        let tensors: Vec<TensorSpec> =
            (0..300).map(|n| TensorSpec::f32(format!("t{n}"), [1 + n % 7, 999])).collect();
        let layout = Layout::new(tensors).unwrap();
        for scope in [Scope::Model, Scope::Tensor] {
            let measure = Measure::new(&layout, scope, 9);
            let shards = measure.shards().len();
            assert!(shards > 1);
            let partial: usize = (0..shards).map(|shard| measure.partial(shard).byte_len()).sum();
            let parts = if scope == Scope::Model { 1 } else { 300 };
            let taken = partial as u64 + (parts + 2) * 45 * 8;
            let counted = products(&layout, scope, 9);
            assert!(taken <= counted && counted <= taken + 45 * 8 * 8, "{scope:?}: {taken}, {counted}");
        }
    }

    #[test]
    fn best_model_for_members_is_one_more() {
        let least = |what, to| {
            let mut plan = ruled(Rule::WeightedMean, 1 << 40, 0);
            plan.release = Some(Release { what, to });
            footprint(&plan, &floats(1000), 3).least().0
        };
        let others = least(Released::Best, ReleaseTo::Host);
        assert_eq!(least(Released::Best, ReleaseTo::Members), others + 4000);
        assert_eq!(least(Released::Each, ReleaseTo::Members), others);
    }

    #[test]
    fn server_state_is_there_twice() {
        let mut plan = plan(0, 0);
        let least = |plan: &Plan| footprint(plan, &floats(10_000_000), 3).least().0;
        let without = least(&plan);
        let mut with = |server| {
            plan.tasks[1].server = Some(server);
            least(&plan) - without
        };
        let (learning_rate, beta1, beta2, tau) = (0.1, 0.9, 0.99, 1e-3);
        assert_eq!(with(Server::Smoothing { keep: 0.1 }), 0);
        assert_eq!(with(Server::FedAvgM { learning_rate, momentum: 0.9 }), 2 * 40_000_000);
        assert_eq!(with(Server::FedAdam { learning_rate, beta1, beta2, tau }), 2 * 80_000_000);
    }
}
