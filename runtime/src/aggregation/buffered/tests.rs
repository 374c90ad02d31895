//! The combined model against the engine's, whatever the arrival, threads and places; what fails, panics or is dropped.

use std::{
    fs,
    future::Future,
    path::PathBuf,
    pin::pin,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
        mpsc,
    },
    task::{Context, Waker},
    time::{Duration, Instant},
};

use fl_engine::{
    ByteCount,
    aggregate::{Block, Chosen, Method, Order, Products, ServerStep, Then, combine_payloads, method},
    plan::{Aggregation, Rule, Scope, Server},
    tensor::{Combine, Dtype, Layout, ModelState, TensorSpec, root_of},
};

use super::*;
use crate::{
    aggregation::{
        Aggregation as Shell,
        fixture::{Random, layout},
        server_step::Stepping,
    },
    memory::SlotStore,
    payload::VERSIONS,
};

const EXACT: ExactRange = ExactRange { value_bits: 16, weight_bits: 19 };

#[derive(Clone)]
struct Given {
    name: Name,
    payload: Vec<u8>,
    weight: Weight,
}

/// Updates in order of their names. The last two are far from the others.
fn given(count: usize, seed: u64) -> Vec<Given> {
    let mut random = Random(seed);
    let layout = layout();
    let one = |n: usize| {
        let far = if n + 2 >= count { 40.0 } else { 1.0 };
        let values = (0..layout.f32_len()).map(|_| random.unit() * far);
        let mut payload: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        (0..layout.i64_len()).for_each(|_| payload.extend(random.next().to_le_bytes()));
        let weight = Weight::new(1 + random.next() % 1000).unwrap();
        Given { name: format!("site-{n:02}").parse().unwrap(), payload, weight }
    };
    (0..count).map(one).collect()
}

fn base() -> Payload {
    let mut state = ModelState::zeros(layout());
    let mut random = Random(77);
    state.f32.iter_mut().for_each(|value| *value = random.unit() / 4.0);
    state.i64.iter_mut().for_each(|value| *value = 5);
    Payload::from_state(&state)
}

fn method_of(rule: &Rule) -> Method {
    let aggregation = Aggregation { rule, server: None, threshold: None };
    method(&aggregation, EXACT, |_| None).unwrap()
}

fn whole(rule: &Rule) -> WholeRule {
    match method_of(rule) {
        Method::Columns(rule) => WholeRule::Columns(rule),
        Method::Scored(rule) => WholeRule::Scored(rule),
        Method::Stream(_) => panic!("{rule:?} is a sum"),
    }
}

/// The engine's model on one thread, from whole payloads in roster order.
fn engine(rule: &Rule, given: &[Given]) -> Vec<u8> {
    let updates: Vec<_> = given.iter().map(|g| (g.payload.as_slice(), g.weight)).collect();
    combine_payloads(&method_of(rule), &layout(), EXACT, &updates, base().as_slice()).unwrap()
}

fn rules() -> Vec<Rule> {
    let geometric = |scope| Rule::GeometricMedian { iterations: 3, smoothing: 1e-6, scope };
    vec![
        Rule::Median,
        Rule::WeightedMedian,
        Rule::TrimmedMean { trim: 0.2 },
        Rule::Krum { byzantine: 2 },
        Rule::MultiKrum { byzantine: 2, keep: Some(3) },
        Rule::Bulyan { byzantine: 1 },
        geometric(Scope::Model),
        geometric(Scope::Tensor),
    ]
}

static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// Updates' places, of which `memory` are in memory, and what combines them.
struct Rig {
    combining: Combining,
    store: SlotStore,
    slots: (usize, usize),
    folder: PathBuf,
}

impl Rig {
    fn new(rule: WholeRule, threads: usize, memory: usize, disk: usize) -> Self {
        let name = format!("fl-combine-{}-{}", std::process::id(), FOLDERS.fetch_add(1, Relaxed));
        let folder = std::env::temp_dir().join(name);
        let len = layout().byte_len() as u64;
        let (in_memory, on_disk) = (ByteCount(memory as u64 * len), ByteCount(disk as u64 * (len + 4096)));
        let store = SlotStore::new(in_memory, on_disk, folder.clone(), len).unwrap();
        assert_eq!(store.free(), (memory, disk));
        let payloads = PayloadPool::new(layout());
        let combining = Combining::new(Pool::new(threads).unwrap(), payloads, rule, EXACT);
        Self { combining, store, slots: (memory, disk), folder }
    }

    fn stage(&self, given: &[Given]) -> Vec<StagedUpdate> {
        let stage = |given: &Given| {
            let mut writer = self.store.try_reserve().unwrap().unwrap();
            writer.write(&given.payload).unwrap();
            StagedUpdate { name: given.name.clone(), slot: writer.finish().unwrap(), weight: given.weight }
        };
        given.iter().map(stage).collect()
    }

    fn everything_came_back(&self) -> bool {
        self.store.free() == self.slots && self.combining.payloads.free() == VERSIONS
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
async fn arrival_threads_and_places_change_no_bit_of_any_rule() {
    let mut random = Random(2);
    for (case, rule) in rules().iter().enumerate() {
        let mut given = given(7, 1);
        let expected = engine(rule, &given);
        for threads in [1, 2 + case % 3] {
            let memory = random.below(8);
            let mut rig = Rig::new(whole(rule), threads, memory, 7 - memory);
            for i in (1..given.len()).rev() {
                given.swap(i, random.below(i + 1));
            }
            for some in given.chunks(1 + random.below(4)) {
                rig.combining.keep(rig.stage(some)).unwrap();
            }
            assert_eq!(rig.combining.updates(), 7);
            let Combined { model, .. } = rig.combining.combine(&base(), None).await.unwrap();
            assert!(model.as_slice() == expected, "{rule:?}: {threads} threads, {memory} in memory");
            assert_eq!(model.root(), root_of(layout().hash(), model.as_slice()));
            drop(model);
            assert!(rig.everything_came_back() && rig.combining.updates() == 0);
        }
    }
}

#[tokio::test]
async fn who_is_left_out_is_named_and_counts_in_no_integer() {
    let given = given(7, 3);
    let rule = Rule::MultiKrum { byzantine: 2, keep: None };
    let mut rig = Rig::new(whole(&rule), 2, 3, 4);
    rig.combining.keep(rig.stage(&given)).unwrap();
    let Combined { model, left_out } = rig.combining.combine(&base(), None).await.unwrap();
    let names: Vec<_> = given[5..].iter().map(|g| g.name.clone()).collect();
    assert_eq!(left_out, names);
    let integers = layout().f32_len() * 4;
    let first = |payload: &[u8]| i64::from_le_bytes(payload[integers..][..8].try_into().unwrap());
    let sum = given[..5].iter().map(|g| first(&g.payload)).fold(0, i64::wrapping_add);
    assert_eq!(first(model.as_slice()), sum);
}

#[tokio::test]
async fn rounds_follow_one_another_and_a_cleared_one_leaves_nothing() {
    let mut rig = Rig::new(whole(&Rule::Median), 2, 2, 5);
    assert!(matches!(rig.combining.combine(&base(), None).await, Err(CombineError::Empty)));
    for seed in 4..7 {
        rig.combining.keep(rig.stage(&given(3, 90 + seed))).unwrap();
        rig.combining.clear().await.unwrap();
        assert!(rig.everything_came_back());
        let given = given(5, seed);
        rig.combining.keep(rig.stage(&given)).unwrap();
        let Combined { model, left_out } = rig.combining.combine(&base(), None).await.unwrap();
        assert!(model.as_slice() == engine(&Rule::Median, &given) && left_out.is_empty());
    }
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_and_changes_nothing() {
    let given = given(3, 8);
    let mut rig = Rig::new(whole(&Rule::Median), 2, 4, 0);
    rig.combining.keep(rig.stage(&given)).unwrap();
    let other = Layout::new(vec![TensorSpec::f32("a", [4])]).unwrap();
    let wrong = Payload::from_state(&ModelState::zeros(other));
    assert!(matches!(rig.combining.combine(&wrong, None).await, Err(CombineError::Length)));
    let short = SlotStore::new(ByteCount(4), ByteCount(0), PathBuf::new(), 4).unwrap();
    let mut writer = short.try_reserve().unwrap().unwrap();
    writer.write(&[0; 4]).unwrap();
    let (name, weight) = (given[0].name.clone(), given[0].weight);
    let refused = rig.combining.keep(vec![StagedUpdate { name, slot: writer.finish().unwrap(), weight }]);
    assert!(matches!(refused, Err(CombineError::Length)));
    assert_eq!(short.free(), (1, 0));
    let Combined { model, .. } = rig.combining.combine(&base(), None).await.unwrap();
    assert!(model.as_slice() == engine(&Rule::Median, &given));
}

#[tokio::test]
async fn too_few_updates_for_a_rule_are_a_failure_with_words() {
    let mut rig = Rig::new(whole(&Rule::Krum { byzantine: 2 }), 2, 3, 2);
    rig.combining.keep(rig.stage(&given(5, 9))).unwrap();
    let failed = rig.combining.combine(&base(), None).await.unwrap_err();
    assert!(
        matches!(failed, CombineError::Rule(RuleError::TooFew { needed: 7, updates: 5, .. })),
        "{failed:?}"
    );
    assert!(failed.to_string().contains("needs 7 updates"), "{failed}");
    assert!(rig.everything_came_back());
}

#[tokio::test]
async fn changed_spill_file_names_its_collaborator_and_the_round_is_given_up() {
    for rule in [Rule::Median, Rule::Krum { byzantine: 1 }] {
        let given = given(6, 10);
        let mut rig = Rig::new(whole(&rule), 2, 1, 5);
        rig.combining.keep(rig.stage(&given)).unwrap();
        let file = rig.folder.join("slot-3.spill");
        let mut bytes = fs::read(&file).unwrap();
        bytes[700_000] ^= 1;
        fs::write(&file, bytes).unwrap();
        let failed = rig.combining.combine(&base(), None).await;
        let named = matches!(&failed, Err(CombineError::Update { name, source: MemoryError::Tampered { slot: 3, .. } })
            if *name == given[4].name);
        assert!(named, "{failed:?}");
        assert!(rig.everything_came_back());
        assert!(matches!(rig.combining.keep(rig.stage(&given)), Err(CombineError::Incomplete)));
        assert!(matches!(rig.combining.combine(&base(), None).await, Err(CombineError::Incomplete)));
        assert!(rig.everything_came_back());
        rig.combining.clear().await.unwrap();
        rig.combining.keep(rig.stage(&given)).unwrap();
        let Combined { model, .. } = rig.combining.combine(&base(), None).await.unwrap();
        assert!(model.as_slice() == engine(&rule, &given));
    }
}

/// Waits for a word before its first block, then does as it is told.
#[derive(Debug)]
struct Told(Mutex<mpsc::Receiver<()>>, bool);

impl ColumnRule for Told {
    fn order(&self, _: usize) -> Order {
        Order::Roster
    }

    fn combine(&self, block: &mut Block<'_>, out: &mut [f32]) {
        // Whoever tells is gone when everybody may go on.
        let _ = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv();
        assert!(!self.1, "told to panic");
        out.copy_from_slice(block.row(0));
    }
}

#[tokio::test]
async fn panicking_rule_is_an_error_and_the_round_is_given_up() {
    let (_, told) = mpsc::channel();
    let mut rig = Rig::new(WholeRule::Columns(Arc::new(Told(Mutex::new(told), true))), 2, 3, 0);
    rig.combining.keep(rig.stage(&given(3, 11))).unwrap();
    let failed = rig.combining.combine(&base(), None).await;
    let words = "told to panic";
    assert!(
        matches!(&failed, Err(CombineError::Pool(PoolError::Panicked(said))) if said == words),
        "{failed:?}"
    );
    assert!(rig.everything_came_back());
}

#[tokio::test]
async fn call_dropped_in_the_middle_gives_everything_back_and_the_round_is_given_up() {
    let (tell, told) = mpsc::channel();
    let mut rig = Rig::new(WholeRule::Columns(Arc::new(Told(Mutex::new(told), false))), 2, 2, 2);
    let given = given(4, 12);
    rig.combining.keep(rig.stage(&given)).unwrap();
    let model = base();
    let mut call = Box::pin(rig.combining.combine(&model, None));
    for _ in 0..20 {
        assert!(pin!(&mut call).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        tell.send(()).unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(call);
    assert!(!rig.everything_came_back(), "the jobs were over before the call was dropped");
    drop(tell);
    rig.until_everything_came_back().await;
    assert!(matches!(rig.combining.combine(&model, None).await, Err(CombineError::Incomplete)));
    rig.combining.clear().await.unwrap();
    rig.combining.keep(rig.stage(&given)).unwrap();
    let Combined { model, .. } = rig.combining.combine(&model, None).await.unwrap();
    assert_eq!(model.as_slice()[..4], given[0].payload[..4]);
}

#[tokio::test]
async fn waiting_for_a_buffer_can_be_dropped_without_harm() {
    let given = given(3, 13);
    let mut rig = Rig::new(whole(&Rule::Median), 2, 3, 0);
    let payloads = rig.combining.payloads.clone();
    let held = [payloads.take().await, payloads.take().await];
    rig.combining.keep(rig.stage(&given)).unwrap();
    let model = base();
    let waited = tokio::time::timeout(Duration::from_millis(20), rig.combining.combine(&model, None)).await;
    assert!(waited.is_err());
    drop(held);
    let Combined { model, .. } = rig.combining.combine(&model, None).await.unwrap();
    assert!(model.as_slice() == engine(&Rule::Median, &given));
}

#[tokio::test]
async fn a_model_of_one_small_tensor_or_of_integers_alone_is_combined() {
    let steps = TensorSpec { dtype: Dtype::I64, combine: Combine::Sum, ..TensorSpec::f32("n", [2]) };
    for (tensors, rule) in [
        (vec![TensorSpec::f32("a", [3])], Rule::Median),
        (
            vec![TensorSpec::f32("a", [3])],
            Rule::GeometricMedian { iterations: 2, smoothing: 1e-5, scope: Scope::Tensor },
        ),
        (vec![steps], Rule::Median),
    ] {
        let layout = Layout::new(tensors).unwrap();
        let len = layout.byte_len() as u64;
        let store = SlotStore::new(ByteCount(len), ByteCount(0), PathBuf::new(), len).unwrap();
        let payloads = PayloadPool::new(Arc::clone(&layout));
        let mut combining = Combining::new(Pool::new(3).unwrap(), payloads, whole(&rule), EXACT);
        let mut state = ModelState::zeros(Arc::clone(&layout));
        state.f32.fill(1.5);
        state.i64.fill(-2);
        let update = Payload::from_state(&state);
        let mut writer = store.try_reserve().unwrap().unwrap();
        writer.write(update.as_slice()).unwrap();
        let (slot, weight) = (writer.finish().unwrap(), Weight::new(9).unwrap());
        combining.keep(vec![StagedUpdate { name: "one".parse().unwrap(), slot, weight }]).unwrap();
        assert_eq!(combining.combine(&update, None).await.unwrap().model, update);
    }
}

/// A user's rule over distances: the nearest to the base alone.
#[derive(Debug)]
struct Nearest;

impl ScoreRule for Nearest {
    fn choose(&self, products: &Products, weights: &[Weight]) -> Result<Chosen, RuleError> {
        let norm = |i: &usize| products.norm_squared(*i);
        let nearest = (0..products.updates()).min_by(|a, b| norm(a).total_cmp(&norm(b)));
        let weights = (0..weights.len()).map(|i| u32::from(Some(i) == nearest)).collect();
        Ok(Chosen { weights, then: Then::Mean })
    }
}

/// Rounds of one after the other, with a step that remembers, and a restart before the last.
#[tokio::test]
async fn step_and_its_state_are_the_engines_for_sums_and_for_rules_over_all() {
    let servers = [
        Server::FedAvgM { learning_rate: 0.5, momentum: 0.9 },
        Server::FedYogi { learning_rate: 0.1, beta1: 0.9, beta2: 0.99, tau: 1e-3 },
        Server::Smoothing { keep: 0.25 },
    ];
    let methods = [
        method_of(&Rule::WeightedMean),
        method_of(&Rule::Median),
        method_of(&Rule::GeometricMedian { iterations: 3, smoothing: 1e-6, scope: Scope::Model }),
        Method::Scored(Arc::new(Nearest)),
    ];
    for server in servers {
        for method in &methods {
            let rig = Rig::new(whole(&Rule::Median), 1, 3, 4);
            let (mut resumed, mut expected_base) = (None, base().as_slice().to_vec());
            let step = ServerStep::new(server, layout(), EXACT).unwrap();
            let mut expected_state = Vec::new();
            if let Some(state) = step.initial_state() {
                state.write_bytes(&mut expected_state);
            }
            for (round, threads) in [2, 3, 1].into_iter().enumerate() {
                // A new one each round: as after a restart.
                let payloads = PayloadPool::new(layout());
                let stepping = Stepping::new(server, layout(), EXACT, resumed.as_deref()).await.unwrap();
                let pool = Pool::new(threads).unwrap();
                let mut aggregating = Shell::new(pool, payloads, EXACT, method.clone(), Some(stepping));
                let given = given(7, 20 + round as u64);
                let base = Payload::new(&layout(), expected_base.clone().into()).unwrap();
                let mut staged = rig.stage(&given);
                let last = staged.split_off(4);
                aggregating.absorb(staged, &base).await.unwrap();
                let made = aggregating.finish(last, &base).await.unwrap();

                let updates: Vec<_> = given.iter().map(|g| (g.payload.as_slice(), g.weight)).collect();
                let mut expected =
                    combine_payloads(method, &layout(), EXACT, &updates, base.as_slice()).unwrap();
                let (old, floats) = (expected_state.clone(), layout().f32_len() * 4);
                let runs = step.state_runs(0..layout().f32_len());
                let (first, second) = (runs.first.len() * 4, runs.second.len() * 4);
                let (m, v) = expected_state.split_at_mut(first);
                let old = [&old[..first], &old[first..first + second]];
                step.run(0, &base.as_slice()[..floats], &mut expected[..floats], old, [m, v]).unwrap();

                assert!(made.model.as_slice() == expected, "{server:?}, {method:?}, round {round}");
                assert_eq!(made.model.root(), root_of(layout().hash(), &expected));
                assert!(made.state.as_deref().unwrap_or_default() == expected_state);
                (resumed, expected_base) = (made.state.map(|state| state.to_vec()), expected);
            }
        }
    }
}

#[tokio::test]
async fn failed_round_leaves_the_steps_state_as_it_was() {
    let server = Server::FedAvgM { learning_rate: 1e9, momentum: 0.5 };
    let rig = Rig::new(whole(&Rule::Median), 1, 4, 0);
    for rule in [Rule::WeightedMean, Rule::Median] {
        let stepping = Stepping::new(server, layout(), EXACT, None).await.unwrap();
        let before = stepping.state().unwrap().to_vec();
        let (pool, payloads) = (Pool::new(2).unwrap(), PayloadPool::new(layout()));
        let mut aggregating = Shell::new(pool, payloads.clone(), EXACT, method_of(&rule), Some(stepping));
        let failed = aggregating.finish(rig.stage(&given(3, 30)), &base()).await.unwrap_err();
        assert!(failed.to_string().contains("outside the plan's range"), "{failed}");
        assert_eq!((rig.store.free(), payloads.free()), ((4, 0), VERSIONS));
        assert!(aggregating.state().unwrap() == before);
        assert!(aggregating.finish(rig.stage(&given(3, 30)), &base()).await.is_err());
    }
}
