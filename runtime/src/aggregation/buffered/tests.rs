//! The model against the engine's, for any arrival order, threads and places. Calls that fail, panic or are
//! dropped.

use std::{
    future::Future,
    pin::pin,
    sync::{Mutex, PoisonError, mpsc},
    task::{Context, Waker},
    time::Duration,
};

use fl_engine::{
    Draws,
    aggregate::{Block, Method, Order, RuleError, combine_payloads},
    plan::Rule,
    tensor::{Combine, Layout, ModelState, TensorSpec, root_of},
};

use super::*;
use crate::{
    aggregation::fixture::{
        self, EXACT, Given, alone, base, given, integers, layout, method_of, one_slot, site, staged,
    },
    memory::MemoryError,
    pool::PoolError,
};

type Rig = fixture::Rig<BufferedAggregation>;

fn buffered(rule: &Rule) -> BufferedRule {
    match method_of(rule) {
        Method::Columns(rule) => BufferedRule::Columns(rule),
        Method::Scored(rule) => BufferedRule::Scored(rule),
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

fn rig(rule: BufferedRule, threads: usize, memory: usize, disk: usize) -> Rig {
    Rig::new(threads, (memory, disk), |pool, payloads| BufferedAggregation::new(rule, pool, payloads, EXACT))
}

/// The model of a round that has all of its updates.
async fn model(rig: &mut Rig, base: &Payload) -> Result<Payload, AggregationError> {
    Ok(rig.aggregation.finish(Vec::new(), base, None).await?.0)
}

#[tokio::test]
async fn arrival_threads_and_places_change_no_bit_of_any_rule() {
    let mut draws = Draws::new(2);
    for (case, rule) in rules().iter().enumerate() {
        let mut given = given(7, 1);
        let expected = engine(rule, &given);
        for threads in [1, 2 + case % 3] {
            let memory = draws.below(8) as usize;
            let mut rig = rig(buffered(rule), threads, memory, 7 - memory);
            draws.shuffle(&mut given);
            for some in given.chunks(1 + draws.below(4) as usize) {
                rig.aggregation.absorb(rig.stage(some)).unwrap();
            }
            assert_eq!(rig.aggregation.kept.len(), 7);
            let model = model(&mut rig, &base()).await.unwrap();
            assert!(model.as_slice() == expected, "{rule:?}: {threads} threads, {memory} in memory");
            assert_eq!(model.root(), root_of(layout().hash(), model.as_slice()));
            drop(model);
            assert!(rig.everything_came_back() && rig.aggregation.kept.is_empty());
        }
    }
}

#[tokio::test]
async fn who_is_left_out_is_named_and_counts_in_no_integer() {
    let given = given(7, 3);
    let rule = Rule::MultiKrum { byzantine: 2, keep: None };
    let mut rig = rig(buffered(&rule), 2, 3, 4);
    rig.aggregation.absorb(rig.stage(&given)).unwrap();
    let (model, left_out) = rig.aggregation.finish(Vec::new(), &base(), None).await.unwrap();
    let names: Vec<_> = given[5..].iter().map(|g| g.name.clone()).collect();
    assert_eq!(left_out, names);
    let integers = layout().f32_len() * 4;
    let first = |payload: &[u8]| i64::from_le_bytes(payload[integers..][..8].try_into().unwrap());
    let sum = given[..5].iter().map(|g| first(&g.payload)).fold(0, i64::wrapping_add);
    assert_eq!(first(model.as_slice()), sum);
}

#[tokio::test]
async fn rounds_follow_one_another_and_a_cleared_one_leaves_nothing() {
    let mut rig = rig(buffered(&Rule::Median), 2, 2, 5);
    assert!(matches!(model(&mut rig, &base()).await, Err(AggregationError::Empty)));
    for seed in 4..7 {
        rig.aggregation.absorb(rig.stage(&given(3, 90 + seed))).unwrap();
        rig.aggregation.clear().await.unwrap();
        assert!(rig.everything_came_back());
        let given = given(5, seed);
        rig.aggregation.absorb(rig.stage(&given)).unwrap();
        let (model, left_out) = rig.aggregation.finish(Vec::new(), &base(), None).await.unwrap();
        assert!(model.as_slice() == engine(&Rule::Median, &given) && left_out.is_empty());
    }
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_and_changes_nothing() {
    let given = given(3, 8);
    let mut rig = rig(buffered(&Rule::Median), 2, 4, 0);
    rig.aggregation.absorb(rig.stage(&given)).unwrap();
    let other = Layout::new(vec![TensorSpec::f32("a", [4])]).unwrap();
    let wrong = Payload::from_state(&ModelState::zeros(other));
    assert!(matches!(model(&mut rig, &wrong).await, Err(AggregationError::Length)));
    let short = one_slot(4);
    let refused = rig.aggregation.absorb(vec![staged(&short, &site(0), &[0; 4], given[0].weight)]);
    assert!(matches!(refused, Err(AggregationError::Length)));
    assert_eq!(short.free(), (1, 0));
    let model = model(&mut rig, &base()).await.unwrap();
    assert!(model.as_slice() == engine(&Rule::Median, &given));
}

#[tokio::test]
async fn too_few_updates_for_a_rule_are_a_failure_with_words() {
    let mut rig = rig(buffered(&Rule::Krum { byzantine: 2 }), 2, 3, 2);
    rig.aggregation.absorb(rig.stage(&given(5, 9))).unwrap();
    let failed = model(&mut rig, &base()).await.unwrap_err();
    assert!(
        matches!(failed, AggregationError::Rule(RuleError::TooFew { needed: 7, updates: 5, .. })),
        "{failed:?}"
    );
    assert!(failed.to_string().contains("needs 7 updates"), "{failed}");
    assert!(rig.everything_came_back());
}

#[tokio::test]
async fn changed_spill_file_names_its_collaborator_and_the_round_is_given_up() {
    for rule in [Rule::Median, Rule::Krum { byzantine: 1 }] {
        let given = given(6, 10);
        let mut rig = rig(buffered(&rule), 2, 1, 5);
        rig.aggregation.absorb(rig.stage(&given)).unwrap();
        rig.damage("slot-3.spill", 700_000);
        let failed = model(&mut rig, &base()).await;
        let named = matches!(&failed, Err(AggregationError::Update { name, source: MemoryError::Tampered { slot: 3, .. } })
            if *name == given[4].name);
        assert!(named, "{failed:?}");
        assert!(rig.everything_came_back());
        assert!(matches!(rig.aggregation.absorb(rig.stage(&given)), Err(AggregationError::Incomplete)));
        assert!(matches!(model(&mut rig, &base()).await, Err(AggregationError::Incomplete)));
        assert!(rig.everything_came_back());
        rig.aggregation.clear().await.unwrap();
        rig.aggregation.absorb(rig.stage(&given)).unwrap();
        let model = model(&mut rig, &base()).await.unwrap();
        assert!(model.as_slice() == engine(&rule, &given));
    }
}

/// A rule that waits for a signal before each block, and then panics if the test wants so.
#[derive(Debug)]
struct Told(Mutex<mpsc::Receiver<()>>, bool);

impl ColumnRule for Told {
    fn order(&self, _: usize) -> Order {
        Order::Roster
    }

    fn combine(&self, block: &mut Block<'_>, out: &mut [f32]) {
        // The test drops its sender when every job may go on.
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).recv();
        assert!(!self.1, "told to panic");
        out.copy_from_slice(block.row(0));
    }
}

#[tokio::test]
async fn panicking_rule_is_an_error_and_the_round_is_given_up() {
    let (_, told) = mpsc::channel();
    let mut rig = rig(BufferedRule::Columns(Arc::new(Told(Mutex::new(told), true))), 2, 3, 0);
    rig.aggregation.absorb(rig.stage(&given(3, 11))).unwrap();
    let failed = model(&mut rig, &base()).await;
    let words = "told to panic";
    assert!(
        matches!(&failed, Err(AggregationError::Pool(PoolError::Panicked(said))) if said == words),
        "{failed:?}"
    );
    assert!(rig.everything_came_back());
}

#[tokio::test]
async fn call_dropped_in_the_middle_gives_everything_back_and_the_round_is_given_up() {
    let (tell, told) = mpsc::channel();
    let mut rig = rig(BufferedRule::Columns(Arc::new(Told(Mutex::new(told), false))), 2, 2, 2);
    let given = given(4, 12);
    rig.aggregation.absorb(rig.stage(&given)).unwrap();
    let base = base();
    let mut call = Box::pin(rig.aggregation.finish(Vec::new(), &base, None));
    for _ in 0..20 {
        assert!(pin!(&mut call).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        tell.send(()).unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(call);
    assert!(!rig.everything_came_back(), "the jobs were over before the call was dropped");
    drop(tell);
    rig.until_everything_came_back().await;
    assert!(matches!(model(&mut rig, &base).await, Err(AggregationError::Incomplete)));
    rig.aggregation.clear().await.unwrap();
    rig.aggregation.absorb(rig.stage(&given)).unwrap();
    let model = model(&mut rig, &base).await.unwrap();
    assert_eq!(model.as_slice()[..4], given[0].payload[..4]);
}

#[tokio::test]
async fn waiting_for_a_buffer_can_be_dropped_without_harm() {
    let given = given(3, 13);
    let mut rig = rig(buffered(&Rule::Median), 2, 3, 0);
    let payloads = rig.payloads.clone();
    let held = [payloads.take().await, payloads.take().await];
    let (staged, base) = (rig.stage(&given), base());
    let call = rig.aggregation.finish(staged, &base, None);
    assert!(tokio::time::timeout(Duration::from_millis(20), call).await.is_err());
    drop(held);
    let model = model(&mut rig, &base).await.unwrap();
    assert!(model.as_slice() == engine(&Rule::Median, &given));
}

#[tokio::test]
async fn a_model_of_one_small_tensor_or_of_integers_alone_is_combined() {
    let steps = integers("n", Combine::Sum);
    for (tensors, rule) in [
        (vec![TensorSpec::f32("a", [3])], Rule::Median),
        (
            vec![TensorSpec::f32("a", [3])],
            Rule::GeometricMedian { iterations: 2, smoothing: 1e-5, scope: Scope::Tensor },
        ),
        (vec![steps], Rule::Median),
    ] {
        let rule = buffered(&rule);
        let (mut aggregation, last, update) =
            alone(tensors, |pool, payloads| BufferedAggregation::new(rule, pool, payloads, EXACT));
        assert_eq!(aggregation.finish(vec![last], &update, None).await.unwrap().0, update);
    }
}
