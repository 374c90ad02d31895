//! The templates' problems, learnt by one member alone: the floor under every federation's result.
#![cfg(feature = "train")]
#![allow(clippy::unwrap_used, reason = "a test's failure is its panic")]

use std::{path::PathBuf, sync::Arc, time::Instant};

use fl_engine::{
    RoundNo,
    plan::{Metric, Plan, Split, TaskKind, TrainLength},
};
use fl_learn::{
    registry::Registry,
    task::{CustomTasks, Runner, evaluate, majority_baseline},
};

fn template(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../host-tools/src/templates").join(name)
}

/// The template's plan, with a fifth of all rows for the test.
fn plan(name: &str, seed: u64) -> Plan {
    let text = std::fs::read_to_string(template(name).join("plan.yaml")).unwrap();
    let plan = Plan::parse(&text).unwrap().edited(|plan| {
        plan.seed = seed;
        plan.data.split = Split { train: 0.7, validation: 0.1, test: 0.2 };
        for task in &mut plan.tasks {
            if let TaskKind::Train(spec) = &mut task.kind {
                spec.length = TrainLength::Epochs(1);
            }
        }
    });
    plan.unwrap()
}

/// Accuracy on the test rows after ten epochs, the mean of `seeds` splits and initial models.
///
/// One split of the small data sets says little: single ones reach from 0.94 to 1.
fn accuracy_after_ten_epochs(name: &str, seeds: u64) -> f64 {
    let sum: f64 = (0..seeds).map(|seed| accuracy(name, seed)).sum();
    sum / seeds as f64
}

fn accuracy(name: &str, seed: u64) -> f64 {
    let plan = Arc::new(plan(name, seed));
    let member = "one".parse().unwrap();
    let data = Registry::new().load_data(&plan, &template(name), &member).unwrap();
    let test = data.test.clone();
    let mut base = plan.initial_state().unwrap();
    let mut runner =
        Runner::new(Arc::clone(&plan), plan.layout().unwrap(), &member, Some(data), CustomTasks::new())
            .unwrap();
    let started = Instant::now();
    for round in 0..10 {
        let output = runner.run(&"train".parse().unwrap(), RoundNo(round), &base, &|| false).unwrap();
        base = output.update.unwrap().0;
    }
    let seconds = started.elapsed().as_secs_f64() / 10.0;
    let measured = evaluate(&plan, &base, &test).unwrap();
    let baseline = majority_baseline(&test);
    println!("{name}, seed {seed}: {seconds:.4} s an epoch, {measured:?}, baseline {baseline:.3}");
    measured.iter().find(|(m, _)| *m == Metric::Accuracy).unwrap().1
}

#[test]
fn breast_cancer_is_learnt_in_ten_epochs() {
    let accuracy = accuracy_after_ten_epochs("breast_cancer", 20);
    assert!(accuracy >= 0.95, "{accuracy}");
}

#[test]
fn digits_are_learnt_in_ten_epochs() {
    let accuracy = accuracy_after_ten_epochs("digits", 2);
    assert!(accuracy >= 0.95, "{accuracy}");
}
