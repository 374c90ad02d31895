//! The aggregator's memory, added up before it is taken.
//!
//! `fl-host plan check` shows it and the aggregator refuses to start on a plan that does not fit. The plan's
//! `memory_budget` bounds *all* memory of the aggregator's process: two models, the accumulator, what peers may have on
//! the wire, a fixed overhead; whole updates in memory get what is left, and further ones are spilled to disk up to
//! `spill_budget`. So the sum depends on the model and hardly on the number of collaborators.

use std::fmt;

use crate::{Bytes, limits, plan::Plan, tensor::Layout};

/// Models alive at once: the one that is sent and stored, the one that is built.
pub const LIVE_MODELS: u64 = 2;
/// What each connected peer may cause: the idle window of its link (192 KiB of unread bytes), and the link itself: TLS and
/// QUIC state, tasks, mailboxes (64 KiB; about 40 are measured, 60 after rounds).
pub const PEER_BYTES: Bytes = Bytes(256 * 1024);
/// The fixed rest: program and libraries (8 MB), thread stacks and the allocator's slack, decryption buffers of the CPU
/// threads (1 MiB each), and what granted uploads have under way beyond the idle window.
pub const OVERHEAD: Bytes = Bytes(30_000_000);
/// Buffer of an update that is being spilled: a chunk with room for its tag.
const SPILL_BUFFER: u64 = limits::LEAF_BYTES as u64 + 64;
/// What sealing adds to each chunk on disk.
const SPILL_TAG: u64 = 16;

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

/// Adds up the aggregator's memory for `peers` collaborators on the roster, which the plan does not hold.
#[must_use]
pub fn footprint(plan: &Plan, layout: &Layout, peers: u32) -> Footprint {
    let (payload, peers) = (layout.byte_len() as u64, u64::from(peers));
    let accumulator = layout.f32_len() as u64 * 16 + layout.i64_len() as u64 * 8;
    let on_disk = payload + payload.div_ceil(limits::LEAF_BYTES as u64) * SPILL_TAG;
    let spilled = plan.spill_budget.0.checked_div(on_disk).unwrap_or(u64::MAX);
    let term = |name: String, bytes: u64| Term { name, bytes: Bytes(bytes) };
    let terms = vec![
        term(format!("{LIVE_MODELS} models"), LIVE_MODELS * payload),
        term("accumulator".into(), accumulator),
        term(format!("windows of {peers} peers"), peers * PEER_BYTES.0),
        term("spill buffers".into(), spilled.min(peers) * SPILL_BUFFER),
        term("fixed overhead".into(), OVERHEAD.0),
    ];
    let left = plan.memory_budget.0.saturating_sub(sum(&terms));
    let slots = left.checked_div(payload).unwrap_or(u64::MAX);
    let (budget, spill_budget) = (plan.memory_budget, plan.spill_budget);
    Footprint { terms, payload: Bytes(payload), slots, spilled, budget, spill_budget }
}

impl Footprint {
    /// Whether a memory budget holds the terms, with at least one update in memory or on disk.
    #[must_use]
    pub fn fits(&self, memory_budget: Bytes) -> bool {
        memory_budget >= self.least()
    }

    /// The smallest memory budget that fits.
    #[must_use]
    pub fn least(&self) -> Bytes {
        Bytes(sum(&self.terms) + if self.spilled == 0 { self.payload.0 } else { 0 })
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
        match self.fits(self.budget) {
            true => Ok(()),
            false => write!(f, "\nlimits.memory is too small: it needs at least {}", self.least()),
        }
    }
}

fn sum(terms: &[Term]) -> u64 {
    terms.iter().map(|term| term.bytes.0).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{DataSpec, Loader, ModelSpec, Split};
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

    const REST: u64 = 2 * 40_000_008 + 160_000_008 + 3 * 262_144 + 30_000_000;

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
        // 153 chunks with a tag each.
        let on_disk = 40_000_008 + 153 * 16;
        assert_eq!(needs(0), REST + 40_000_008);
        assert_eq!(needs(on_disk - 1), REST + 40_000_008);
        assert_eq!(needs(on_disk), REST + SPILL_BUFFER);
        let footprint = footprint(&plan(0, 0), &layout(), 3);
        assert!(footprint.fits(footprint.least()));
        assert!(!footprint.fits(Bytes(footprint.least().0 - 1)));
    }

    #[test]
    fn ten_times_the_collaborators_cost_their_windows_alone() {
        let least = |peers| footprint(&plan(0, 0), &layout(), peers).least().0;
        assert_eq!(least(30) - least(3), 27 * PEER_BYTES.0);
    }

    #[test]
    fn the_sum_is_shown_line_by_line() {
        let enough = footprint(&plan(512 << 20, 4 << 30), &layout(), 30);
        let shown = "\
2 models                     76 MiB
accumulator                 152 MiB
windows of 30 peers        7680 KiB
spill buffers              7681 KiB
fixed overhead               28 MiB
6 updates in memory         228 MiB
sum                         501 MiB
limits.memory               512 MiB
107 further updates of 38 MiB fit into limits.spill of 4096 MiB";
        assert_eq!(enough.to_string(), shown);
        let small = footprint(&plan(64 << 20, 0), &layout(), 3).to_string();
        let last = "limits.memory is too small: it needs at least 296 MiB";
        assert_eq!(small.lines().last(), Some(last), "{small}");
    }
}
