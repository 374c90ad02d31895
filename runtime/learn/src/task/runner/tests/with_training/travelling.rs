//! Optimiser state that is aggregated with the model (`continue_global`).

use fl_engine::{
    aggregate::ExactMean,
    model::{self, optimiser_places},
};

use super::*;

fn with(optimiser: Optimiser, state: OptimiserState) -> Plan {
    edited(|plan| {
        plan.optimiser_state = state;
        edit_train(plan, |spec| spec.optimiser = optimiser);
    })
}

#[test]
fn travelling_state_of_a_single_member_is_its_own_bit_for_bit() {
    let adamw = Optimiser::AdamW { learning_rate: 0.01, weight_decay: 0.1 };
    for optimiser in [MOMENTUM, ADAM, adamw] {
        let after = |state| bits(&alone(&with(optimiser, state), 4).0);
        let (local, global) = (after(OptimiserState::ContinueLocal), after(OptimiserState::ContinueGlobal));
        assert!(local.len() < global.len(), "{optimiser:?}");
        assert_eq!(local, global[..local.len()], "{optimiser:?}");
        assert_ne!(local, after(OptimiserState::Reset), "{optimiser:?}");
    }
    let (adam, _) = alone(&with(ADAM, OptimiserState::ContinueGlobal), 4);
    // Thirteen batches an epoch.
    assert_eq!(adam.i64, [4 * 13]);
}

/// The exact mean of these updates, as the aggregator makes it.
fn mean(plan: &Plan, base: &ModelState, updates: &[(ModelState, Weight)]) -> ModelState {
    let payload = |state: &ModelState| {
        let mut bytes = Vec::new();
        state.write_bytes(&mut bytes);
        bytes
    };
    let mut sum = ExactMean::new(Arc::clone(base.layout()), plan.exact, 1);
    for (update, weight) in updates {
        sum.absorb(&payload(update), *weight).unwrap();
    }
    let mut out = Vec::new();
    sum.finalise(&payload(base), &mut out);
    ModelState::from_bytes(Arc::clone(base.layout()), &out).unwrap()
}

/// Members of these numbers of rows, each with its own.
fn federation(plan: &Plan, rows_of: &[usize]) -> Vec<Runner> {
    let layout = plan.layout().unwrap();
    let member = |(number, &count): (usize, &usize)| {
        let data = SplitData { train: rows(count, 10 + number as u64), ..data() };
        let name = name(&format!("m{number}"));
        Runner::new(Arc::new(plan.clone()), Arc::clone(&layout), &name, Some(data), CustomTasks::new())
            .unwrap()
    };
    rows_of.iter().enumerate().map(member).collect()
}

fn train_round(runners: &mut [Runner], round: u32, base: &ModelState) -> Vec<(ModelState, Weight)> {
    runners.iter_mut().map(|r| go(r, "train", round, base).unwrap().update.unwrap()).collect()
}

#[test]
fn momentum_of_two_members_is_averaged_by_weight_and_both_go_on_from_it() {
    let plan = with(MOMENTUM, OptimiserState::ContinueGlobal);
    let mut base = plan.initial_state().unwrap();
    let state = optimiser_places(base.layout(), &name("train")).first;
    let mut runners = federation(&plan, &[48, 144]);
    for round in 0..2 {
        let updates = train_round(&mut runners, round, &base);
        let next = mean(&plan, &base, &updates);
        for i in state.iter().flat_map(|place| place.at.clone()) {
            let [one, two] = [0, 1].map(|member: usize| f64::from(updates[member].0.f32[i]));
            let expected = (0.25 * one + 0.75 * two) as f32;
            assert!((next.f32[i] - expected).abs() <= f32::EPSILON * expected.abs(), "element {i}");
            assert!(one != two || one == 0.0);
        }
        base = next;
    }
    // The same model without the momentum leads elsewhere: it was read.
    let mut forgotten = base.clone();
    state.iter().for_each(|place| forgotten.f32[place.at.clone()].fill(0.0));
    let model = |base: &ModelState| {
        let update = train_round(&mut federation(&plan, &[48]), 2, base).remove(0).0;
        bits(&update)[..state[0].at.start].to_vec()
    };
    assert_ne!(model(&base), model(&forgotten));
}

#[test]
fn three_members_learn_with_adam_whose_moments_went_through_the_exact_mean() {
    let plan = with(ADAM, OptimiserState::ContinueGlobal);
    // Gradients near 0 for most elements make second moments that lie below the accumulator's exact range.
    let plan = plan.edited(|plan| edit_train(plan, |spec| spec.batch = 8)).unwrap();
    let mut base = plan.initial_state().unwrap();
    let mut runners = federation(&plan, &[40, 80, 120]);
    let test = rows(500, 9);
    let loss = |state: &ModelState| evaluate(&plan, state, &test).unwrap()[1].1;
    let before = loss(&base);
    for round in 0..12 {
        let updates = train_round(&mut runners, round, &base);
        base = mean(&plan, &base, &updates);
    }
    // The largest count of a round's steps: 120 rows by 8, twelve times.
    assert_eq!(base.i64, [12 * 15]);
    let accuracy = evaluate(&plan, &base, &test).unwrap()[0].1;
    assert!(accuracy > 0.95 && loss(&base) < 0.3 * before, "{accuracy}, {} of {before}", loss(&base));
}

#[test]
fn state_of_a_held_out_tensor_stays_with_the_site() {
    let plan = with(MOMENTUM, OptimiserState::ContinueGlobal);
    let plan = plan.edited(|plan| plan.hold_out = vec!["norm.*".to_owned()]).unwrap();
    let base = plan.initial_state().unwrap();
    let mut runner = runner(&plan).unwrap();
    let update = go(&mut runner, "train", 0, &base).unwrap().update.unwrap().0;
    let layout = base.layout();
    let held = |state: &ModelState, combine: Combine| {
        let tensors = layout.tensors().iter().enumerate();
        let of = tensors.filter(|(_, t)| t.name.starts_with("optimiser.") && t.combine == combine);
        of.flat_map(|(i, _)| state.f32[layout.place(i)].to_vec()).collect::<Vec<_>>()
    };
    let own = runner.own(&base).into_owned();
    assert!(held(&update, Combine::Keep).iter().all(|v| *v == 0.0));
    assert!(held(&own, Combine::Keep).iter().any(|v| *v != 0.0));
    assert!(held(&update, Combine::Rule).iter().any(|v| *v != 0.0));
    assert!(held(&own, Combine::Rule).iter().all(|v| *v == 0.0));
}

#[test]
fn member_without_training_measures_a_model_with_state() {
    let rest = TaskGroup { name: name("rest"), collaborators: None, tasks: vec![name(VALIDATE)] };
    let two_groups = |plan: &mut PlanDraft| {
        plan.groups[0].collaborators = Some(vec![name("two")]);
        plan.groups.push(rest);
    };
    let plan = with(ADAM, OptimiserState::ContinueGlobal).edited(two_groups).unwrap();
    let base = plan.initial_state().unwrap();
    let layout = Arc::clone(base.layout());
    let plain = model::init(&plan.model, plan.seed).unwrap();
    let mut runner =
        Runner::new(Arc::new(plan.clone()), layout, &name("one"), Some(data()), CustomTasks::new()).unwrap();
    let found = go(&mut runner, VALIDATE, 0, &base).unwrap();
    assert!(found.update.is_none());
    assert_eq!(evaluate(&plan, &base, &data().validation).unwrap()[0], found.metrics[0]);
    assert_eq!(evaluate(&plan, &plain, &data().validation).unwrap()[0], found.metrics[0]);
    let plan = plan.edited(|plan| plan.optimiser_state = OptimiserState::Reset).unwrap();
    let other = Runner::new(
        Arc::new(plan),
        Arc::clone(base.layout()),
        &name("one"),
        Some(data()),
        CustomTasks::new(),
    );
    assert!(matches!(other, Err(TaskError::Layout)));
}

const MOMENTUM: Optimiser = Optimiser::Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0 };
const ADAM: Optimiser = Optimiser::Adam { learning_rate: 0.01 };
