//! Computes from the plan how many threads and how much memory a role's enclave gets, with each term of the
//! sum.
//!
//! Both numbers are fixed and measured before the enclave runs. Without memory on demand, the enclave
//! occupies all of its memory from the start, and it cannot start one more thread than stated. So each term
//! says what it is for. Nothing here depends on the machine, or on the roster, which may grow after the image
//! was made.

use std::fmt;

use fl_engine::{
    ByteCount,
    aggregate::{Footprint, Term},
    model::{self, Layer},
    plan::{Loader, Optimiser, Plan, TaskKind},
};
use fl_learn::task::planned_memory;
use fl_runtime::internal::trust::Role;

use super::gramine_version::Gramine;
use crate::{
    exit::{Exit, Failure},
    model::refused_model,
};

/// The size of an enclave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnclaveSize {
    /// Threads, by what they are for.
    pub threads: Vec<(String, u64)>,
    /// Memory, by what it is for.
    pub terms: Vec<Term>,
    /// The enclave's size: the smallest power of two that is not below the sum.
    pub bytes: ByteCount,
}

/// Computes threads and memory of one role.
///
/// # Errors
/// [`Exit::Plan`] when the aggregator's models and updates exceed the plan's memory limit.
pub fn enclave_size(
    role: Role,
    plan: &Plan,
    footprint: &Footprint,
    gramine: &Gramine,
) -> Result<EnclaveSize, Failure> {
    if role == Role::Aggregator && !footprint.fits(plan.memory_budget) {
        let error = format!("limits.memory of the plan is too small:\n{footprint}");
        return Err(
            Failure::new(Exit::Plan, error).hint("raise limits.memory or limits.spill in plan/plan.yaml")
        );
    }
    let count = |name: &str, n: u64| (name.to_owned(), n);
    let mut threads = vec![
        count("main, the actors", 1),
        count("link", u64::from(plan.threads.link.max(1))),
        count("cpu", u64::from(plan.threads.cpu.max(1))),
        count("host names", BLOCKING_THREADS),
    ];
    match (role, &plan.data.loader) {
        (Role::Aggregator, _) => threads.push(count("store", 1)),
        (Role::Collaborator, Loader::Pictures(_)) => threads.push(count("pictures", 1)),
        (Role::Collaborator, _) => {}
    }
    let program: u64 = threads.iter().map(|(_, n)| n).sum();
    threads.push(count("Gramine", GRAMINE_THREADS));
    threads.push(count("spare", SPARE_THREADS));
    let all: u64 = threads.iter().map(|(_, n)| n).sum();

    let term = |name: &str, bytes: u64| Term { name: name.to_owned(), bytes: ByteCount(bytes) };
    let mut terms = match role {
        Role::Aggregator => vec![term("limits.memory", plan.memory_budget.0)],
        Role::Collaborator => collaborator(plan, footprint.payload.0)?,
    };
    terms.push(Term {
        name: format!("stacks of {program} threads"),
        bytes: ByteCount(program * THREAD_STACK),
    });
    terms.push(term("Gramine", GRAMINE_BYTES));
    terms.push(Term {
        name: format!("measured pages of {all} threads"),
        bytes: ByteCount(all * gramine.thread_bytes()),
    });
    let sum = terms.iter().fold(0_u64, |sum, term| sum.saturating_add(term.bytes.0));
    let bytes =
        sum.max(LEAST).checked_next_power_of_two().filter(|bytes| *bytes <= MOST).ok_or_else(|| {
            let error = format!(
                "the enclave of this plan would need {}; Gramine allows at most {}",
                ByteCount(sum),
                ByteCount(MOST)
            );
            Failure::new(Exit::Plan, error)
                .hint("lower limits.memory or the batch of the training task in plan/plan.yaml")
        })?;
    Ok(EnclaveSize { threads, terms, bytes: ByteCount(bytes) })
}

/// The memory that training needs. The number of a site's rows is not known here; rows get as much memory as
/// limits.memory gives the aggregator, and decoded pictures as much as data.cache if that is more.
fn collaborator(plan: &Plan, payload: u64) -> Result<Vec<Term>, Failure> {
    let (mut states, mut batch, mut sums) = (0, 0, 0);
    for task in &plan.tasks {
        if let TaskKind::Train(spec) = &task.kind {
            batch = batch.max(u64::from(spec.batch));
            sums = sums.max(u64::from(spec.accumulate > 1));
            states = states.max(match spec.optimiser {
                Optimiser::Sgd { momentum, .. } => u64::from(momentum != 0.0),
                _ => 2,
            });
        }
    }
    // The received model and the one before, the module, its gradients, the update, and the tensors of a
    // step; the sum of the gradients of several batches.
    let copies = 6 + states + sums;
    let (at_once, activations, how) = match planned_memory(plan) {
        Some((rows, bytes)) => (rows, bytes, ""),
        None => {
            let (rows, bytes) = on_burn(plan, batch)?;
            (rows, bytes, " (estimate)")
        }
    };
    let (name, rows) = match &plan.data.loader {
        Loader::Pictures(spec) if spec.cache > plan.memory_budget => ("pictures (data.cache)", spec.cache),
        _ => ("rows (limits.memory)", plan.memory_budget),
    };
    let mut terms = vec![
        Term { name: format!("{copies} models"), bytes: ByteCount(payload.saturating_mul(copies)) },
        Term { name: format!("{at_once} rows at a time{how}"), bytes: ByteCount(activations) },
        Term { name: name.to_owned(), bytes: rows },
        Term { name: "program".to_owned(), bytes: ByteCount(PROGRAM_BYTES) },
    ];
    if matches!(plan.data.loader, Loader::Pictures(_)) {
        // The batch in use and the next one, with masks of at most as many values.
        let sample = plan.model.input.iter().fold(4 * 2_u64, |n, side| n.saturating_mul(u64::from(*side)));
        let bytes = ByteCount(sample.saturating_mul(2 * batch.max(1)));
        terms.push(Term { name: "a batch read ahead".to_owned(), bytes });
    }
    Ok(terms)
}

/// The most rows that burn computes at a time, and the bytes that they take, by an estimate.
fn on_burn(plan: &Plan, batch: u64) -> Result<(u64, u64), Failure> {
    let elements = |shape: &[u32]| shape.iter().fold(1_u64, |n, side| n.saturating_mul(u64::from(*side)));
    let product = |factors: &[u64]| factors.iter().fold(1_u64, |n, factor| n.saturating_mul(*factor));
    // What one sample takes: in all layers of a training, and in the widest layer of a validation.
    let (mut values, mut widest) = (0_u64, 1_u64);
    for at in model::place(&plan.model).map_err(|e| refused_model(&e))? {
        // A layer `parameter` takes nothing.
        let length = at.input.first().map_or(1, |side| u64::from(*side));
        let window = at.layer.window(at.input.len().saturating_sub(1));
        let inside = match at.layer {
            // Gates, states and their gradients at each step, also where only the last state is taken.
            Layer::Lstm { hidden, layers, bidirectional, .. }
            | Layer::Gru { hidden, layers, bidirectional, .. } => {
                let ways = 1 + u64::from(*bidirectional);
                product(&[VALUES_OF_A_STEP, (*hidden).into(), (*layers).into(), ways, length])
            }
            // Queries, keys, values and what they give; scores of each place for each other one.
            Layer::Attention { heads, .. } => {
                let scores = product(&[COPIES_OF_SCORES, (*heads).into(), length, length]);
                product(&[COPIES_OF_PLACES, elements(&at.input)]).saturating_add(scores)
            }
            // The unfolded input of a convolution.
            _ => window.filter(|window| window.weights.is_some()).map_or(0, |window| {
                let taps = window.kernel.iter().map(|side| u64::from(*side)).product::<u64>();
                taps.saturating_mul(elements(&at.input).max(elements(&at.output)))
            }),
        };
        let given = elements(&at.output);
        // Values and gradients.
        values = values.saturating_add(given.saturating_mul(2)).saturating_add(inside);
        widest = widest.max(elements(&at.input).saturating_add(given).saturating_add(inside));
    }
    let scored = (SCORED_VALUES / widest).clamp(1, SCORED_ROWS);
    let bytes = values.saturating_mul(batch).max(widest.saturating_mul(scored)).saturating_mul(4);
    Ok((batch.max(scored), bytes))
}

impl EnclaveSize {
    /// All threads: `sgx.max_threads`.
    #[must_use]
    pub fn max_threads(&self) -> u64 {
        self.threads.iter().map(|(_, n)| n).sum()
    }

    /// The sum, before it is rounded up.
    #[must_use]
    pub fn sum(&self) -> ByteCount {
        ByteCount(self.terms.iter().fold(0, |sum, term| sum.saturating_add(term.bytes.0)))
    }

    /// In one line: `1G, 12 threads: limits.memory 512 MiB + stacks of 8 threads 16 MiB + … = 596 MiB`.
    #[must_use]
    pub fn line(&self) -> String {
        let terms: Vec<String> =
            self.terms.iter().map(|term| format!("{} {}", term.name, term.bytes)).collect();
        let (word, threads) = (self.word(), self.max_threads());
        format!("{word}, {threads} threads: {} = {}", terms.join(" + "), self.sum())
    }

    /// The size in a manifest's notation: whole MiB or GiB.
    #[must_use]
    pub fn word(&self) -> String {
        match self.bytes.0 {
            b if b.is_multiple_of(1 << 30) => format!("{}G", b >> 30),
            b => format!("{}M", b >> 20),
        }
    }
}

/// One line for each term, then the sum, the size and the threads.
impl fmt::Display for EnclaveSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for term in &self.terms {
            writeln!(f, "{:<28}{:>10}", term.name, term.bytes)?;
        }
        writeln!(f, "{:<28}{:>10}", "sum", self.sum())?;
        writeln!(f, "{:<28}{:>10}", "sgx.enclave_size", self.word())?;
        let threads: Vec<String> = self.threads.iter().map(|(name, n)| format!("{n} {name}")).collect();
        write!(f, "{:<28}{:>10}  {}", "sgx.max_threads", self.max_threads(), threads.join(" + "))
    }
}

/// Threads that Gramine starts beside the program's: one for messages between processes, one for timers, one
/// for the handshake of a pipe, of which the program makes one for its signals.
const GRAMINE_THREADS: u64 = 3;
/// The runtime's threads for work that blocks: two resolve host names.
const BLOCKING_THREADS: u64 = 2;
/// A thread's slot becomes free only some time after the thread ended, and its successor may start before.
const SPARE_THREADS: u64 = 1;
/// Stack that the program maps for each of its threads but the first.
const THREAD_STACK: u64 = 2 << 20;
/// Gramine's own code and data inside: libpal.so, libsysdb.so, their heap, hashes of trusted files, the
/// manifest.
const GRAMINE_BYTES: u64 = 64 << 20;
/// A collaborator's program, its TLS and QUIC state, and the allocator's slack.
const PROGRAM_BYTES: u64 = 64 << 20;
/// Values that burn keeps for each step of a recurrent layer, for each number of its state.
const VALUES_OF_A_STEP: u64 = 32;
/// Copies of the scores that burn keeps in an attention.
const COPIES_OF_SCORES: u64 = 6;
/// Copies of the sequence that burn keeps in an attention.
const COPIES_OF_PLACES: u64 = 10;
/// Values of the widest layer in a pass of burn outside training, and the most rows of such a pass. The
/// trainer's own count of what is inside a layer is lower, so this one has a multiple of its values.
const SCORED_VALUES: u64 = 4 * (16 << 20);
const SCORED_ROWS: u64 = 128;
/// Smallest enclave: below it Gramine's own start fails on some processors.
const LEAST: u64 = 256 << 20;
/// Largest enclave.
const MOST: u64 = 1 << 40;

#[cfg(test)]
mod tests;
