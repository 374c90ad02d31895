//! Measures the aggregator's arithmetic: adding updates, taking the mean, hashing the mean, reading spilled
//! updates.
//!
//! `cargo run --release -p fl-benches --bin aggregate -- [--quick] [--params N] [--threads N] [--json]`
//!
//! Absorption is measured on one thread, like its limits. The end of a round, from the last update staged to
//! a model that can be sent, is measured on `--threads` threads in two cases: 2 to 128 collaborators that
//! arrive one by one, so that all but the last are in the sum; and collaborators that arrive all at once. The
//! processor times of a fused pass and of its parts show what the fusion saves.
//!
//! Tried and dropped: prefetching two pages ahead of the sum in the last pass. On one thread the pass takes
//! 15.0 ms instead of 16.6. On two threads the memory is busy and nothing is gained, and the engine would
//! need `unsafe`. Absorbing gains nothing.

#![allow(clippy::unwrap_used, reason = "a failed step ends the bench")]

use std::{future::Future, hint::black_box, path::PathBuf, sync::Arc};

use fl_benches::{
    front::A_PASS,
    report::Report,
    timing::{Timing, Took, timed},
};
use fl_engine::{
    ByteCount, Digest, Weight,
    aggregate::{MOST_AT_ONCE, Stream},
    plan::ExactRange,
    tensor::{Layout, TensorSpec},
};
use fl_runtime::internal::{
    aggregation::{StagedUpdate, streaming::StreamingAggregation},
    memory::SlotStore,
    payload::{Payload, PayloadPool},
    pool::Pool,
};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use tokio::runtime::{Builder, Runtime};

/// Times absorption and the final division of one model against memcpy, SHA-256 and AES-256-GCM.
#[derive(argh::FromArgs)]
struct Arguments {
    /// f32 parameters of the model (10 million)
    #[argh(option, default = "10_000_000")]
    params: u32,
    /// updates staged at once (12; multiples of 12)
    #[argh(option, default = "12")]
    updates: usize,
    /// threads of the CPU pool at the end of a round (2)
    #[argh(option, default = "2")]
    threads: usize,
    /// repetitions of each figure (11)
    #[argh(option, default = "11")]
    repetitions: usize,
    /// a tenth of the parameters, three repetitions, at most 8 collaborators
    #[argh(switch)]
    quick: bool,
    /// one JSON object a line
    #[argh(switch)]
    json: bool,
}

struct Bench {
    arguments: Arguments,
    runtime: Runtime,
    aggregation: StreamingAggregation,
    update: Vec<u8>,
    base: Payload,
    layout: Arc<Layout>,
}

fn aggregation(layout: &Arc<Layout>, threads: usize) -> StreamingAggregation {
    let range = ExactRange { value_bits: 16, weight_bits: 29 };
    let (pool, payloads) = (
        Pool::new(&fl_runtime::internal::system::System::real().threads, threads).unwrap(),
        PayloadPool::new(Arc::clone(layout)),
    );
    StreamingAggregation::new(Stream::WeightedMean, pool, payloads, range)
}

fn main() {
    let mut arguments: Arguments = argh::from_env();
    if arguments.quick {
        (arguments.params, arguments.repetitions) = (arguments.params / 10, 3);
    }
    let most = if arguments.quick { 8 } else { 128 };
    let mut bench = Bench::new(arguments);
    let Arguments { params, updates, threads, repetitions, json, .. } = bench.arguments;
    let settings = format!(
        "{params} f32, {updates} updates, absorption on 1 thread, per update; ends of a round on {threads}"
    );
    let mut report = Report::new("aggregate", bench.update.len(), json, &settings);
    limits(&mut report, &bench.update, repetitions);

    let memory = bench.store(true, updates);
    report.row("absorb, memory, first of a sum", bench.first(&memory));
    for at_once in 1..=MOST_AT_ONCE {
        report.row(&format!("absorb, memory, {at_once} a pass"), bench.absorb(&memory, at_once));
    }
    report.row("finalise + root (once a round)", bench.finalise(&memory));
    report.row("last 4 absorbed, then finalise + root", bench.last_four(&memory, false));
    report.row("last 4 absorbed with finalise + root", bench.last_four(&memory, true));
    drop(memory);
    let disk = bench.store(false, updates);
    report.row("absorb, spilled, 1 a pass", bench.absorb(&disk, 1));
    report.row("absorb, spilled, 4 a pass", bench.absorb(&disk, MOST_AT_ONCE));
    drop(disk);
    let _ = std::fs::remove_dir_all(folder());

    bench.use_threads(threads);
    for collaborators in [2, 8, 32, 128].into_iter().filter(|n| *n <= most) {
        let (timing, faults) = bench.one_by_one(collaborators);
        report.row(&format!("last of {collaborators}, one by one: staged to root"), timing);
        fresh_pages(json, collaborators, faults);
    }
    // With 128 updates, the slots alone would take 5 GB.
    for collaborators in [2, 4, 8, 32].into_iter().filter(|n| *n <= most) {
        report.row(&format!("{collaborators} at once: staged to root"), bench.at_once(collaborators));
    }
}

/// Prints the page faults of a round without staging: 0 if the round takes no new memory.
fn fresh_pages(json: bool, collaborators: usize, faults: u64) {
    match json {
        true => {
            println!("{{\"bench\":\"aggregate\",\"collaborators\":{collaborators},\"page_faults\":{faults}}}")
        }
        false => println!("{:<42} {faults:>8}", "  page faults of its round, fewest"),
    }
}

/// Minor page faults of this process so far: the tenth field of its line, the eighth after the name.
fn page_faults() -> u64 {
    let line = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = line.rsplit_once(')').map(|(_, fields)| fields.to_owned()).unwrap_or_default();
    fields.split_whitespace().nth(7).and_then(|field| field.parse().ok()).unwrap_or_default()
}

fn folder() -> PathBuf {
    std::env::temp_dir().join(format!("fl-bench-{}", std::process::id()))
}

/// Measures the limits: what the machine does with the same bytes on one thread.
fn limits(report: &mut Report, update: &[u8], repetitions: usize) {
    let mut copy = update.to_vec();
    report.limit(
        "memcpy",
        Timing::of(repetitions, || timed(|| black_box(&mut copy).copy_from_slice(black_box(update)))),
    );
    let values: Vec<f32> = update.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let mut sum = vec![0.0f32; values.len()];
    let axpy =
        |sum: &mut [f32]| sum.iter_mut().zip(black_box(&values)).for_each(|(sum, value)| *sum += 0.3 * value);
    report.limit("axpy", Timing::of(repetitions, || timed(|| axpy(black_box(&mut sum)))));
    report.limit("SHA-256", Timing::of(repetitions, || timed(|| _ = black_box(Digest::of(update)))));
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).unwrap());
    let seal = |copy: &mut [u8]| {
        for (index, chunk) in copy.chunks_mut(256 * 1024).enumerate() {
            let mut nonce = [0; 12];
            nonce[..8].copy_from_slice(&(index as u64).to_le_bytes());
            let nonce = Nonce::assume_unique_for_key(nonce);
            _ = black_box(key.seal_in_place_separate_tag(nonce, Aad::empty(), chunk).unwrap());
        }
    };
    report.limit("AES-256-GCM", Timing::of(repetitions, || timed(|| seal(&mut copy))));
}

impl Bench {
    fn new(arguments: Arguments) -> Self {
        let layout = Layout::new(vec![TensorSpec::f32("a", [arguments.params])]).unwrap();
        let mut state = 1u32;
        let mut value = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        let update: Vec<u8> = (0..arguments.params).flat_map(|_| value().to_le_bytes()).collect();
        let base = Payload::new(&layout, update.clone().into()).unwrap();
        let runtime = Builder::new_current_thread().build().unwrap();
        let aggregation = aggregation(&layout, 1);
        Self { arguments, runtime, aggregation, update, base, layout }
    }

    fn use_threads(&mut self, threads: usize) {
        self.aggregation = aggregation(&self.layout, threads);
    }

    /// Slots for so many updates, all in memory or all on disk.
    fn store(&self, in_memory: bool, updates: usize) -> SlotStore {
        let len = self.update.len() as u64;
        let all = ByteCount(updates as u64 * (len + len / 1024 + 4096));
        let (memory, disk) = if in_memory { (all, ByteCount(0)) } else { (ByteCount(0), all) };
        SlotStore::new(&fl_runtime::internal::system::System::real(), memory, disk, folder(), len).unwrap()
    }

    fn stage(&self, store: &SlotStore, count: usize) -> Vec<StagedUpdate> {
        let stage = |n: usize| {
            let mut writer = store.try_reserve().unwrap().unwrap();
            writer.write(&self.update).unwrap();
            let (slot, weight) = (writer.finish().unwrap(), Weight::new(n as u64 * 100 + 1).unwrap());
            StagedUpdate { name: format!("site-{n:04}").parse().unwrap(), slot, weight }
        };
        (0..count).map(stage).collect()
    }

    /// The time of one update, when a call takes `at_once` updates.
    fn absorb(&mut self, store: &SlotStore, at_once: usize) -> Timing {
        let Arguments { updates, repetitions, .. } = self.arguments;
        let repetition = || {
            let mut staged = self.stage(store, updates);
            let mut took = Took::default();
            while !staged.is_empty() {
                let rest = staged.split_off(at_once.min(staged.len()));
                let batch = std::mem::replace(&mut staged, rest);
                took = took
                    .plus(timed(|| run(&self.runtime, self.aggregation.absorb(batch, &self.base)).unwrap()));
            }
            run(&self.runtime, self.aggregation.clear()).unwrap();
            took
        };
        Timing::of(repetitions, repetition).per(updates)
    }

    /// The first pass of a sum, which takes one update.
    fn first(&mut self, store: &SlotStore) -> Timing {
        Timing::of(self.arguments.repetitions, || {
            let staged = self.stage(store, 1);
            let took = timed(|| run(&self.runtime, self.aggregation.absorb(staged, &self.base)).unwrap());
            run(&self.runtime, self.aggregation.clear()).unwrap();
            took
        })
    }

    /// From the last update staged to the model's root, when the others were added before, two a pass; and
    /// the fewest page faults of a round's calls.
    fn one_by_one(&mut self, collaborators: usize) -> (Timing, u64) {
        let store = self.store(true, A_PASS);
        let mut fewest = u64::MAX;
        let timing = Timing::of(self.arguments.repetitions, || {
            let mut faults = 0;
            for first in (1..collaborators).step_by(A_PASS) {
                let staged = self.stage(&store, A_PASS.min(collaborators - first));
                let before = page_faults();
                run(&self.runtime, self.aggregation.absorb(staged, &self.base)).unwrap();
                faults += page_faults() - before;
            }
            let staged = self.stage(&store, 1);
            let before = page_faults();
            let took = self.end(staged);
            fewest = fewest.min(faults + page_faults() - before);
            took
        });
        (timing, fewest)
    }

    /// From every update staged to the model's root.
    fn at_once(&mut self, collaborators: usize) -> Timing {
        let store = self.store(true, collaborators);
        Timing::of(self.arguments.repetitions, || {
            let staged = self.stage(&store, collaborators);
            self.end(staged)
        })
    }

    fn end(&mut self, staged: Vec<StagedUpdate>) -> Took {
        timed(|| drop(run(&self.runtime, self.aggregation.finish(staged, &self.base, None)).unwrap()))
    }

    fn finalise(&mut self, store: &SlotStore) -> Timing {
        Timing::of(self.arguments.repetitions, || {
            let staged = self.stage(store, MOST_AT_ONCE);
            run(&self.runtime, self.aggregation.absorb(staged, &self.base)).unwrap();
            timed(|| drop(run(&self.runtime, self.aggregation.finish(Vec::new(), &self.base, None)).unwrap()))
        })
    }

    /// The end of a round: the last four updates and the mean, in one pass or in two.
    fn last_four(&mut self, store: &SlotStore, fused: bool) -> Timing {
        Timing::of(self.arguments.repetitions, || {
            let staged = self.stage(store, MOST_AT_ONCE);
            run(&self.runtime, self.aggregation.absorb(staged, &self.base)).unwrap();
            let staged = self.stage(store, MOST_AT_ONCE);
            timed(|| match fused {
                true => drop(run(&self.runtime, self.aggregation.finish(staged, &self.base, None)).unwrap()),
                false => {
                    run(&self.runtime, self.aggregation.absorb(staged, &self.base)).unwrap();
                    drop(run(&self.runtime, self.aggregation.finish(Vec::new(), &self.base, None)).unwrap());
                }
            })
        })
    }
}

fn run<T>(runtime: &Runtime, call: impl Future<Output = T>) -> T {
    runtime.block_on(call)
}
