//! Twenty steps of training against PyTorch's, from the same tensors, samples, order and optimiser:
//! `reference/curves.py` writes `curves.json`.

use fl_engine::{
    RoundNo,
    model::ModelSpec,
    plan::{Metric, Optimiser, TaskKind},
};
use ndarray::ArrayD;
use serde_json::Value;

use super::*;
use crate::{fixture, task::Seed};

/// The batch with this number, as the script makes it.
fn batch(number: u64, rows: usize, input: &[u32], masks: bool) -> Dataset {
    let sides: Vec<usize> = input.iter().map(|side| *side as usize).collect();
    let (width, area) = (sides.iter().product::<usize>(), sides[1] * sides[2]);
    let values = hashed::values(&format!("sample {number}"), rows * width, 1.0, 0.0);
    let (shape, labels) = if masks {
        let first = values.chunks(width).flat_map(|sample| &sample[..area]);
        (vec![rows, 1, sides[1], sides[2]], first.map(|value| f32::from(*value > 0.0)).collect())
    } else {
        let name = format!("class {number}");
        let classes = hashed::integers(&name, rows);
        (vec![rows], classes.map(|k| k.rem_euclid(4) as f32).collect())
    };
    let features = ArrayD::from_shape_vec([&[rows], &sides[..]].concat(), values).unwrap();
    Dataset::new(features, ArrayD::from_shape_vec(shape, labels).unwrap())
}

/// The largest difference of a loss, over all steps.
fn check(name: &str) -> f64 {
    let recorded: Value = serde_json::from_str(include_str!("curves.json")).unwrap();
    let case = &recorded["cases"][name];
    let number = |key: &str| recorded[key].as_u64().unwrap();
    let (rows, batches) = (number("rows") as usize, number("batches"));
    let model = ModelSpec::parse(case["model"].as_str().unwrap()).unwrap();
    let input = model.input.clone();
    let masks = name == "unet";
    let learning_rate = case["learning_rate"].as_f64().unwrap();
    let plan = fixture::plan().edited(|plan| {
        plan.model = model;
        plan.data.classes = (!masks).then_some(4);
        plan.optimiser_state = OptimiserState::ContinueLocal;
        plan.backend = fl_engine::plan::Backend::Burn;
        for task in &mut plan.tasks {
            task.metrics = vec![Metric::Loss];
            if let TaskKind::Train(spec) = &mut task.kind {
                (spec.length, spec.batch) = (TrainLength::Steps(1), rows as u32);
                spec.loss = if masks { Loss::Dice { logits: false } } else { Loss::cross_entropy() };
                spec.optimiser = if masks {
                    Optimiser::Adam { learning_rate }
                } else {
                    Optimiser::Sgd { learning_rate, momentum: 0.9, weight_decay: 0.0 }
                };
            }
        }
        (plan.best.metric, plan.best.direction) = (Metric::Loss, Metric::Loss.better());
    });
    let plan = plan.unwrap();
    let task = fixture::name("train");
    let kind = &plan.tasks.iter().find(|spec| spec.name == task).unwrap().kind;
    let TaskKind::Train(spec) = kind else { panic!("{kind:?}") };
    let mut state = plan.initial_state().unwrap();
    hashed::fill(&mut state);
    let mut trainer = Trainer::new(&plan, state.layout()).unwrap();
    let losses = case["losses"].as_array().unwrap();
    assert_eq!(losses.len(), 20);
    let mut largest: f64 = 0.0;
    for (step, expected) in (0..).zip(losses) {
        let data = batch(u64::from(step) % batches, rows, &input, masks);
        let fit = Fit {
            task: &task,
            spec,
            data: &data,
            start: &state,
            round: RoundNo(step),
            rounds: 20,
            seed: Seed::new(0),
            cancelled: &|| false,
            progress: &|_| {},
            team: &crate::task::team::alone,
        };
        let (next, scores) = trainer.fit(&fit).unwrap();
        state = next;
        let (found, expected) = (scores.value(Metric::Loss).unwrap(), expected.as_f64().unwrap());
        assert!(
            (found - expected).abs() < 1e-3,
            "{name}: the loss of step {step} is {found} where PyTorch has {expected}"
        );
        largest = largest.max((found - expected).abs());
    }
    largest
}

#[test]
fn losses_of_twenty_steps_are_those_of_pytorch() {
    for name in ["cnn", "resnet", "unet"] {
        println!("{name}: losses differ by at most {:.1e}", check(name));
    }
}
