//! Losses, gradients and metrics against what PyTorch and scikit-learn say (`scores/reference.py`), edge
//! cases included.

use burn_tensor::{Device, Tensor, TensorData};
use fl_engine::plan::{Loss, Metric};
use serde_json::Value;

use super::{golden::list, loss, net, own};
use crate::task::scores::Scores;

fn loss_of(name: &str) -> Loss {
    let entropy = |weights: &[f64], smoothing| Loss::CrossEntropy { weights: weights.to_vec(), smoothing };
    match name {
        "entropy" => Loss::cross_entropy(),
        "entropy_weighted" => entropy(&[1.0, 2.0, 0.5], 0.0),
        "entropy_smoothed" => entropy(&[], 0.1),
        "entropy_both" => entropy(&[1.0, 2.0, 0.5], 0.1),
        "binary" => Loss::BinaryCrossEntropy,
        "dice" => Loss::Dice { logits: false },
        "dice_logits" => Loss::Dice { logits: true },
        "bce_dice" => Loss::BceDice,
        "focal" => Loss::Focal { gamma: 2.0, alpha: 0.25 },
        "focal_set" => Loss::Focal { gamma: 1.5, alpha: 0.6 },
        "mse" => Loss::Mse,
        "l1" => Loss::L1,
        "huber" => Loss::Huber { delta: 1.0 },
        "huber_set" => Loss::Huber { delta: 0.4 },
        other => panic!("a loss that nothing here is: {other}"),
    }
}

#[test]
fn every_loss_gradient_and_metric_is_that_of_pytorch_and_scikit_learn() {
    let recorded: Value = serde_json::from_str(include_str!("../../scores/reference.json")).unwrap();
    let cases = recorded["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 38);
    let mut seen = std::collections::BTreeSet::new();
    for (name, case) in cases {
        let loss = loss_of(case["loss"].as_str().unwrap());
        let rows = case["rows"].as_u64().unwrap() as usize;
        let (output, labels) = (list(&case["output"]), list(&case["labels"]));
        let near = |what: &str, found: f64, expected: f64| {
            let error = (found - expected).abs() / expected.abs().max(1e-2);
            assert!(error < 1e-5, "{name}: {what} is {found} where {expected} was recorded");
        };

        let device = Device::flex().autodiff();
        let data = TensorData::new(output.clone(), [rows, output.len() / rows]);
        let tensor = Tensor::<2>::from_data(data, &device).require_grad();
        let mean = loss::mean(&loss, tensor.clone(), &labels, &device);
        let gradient = net::values(tensor.grad(&mean.backward()).unwrap());
        let mut slopes = Vec::new();
        let own = own::loss::mean(&loss, &output, &labels, rows, &mut slopes);
        for mean in [mean.into_scalar::<f32>(), own] {
            near("the loss to train on", f64::from(mean), case["value"].as_f64().unwrap());
        }
        let expected = list(&case["gradient"]);
        let largest = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
        assert!(gradient.len() == expected.len() && largest > 0.0, "{name}");
        assert_eq!(slopes.len(), expected.len(), "{name}");
        let both = gradient.iter().zip(&expected).chain(slopes.iter().zip(&expected));
        for (at, (found, expected)) in both.enumerate() {
            let error = (found - expected).abs() / largest;
            assert!(error < 1e-5, "{name}: gradient {at} is {found} where {expected} was recorded");
        }

        let (mut at_once, mut by_row) = (Scores::new(&loss), Scores::new(&loss));
        at_once.add(&output, &labels, rows);
        let pairs = output.chunks(output.len() / rows).zip(labels.chunks(labels.len() / rows));
        pairs.for_each(|(output, labels)| by_row.add(output, labels, 1));
        near("the loss", at_once.value(Metric::Loss).unwrap(), case["value"].as_f64().unwrap());
        for (metric, expected) in case["metrics"].as_object().unwrap() {
            let of_name = |known: &Metric| known.word() == metric;
            let metric = Metric::ALL.into_iter().find(of_name).unwrap();
            seen.insert(metric);
            assert_eq!(by_row.value(metric), at_once.value(metric), "{name}: {metric:?} depends on batches");
            match (at_once.value(metric), expected.as_f64()) {
                (None, None) => {}
                (Some(found), Some(expected)) => near(metric.word(), found, expected),
                (found, _) => panic!("{name}: {metric:?} is {found:?} where {expected} was recorded"),
            }
        }
    }
    let unseen: Vec<Metric> = Metric::ALL.into_iter().filter(|metric| !seen.contains(metric)).collect();
    assert_eq!(unseen, [Metric::Loss, Metric::Top5, Metric::Top10]);
}

#[test]
fn outputs_far_out_give_losses_and_gradients_that_are_finite() {
    let device = Device::flex().autodiff();
    for name in ["binary", "dice_logits", "bce_dice", "focal", "focal_set", "l1", "huber"] {
        let loss = loss_of(name);
        let output =
            Tensor::<2>::from_data(TensorData::new(vec![300.0f32, -300.0, 0.0, 300.0], [1, 4]), &device);
        let output = output.require_grad();
        let mean = loss::mean(&loss, output.clone(), &[1.0, 0.0, 1.0, 0.0], &device);
        let gradient = net::values(output.grad(&mean.backward()).unwrap());
        assert!(gradient.iter().all(|value| value.is_finite()), "{name}: {gradient:?}");
        assert!(mean.into_scalar::<f32>().is_finite(), "{name}");
    }
    let loss = loss_of("dice");
    let output = Tensor::<2>::from_data(TensorData::new(vec![1.0f32, 0.0], [1, 2]), &device).require_grad();
    let mean = loss::mean(&loss, output.clone(), &[0.0, 0.0], &device);
    assert!(net::values(output.grad(&mean.backward()).unwrap()).iter().all(|value| value.is_finite()));
}
