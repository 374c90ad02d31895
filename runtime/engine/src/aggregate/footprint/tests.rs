use super::*;
use crate::{
    model::ModelSpec,
    plan::{DataSpec, Loader, Release, ReleaseTo, Released, Split, TaskKind},
    tensor::{Combine, Dtype, TensorSpec},
};

fn plan(memory: u64, spill: u64) -> PlanDraft {
    let model = ModelSpec::chain(vec![1], Vec::new());
    let data = DataSpec {
        loader: Loader::Custom { name: "none".into() },
        standardise: None,
        split: Split { train: 1.0, validation: 0.0, test: 0.0 },
        classes: None,
        federated: None,
    };
    let mut plan = PlanDraft::trial("trial", model, data).unwrap();
    (plan.memory_budget, plan.spill_budget) = (ByteCount(memory), ByteCount(spill));
    plan
}

/// Ten million parameters and one counter.
fn layout() -> std::sync::Arc<Layout> {
    let steps = TensorSpec { dtype: Dtype::I64, combine: Combine::Sum, ..TensorSpec::f32("n", []) };
    Layout::new(vec![TensorSpec::f32("a", [10_000_000]), steps]).unwrap()
}

#[test]
fn updates_in_memory_get_what_is_left() {
    let of = |memory| footprint(&plan(memory, 0), &layout(), 3);
    assert_eq!(of(REST + 3 * 40_000_008).slots, 3);
    assert_eq!(of(REST + 3 * 40_000_008).slot_memory(), ByteCount(3 * 40_000_008));
    assert_eq!(of(REST + 3 * 40_000_008).total(), ByteCount(REST + 3 * 40_000_008));
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
    assert!(!footprint.fits(ByteCount(footprint.least().0 - 1)));
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
fn ruled(rule: Rule, memory: u64, spill: u64) -> PlanDraft {
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
    assert!(sum.fits(ByteCount(250_000_000)), "{sum}");
    assert!(sum.total() <= ByteCount(250_000_000), "{sum}");
    assert_eq!((sum.slots, sum.needed), (2, 64), "{sum}");
    assert!(sum.least() <= ByteCount(156_000_000), "{}", sum.least().0);
    // Ten times the model costs two models and nothing else: the disk has the rest.
    let least = |len| footprint(&ruled(Rule::Median, 0, 1 << 40), &floats(len), 64).least().0;
    assert_eq!(least(100_000_000) - least(10_000_000), 2 * 360_000_000);
}

#[test]
fn median_of_a_thousand_small_updates_fits_into_the_default_limits() {
    let sum = footprint(&ruled(Rule::Median, 512 << 20, 4 << 30), &floats(10_000), 1000);
    assert!(sum.fits(ByteCount(512 << 20)) && sum.slots >= 1000, "{sum}");
    // Their windows alone are 284 MB.
    assert!(sum.least() < ByteCount(400_000_000), "{}", sum.least().0);
    let krum = footprint(&ruled(krum(), 512 << 20, 4 << 30), &floats(10_000), 1000);
    assert!(krum.fits(ByteCount(512 << 20)), "{krum}");
}

#[test]
fn every_update_of_a_round_needs_a_place() {
    let of = |memory, spill| footprint(&ruled(Rule::Median, memory, spill), &floats(10_000_000), 10);
    let each = 40_000_000 + 611 * 16;
    let none = of(0, 0);
    assert_eq!(none.least().0, none.sums.fixed + 10 * 40_000_000, "without a disk, in memory");
    assert!(!none.fits(ByteCount(none.least().0 - 1)));
    let some = of(none.least().0 - 1, 9 * each);
    assert_eq!(some.spilled, 9);
    let least = some.sums.fixed + 40_000_000 + 9 * some.sums.chunks;
    assert_eq!(some.least().0, least, "one in memory, nine read from the disk by each thread");
    for budget in [least, least + 1, least + 39_000_000, least + 40_000_000, none.least().0 + 40_000_000] {
        let sum = of(budget, 9 * each);
        assert!(sum.fits(ByteCount(budget)) && sum.slots + sum.spilled >= 10, "{sum}");
        assert!(sum.total() <= ByteCount(budget), "{sum}");
    }
    let short = of(100 << 20, 3 * each);
    assert!(!short.fits(ByteCount(100 << 20)));
    let shown = short.to_string();
    let words = "median keeps updates of a round: up to 10\n\
                 limits.memory is too small: it needs at least 387 MiB, or 121 MiB with limits.spill of 382 MiB";
    assert!(shown.ends_with(words), "{shown}");
    let enough = of(387 << 20, 3 * each);
    assert!(enough.fits(ByteCount(387 << 20)), "{enough}");
    let enough = of(121 << 20, 382 << 20);
    assert!(enough.fits(ByteCount(121 << 20)), "{enough}");
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
    plan.quorum.count_max = Some(3);
    assert_eq!(footprint(&plan, &layout(), 10).needed, 10, "beyond count.max too");
    assert_eq!(sum.least().0, REST + windows(10) - windows(3) + 10 * 40_000_008);
    assert!(sum.to_string().contains("a threshold keeps updates of a round: up to 10"), "{sum}");
}

#[test]
fn what_bounds_a_round_bounds_its_places() {
    let needed = |change: fn(&mut PlanDraft)| {
        let mut plan = ruled(Rule::Median, 0, 0);
        change(&mut plan);
        let sum = footprint(&plan, &floats(1000), 100);
        (sum.needed, sum.sums.read)
    };
    assert_eq!(needed(|_| {}), (100, 100));
    assert_eq!(needed(|p| p.sample = Some(20)), (20, 20));
    assert_eq!(needed(|p| p.quorum.count_max = Some(30)), (30, 30));
    let floor = |p: &mut PlanDraft| {
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
    let least = |plan: &PlanDraft| footprint(plan, &floats(10_000_000), 3).least().0;
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

const REST: u64 = 2 * 40_000_008 + 160_000_008 + 3 * (262_144 + 1_398_101) + 30_000_000;
