//! What changes no bit of an answer.

use std::sync::Arc;

use fl_engine::{
    aggregate::{Combiner, ELEMENTS_A_STEP, Measure, Method, Products, Scratch, combine_payloads},
    plan::Rule,
    tensor::{Combine, Dtype, Layout, TensorSpec},
};

use super::{EXACT, Random, answer, bytes, every_rule, layout, method_of, weight};

/// Weights and values of seven updates and a base of 24 elements, with duplicates.
fn updates(random: &mut Random) -> (Vec<(Vec<f32>, u32)>, Vec<f32>) {
    let mut updates: Vec<(Vec<f32>, u32)> =
        (0..7).map(|i| (random.values(24), 1 + (random.next() % 1000) as u32 * (i & 1))).collect();
    updates[5].0 = updates[2].0.clone();
    (updates, random.values(24))
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn the_order_of_the_updates_changes_nothing() {
    let mut random = Random::new(1);
    for _ in 0..40 {
        let (mut updates, base) = updates(&mut random);
        // Two alike leave it to the roster's order which of them is chosen: their values are the same.
        updates[5].1 = updates[2].1;
        let before: Vec<_> = every_rule().iter().map(|rule| bits(&answer(rule, &updates, &base))).collect();
        for i in (1..updates.len()).rev() {
            updates.swap(i, (random.next() % (i as u64 + 1)) as usize);
        }
        for (rule, before) in every_rule().iter().zip(before) {
            // One sums over updates in f64, in roster order. The other ends on pairs of nearest neighbours,
            // which are equally good, and takes the first of the roster.
            if !matches!(rule, Rule::GeometricMedian { .. } | Rule::Bulyan { .. }) {
                assert_eq!(bits(&answer(rule, &updates, &base)), before, "{rule:?}");
            }
        }
    }
}

/// Three tensors over several steps, blocks and leaves; the second is held out, and the last begins inside a
/// step.
fn long() -> Arc<Layout> {
    let keep = TensorSpec { combine: Combine::Keep, ..TensorSpec::f32("keep", [100]) };
    let last = TensorSpec::f32("b", [70_000]);
    Layout::new(vec![TensorSpec::f32("a", [3_000]), keep, last]).unwrap()
}

/// Products of the runs that `cut` gives for a shard's length.
fn products(rule: &Rule, payloads: &[Vec<u8>], base: &[u8], cut: impl Fn(usize) -> usize) -> Vec<Products> {
    let Method::Scored(scored) = method_of(rule) else { return Vec::new() };
    let measure = Measure::new(&long(), scored.scope(), payloads.len());
    assert_eq!(measure.shards().len(), 2);
    let mut scratch = Scratch::new();
    let partials = measure.shards().iter().enumerate().map(|(index, shard)| {
        let mut partial = measure.partial(index);
        let mut from = shard.start;
        while from < shard.end {
            let to = (from + cut(from)).min(shard.end);
            let runs: Vec<&[u8]> = payloads.iter().map(|p| &p[from * 4..to * 4]).collect();
            partial.accumulate(from, &runs, &base[from * 4..to * 4], &mut scratch);
            from = to;
        }
        partial
    });
    measure.merge(partials.collect::<Vec<_>>())
}

#[test]
fn where_a_model_is_cut_into_runs_changes_nothing() {
    let mut random = Random::new(2);
    let (layout, len) = (long(), long().f32_len());
    let payloads: Vec<Vec<u8>> = (0..7).map(|_| bytes(&random.values(len))).collect();
    let base = bytes(&random.values(len));
    let weights: Vec<_> = (0..7).map(|i| weight(1 + 37 * i)).collect();
    let whole: Vec<_> = payloads.iter().map(Vec::as_slice).zip(weights.iter().copied()).collect();
    for rule in every_rule() {
        let expected = combine_payloads(&method_of(&rule), &layout, EXACT, &whole, &base).unwrap();
        let products =
            products(&rule, &payloads, &base, |from| ELEMENTS_A_STEP * (1 + from / ELEMENTS_A_STEP % 5));
        let combiner = match method_of(&rule) {
            Method::Stream(_) => continue,
            Method::Columns(columns) => Combiner::columns(Arc::clone(&layout), EXACT, &columns, &weights),
            Method::Scored(scored) => {
                Combiner::scored(Arc::clone(&layout), EXACT, scored.as_ref(), &products, &weights)
            }
        };
        let combiner = combiner.unwrap();
        let (mut out, mut scratch, mut from) = (vec![0xff; len * 4], Scratch::new(), 0);
        while from < len {
            let to = (from + 1 + (random.next() % 3000) as usize).min(len);
            let read = combiner.inputs().iter().map(|i| &payloads[*i][from * 4..to * 4]);
            let run = from * 4..to * 4;
            let read: Vec<&[u8]> = read.collect();
            combiner.run(from, &read, &base[run.clone()], &mut out[run], &mut scratch).unwrap();
            from = to;
        }
        assert!(out == expected, "{rule:?}");
    }
}

#[test]
fn products_are_those_of_the_deltas_whatever_their_length() {
    let mut random = Random::new(3);
    let len = long().f32_len();
    for updates in [1, 2, 3, 4, 5, 7, 9] {
        let values: Vec<Vec<f32>> = (0..updates).map(|_| random.values(len)).collect();
        let base = random.values(len);
        let payloads: Vec<Vec<u8>> = values.iter().map(|v| bytes(v)).collect();
        let rule = Rule::Krum { byzantine: 0 };
        let whole = products(&rule, &payloads, &bytes(&base), |_| usize::MAX / 2);
        assert_eq!(whole, products(&rule, &payloads, &bytes(&base), |_| ELEMENTS_A_STEP));
        let combined = (0..3_000).chain(3_100..len);
        for i in 0..updates {
            for j in 0..updates {
                let delta = |row: usize, e: usize| f64::from(values[row][e]) - f64::from(base[e]);
                let expected: f64 = combined.clone().map(|e| delta(i, e) * delta(j, e)).sum();
                let given = whole[0].product(i, j);
                assert!((given - expected).abs() <= 1e-9 * len as f64, "{i} {j}: {given} {expected}");
            }
        }
    }
}

#[test]
fn one_update_is_the_answer_and_two_meet_in_the_middle() {
    let base = vec![0.5f32; 24];
    let one: Vec<f32> = (0..24).map(|i| i as f32 * 0.25 - 2.0).collect();
    let two: Vec<f32> = one.iter().map(|v| v + 1.0).collect();
    let held = |mut values: Vec<f32>| {
        values[10..14].fill(0.5);
        values
    };
    for rule in every_rule() {
        // Krum and its kin need three, clipping changes one alone.
        let few = matches!(rule, Rule::Krum { .. } | Rule::MultiKrum { .. } | Rule::Bulyan { .. });
        if few || matches!(rule, Rule::ClippedMean { .. }) {
            continue;
        }
        assert_eq!(answer(&rule, &[(one.clone(), 7)], &base), held(one.clone()), "{rule:?}");
        let half: Vec<f32> = one.iter().map(|v| v + 0.5).collect();
        let answer = answer(&rule, &[(one.clone(), 7), (two.clone(), 7)], &base);
        let near = answer.iter().zip(held(half)).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near, "{rule:?}: {answer:?}");
    }
    let clipped = Rule::ClippedMean { norm: 1e9 };
    assert_eq!(answer(&clipped, &[(one.clone(), 7)], &base), held(one.clone()));
}

#[test]
fn weighted_medians_at_exactly_half_meet_in_the_middle() {
    let update = |value: f32, weight: u32| (vec![value; 24], weight);
    let median = |updates: &[(Vec<f32>, u32)]| answer(&Rule::WeightedMedian, updates, &[0.0; 24])[0];
    assert_eq!(median(&[update(5.0, 3), update(1.0, 1), update(2.0, 2)]), 3.5);
    assert_eq!(median(&[update(5.0, 4), update(1.0, 1), update(2.0, 2)]), 5.0);
    assert_eq!(median(&[update(5.0, 2), update(1.0, 1), update(2.0, 2)]), 2.0);
    assert_eq!(median(&[update(5.0, 1), update(1.0, 1000), update(2.0, 999)]), 1.5);
    assert_eq!(median(&[update(-5.0, 1), update(-1.0, 1), update(-0.0, 1), update(0.0, 1)]), -0.5);
}

#[test]
fn of_equal_updates_the_first_in_the_roster_is_chosen() {
    let mut random = Random::new(4);
    let (near, base) = (random.values(24), vec![0.0; 24]);
    let twin = |shift: f32| -> Vec<f32> { near.iter().map(|v| v + shift).collect() };
    let payloads: Vec<Vec<u8>> =
        [9.0, 0.0, 0.0, 0.0, 0.0].map(|shift| bytes(&twin(shift))).into_iter().collect();
    let weights = vec![weight(1); 5];
    let inputs = |rule: &Rule| {
        let Method::Scored(scored) = method_of(rule) else { panic!("{rule:?}") };
        let measure = Measure::new(&layout(), scored.scope(), 5);
        let mut partial = measure.partial(0);
        let runs: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        partial.accumulate(0, &runs, &bytes(&base), &mut Scratch::new());
        let products = measure.merge([partial]);
        Combiner::scored(layout(), EXACT, scored.as_ref(), &products, &weights).unwrap().inputs().to_vec()
    };
    assert_eq!(inputs(&Rule::Krum { byzantine: 1 }), [1]);
    assert_eq!(inputs(&Rule::MultiKrum { byzantine: 1, keep: Some(3) }), [1, 2, 3]);
    assert_eq!(inputs(&Rule::MultiKrum { byzantine: 1, keep: None }), [1, 2, 3, 4]);
    assert_eq!(inputs(&Rule::Bulyan { byzantine: 0 }), [0, 1, 2, 3, 4]);
}

#[test]
fn integers_follow_their_rule_over_the_updates_that_are_read() {
    let integer =
        |name: &str, combine| TensorSpec { dtype: Dtype::I64, combine, ..TensorSpec::f32(name, []) };
    let tensors = vec![
        TensorSpec::f32("a", [1]),
        integer("max", Combine::Max),
        integer("sum", Combine::Sum),
        integer("keep", Combine::Keep),
    ];
    let layout = Layout::new(tensors).unwrap();
    let payload = |value: f32, integers: [i64; 3]| {
        [value.to_le_bytes().to_vec(), integers.iter().flat_map(|v| v.to_le_bytes()).collect()].concat()
    };
    let far = payload(900.0, [99, i64::MAX, 1]);
    let near = [1.0, 1.5, 2.0, 1.25].map(|v| payload(v, [-5 + v as i64, 3, 2]));
    let all: Vec<(&[u8], _)> =
        near.iter().chain([&far]).map(|payload| (payload.as_slice(), weight(2))).collect();
    let base = payload(0.0, [7, 8, 9]);
    let next = |rule: &Rule| combine_payloads(&method_of(rule), &layout, EXACT, &all, &base).unwrap();
    assert_eq!(next(&Rule::Median), payload(1.5, [99, i64::MAX.wrapping_add(12), 9]));
    assert_eq!(next(&Rule::WeightedMean)[4..], payload(0.0, [99, i64::MAX.wrapping_add(12), 9])[4..]);
    let four = Rule::MultiKrum { byzantine: 1, keep: None };
    assert_eq!(next(&four), payload(1.4375, [-3, 12, 9]));
}
