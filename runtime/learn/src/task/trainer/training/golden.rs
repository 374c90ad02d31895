//! Layers, losses and optimisers against values that PyTorch 2.15 worked out in f64 (`golden.json`).
//!
//! Each layer's case is a model with random parameters in training: its output, and the gradient of a
//! weighted sum of the output. Inputs are multiples of 1/64, so both sides start from the same numbers.

use burn_tensor::{Device, Tensor, TensorData};
use fl_engine::{
    model::{self, ModelSpec},
    plan::Optimiser,
};
use fl_kernels::{Kit, Level, alone};
use serde_json::Value;

use super::{net::Net, optimiser::Memory, *};

fn golden() -> Value {
    serde_json::from_str(include_str!("golden.json")).unwrap()
}

/// The numbers of a list.
pub(super) fn list(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

/// Within 1e-5 of the largest value expected.
#[track_caller]
fn close(what: &str, found: &[f32], expected: &Value) {
    let expected = list(expected);
    let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
    assert!(found.len() == expected.len() && largest > 0.0, "{what}: {found:?} where {expected:?}");
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let error = (found - expected).abs() / largest;
        assert!(error < 1e-5, "{what}, element {index}: {found} where PyTorch has {expected}");
    }
}

/// The model of a case: what is named, between what it needs.
fn spec(case: &str) -> ModelSpec {
    let point = "{conv2d: {name: a, out: 2, kernel: 1}}";
    let image = |input: &str, layers: &str| (input.to_owned(), format!("{layers}, flatten"));
    let (input, layers) = match case {
        "linear" => ("[3]".to_owned(), "{linear: {name: a, out: 2}}".to_owned()),
        "conv2d" => image("[2, 5, 4]", "{conv2d: {name: a, out: 2, kernel: 3, stride: 2, padding: 1}}"),
        "conv_transpose2d" => {
            image("[2, 2, 3]", "{conv_transpose2d: {name: a, out: 2, kernel: 3, stride: 2, padding: 1}}")
        }
        "batch_norm" => ("[3]".to_owned(), "{batch_norm: {name: a}}".to_owned()),
        "batch_norm_image" => image("[2, 2, 2]", "{batch_norm: {name: a}}"),
        "max_pool" | "avg_pool" => image("[1, 5, 4]", &format!("{point}, {{{case}: {{kernel: 2}}}}")),
        "relu" | "gelu" | "sigmoid" | "tanh" => {
            ("[3]".to_owned(), format!("{{linear: {{name: a, out: 4}}}}, {case}"))
        }
        other => panic!("a case without a model: {other}"),
    };
    ModelSpec::parse(&format!("{{input: {input}, layers: [{layers}]}}")).unwrap()
}

#[test]
fn every_layer_computes_and_differentiates_as_pytorch_does() {
    let golden = golden();
    let cases = golden["layers"].as_object().unwrap();
    assert_eq!(cases.len(), 11);
    for (name, case) in cases {
        let spec = spec(name);
        let mut state = model::init(&spec, 0).unwrap();
        let net = Net::new(&spec, state.layout()).unwrap();
        state.f32 = list(&case["state"]);
        assert_eq!(state.f32.len(), state.layout().f32_len(), "{name}");
        let rows = case["rows"].as_u64().unwrap() as usize;
        let features = list(&case["features"]);
        let (mut own, mut after) = (own::plan(&spec, state.layout(), false).unwrap().unwrap(), state.clone());
        let kit = Kit { level: Level::best(), team: &alone };
        own.forward(&state, &features, rows, Some(&mut Draws::new(0)), kit);
        close(&format!("{name}: own output"), own.output(), &case["output"]);
        let mut gradient = vec![0.0; own.len()];
        own.backward(&state, &list(&case["coefficients"]), &mut gradient, kit);
        close(&format!("{name}: own gradient"), &gradient, &case["gradient"]);
        if case.get("state_after").is_some() {
            own.update_statistics(&mut after);
            close(&format!("{name}: own statistics"), &after.f32, &case["state_after"]);
            let found = own.forward(&after, &features, rows, None, kit);
            close(&format!("{name}: own evaluated"), found, &case["evaluated"]);
        }

        let device = Device::flex().autodiff();
        let params = net.params(&state, &device, true);
        let pass = net.forward(&params, features.clone(), rows, Some(&mut Draws::new(0)), &device).unwrap();
        close(&format!("{name}: output"), &net::values(pass.output.clone().detach()), &case["output"]);
        let coefficients = TensorData::new(list(&case["coefficients"]), pass.output.dims());
        let objective = (pass.output * Tensor::<2>::from_data(coefficients, &device)).sum();
        let gradient = net.gradient(&params, &mut objective.backward());
        close(&format!("{name}: gradient"), &gradient, &case["gradient"]);
        if case.get("state_after").is_some() {
            net.update_statistics(&mut state, pass.statistics);
            close(&format!("{name}: statistics"), &state.f32, &case["state_after"]);
            let device = Device::flex();
            let params = net.params(&state, &device, false);
            let pass = net.forward(&params, features, rows, None, &device).unwrap();
            close(&format!("{name}: evaluated"), &net::values(pass.output), &case["evaluated"]);
        }
    }
}

#[test]
fn every_loss_and_its_gradient_are_pytorchs() {
    for (name, loss) in [
        ("cross_entropy", Loss::cross_entropy()),
        ("binary_cross_entropy", Loss::BinaryCrossEntropy),
        ("mse", Loss::Mse),
    ] {
        let case = &golden()["losses"][name];
        let (output, labels) = (list(&case["output"]), list(&case["labels"]));
        let mut scores = Scores::new(&loss);
        scores.add(&output, &labels, labels.len());
        let device = Device::flex().autodiff();
        let shape = [labels.len(), output.len() / labels.len()];
        let output = Tensor::<2>::from_data(TensorData::new(output, shape), &device).require_grad();
        let mean = loss::mean(&loss, output.clone(), &labels, &device);
        let gradient = output.grad(&mean.backward()).unwrap();
        close(&format!("{name}: gradient"), &net::values(gradient), &case["gradient"]);
        let scored = scores.value(fl_engine::plan::Metric::Loss).unwrap();
        let expected = case["loss"].as_f64().unwrap();
        for found in [f64::from(mean.into_scalar::<f32>()), scored] {
            assert!(
                (found - expected).abs() < 1e-5 * expected,
                "{name}: {found} where PyTorch has {expected}"
            );
        }
    }
}

#[test]
fn three_steps_of_every_optimiser_end_where_pytorchs_do() {
    let sgd = |momentum, weight_decay| Optimiser::Sgd { learning_rate: 0.1, momentum, weight_decay };
    let golden = &golden()["optimisers"];
    for (name, optimiser, mu) in [
        ("sgd", sgd(0.0, 0.0), 0.0),
        ("sgd_momentum_decay", sgd(0.9, 0.05), 0.0),
        ("adam", Optimiser::Adam { learning_rate: 0.05 }, 0.0),
        ("adamw", Optimiser::AdamW { learning_rate: 0.05, weight_decay: 0.1 }, 0.0),
        ("fedprox", sgd(0.9, 0.0), 0.5),
    ] {
        let start = list(&golden["start"]);
        let (mut values, mut memory, trained) = (start.clone(), Memory::default(), 0..start.len());
        for step in 0..3 {
            let mut gradient = list(&golden["gradients"][step]);
            optimiser::pull(&mut gradient, &values, &start, trained.clone(), mu);
            memory.step(optimiser, &mut values, &gradient, std::slice::from_ref(&trained)).unwrap();
            close(&format!("{name}, step {step}"), &values, &golden["steps"][name][step]);
        }
    }
}
