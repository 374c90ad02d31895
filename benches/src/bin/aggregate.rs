//! What the aggregator's arithmetic costs: adding updates, taking the mean, hashing it, reading spilled updates.
//!
//! `cargo run --release -p fl-benches --bin aggregate -- [--params N] [--updates N] [--threads N] [--json]`

#![allow(clippy::unwrap_used, reason = "a failed step ends the bench")]

use std::{future::Future, hint::black_box, sync::Arc};

use fl_benches::{
    report::Report,
    timing::{Timing, Took, timed},
};
use fl_engine::{
    Bytes, Digest, Weight,
    plan::ExactRange,
    tensor::{Layout, TensorSpec},
};
use fl_runtime::{
    memory::{SlotStore, StagedSlot},
    payload::{Payload, PayloadPool},
    pool::Pool,
    summing::{AT_ONCE, Summing},
};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use tokio::runtime::{Builder, Runtime};

/// Times absorption and the final division of one model against memcpy, SHA-256 and AES-256-GCM.
#[derive(argh::FromArgs)]
struct Arguments {
    /// f32 parameters of the model (10 million)
    #[argh(option, default = "10_000_000")]
    params: u32,
    /// updates staged at once (8; multiples of 4)
    #[argh(option, default = "8")]
    updates: usize,
    /// threads of the CPU pool; the limits are measured on one (1)
    #[argh(option, default = "1")]
    threads: usize,
    /// repetitions of each figure (11)
    #[argh(option, default = "11")]
    repetitions: usize,
    /// one JSON object a line
    #[argh(switch)]
    json: bool,
}

struct Bench {
    arguments: Arguments,
    runtime: Runtime,
    summing: Summing,
    update: Vec<u8>,
    base: Payload,
}

fn main() {
    let arguments: Arguments = argh::from_env();
    let mut bench = Bench::new(arguments);
    let Arguments { params, updates, threads, repetitions, json } = bench.arguments;
    let settings = format!("{params} f32, {updates} updates, {threads} threads, times per update");
    let mut report = Report::new("aggregate", bench.update.len(), json, &settings);
    limits(&mut report, &bench.update, repetitions);

    let memory = bench.store(true);
    report.row("absorb, memory, 1 a pass", bench.absorb(&memory, 1));
    report.row("absorb, memory, 4 a pass", bench.absorb(&memory, AT_ONCE));
    report.row("finalise + root (once a round)", bench.finalise(&memory));
    report.row("last 4 absorbed, then finalise + root", bench.last_four(&memory, false));
    report.row("last 4 absorbed with finalise + root", bench.last_four(&memory, true));
    drop(memory);
    let disk = bench.store(false);
    report.row("absorb, spilled, 1 a pass", bench.absorb(&disk, 1));
    report.row("absorb, spilled, 4 a pass", bench.absorb(&disk, AT_ONCE));
}

/// What the machine does with the same bytes on one thread.
fn limits(report: &mut Report, update: &[u8], repetitions: usize) {
    let mut copy = update.to_vec();
    report.limit(
        "memcpy",
        Timing::of(repetitions, || timed(|| black_box(&mut copy).copy_from_slice(black_box(update)))),
    );
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
        let pool = Pool::new(arguments.threads).unwrap();
        let range = ExactRange { value_bits: 16, weight_bits: 29 };
        let summing = Summing::new(pool, PayloadPool::new(Arc::clone(&layout)), range);
        let runtime = Builder::new_current_thread().build().unwrap();
        Self { arguments, runtime, summing, update, base }
    }

    /// Slots for every update, all in memory or all on disk.
    fn store(&self, in_memory: bool) -> SlotStore {
        let len = self.update.len() as u64;
        let all = Bytes(self.arguments.updates as u64 * (len + len / 1024 + 4096));
        let (memory, disk) = if in_memory { (all, Bytes(0)) } else { (Bytes(0), all) };
        let folder = std::env::temp_dir().join(format!("fl-bench-{}", std::process::id()));
        SlotStore::new(memory, disk, folder, len).unwrap()
    }

    fn stage(&self, store: &SlotStore, count: usize) -> Vec<(StagedSlot, Weight)> {
        let stage = |n: usize| {
            let mut writer = store.try_reserve().unwrap().unwrap();
            writer.write(&self.update).unwrap();
            (writer.finish().unwrap(), Weight::new(n as u64 * 100 + 1).unwrap())
        };
        (0..count).map(stage).collect()
    }

    /// Per update, `at_once` of them a call.
    fn absorb(&mut self, store: &SlotStore, at_once: usize) -> Timing {
        let Arguments { updates, repetitions, .. } = self.arguments;
        let repetition = || {
            let mut staged = self.stage(store, updates);
            let mut took = Took::default();
            while !staged.is_empty() {
                let rest = staged.split_off(at_once.min(staged.len()));
                let batch = std::mem::replace(&mut staged, rest);
                took = took.plus(timed(|| run(&self.runtime, self.summing.absorb(batch)).unwrap()));
            }
            run(&self.runtime, self.summing.clear()).unwrap();
            took
        };
        Timing::of(repetitions, repetition).per(updates)
    }

    fn finalise(&mut self, store: &SlotStore) -> Timing {
        Timing::of(self.arguments.repetitions, || {
            let staged = self.stage(store, AT_ONCE);
            run(&self.runtime, self.summing.absorb(staged)).unwrap();
            timed(|| drop(run(&self.runtime, self.summing.finalise(&self.base)).unwrap()))
        })
    }

    /// The end of a round: the last four updates and the mean, in one pass or in two.
    fn last_four(&mut self, store: &SlotStore, fused: bool) -> Timing {
        Timing::of(self.arguments.repetitions, || {
            let staged = self.stage(store, AT_ONCE);
            run(&self.runtime, self.summing.absorb(staged)).unwrap();
            let staged = self.stage(store, AT_ONCE);
            timed(|| match fused {
                true => {
                    drop(run(&self.runtime, self.summing.absorb_and_finalise(staged, &self.base)).unwrap())
                }
                false => {
                    run(&self.runtime, self.summing.absorb(staged)).unwrap();
                    drop(run(&self.runtime, self.summing.finalise(&self.base)).unwrap());
                }
            })
        })
    }
}

fn run<T>(runtime: &Runtime, call: impl Future<Output = T>) -> T {
    runtime.block_on(call)
}
