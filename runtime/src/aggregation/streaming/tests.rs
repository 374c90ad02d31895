//! The sum against the engine's own and against arbitrary precision, whatever the batches, threads and places; what
//! fails, panics or is dropped.

use std::{
    fs,
    future::Future,
    path::PathBuf,
    pin::pin,
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use fl_engine::{
    ByteCount,
    aggregate::{Method, combine_payloads},
    tensor::{Combine, Dtype, Layout, TensorSpec, root_of},
};
use num_bigint::{BigInt, Sign};

use super::*;
use crate::{
    aggregation::fixture::{Random, layout},
    memory::SlotStore,
    payload::VERSIONS,
};

const RANGE: ExactRange = ExactRange { value_bits: 16, weight_bits: 29 };

/// What a plan leaves free for clipping.
const NARROW: ExactRange = ExactRange { value_bits: 16, weight_bits: 19 };

struct Update {
    payload: Vec<u8>,
    weight: Weight,
}

/// Updates in threes: values over 26 binades, small ones, and the first again with the other sign and all but cancelling.
fn updates(count: usize, seed: u64) -> Vec<Update> {
    let mut random = Random(seed);
    let layout = layout();
    let (mut wide, mut heavy) = (vec![0.0f32; layout.f32_len()], 1);
    let update = |n: usize| {
        let weight = 1 + random.next() % 1000;
        heavy = if n.is_multiple_of(3) { weight } else { heavy };
        let value = |wide: &mut f32| match n % 3 {
            0 => {
                *wide = random.unit() * f32::exp2((random.next() % 26) as f32 - 10.0);
                *wide
            }
            1 => random.unit() * 1e-4,
            _ => -*wide * (1.0 + 1e-6),
        };
        let mut payload: Vec<u8> = wide.iter_mut().map(value).flat_map(f32::to_le_bytes).collect();
        (0..layout.i64_len()).for_each(|_| payload.extend(random.next().to_le_bytes()));
        Update { payload, weight: Weight::new(if n % 3 == 2 { heavy } else { weight }).unwrap() }
    };
    (0..count).map(update).collect()
}

fn base() -> Payload {
    let bytes = (0..layout().byte_len()).map(|n| (n * 7) as u8).collect::<Vec<_>>();
    Payload::new(&layout(), bytes.into()).unwrap()
}

/// The engine's sum on one thread, in order.
fn engine(updates: &[Update]) -> Vec<u8> {
    let mut mean = ExactMean::new(layout(), RANGE, 1);
    updates.iter().for_each(|u| mean.absorb(&u.payload, u.weight).unwrap());
    let mut out = Vec::new();
    mean.finalise(base().as_slice(), &mut out);
    out
}

static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// A sum and its slots, of which `memory` are in memory.
struct Rig {
    summing: Summing,
    store: SlotStore,
    slots: (usize, usize),
    folder: PathBuf,
}

impl Rig {
    fn new(threads: usize, memory: usize, disk: usize) -> Self {
        let name = format!("fl-sum-{}-{}", std::process::id(), FOLDERS.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        let len = layout().byte_len() as u64;
        let (in_memory, on_disk) = (ByteCount(memory as u64 * len), ByteCount(disk as u64 * (len + 4096)));
        let store = SlotStore::new(in_memory, on_disk, folder.clone(), len).unwrap();
        assert_eq!(store.free(), (memory, disk));
        let summing = Summing::new(Pool::new(threads).unwrap(), PayloadPool::new(layout()), RANGE);
        Self { summing, store, slots: (memory, disk), folder }
    }

    /// For another rule than the weighted mean.
    fn of(stream: Stream, threads: usize, memory: usize, disk: usize) -> Self {
        let mut rig = Self::new(threads, memory, disk);
        let payloads = PayloadPool::new(layout());
        rig.summing = Summing::of(stream, Pool::new(threads).unwrap(), payloads, NARROW);
        rig
    }

    fn stage(&self, updates: &[Update]) -> Vec<(StagedSlot, Weight)> {
        let stage = |update: &Update| {
            let mut writer = self.store.try_reserve().unwrap().unwrap();
            writer.write(&update.payload).unwrap();
            (writer.finish().unwrap(), update.weight)
        };
        updates.iter().map(stage).collect()
    }

    fn everything_came_back(&self) -> bool {
        self.store.free() == self.slots && self.summing.payloads.free() == VERSIONS
    }

    async fn until_everything_came_back(&self) {
        let start = Instant::now();
        while !self.everything_came_back() {
            assert!(start.elapsed() < Duration::from_secs(10), "a dropped call kept something");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test]
async fn batches_order_threads_and_places_change_no_bit() {
    let mut updates = updates(7, 1);
    let expected = engine(&updates);
    let mut random = Random(2);
    for case in 0..12 {
        let memory = random.below(8);
        let mut rig = Rig::new(1 + case % 5, memory, 7 - memory);
        for i in (1..updates.len()).rev() {
            updates.swap(i, random.below(i + 1));
        }
        let fused = random.below(8);
        let (apart, last) = updates.split_at(7 - fused);
        let mut rest = apart;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(1 + random.below(rest.len()));
            let staged = rig.stage(now);
            rig.summing.absorb(staged).await.unwrap();
            assert!(rig.everything_came_back());
            rest = later;
        }
        let staged = rig.stage(last);
        let mean = rig.summing.absorb_and_finalise(staged, &base()).await.unwrap();
        assert!(mean.as_slice() == expected, "case {case}: {memory} in memory, {fused} fused");
        assert_eq!(mean.root(), root_of(layout().hash(), mean.as_slice()));
        drop(mean);
        assert!(rig.everything_came_back() && rig.summing.total() == 0);
    }
}

/// A base whose values can be summed.
fn sound_base() -> Payload {
    let mut random = Random(99);
    let mut bytes: Vec<u8> = (0..layout().f32_len()).flat_map(|_| random.unit().to_le_bytes()).collect();
    (0..layout().i64_len()).for_each(|_| bytes.extend(random.next().to_le_bytes()));
    Payload::new(&layout(), bytes.into()).unwrap()
}

/// Updates at distances of about 40 to 640 from [`sound_base`].
fn near(count: usize, seed: u64) -> Vec<Update> {
    let mut random = Random(seed);
    let base = sound_base();
    let update = |n: usize| {
        let scale = 0.15 * f32::exp2((n % 5) as f32);
        let floats = 0..layout().f32_len();
        let value = |e: usize| f32_of(base.as_slice(), e) + scale * random.unit();
        let mut payload: Vec<u8> = floats.map(value).flat_map(f32::to_le_bytes).collect();
        (0..layout().i64_len()).for_each(|_| payload.extend(random.next().to_le_bytes()));
        Update { payload, weight: Weight::new(1 + random.next() % 1000).unwrap() }
    };
    (0..count).map(update).collect()
}

#[tokio::test]
async fn every_streaming_rule_gives_the_bits_of_the_engine_s_own_whatever_the_batches_and_places() {
    let mut updates = near(7, 21);
    let clip = |norm| Stream::Clipped(Clip::new(norm, NARROW));
    let mut random = Random(22);
    for stream in [Stream::WeightedMean, Stream::Mean, clip(1e-3), clip(150.0), clip(1e9)] {
        let all: Vec<_> = updates.iter().map(|u| (u.payload.as_slice(), u.weight)).collect();
        let base = sound_base();
        let method = Method::Stream(stream);
        let expected = combine_payloads(&method, &layout(), NARROW, &all, base.as_slice()).unwrap();
        for threads in [1, 3] {
            let memory = random.below(8);
            let mut rig = Rig::of(stream, threads, memory, 7 - memory);
            for _ in 0..2 {
                for i in (1..updates.len()).rev() {
                    updates.swap(i, random.below(i + 1));
                }
                let (apart, last) = updates.split_at(7 - random.below(8));
                let mut rest = apart;
                while !rest.is_empty() {
                    let (now, later) = rest.split_at(1 + random.below(rest.len()));
                    let staged = rig.stage(now);
                    rig.summing.absorb_around(staged, &base).await.unwrap();
                    assert!(rig.everything_came_back());
                    rest = later;
                }
                let staged = rig.stage(last);
                let mean = rig.summing.absorb_and_finalise(staged, &base).await.unwrap();
                assert!(mean.as_slice() == expected, "{stream:?}, {threads} threads, {memory} in memory");
                assert_eq!(mean.root(), root_of(layout().hash(), mean.as_slice()));
                drop(mean);
                assert!(rig.everything_came_back() && rig.summing.total() == 0);
            }
        }
    }
}

#[tokio::test]
async fn the_clipped_mean_is_the_correctly_rounded_exact_mean_of_the_clipped_weights() {
    let (updates, base, clip) = (near(6, 23), sound_base(), Clip::new(150.0, NARROW));
    let mut rig = Rig::of(Stream::Clipped(clip), 2, 3, 3);
    let staged = rig.stage(&updates);
    let mean = rig.summing.absorb_and_finalise(staged, &base).await.unwrap();
    // Distances in another order of additions: none is near a step of its weight's floor.
    let held = layout().place(2);
    let combined = || (0..layout().f32_len()).filter(|element| !held.contains(element));
    let delta =
        |payload: &[u8], e: usize| f64::from(f32_of(payload, e)) - f64::from(f32_of(base.as_slice(), e));
    let distance = |u: &Update| combined().map(|e| delta(&u.payload, e).powi(2)).sum::<f64>();
    let full = |u: &Update| u64::from(u.weight.value()) << 10;
    let shares: Vec<u32> =
        updates.iter().map(|u| clip.weight(u.weight, distance(u)).unwrap().value()).collect();
    let clipped = updates.iter().zip(&shares).filter(|(u, share)| full(u) > u64::from(**share)).count();
    assert!((1..6).contains(&clipped), "{clipped} of 6 are clipped");
    let total: u64 = updates.iter().map(full).sum();
    let residual = total - shares.iter().map(|share| u64::from(*share)).sum::<u64>();
    for element in combined().step_by(61) {
        let terms =
            updates.iter().zip(&shares).map(|(u, share)| integer(f32_of(&u.payload, element)) * *share);
        let sum = terms.sum::<BigInt>() + integer(f32_of(base.as_slice(), element)) * residual;
        let bits = f32_of(mean.as_slice(), element).to_bits();
        assert_eq!(bits, nearest(&sum, total), "element {element}");
    }
}

#[tokio::test]
async fn updates_are_clipped_around_one_sound_base_alone() {
    let updates = near(4, 24);
    let stream = Stream::Clipped(Clip::new(150.0, NARROW));
    let mut rig = Rig::of(stream, 2, 4, 0);
    let staged = rig.stage(&updates);
    assert!(matches!(rig.summing.absorb(staged).await, Err(SumError::Base)));
    let staged = rig.stage(&updates);
    // Bytes at random: values of any size.
    assert!(matches!(rig.summing.absorb_around(staged, &base()).await, Err(SumError::Unfit(_))));
    let staged = rig.stage(&updates[..2]);
    rig.summing.absorb_around(staged, &sound_base()).await.unwrap();
    let other = Payload::new(&layout(), updates[3].payload.clone().into()).unwrap();
    let staged = rig.stage(&updates[2..]);
    assert!(matches!(rig.summing.absorb_around(staged, &other).await, Err(SumError::Base)));
    assert!(matches!(rig.summing.finalise(&other).await, Err(SumError::Base)));
    assert!(rig.everything_came_back());
    let staged = rig.stage(&updates[2..]);
    let mean = rig.summing.absorb_and_finalise(staged, &sound_base()).await.unwrap();
    let all: Vec<_> = updates.iter().map(|u| (u.payload.as_slice(), u.weight)).collect();
    let base = sound_base();
    let expected = combine_payloads(&Method::Stream(stream), &layout(), NARROW, &all, base.as_slice());
    assert!(mean.as_slice() == expected.unwrap());
}

#[tokio::test]
async fn changed_spill_file_is_named_while_distances_are_measured() {
    let updates = near(6, 25);
    let stream = Stream::Clipped(Clip::new(150.0, NARROW));
    let mut rig = Rig::of(stream, 2, 1, 5);
    let staged = rig.stage(&updates);
    let file = rig.folder.join("slot-4.spill");
    let mut bytes = fs::read(&file).unwrap();
    bytes[300_000] ^= 1;
    fs::write(&file, bytes).unwrap();
    let failed = rig.summing.absorb_around(staged, &sound_base()).await;
    assert!(matches!(failed, Err(SumError::Update { index: 5, .. })), "{failed:?}");
    assert!(rig.everything_came_back());
    assert!(matches!(rig.summing.finalise(&sound_base()).await, Err(SumError::Incomplete)));
    rig.summing.clear().await.unwrap();
    let staged = rig.stage(&updates);
    rig.summing.absorb_and_finalise(staged, &sound_base()).await.unwrap();
}

#[tokio::test]
async fn a_sum_is_empty_and_complete_after_its_mean() {
    let mut rig = Rig::new(2, 4, 0);
    assert!(matches!(rig.summing.finalise(&base()).await, Err(SumError::Empty)));
    for seed in 3..6 {
        let updates = updates(4, seed);
        let staged = rig.stage(&updates);
        rig.summing.absorb(staged).await.unwrap();
        let mean = rig.summing.finalise(&base()).await.unwrap();
        assert!(mean.as_slice() == engine(&updates));
    }
}

#[tokio::test]
async fn the_mean_is_the_correctly_rounded_exact_mean_and_a_plain_f64_sum_is_not() {
    let updates = updates(6, 7);
    let mut rig = Rig::new(2, 3, 3);
    let staged = rig.stage(&updates);
    let mean = rig.summing.absorb_and_finalise(staged, &base()).await.unwrap();
    let held = layout().place(2);
    let (mut checked, mut plain_is_wrong) = (0, 0);
    for element in (0..layout().f32_len()).step_by(61).filter(|element| !held.contains(element)) {
        let exact = reference(&updates, element);
        let bits = f32_of(mean.as_slice(), element).to_bits();
        assert_eq!(bits, exact, "element {element}");
        checked += 1;
        plain_is_wrong += usize::from(plain_f64(&updates, element).to_bits() != exact);
    }
    assert!(checked > 4000);
    assert!(plain_is_wrong > 0, "the reference cannot tell an inexact sum from an exact one");
}

#[tokio::test]
async fn what_cannot_be_added_is_refused_and_changes_nothing() {
    let updates = updates(2, 8);
    let mut rig = Rig::new(2, 4, 0);
    let staged = rig.stage(&updates);
    rig.summing.absorb(staged).await.unwrap();
    let other = Layout::new(vec![TensorSpec::f32("a", [4])]).unwrap();
    let wrong = Payload::from_state(&fl_engine::tensor::ModelState::zeros(other));
    let refused = rig.summing.finalise(&wrong).await;
    assert!(matches!(refused, Err(SumError::Refused(AbsorbError::Length))));
    let short = SlotStore::new(ByteCount(4), ByteCount(0), PathBuf::new(), 4).unwrap();
    let mut writer = short.try_reserve().unwrap().unwrap();
    writer.write(&[0; 4]).unwrap();
    let refused = rig.summing.absorb(vec![(writer.finish().unwrap(), updates[0].weight)]).await;
    assert!(matches!(refused, Err(SumError::Refused(AbsorbError::Length))));
    assert_eq!(short.free(), (1, 0));
    rig.summing.most_total = rig.summing.total() + 1;
    let staged = rig.stage(&updates);
    let refused = rig.summing.absorb(staged).await;
    assert!(matches!(refused, Err(SumError::Refused(AbsorbError::TotalWeight(_)))));
    assert!(rig.everything_came_back());
    assert!(rig.summing.finalise(&base()).await.unwrap().as_slice() == engine(&updates));
}

#[tokio::test]
async fn changed_spill_file_is_named_and_the_sum_refuses_to_go_on() {
    let updates = updates(6, 9);
    let mut rig = Rig::new(2, 1, 5);
    let staged = rig.stage(&updates);
    let file = rig.folder.join("slot-4.spill");
    let mut bytes = fs::read(&file).unwrap();
    bytes[300_000] ^= 1;
    fs::write(&file, bytes).unwrap();
    let failed = rig.summing.absorb_and_finalise(staged, &base()).await;
    let named = matches!(
        failed,
        Err(SumError::Update { index: 5, source: MemoryError::Tampered { slot: 4, chunk: 4 } })
    );
    assert!(named, "{failed:?}");
    assert!(rig.everything_came_back());
    let staged = rig.stage(&updates);
    assert!(matches!(rig.summing.absorb(staged).await, Err(SumError::Incomplete)));
    assert!(matches!(rig.summing.finalise(&base()).await, Err(SumError::Incomplete)));
    assert!(rig.everything_came_back());
    rig.summing.clear().await.unwrap();
    let staged = rig.stage(&updates);
    let mean = rig.summing.absorb_and_finalise(staged, &base()).await.unwrap();
    assert!(mean.as_slice() == engine(&updates));
}

#[tokio::test]
async fn panicking_job_is_an_error_and_the_sum_refuses_to_go_on() {
    let updates = updates(3, 10);
    let mut rig = Rig::new(2, 3, 0);
    let staged = rig.stage(&updates);
    rig.summing.absorb(staged).await.unwrap();
    // A shard of elements that no payload of this layout has.
    let wide = Layout::new(vec![TensorSpec::f32("a", [4_000_000])]).unwrap();
    let alien = ExactMean::new(wide, RANGE, 2).take_shards().pop().unwrap();
    let shard = std::mem::replace(&mut *lock(&rig.summing.sum.shards[1]), alien);
    let failed = rig.summing.finalise(&base()).await;
    assert!(matches!(failed, Err(SumError::Pool(PoolError::Panicked(_)))), "{failed:?}");
    assert!(rig.everything_came_back());
    assert!(matches!(rig.summing.finalise(&base()).await, Err(SumError::Incomplete)));
    *lock(&rig.summing.sum.shards[1]) = shard;
    rig.summing.clear().await.unwrap();
    let staged = rig.stage(&updates);
    let mean = rig.summing.absorb_and_finalise(staged, &base()).await.unwrap();
    assert!(mean.as_slice() == engine(&updates));
}

#[tokio::test]
async fn call_dropped_at_any_await_gives_everything_back_and_counts_nothing() {
    let updates = updates(4, 11);
    let expected = engine(&updates);
    let mut rig = Rig::new(2, 2, 2);
    let model = base();
    for index in 0..rig.summing.sum.shards.len() {
        let sum = Arc::clone(&rig.summing.sum);
        let staged = rig.stage(&updates);
        let mut call = Box::pin(rig.summing.absorb_and_finalise(staged, &model));
        // The call gets as far as the await of this shard's job, which waits for the lock.
        let held = lock(&sum.shards[index]);
        for _ in 0..20 {
            assert!(pin!(&mut call).poll(&mut Context::from_waker(Waker::noop())).is_pending());
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(call);
        drop(held);
        rig.until_everything_came_back().await;
        assert!(matches!(rig.summing.finalise(&model).await, Err(SumError::Incomplete)));
        rig.summing.clear().await.unwrap();
    }
    let staged = rig.stage(&updates);
    let mean = rig.summing.absorb_and_finalise(staged, &model).await.unwrap();
    assert!(mean.as_slice() == expected);
}

#[tokio::test]
async fn call_dropped_while_its_jobs_are_queued_frees_its_slots_and_counts_nothing() {
    let updates = updates(4, 12);
    let mut rig = Rig::new(1, 4, 0);
    // The only thread is held, so every job of the call is still queued when it is dropped.
    let (go, wait) = mpsc::channel::<()>();
    let held = rig.summing.pool.run(move || wait.recv());
    let staged = rig.stage(&updates);
    let mut call = Box::pin(rig.summing.absorb(staged));
    assert!(poll_times(&mut call, 3).await.is_none());
    drop(call);
    assert_eq!(rig.store.free(), (0, 0));
    go.send(()).unwrap();
    held.await.unwrap().unwrap();
    rig.summing.clear().await.unwrap();
    rig.until_everything_came_back().await;
    let staged = rig.stage(&updates[..2]);
    let mean = rig.summing.absorb_and_finalise(staged, &base()).await.unwrap();
    assert!(mean.as_slice() == engine(&updates[..2]));
}

#[tokio::test]
async fn job_that_comes_to_its_shard_after_a_clear_adds_nothing() {
    let updates = updates(2, 14);
    let mut rig = Rig::new(1, 4, 0);
    let call = Call::default();
    let staged = rig.stage(&updates);
    let batch = rig.summing.share(0, staged, None).await.unwrap();
    let late = Pass { batch, finish: None, call: call.clone() };
    // What dropping the call's future does.
    drop(CancelOnDrop(call));
    rig.summing.clear().await.unwrap();
    for index in 0..rig.summing.sum.shards.len() {
        assert!(matches!(rig.summing.sum.work(&late, index), Err(SumError::Incomplete)));
    }
    let staged = rig.stage(&updates);
    let mean = rig.summing.absorb_and_finalise(staged, &base()).await.unwrap();
    assert!(mean.as_slice() == engine(&updates));
}

#[tokio::test]
async fn waiting_for_a_buffer_can_be_dropped_without_harm() {
    let updates = updates(2, 13);
    let mut rig = Rig::new(2, 2, 0);
    let payloads = rig.summing.payloads.clone();
    let held = [payloads.take().await, payloads.take().await];
    let staged = rig.stage(&updates);
    rig.summing.absorb(staged).await.unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(20), rig.summing.finalise(&base())).await;
    assert!(waited.is_err());
    drop(held);
    assert!(rig.summing.finalise(&base()).await.unwrap().as_slice() == engine(&updates));
}

#[tokio::test]
async fn a_model_of_one_small_tensor_or_of_integers_alone_is_summed() {
    let steps = TensorSpec { dtype: Dtype::I64, combine: Combine::Sum, ..TensorSpec::f32("n", [2]) };
    for tensors in [vec![TensorSpec::f32("a", [3])], vec![steps]] {
        let layout = Layout::new(tensors).unwrap();
        let len = layout.byte_len() as u64;
        let store = SlotStore::new(ByteCount(len), ByteCount(0), PathBuf::new(), len).unwrap();
        let payloads = PayloadPool::new(Arc::clone(&layout));
        let mut summing = Summing::new(Pool::new(3).unwrap(), payloads, RANGE);
        let mut state = fl_engine::tensor::ModelState::zeros(Arc::clone(&layout));
        state.f32.fill(1.5);
        state.i64.fill(-2);
        let update = Payload::from_state(&state);
        let mut writer = store.try_reserve().unwrap().unwrap();
        writer.write(update.as_slice()).unwrap();
        let staged = vec![(writer.finish().unwrap(), Weight::new(9).unwrap())];
        assert_eq!(summing.absorb_and_finalise(staged, &update).await.unwrap(), update);
    }
}

/// Polls `call` at most `polls` times, letting the pool go on in between.
async fn poll_times<T>(call: &mut (impl Future<Output = T> + Unpin), polls: usize) -> Option<T> {
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..polls {
        if let Poll::Ready(done) = pin!(&mut *call).poll(&mut context) {
            return Some(done);
        }
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    None
}

fn f32_of(payload: &[u8], element: usize) -> f32 {
    f32::from_le_bytes(payload.as_chunks::<4>().0[element])
}

/// `value · 2^149` as an integer: every finite f32 is one.
fn integer(value: f32) -> BigInt {
    let bits = value.to_bits();
    let (exponent, fraction) = (bits >> 23 & 0xff, bits & 0x7f_ffff);
    let magnitude = match exponent {
        0 => BigInt::from(fraction),
        e => BigInt::from(fraction | 1 << 23) << (e - 1),
    };
    if bits >> 31 == 1 { -magnitude } else { magnitude }
}

/// Bits of the f32 nearest to the exact rational mean.
fn reference(updates: &[Update], element: usize) -> u32 {
    let total: u64 = updates.iter().map(|u| u64::from(u.weight.value())).sum();
    let term = |u: &Update| integer(f32_of(&u.payload, element)) * u.weight.value();
    nearest(&updates.iter().map(term).sum(), total)
}

/// Bits of the f32 nearest to `sum · 2^-149 / total`, ties to even, found by bisection over all f32 bit patterns.
fn nearest(sum: &BigInt, total: u64) -> u32 {
    let (sign, magnitude) = (sum.sign(), BigInt::from(sum.magnitude().clone()));
    let scaled = |bits: u32| integer(f32::from_bits(bits)) * total;
    let (mut low, mut high) = (0u32, 0x7f7f_ffff);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if scaled(middle) <= magnitude { low = middle } else { high = middle }
    }
    let (below, above) = (&magnitude - scaled(low), scaled(high) - &magnitude);
    let nearest = match below.cmp(&above) {
        std::cmp::Ordering::Less => low,
        std::cmp::Ordering::Greater => high,
        std::cmp::Ordering::Equal => low + (low & 1),
    };
    if sign == Sign::Minus && nearest != 0 { nearest | 1 << 31 } else { nearest }
}

/// What a sum in doubles would give.
fn plain_f64(updates: &[Update], element: usize) -> f32 {
    let total: f64 = updates.iter().map(|u| f64::from(u.weight.value())).sum();
    let term = |u: &Update| f64::from(f32_of(&u.payload, element)) * f64::from(u.weight.value());
    (updates.iter().map(term).sum::<f64>() / total) as f32
}
