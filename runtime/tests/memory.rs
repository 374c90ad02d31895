//! The memory promise under a hard limit: an aggregator's sum of a 10 M parameter model lives in two models,
//! the accumulator, the slots and 30 MB, whether 3 or 30 collaborators send to it.
//!
//! The limit is RLIMIT_AS of a child process (this binary again), over the address space that the same child
//! takes when it does nothing. glibc reserves 64 MiB of address space for every thread's arena:
//! `MALLOC_ARENA_MAX=1` switches that off in the children; the static binary's allocator has no such thing.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::{
    env, fs,
    process::{Command, Output},
    sync::Arc,
};

use fl_engine::{
    ByteCount, Weight,
    aggregate::{LIVE_MODELS, MOST_AT_ONCE, OVERHEAD_BYTES, PEER_BYTES, Stream, footprint},
    model::ModelSpec,
    plan::{DataSpec, ExactRange, Loader, PlanDraft, Split},
    tensor::{Layout, ModelState, TensorSpec},
};
use fl_runtime::internal::{
    aggregation::{StagedUpdate, streaming::StreamingAggregation},
    memory::SlotStore,
    net::{NetLimits, quic::LINK_STATE},
    payload::PayloadPool,
    pool::Pool,
};
use tokio::sync::mpsc;

const PARAMETERS: u64 = 10_000_000;
const MODEL: u64 = PARAMETERS * 4;
const ACCUMULATOR: u64 = PARAMETERS * 16;
const IN_MEMORY: u64 = 2;
const ON_DISK: u64 = 2;
const ROUNDS: u32 = 2;
/// Says to the child what it does: `idle`, or collaborators and slots in memory.
const CHILD: &str = "FL_MEMORY_TEST_CHILD";

#[test]
fn sum_of_3_and_of_30_updates_lives_in_the_same_hard_limit() {
    for collaborators in [3, 30] {
        let output = child(&format!("{collaborators} {IN_MEMORY}"), Some(limit()));
        assert!(output.status.success(), "{collaborators} collaborators: {output:?}");
        println!("{collaborators} collaborators: {} KiB of {}", peak(&output), limit() / 1024);
    }
}

#[test]
fn holding_more_updates_than_counted_does_not_live_in_the_limit() {
    for in_memory in [IN_MEMORY + 1, 30] {
        let output = child(&format!("30 {in_memory}"), Some(limit()));
        assert!(!output.status.success(), "{in_memory} updates in memory did not die");
        let died_of = String::from_utf8_lossy(&output.stderr);
        assert!(died_of.contains("memory allocation of"), "{died_of}");
    }
}

#[test]
fn footprint_counts_what_the_runtime_takes() {
    assert_eq!(NetLimits::server().first_window + LINK_STATE, PEER_BYTES.0);
    let layout = Layout::new(vec![TensorSpec::f32("a", [100_001])]).unwrap();
    let model = ModelSpec::chain(vec![1], Vec::new());
    let data = DataSpec {
        loader: Loader::Custom { name: "none".into() },
        standardise: None,
        split: Split { train: 1.0, validation: 0.0, test: 0.0 },
        classes: None,
        federated: None,
    };
    let mut plan = PlanDraft::trial("trial", model, data).unwrap();
    (plan.memory_budget, plan.spill_budget) = (ByteCount(40_000_000), ByteCount(10 * 400_116 - 1));
    let sum = footprint(&plan, &layout, 3);
    let folder = env::temp_dir().join(format!("fl-footprint-{}", std::process::id()));
    let store = SlotStore::new(
        &fl_runtime::internal::system::System::real(),
        sum.slot_memory(),
        plan.spill_budget,
        folder.clone(),
        sum.payload.0,
    )
    .unwrap();
    assert_eq!(store.free(), (sum.slots as usize, sum.spilled as usize));
    assert!(sum.slots > 2 && sum.spilled == 9);
    let _ = fs::remove_dir_all(folder);
}

/// Two models, the accumulator, the slots and 30 MB over what the child takes anyway.
fn limit() -> u64 {
    let baseline = peak(&child("idle", None)) * 1024;
    baseline + LIVE_MODELS * MODEL + ACCUMULATOR + IN_MEMORY * MODEL + OVERHEAD_BYTES.0
}

/// Runs [`as_the_child`] in a process of its own, with an address space of at most `limit` bytes.
fn child(what: &str, limit: Option<u64>) -> Output {
    let limit = limit.map_or_else(|| "unlimited".to_owned(), |limit| (limit / 1024).to_string());
    let program = env::current_exe().unwrap();
    Command::new("sh")
        .args(["-c", "ulimit -v \"$1\"; shift; exec \"$@\"", "sh", &limit])
        .arg(program)
        .args(["as_the_child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(CHILD, what)
        .env("MALLOC_ARENA_MAX", "1")
        .output()
        .unwrap()
}

/// The largest address space that a child reported, KiB.
fn peak(output: &Output) -> u64 {
    let said = String::from_utf8_lossy(&output.stdout);
    let line = said.lines().find_map(|line| line.split_once("VmPeak:"));
    let number = line.and_then(|(_, rest)| rest.trim().strip_suffix(" kB")?.parse().ok());
    number.unwrap_or_else(|| panic!("{output:?}"))
}

#[test]
#[ignore = "run by the other tests, in a process with a limit"]
fn as_the_child() {
    let Ok(what) = env::var(CHILD) else { return };
    if let Some((collaborators, in_memory)) = what.split_once(' ') {
        sum(collaborators.parse().unwrap(), in_memory.parse().unwrap());
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    println!("\n{}", status.lines().find(|line| line.starts_with("VmPeak:")).unwrap());
}

#[tokio::main(flavor = "current_thread")]
async fn sum(collaborators: u32, in_memory: u64) {
    let layout = Layout::new(vec![TensorSpec::f32("a", [PARAMETERS as u32])]).unwrap();
    let folder = env::temp_dir().join(format!("fl-memory-{}", std::process::id()));
    let disk = ByteCount(ON_DISK * (MODEL + 16_384));
    let store = SlotStore::new(
        &fl_runtime::internal::system::System::real(),
        ByteCount(in_memory * MODEL),
        disk,
        folder.clone(),
        MODEL,
    )
    .unwrap();
    let payloads = PayloadPool::new(Arc::clone(&layout));
    let first = ModelState::zeros(Arc::clone(&layout));
    let mut base = payloads.take().await.encode(&first).unwrap();
    drop(first);
    let range = ExactRange { value_bits: 16, weight_bits: 29 };
    let pool = Pool::new(&fl_runtime::internal::system::System::real().threads, 2).unwrap();
    let mut aggregation = StreamingAggregation::new(Stream::WeightedMean, pool, payloads, range);
    for _ in 0..ROUNDS {
        let (staged, mut updates) = mpsc::channel(64);
        for number in 0..collaborators {
            tokio::spawn(collaborate(store.clone(), number, staged.clone()));
        }
        drop(staged);
        let mut batch = Vec::new();
        let mut added = 0;
        while updates.recv_many(&mut batch, MOST_AT_ONCE).await > 0 {
            added += batch.len();
            // Every slot is wanted by somebody who waits.
            aggregation.absorb(std::mem::take(&mut batch), &base).await.unwrap();
        }
        assert_eq!(added, collaborators as usize);
        base = aggregation.finish(Vec::new(), &base, None).await.unwrap();
    }
    // The mean of 0, 1, … with weights 1, 2, …
    let n = f64::from(collaborators);
    let expected = (n - 1.0) * 2.0 / 3.0;
    for at in [0, base.len() / 2, base.len() - 4] {
        let value = f32::from_le_bytes(base.as_slice()[at..at + 4].try_into().unwrap());
        assert!((f64::from(value) - expected).abs() < 1e-6 * n, "{value} for {expected}");
    }
    drop(store);
    let _ = fs::remove_dir_all(folder);
}

/// Sends one update as a link would deliver it, piece by piece, as soon as there is a slot.
async fn collaborate(store: SlotStore, number: u32, staged: mpsc::Sender<StagedUpdate>) {
    let mut writer = store.reserve().await.unwrap();
    let piece = (number as f32).to_le_bytes().repeat(16 * 1024);
    while writer.written() < MODEL {
        let left = (MODEL - writer.written()).min(piece.len() as u64) as usize;
        writer.write(&piece[..left]).unwrap();
        tokio::task::yield_now().await;
    }
    let weight = Weight::new(u64::from(number) + 1).unwrap();
    let (name, slot) = (format!("site-{number:04}").parse().unwrap(), writer.finish().unwrap());
    staged.send(StagedUpdate { name, slot, weight }).await.unwrap();
}
