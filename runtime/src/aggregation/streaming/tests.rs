//! The sum against the engine's own and against arbitrary precision, for any batches, threads and places.
//! Calls that fail, panic or are dropped.

use std::{
    future::Future,
    pin::pin,
    sync::mpsc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use fl_engine::{
    Draws,
    aggregate::{Method, combine_payloads},
    tensor::{Combine, Layout, ModelState, TensorSpec, root_of},
};
use num_bigint::{BigInt, Sign};

use super::*;
use crate::{
    aggregation::fixture::{self, EXACT, Given, alone, integers, layout, one_slot, signed, site, staged},
    memory::MemoryError,
    pool::PoolError,
};

type Rig = fixture::Rig<StreamingAggregation>;

/// Updates in threes: values over 26 binades, small ones, and the first again with the other sign and all but
/// cancelling.
fn updates(count: usize, seed: u64) -> Vec<Given> {
    let mut draws = Draws::new(seed);
    let layout = layout();
    let (mut wide, mut heavy) = (vec![0.0f32; layout.f32_len()], 1);
    let update = |n: usize| {
        let weight = 1 + draws.next_u64() % 1000;
        heavy = if n.is_multiple_of(3) { weight } else { heavy };
        let value = |wide: &mut f32| match n % 3 {
            0 => {
                *wide = signed(&mut draws) * f32::exp2((draws.next_u64() % 26) as f32 - 10.0);
                *wide
            }
            1 => signed(&mut draws) * 1e-4,
            _ => -*wide * (1.0 + 1e-6),
        };
        let mut payload: Vec<u8> = wide.iter_mut().map(value).flat_map(f32::to_le_bytes).collect();
        (0..layout.i64_len()).for_each(|_| payload.extend(draws.next_u64().to_le_bytes()));
        Given {
            name: site(n),
            payload,
            weight: Weight::new(if n % 3 == 2 { heavy } else { weight }).unwrap(),
        }
    };
    (0..count).map(update).collect()
}

fn base() -> Payload {
    let bytes = (0..layout().byte_len()).map(|n| (n * 7) as u8).collect::<Vec<_>>();
    Payload::new(&layout(), bytes.into()).unwrap()
}

/// The engine's sum on one thread, in order.
fn engine(updates: &[Given]) -> Vec<u8> {
    let mut mean = ExactMean::new(layout(), RANGE, 1);
    updates.iter().for_each(|u| mean.absorb(&u.payload, u.weight).unwrap());
    let mut out = Vec::new();
    mean.finalise(base().as_slice(), &mut out);
    out
}

/// A weighted mean.
fn rig(threads: usize, memory: usize, disk: usize) -> Rig {
    Rig::new(threads, (memory, disk), |pool, payloads| {
        StreamingAggregation::new(Stream::WeightedMean, pool, payloads, RANGE)
    })
}

/// Any rule that streams.
fn rig_of(stream: Stream, threads: usize, memory: usize, disk: usize) -> Rig {
    Rig::new(threads, (memory, disk), |pool, payloads| {
        StreamingAggregation::new(stream, pool, payloads, EXACT)
    })
}

/// The model of a round that has all of its updates.
async fn mean(rig: &mut Rig, base: &Payload) -> Result<Payload, AggregationError> {
    rig.aggregation.finish(Vec::new(), base, None).await
}

/// Stages updates that come last, and finishes the round.
async fn mean_with(rig: &mut Rig, last: &[Given], base: &Payload) -> Result<Payload, AggregationError> {
    let staged = rig.stage(last);
    rig.aggregation.finish(staged, base, None).await
}

/// Stages updates and absorbs them.
async fn absorb(rig: &mut Rig, given: &[Given], base: &Payload) -> Result<(), AggregationError> {
    let staged = rig.stage(given);
    rig.aggregation.absorb(staged, base).await
}

#[tokio::test]
async fn batches_order_threads_and_places_change_no_bit() {
    let mut updates = updates(7, 1);
    let expected = engine(&updates);
    let mut draws = Draws::new(2);
    for case in 0..12 {
        let memory = draws.below(8) as usize;
        let mut rig = rig(1 + case % 5, memory, 7 - memory);
        draws.shuffle(&mut updates);
        let fused = draws.below(8) as usize;
        let (apart, last) = updates.split_at(7 - fused);
        let mut rest = apart;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(1 + draws.below(rest.len() as u64) as usize);
            absorb(&mut rig, now, &base()).await.unwrap();
            assert!(rig.everything_came_back());
            rest = later;
        }
        let mean = mean_with(&mut rig, last, &base()).await.unwrap();
        assert!(mean.as_slice() == expected, "case {case}: {memory} in memory, {fused} fused");
        assert_eq!(mean.root(), root_of(layout().hash(), mean.as_slice()));
        drop(mean);
        assert!(rig.everything_came_back() && rig.aggregation.total() == 0);
    }
}

/// A base whose values can be summed.
fn sound_base() -> Payload {
    let mut draws = Draws::new(99);
    let mut bytes: Vec<u8> = (0..layout().f32_len()).flat_map(|_| signed(&mut draws).to_le_bytes()).collect();
    (0..layout().i64_len()).for_each(|_| bytes.extend(draws.next_u64().to_le_bytes()));
    Payload::new(&layout(), bytes.into()).unwrap()
}

/// Updates at distances of about 40 to 640 from [`sound_base`].
fn near(count: usize, seed: u64) -> Vec<Given> {
    let mut draws = Draws::new(seed);
    let base = sound_base();
    let update = |n: usize| {
        let scale = 0.15 * f32::exp2((n % 5) as f32);
        let floats = 0..layout().f32_len();
        let value = |e: usize| f32_of(base.as_slice(), e) + scale * signed(&mut draws);
        let mut payload: Vec<u8> = floats.map(value).flat_map(f32::to_le_bytes).collect();
        (0..layout().i64_len()).for_each(|_| payload.extend(draws.next_u64().to_le_bytes()));
        Given { name: site(n), payload, weight: Weight::new(1 + draws.next_u64() % 1000).unwrap() }
    };
    (0..count).map(update).collect()
}

#[tokio::test]
async fn every_streaming_rule_gives_the_bits_of_the_engine_whatever_the_batches_and_places() {
    let mut updates = near(7, 21);
    let clip = |norm| Stream::Clipped(Clip::new(norm, EXACT));
    let mut draws = Draws::new(22);
    for stream in [Stream::WeightedMean, Stream::Mean, clip(1e-3), clip(150.0), clip(1e9)] {
        let all: Vec<_> = updates.iter().map(|u| (u.payload.as_slice(), u.weight)).collect();
        let base = sound_base();
        let method = Method::Stream(stream);
        let expected = combine_payloads(&method, &layout(), EXACT, &all, base.as_slice()).unwrap();
        for threads in [1, 3] {
            let memory = draws.below(8) as usize;
            let mut rig = rig_of(stream, threads, memory, 7 - memory);
            for _ in 0..2 {
                draws.shuffle(&mut updates);
                let (apart, last) = updates.split_at(7 - draws.below(8) as usize);
                let mut rest = apart;
                while !rest.is_empty() {
                    let (now, later) = rest.split_at(1 + draws.below(rest.len() as u64) as usize);
                    absorb(&mut rig, now, &base).await.unwrap();
                    assert!(rig.everything_came_back());
                    rest = later;
                }
                let mean = mean_with(&mut rig, last, &base).await.unwrap();
                assert!(mean.as_slice() == expected, "{stream:?}, {threads} threads, {memory} in memory");
                assert_eq!(mean.root(), root_of(layout().hash(), mean.as_slice()));
                drop(mean);
                assert!(rig.everything_came_back() && rig.aggregation.total() == 0);
            }
        }
    }
}

#[tokio::test]
async fn the_clipped_mean_is_the_correctly_rounded_exact_mean_of_the_clipped_weights() {
    let (updates, base, clip) = (near(6, 23), sound_base(), Clip::new(150.0, EXACT));
    let mut rig = rig_of(Stream::Clipped(clip), 2, 3, 3);
    let mean = mean_with(&mut rig, &updates, &base).await.unwrap();
    // Distances in another order of additions: none is near a step of its weight's floor.
    let held = layout().place(2);
    let combined = || (0..layout().f32_len()).filter(|element| !held.contains(element));
    let delta =
        |payload: &[u8], e: usize| f64::from(f32_of(payload, e)) - f64::from(f32_of(base.as_slice(), e));
    let distance = |u: &Given| combined().map(|e| delta(&u.payload, e).powi(2)).sum::<f64>();
    let full = |u: &Given| u64::from(u.weight.value()) << 10;
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
    let stream = Stream::Clipped(Clip::new(150.0, EXACT));
    let mut rig = rig_of(stream, 2, 4, 0);
    // The bytes are arbitrary, so some values are too large.
    assert!(matches!(absorb(&mut rig, &updates, &base()).await, Err(AggregationError::UnfitBase(_))));
    absorb(&mut rig, &updates[..2], &sound_base()).await.unwrap();
    let other = Payload::new(&layout(), updates[3].payload.clone().into()).unwrap();
    assert!(matches!(absorb(&mut rig, &updates[2..], &other).await, Err(AggregationError::Base)));
    assert!(matches!(mean(&mut rig, &other).await, Err(AggregationError::Base)));
    assert!(rig.everything_came_back());
    let mean = mean_with(&mut rig, &updates[2..], &sound_base()).await.unwrap();
    let all: Vec<_> = updates.iter().map(|u| (u.payload.as_slice(), u.weight)).collect();
    let base = sound_base();
    let expected = combine_payloads(&Method::Stream(stream), &layout(), EXACT, &all, base.as_slice());
    assert!(mean.as_slice() == expected.unwrap());
}

#[tokio::test]
async fn changed_spill_file_is_named_while_distances_are_measured() {
    let updates = near(6, 25);
    let stream = Stream::Clipped(Clip::new(150.0, EXACT));
    let mut rig = rig_of(stream, 2, 1, 5);
    let staged = rig.stage(&updates);
    rig.damage("slot-4.spill", 300_000);
    let failed = rig.aggregation.absorb(staged, &sound_base()).await;
    let named = matches!(&failed, Err(AggregationError::Update { name, .. }) if *name == site(5));
    assert!(named, "{failed:?}");
    assert!(rig.everything_came_back());
    assert!(matches!(mean(&mut rig, &sound_base()).await, Err(AggregationError::Incomplete)));
    rig.aggregation.clear().await.unwrap();
    mean_with(&mut rig, &updates, &sound_base()).await.unwrap();
}

#[tokio::test]
async fn a_sum_is_empty_and_complete_after_its_mean() {
    let mut rig = rig(2, 4, 0);
    assert!(matches!(mean(&mut rig, &base()).await, Err(AggregationError::Empty)));
    for seed in 3..6 {
        let updates = updates(4, seed);
        absorb(&mut rig, &updates, &base()).await.unwrap();
        let mean = mean(&mut rig, &base()).await.unwrap();
        assert!(mean.as_slice() == engine(&updates));
    }
}

#[tokio::test]
async fn the_mean_is_the_correctly_rounded_exact_mean_and_a_plain_f64_sum_is_not() {
    let updates = updates(6, 7);
    let mut rig = rig(2, 3, 3);
    let mean = mean_with(&mut rig, &updates, &base()).await.unwrap();
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
    let mut rig = rig(2, 4, 0);
    absorb(&mut rig, &updates, &base()).await.unwrap();
    let other = Layout::new(vec![TensorSpec::f32("a", [4])]).unwrap();
    let wrong = Payload::from_state(&ModelState::zeros(other));
    let refused = mean(&mut rig, &wrong).await;
    assert!(matches!(refused, Err(AggregationError::Length)));
    let short = one_slot(4);
    let update = staged(&short, &site(0), &[0; 4], updates[0].weight);
    let refused = rig.aggregation.absorb(vec![update], &base()).await;
    assert!(matches!(refused, Err(AggregationError::Length)));
    assert_eq!(short.free(), (1, 0));
    rig.aggregation.most_total = rig.aggregation.total() + 1;
    let refused = absorb(&mut rig, &updates, &base()).await;
    assert!(matches!(refused, Err(AggregationError::Absorb(AbsorbError::TotalWeight(_)))));
    assert!(rig.everything_came_back());
    assert!(mean(&mut rig, &base()).await.unwrap().as_slice() == engine(&updates));
}

#[tokio::test]
async fn changed_spill_file_is_named_and_the_sum_refuses_to_go_on() {
    let updates = updates(6, 9);
    let mut rig = rig(2, 1, 5);
    let staged = rig.stage(&updates);
    rig.damage("slot-4.spill", 300_000);
    let failed = rig.aggregation.finish(staged, &base(), None).await;
    let damaged = MemoryError::Tampered { slot: 4, chunk: 4 };
    let named = matches!(&failed, Err(AggregationError::Update { name, source })
        if *name == site(5) && source.to_string() == damaged.to_string());
    assert!(named, "{failed:?}");
    assert!(rig.everything_came_back());
    assert!(matches!(absorb(&mut rig, &updates, &base()).await, Err(AggregationError::Incomplete)));
    assert!(matches!(mean(&mut rig, &base()).await, Err(AggregationError::Incomplete)));
    assert!(rig.everything_came_back());
    rig.aggregation.clear().await.unwrap();
    let mean = mean_with(&mut rig, &updates, &base()).await.unwrap();
    assert!(mean.as_slice() == engine(&updates));
}

#[tokio::test]
async fn panicking_job_is_an_error_and_the_sum_refuses_to_go_on() {
    let updates = updates(3, 10);
    let mut rig = rig(2, 3, 0);
    absorb(&mut rig, &updates, &base()).await.unwrap();
    // A shard of elements that no payload of this layout has.
    let wide = Layout::new(vec![TensorSpec::f32("a", [4_000_000])]).unwrap();
    let alien = ExactMean::new(wide, RANGE, 2).take_shards().pop().unwrap();
    let shard = std::mem::replace(&mut *lock(&rig.aggregation.sum.sums[1]), alien);
    let failed = mean(&mut rig, &base()).await;
    assert!(matches!(failed, Err(AggregationError::Pool(PoolError::Panicked(_)))), "{failed:?}");
    assert!(rig.everything_came_back());
    assert!(matches!(mean(&mut rig, &base()).await, Err(AggregationError::Incomplete)));
    *lock(&rig.aggregation.sum.sums[1]) = shard;
    rig.aggregation.clear().await.unwrap();
    let mean = mean_with(&mut rig, &updates, &base()).await.unwrap();
    assert!(mean.as_slice() == engine(&updates));
}

#[tokio::test]
async fn call_dropped_at_any_await_gives_everything_back_and_counts_nothing() {
    let updates = updates(4, 11);
    let expected = engine(&updates);
    let mut rig = rig(2, 2, 2);
    let model = base();
    for index in 0..rig.aggregation.sum.shards.count() {
        let sum = Arc::clone(&rig.aggregation.sum);
        let staged = rig.stage(&updates);
        let mut call = Box::pin(rig.aggregation.finish(staged, &model, None));
        // The call gets as far as the await of this shard's job, which waits for the lock.
        let held = lock(&sum.sums[index]);
        for _ in 0..20 {
            assert!(pin!(&mut call).poll(&mut Context::from_waker(Waker::noop())).is_pending());
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(call);
        drop(held);
        rig.until_everything_came_back().await;
        assert!(matches!(mean(&mut rig, &model).await, Err(AggregationError::Incomplete)));
        rig.aggregation.clear().await.unwrap();
    }
    let mean = mean_with(&mut rig, &updates, &model).await.unwrap();
    assert!(mean.as_slice() == expected);
}

#[tokio::test]
async fn call_dropped_while_its_jobs_are_queued_frees_its_slots_and_counts_nothing() {
    let updates = updates(4, 12);
    let mut rig = rig(1, 4, 0);
    // The only thread is held, so every job of the call is still queued when it is dropped.
    let (go, wait) = mpsc::channel::<()>();
    let held = rig.aggregation.pool.run(move || wait.recv());
    let staged = rig.stage(&updates);
    let model = base();
    let mut call = Box::pin(rig.aggregation.absorb(staged, &model));
    assert!(poll_times(&mut call, 3).await.is_none());
    drop(call);
    assert_eq!(rig.store.free(), (0, 0));
    go.send(()).unwrap();
    held.await.unwrap().unwrap();
    rig.aggregation.clear().await.unwrap();
    rig.until_everything_came_back().await;
    let mean = mean_with(&mut rig, &updates[..2], &base()).await.unwrap();
    assert!(mean.as_slice() == engine(&updates[..2]));
}

#[tokio::test]
async fn job_that_comes_to_its_shard_after_a_clear_adds_nothing() {
    let updates = updates(2, 14);
    let mut rig = rig(1, 4, 0);
    let call = PoolCall::new(&rig.aggregation.pool);
    let staged = rig.stage(&updates);
    let batch = rig.aggregation.weigh(staged, &base()).await.unwrap();
    let late = Pass { batch, last: None, call: call.token() };
    // Dropping the future of a call drops its `PoolCall`.
    drop(call);
    rig.aggregation.clear().await.unwrap();
    for index in 0..rig.aggregation.sum.shards.count() {
        assert!(matches!(rig.aggregation.sum.work(&late, index), Err(AggregationError::Incomplete)));
    }
    let mean = mean_with(&mut rig, &updates, &base()).await.unwrap();
    assert!(mean.as_slice() == engine(&updates));
}

#[tokio::test]
async fn waiting_for_a_buffer_can_be_dropped_without_harm() {
    let updates = updates(2, 13);
    let mut rig = rig(2, 2, 0);
    let payloads = rig.payloads.clone();
    let held = [payloads.take().await, payloads.take().await];
    absorb(&mut rig, &updates, &base()).await.unwrap();
    assert!(gives_up(mean(&mut rig, &base())).await);
    drop(held);
    assert!(mean(&mut rig, &base()).await.unwrap().as_slice() == engine(&updates));
}

#[tokio::test]
async fn updates_that_are_lost_while_a_call_waits_for_a_buffer_make_the_sum_incomplete() {
    let updates = updates(2, 15);
    let mut rig = rig(2, 2, 0);
    let payloads = rig.payloads.clone();
    let held = [payloads.take().await, payloads.take().await];
    absorb(&mut rig, &updates[..1], &base()).await.unwrap();
    assert!(gives_up(mean_with(&mut rig, &updates[1..], &base())).await);
    drop(held);
    assert!(rig.everything_came_back());
    assert!(matches!(mean(&mut rig, &base()).await, Err(AggregationError::Incomplete)));
}

#[tokio::test]
async fn a_model_of_one_small_tensor_or_of_integers_alone_is_summed() {
    let steps = integers("n", Combine::Sum);
    for tensors in [vec![TensorSpec::f32("a", [3])], vec![steps]] {
        let (mut streaming, last, update) = alone(tensors, |pool, payloads| {
            StreamingAggregation::new(Stream::WeightedMean, pool, payloads, RANGE)
        });
        assert_eq!(streaming.finish(vec![last], &update, None).await.unwrap(), update);
    }
}

/// Drops a call after 20 ms, and says whether it was still waiting then.
async fn gives_up(call: impl Future) -> bool {
    tokio::time::timeout(Duration::from_millis(20), call).await.is_err()
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
fn reference(updates: &[Given], element: usize) -> u32 {
    let total: u64 = updates.iter().map(|u| u64::from(u.weight.value())).sum();
    let term = |u: &Given| integer(f32_of(&u.payload, element)) * u.weight.value();
    nearest(&updates.iter().map(term).sum(), total)
}

/// Bits of the f32 nearest to `sum · 2^-149 / total`, ties to even, found by bisection over all f32 bit
/// patterns.
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
fn plain_f64(updates: &[Given], element: usize) -> f32 {
    let total: f64 = updates.iter().map(|u| f64::from(u.weight.value())).sum();
    let term = |u: &Given| f64::from(f32_of(&u.payload, element)) * f64::from(u.weight.value());
    (updates.iter().map(term).sum::<f64>() / total) as f32
}

const RANGE: ExactRange = ExactRange { value_bits: 16, weight_bits: 29 };
