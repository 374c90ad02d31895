//! Masks: a small segmentation, by every loss that takes one.

use fl_engine::model::ModelSpec;
use ndarray::ArrayD;

use super::*;
use crate::data::Dataset;

/// Pictures of 1×8×8 noise, and masks of where a picture is bright.
fn pictures(rows: usize, seed: u64, of_classes: bool) -> Dataset {
    let mut draws = fl_engine::Draws::new(seed);
    let values: Vec<f32> = (0..rows * 64).map(|_| draws.unit() as f32).collect();
    let labels = values.iter().map(|value| f32::from(*value > 0.6)).collect();
    let shape = if of_classes { vec![rows, 8, 8] } else { vec![rows, 1, 8, 8] };
    let features = ArrayD::from_shape_vec(vec![rows, 1, 8, 8], values).unwrap();
    Dataset::new(features, ArrayD::from_shape_vec(shape, labels).unwrap())
}

fn segmenting(loss: &Loss) -> Plan {
    let classes = loss.truth() == fl_engine::plan::Truth::Class;
    let last = if *loss == (Loss::Dice { logits: false }) { ", sigmoid" } else { "" };
    let outputs = if classes { 2 } else { 1 };
    let model = format!(
        "{{input: [1, 8, 8], layers: [{{conv2d: {{name: a, out: 4, kernel: 3, padding: 1}}}}, relu,
          {{conv2d: {{name: b, out: {outputs}, kernel: 3, padding: 1}}}}{last}]}}"
    );
    edited(|plan| {
        plan.model = ModelSpec::parse(&model).unwrap();
        plan.data.classes = classes.then_some(2);
        edit_train(plan, |spec| {
            spec.loss = loss.clone();
            spec.optimiser = Optimiser::Adam { learning_rate: 0.02 };
        });
        for task in &mut plan.tasks {
            task.metrics = if classes { vec![Metric::Iou] } else { vec![Metric::Dice, Metric::Iou] };
        }
        plan.best.metric = Metric::Iou;
    })
}

#[test]
fn masks_are_learnt_by_every_loss_that_takes_them() {
    let losses = [
        Loss::Dice { logits: false },
        Loss::Dice { logits: true },
        Loss::BceDice,
        Loss::Focal { gamma: 2.0, alpha: 0.25 },
        Loss::BinaryCrossEntropy,
        Loss::CrossEntropy { weights: vec![1.0, 2.0], smoothing: 0.05 },
    ];
    for loss in losses {
        let plan = segmenting(&loss);
        let classes = plan.data.classes.is_some();
        let part = |rows, seed| pictures(rows, seed, classes);
        let data = SplitData { train: part(64, 1), validation: part(16, 2), test: part(0, 3) };
        let layout = plan.layout().unwrap();
        let mut base = plan.initial_state().unwrap();
        let mut runner =
            Runner::new(Arc::new(plan), layout, &name("one"), Some(data), CustomTasks::new()).unwrap();
        let mut found = Vec::new();
        for round in 0..8 {
            found.push(metric(&go(&mut runner, VALIDATE, round, &base).unwrap(), Metric::Iou));
            base = go(&mut runner, "train", round, &base).unwrap().update.unwrap().0;
        }
        assert!(found[7] > found[0] + 0.2 && found[7] > 0.5, "{loss:?}: {found:?}");
    }
}
