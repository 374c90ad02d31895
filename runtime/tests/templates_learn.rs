//! The templates' problems, learnt by one member alone: the floor under every federation's result.
#![cfg(feature = "train")]
#![allow(clippy::unwrap_used, reason = "a test's failure is its panic")]

use std::{path::PathBuf, sync::Arc, time::Instant};

use fl_engine::{
    RoundNo,
    model::{plan_init, plan_layout},
    plan::{
        Column, DataSpec, Layer, Loader, Metric, ModelSpec, Optimiser, Plan, Split, Standardise, TaskKind,
    },
};
use fl_runtime::{
    registry::Registry,
    task::{Runner, evaluate, load_data, majority_baseline},
};

fn template(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../host-tools/src/templates").join(name)
}

/// The text between `from` and `to` in a template's plan.
fn between<'a>(plan: &'a str, from: &str, to: char) -> &'a str {
    plan.split(from).nth(1).unwrap().split(to).next().unwrap()
}

fn numbers(list: &str) -> Vec<f32> {
    list.split(',').map(|n| n.trim().parse().unwrap()).collect()
}

/// The template's settings, with a fifth of all rows for the test.
fn plan(name: &str, model: ModelSpec, label: &str, classes: u32) -> Plan {
    let text = std::fs::read_to_string(template(name).join("plan.yaml")).unwrap();
    let loader =
        Loader::Csv { file: "data.csv".to_owned(), header: true, label: Column::Name(label.to_owned()) };
    let standardise = Some(Standardise {
        mean: numbers(between(&text, "mean: [", ']')),
        std: numbers(between(&text, "std: [", ']')),
    });
    let split = Split { train: 0.7, validation: 0.1, test: 0.2 };
    let data = DataSpec { loader, standardise, split, classes: Some(classes) };
    let mut plan = Plan::trial("trial", model, data).unwrap();
    for task in &mut plan.tasks {
        if let TaskKind::Train(spec) = &mut task.kind {
            spec.batch = between(&text, "batch: ", '\n').parse().unwrap();
            let learning_rate = between(&text, "learning_rate: ", ',').parse().unwrap();
            spec.optimiser = Optimiser::Sgd { learning_rate, momentum: 0.9, weight_decay: 0.0 };
        }
    }
    plan
}

/// Accuracy on the test rows after ten epochs, the mean of `seeds` splits and initial models.
///
/// One split of the small data sets says little: single ones reach from 0.94 to 1.
fn accuracy_after_ten_epochs(name: &str, plan: &Plan, seeds: u64) -> f64 {
    let sum: f64 = (0..seeds).map(|seed| accuracy(name, Plan::clone(plan), seed)).sum();
    sum / seeds as f64
}

fn accuracy(name: &str, mut plan: Plan, seed: u64) -> f64 {
    plan.seed = seed;
    let plan = Arc::new(plan);
    let member = "one".parse().unwrap();
    let data = load_data(&plan, &template(name), &member, &Registry::new()).unwrap();
    let test = data.test.clone();
    let mut base = plan_init(&plan).unwrap();
    let mut runner =
        Runner::new(Arc::clone(&plan), plan_layout(&plan).unwrap(), &member, Some(data), &Registry::new())
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
    let linear = |name: &str, out| Layer::Linear { name: name.to_owned(), out, bias: true };
    let model = ModelSpec { input: vec![30], layers: vec![linear("fc1", 16), Layer::Relu, linear("fc2", 2)] };
    let plan = plan("breast_cancer", model, "diagnosis", 2);
    let accuracy = accuracy_after_ten_epochs("breast_cancer", &plan, 20);
    assert!(accuracy >= 0.95, "{accuracy}");
}

#[test]
fn digits_are_learnt_in_ten_epochs() {
    let conv = |name: &str, out| Layer::Conv2d {
        name: name.to_owned(),
        out,
        kernel: 3,
        stride: 1,
        padding: 1,
        bias: true,
    };
    let layers = vec![
        conv("conv1", 16),
        Layer::Relu,
        Layer::MaxPool { kernel: 2 },
        conv("conv2", 32),
        Layer::Relu,
        Layer::MaxPool { kernel: 2 },
        Layer::Flatten,
        Layer::Linear { name: "fc1".to_owned(), out: 10, bias: true },
    ];
    let model = ModelSpec { input: vec![1, 8, 8], layers };
    let plan = plan("digits", model, "digit", 10);
    let accuracy = accuracy_after_ten_epochs("digits", &plan, 2);
    assert!(accuracy >= 0.95, "{accuracy}");
}
