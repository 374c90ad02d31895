//! The exact mean against arbitrary-precision arithmetic that shares no code with it.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::{ops::Range, sync::Arc};

use fl_engine::{
    Draws, Weight,
    aggregate::{ELEMENTS_A_PASS, ExactMean, terms_of},
    plan::ExactRange,
    tensor::{Combine, Layout, TensorSpec},
};
use num_bigint::{BigInt, Sign};

const RANGE: ExactRange = ExactRange { value_bits: 16, weight_bits: 29 };
const LEN: usize = 2000;

/// Random numbers of a test.
struct Random(Draws);

impl Random {
    fn new(seed: u64) -> Self {
        Self(Draws::new(seed))
    }

    fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

type Updates = Vec<(Vec<f32>, u32)>;

fn layout() -> Arc<Layout> {
    Layout::new(vec![TensorSpec::f32("a", [700]), TensorSpec::f32("b", [1300])]).unwrap()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn federated(updates: &Updates, order: &[usize], shards: usize) -> Vec<u32> {
    let mut mean = ExactMean::new(layout(), RANGE, shards);
    for &i in order {
        mean.absorb(&bytes(&updates[i].0), Weight::new(updates[i].1.into()).unwrap()).unwrap();
    }
    finalised(&mut mean)
}

/// Bit patterns of the mean.
fn finalised(mean: &mut ExactMean) -> Vec<u32> {
    let mut out = Vec::new();
    mean.finalise(&vec![0; LEN * 4], &mut out);
    out.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect()
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

/// The f32 nearest to the exact rational mean, ties to even, found by bisection over all f32 bit patterns.
fn reference(updates: &Updates, element: usize) -> u32 {
    let total: u64 = updates.iter().map(|(_, w)| u64::from(*w)).sum();
    let sum: BigInt = updates.iter().map(|(v, w)| integer(v[element]) * BigInt::from(*w)).sum();
    let (sign, magnitude) = (sum.sign(), BigInt::from(sum.magnitude().clone()));
    if sign == Sign::NoSign {
        return 0;
    }
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

fn plain_f64(updates: &Updates, element: usize) -> u32 {
    let total: f64 = updates.iter().map(|(_, w)| f64::from(*w)).sum();
    let sum: f64 = updates.iter().map(|(v, w)| f64::from(v[element]) * f64::from(*w)).sum();
    ((sum / total) as f32).to_bits()
}

/// Sixteen updates of one kind of trouble each.
fn cases() -> Vec<(&'static str, Updates)> {
    let mut random = Random::new(1);
    let mut make = |name, f: &mut dyn FnMut(&mut Random, usize) -> (f32, u32)| {
        let updates = (0..16)
            .map(|i| {
                let weight = f(&mut random, i).1;
                ((0..LEN).map(|_| f(&mut random, i).0).collect(), weight)
            })
            .collect();
        (name, updates)
    };
    vec![
        make("ordinary weights", &mut |r, _| (r.unit() * 0.1, 1 + r.next() as u32 % 1000)),
        make("heavy weights", &mut |r, _| (r.unit() * 60_000.0, 1 + r.next() as u32 % ((1 << 29) - 1))),
        make("equal weights, many ties", &mut |r, _| ((r.next() % 4096) as f32 / 8.0, 1)),
        make("largest weights and values", &mut |r, i| {
            (if (r.next() + i as u64).is_multiple_of(2) { 65535.996 } else { -65535.996 }, (1 << 29) - 1)
        }),
        make("wide magnitudes", &mut |r, _| {
            (r.unit() * f32::exp2((r.next() % 26) as f32 - 10.0), 1 + r.next() as u32 % 100)
        }),
    ]
}

fn cancelling() -> Updates {
    let mut random = Random::new(3);
    let plus: Vec<f32> = (0..LEN).map(|_| random.unit() * 30_000.0).collect();
    let minus = plus.iter().map(|v| -v * (1.0 + 1e-6)).collect();
    let small = (0..LEN).map(|_| random.unit() * 1e-4).collect();
    vec![(plus, 77), (small, 3), (minus, 77)]
}

#[test]
fn the_mean_is_the_correctly_rounded_exact_mean() {
    let cases = cases().into_iter().chain([("cancellation", cancelling())]);
    for (name, updates) in cases {
        let order: Vec<usize> = (0..updates.len()).collect();
        let mean = federated(&updates, &order, 3);
        for (element, bits) in mean.iter().enumerate() {
            let expected = reference(&updates, element);
            assert_eq!(
                *bits,
                expected,
                "{name}, element {element}: {} for {}",
                f32::from_bits(*bits),
                f32::from_bits(expected)
            );
        }
    }
}

#[test]
fn a_plain_f64_sum_would_not_pass() {
    let updates = cancelling();
    let wrong = (0..LEN).filter(|e| plain_f64(&updates, *e) != reference(&updates, *e)).count();
    assert!(wrong > 0, "the reference cannot tell an inexact sum from an exact one");
}

#[test]
fn arrival_order_and_shards_change_no_bit() {
    let mut random = Random::new(5);
    for (name, updates) in cases() {
        let mut order: Vec<usize> = (0..updates.len()).collect();
        let expected = federated(&updates, &order, 1);
        for shards in [1, 2, 7, LEN] {
            for i in (1..order.len()).rev() {
                order.swap(i, random.next() as usize % (i + 1));
            }
            assert_eq!(federated(&updates, &order, shards), expected, "{name}, {shards} shards");
        }
    }
}

#[test]
fn batches_of_four_change_no_bit() {
    for (name, updates) in cases() {
        let order: Vec<usize> = (0..updates.len()).collect();
        let expected = federated(&updates, &order, 1);
        let mut mean = ExactMean::new(layout(), RANGE, 2);
        for batch in updates.chunks(4) {
            let payloads: Vec<Vec<u8>> = batch.iter().map(|(v, _)| bytes(v)).collect();
            let weights: Vec<Weight> = batch.iter().map(|(_, w)| Weight::new((*w).into()).unwrap()).collect();
            for weight in &weights {
                mean.admit(std::iter::empty(), *weight).unwrap();
            }
            for shard in mean.shards_mut() {
                shard.reserve(batch.len() as u32);
                let range = shard.range();
                let part = |i: usize| (&payloads[i][range.start * 4..range.end * 4], weights[i].value());
                let runs: Vec<_> = (0..batch.len()).map(part).collect();
                shard.absorb_all(range.start, &runs);
            }
        }
        assert_eq!(finalised(&mut mean), expected, "{name}");
    }
}

#[test]
fn a_mean_taken_in_runs_has_the_same_bits_and_leaves_an_empty_sum() {
    let mut shards = ExactMean::new(layout(), RANGE, 2).take_shards();
    for (name, updates) in cases() {
        let order: Vec<usize> = (0..updates.len()).collect();
        let expected = federated(&updates, &order, 1);
        let total = updates.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut out = vec![0; LEN * 4];
        for shard in &mut shards {
            let range = shard.range();
            for (values, weight) in &updates {
                shard.reserve(1);
                let weight = Weight::new((*weight).into()).unwrap();
                shard.absorb(range.start, &bytes(values)[range.start * 4..range.end * 4], weight);
            }
            for from in range.clone().step_by(ELEMENTS_A_PASS / 16) {
                let to = (from + ELEMENTS_A_PASS / 16).min(range.end);
                shard.take_mean(from, &[], total, &mut out[from * 4..to * 4]);
            }
            shard.emptied();
        }
        let bits: Vec<u32> = out.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
        assert_eq!(bits, expected, "{name}");
    }
}

#[test]
fn more_terms_than_a_bin_holds_do_not_overflow() {
    let mut mean = ExactMean::new(layout(), ExactRange { value_bits: 16, weight_bits: 27 }, 1);
    let payload = bytes(&vec![65535.996; LEN]);
    // 2^27 - 1 a term: 2048 terms reach the bound of the total.
    let weight = Weight::new((1 << 27) - 1).unwrap();
    for _ in 0..2048 {
        mean.absorb(&payload, weight).unwrap();
    }
    assert!(mean.absorb(&payload, weight).is_err());
    assert!(finalised(&mut mean).iter().all(|v| *v == 65535.996f32.to_bits()));
    mean.clear();
    let light = Weight::new(1).unwrap();
    for _ in 0..10_000 {
        mean.absorb(&payload, light).unwrap();
    }
    assert!(finalised(&mut mean).iter().all(|v| *v == 65535.996f32.to_bits()));
}

/// A value that lies halfway between two units of the upper bin leaves the most in the lower one.
#[test]
fn as_many_terms_as_fit_between_two_carries_do_not_overflow_the_lower_bin() {
    for count in [4093, 4094, 4095, 4096] {
        for value in [f32::exp2(-7.0), -f32::exp2(-7.0)] {
            let mut mean = ExactMean::new(layout(), RANGE, 1);
            let payload = bytes(&[value; LEN]);
            for _ in 0..count {
                mean.absorb(&payload, Weight::new(1).unwrap()).unwrap();
            }
            assert!(finalised(&mut mean).iter().all(|v| *v == value.to_bits()), "{count} times {value}");
        }
    }
}

/// Divisors on both sides of what is divided without a guard band, and sums on and next to halfway between
/// floats.
#[test]
fn means_at_and_next_to_ties_are_rounded_exactly_whatever_the_total() {
    let mut random = Random::new(11);
    let mut ties = 0;
    for weights in [
        [1u32, 1],
        [600, 600],
        [(1 << 26) - 1, 1],
        [(1 << 26) - 1, 1 << 26],
        [1 << 26, (1 << 26) + 1],
        [(1 << 28) - 1, 1 << 28],
        [1 << 28, 1 << 28],
        [5 << 26, 5 << 26],
        [(1 << 29) - 1, (1 << 29) - 1],
        [(1 << 29) - 1, 3],
    ] {
        for scale in [f32::exp2(-20.0), f32::exp2(-6.0), 1.0, 65_000.0] {
            let first: Vec<f32> = (0..LEN).map(|_| random.unit() * scale).collect();
            // Neighbours, so that half of the means of equal weights lie halfway.
            let second =
                first.iter().map(|v| f32::from_bits(v.to_bits() + (random.next() % 4) as u32)).collect();
            let updates = vec![(first, weights[0]), (second, weights[1])];
            let mean = federated(&updates, &[0, 1], 2);
            for (element, bits) in mean.iter().enumerate() {
                assert_eq!(*bits, reference(&updates, element), "weights {weights:?}, element {element}");
            }
            let halfway = |e: &usize| (updates[0].0[*e].to_bits() ^ updates[1].0[*e].to_bits()) & 1 == 1;
            ties += (0..LEN).filter(|e| weights[0] == weights[1] && halfway(e)).count();
        }
    }
    assert!(ties > 1000, "{ties} ties");
}

/// Sums that were written over what an older one left, in whole and in part, and last updates added with the
/// mean.
#[test]
fn batches_of_one_to_four_over_an_old_sum_change_no_bit() {
    let mut mean = ExactMean::new(layout(), RANGE, 3);
    for (name, updates) in cases() {
        for (at_once, last) in [(1, 0), (1, 1), (2, 2), (3, 3), (4, 4), (3, 1), (4, 0), (2, 4)] {
            let used = &updates[..3 * at_once + last];
            let expected = {
                let order: Vec<usize> = (0..used.len()).collect();
                federated(&used.to_vec(), &order, 1)
            };
            let payloads: Vec<Vec<u8>> = used.iter().map(|(v, _)| bytes(v)).collect();
            let weights = used.iter().map(|(_, w)| u64::from(*w));
            let total = weights.sum();
            let (before, behind) = payloads.split_at(3 * at_once);
            let mut out = vec![0xff; LEN * 4];
            for shard in mean.shards_mut() {
                let range = shard.range();
                // A pass that was given up half-way leaves a sum in part.
                shard.reserve(1);
                let half = range.start..range.start + range.len() / 2;
                shard.absorb_all(half.start, &[(&payloads[0][half.start * 4..half.end * 4], 77)]);
                shard.clear();
                // Runs of odd length.
                let runs = |length: usize| {
                    range.clone().step_by(length).map(move |from| from..(from + length).min(range.end))
                };
                let of = |run: &Range<usize>, payloads: &'_ [Vec<u8>], first: usize| {
                    let part = |(n, payload): (usize, &'_ Vec<u8>)| {
                        (payload[run.start * 4..run.end * 4].to_vec(), used[first + n].1)
                    };
                    payloads.iter().enumerate().map(part).collect::<Vec<_>>()
                };
                for (n, batch) in before.chunks(at_once).enumerate() {
                    shard.reserve(batch.len() as u32);
                    for run in runs(131) {
                        let of = of(&run, batch, n * at_once);
                        let of: Vec<_> =
                            of.iter().map(|(bytes, weight)| (bytes.as_slice(), *weight)).collect();
                        shard.absorb_all(run.start, &of);
                    }
                }
                shard.reserve(last as u32);
                for run in runs(97) {
                    let of = of(&run, behind, 3 * at_once);
                    let of: Vec<_> = of.iter().map(|(bytes, weight)| (bytes.as_slice(), *weight)).collect();
                    shard.take_mean(run.start, &of, total, &mut out[run.start * 4..run.end * 4]);
                }
                shard.emptied();
            }
            let bits: Vec<u32> = out.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
            assert_eq!(bits, expected, "{name}, {at_once} a pass and {last} with the mean");
        }
    }
}

#[test]
fn a_heavy_weight_is_as_many_terms_of_the_heaviest() {
    let mut random = Random::new(13);
    let values: Vec<f32> = (0..LEN).map(|_| random.unit() * 1e-4).collect();
    let payload = bytes(&values);
    for weight in [1, (1 << 29) - 1, 1 << 29, 5 * ((1 << 29) - 1), 7 * (1 << 29) + 12_345] {
        let (mut heavy, mut light) = (ExactMean::new(layout(), RANGE, 1), ExactMean::new(layout(), RANGE, 1));
        assert_eq!(terms_of(weight), weight.div_ceil((1 << 29) - 1));
        let (shard, mut left) = (&mut heavy.shards_mut()[0], weight);
        shard.reserve(terms_of(weight) as u32 + 1);
        shard.absorb(0, &payload, Weight::new(9).unwrap());
        shard.absorb_heavy(0, &payload, weight);
        light.absorb(&payload, Weight::new(9).unwrap()).unwrap();
        while left > 0 {
            let piece = left.min((1 << 29) - 1);
            light.absorb(&payload, Weight::new(piece).unwrap()).unwrap();
            left -= piece;
        }
        let mut out = vec![0; LEN * 4];
        heavy.shards_mut()[0].take_mean(0, &[], light.total(), &mut out);
        let bits: Vec<u32> = out.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
        assert_eq!(bits, finalised(&mut light), "{weight}");
    }
}

#[test]
fn a_sum_of_zeros_is_positive_zero() {
    let updates = vec![(vec![-0.0; LEN], 3), (vec![-0.0; LEN], 4)];
    assert!(federated(&updates, &[0, 1], 1).iter().all(|bits| *bits == 0));
}

#[test]
fn a_tensor_held_out_keeps_the_bits_of_the_base() {
    let held = TensorSpec { combine: Combine::Keep, ..TensorSpec::f32("held", [3]) };
    let layout = Layout::new(vec![TensorSpec::f32("a", [2]), held, TensorSpec::f32("b", [1])]).unwrap();
    let mut mean = ExactMean::new(layout, RANGE, 1);
    for (update, weight) in [([1.0, 2.0, 9.0, 9.0, 9.0, 3.0], 1), ([5.0, 6.0, 8.0, 8.0, 8.0, 7.0], 3)] {
        mean.absorb(&bytes(&update), Weight::new(weight).unwrap()).unwrap();
    }
    let mut out = Vec::new();
    mean.finalise(&bytes(&[0.0, 0.0, -1.0, -2.0, -3.0, 0.0]), &mut out);
    assert_eq!(out, bytes(&[4.0, 5.0, -1.0, -2.0, -3.0, 6.0]));
}
