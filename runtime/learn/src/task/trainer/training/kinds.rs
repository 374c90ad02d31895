//! Kinds of layers against values that PyTorch worked out: `reference/layers.py` writes `kinds.json`.

use burn_tensor::Device;
use fl_engine::model::{self, ModelSpec};
use fl_kernels::{Kit, Level, alone};
use serde_json::Value;

use super::{
    hashed::values,
    net::{self, Net},
    *,
};

/// Within 1e-5 of the largest value expected.
#[track_caller]
fn close(what: &str, found: &[f32], expected: &Value) {
    let expected: Vec<f64> = expected.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1e-3, |most: f64, v| most.max(v.abs()));
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let error = (f64::from(*found) - expected).abs() / largest;
        assert!(error < 1e-5, "{what}, element {index}: {found} where PyTorch has {expected}");
    }
}

#[test]
fn every_kind_computes_and_differentiates_as_pytorch_does() {
    let recorded: Value = serde_json::from_str(include_str!("kinds.json")).unwrap();
    let cases = recorded["cases"].as_object().unwrap();
    assert!(cases.len() > 50, "{}", cases.len());
    for (name, case) in cases {
        let (layers, input) = (case["layers"].as_str().unwrap(), &case["input"]);
        let spec = ModelSpec::parse(&format!("{{input: {input}, layers: {layers}}}")).unwrap();
        let mut state = model::init(&spec, 0).unwrap();
        let layout = Arc::clone(state.layout());
        let factor = case["factor"].as_f64().unwrap();
        for (index, tensor) in layout.tensors().iter().enumerate() {
            let place = layout.place(index);
            state.f32[place.clone()].copy_from_slice(&values(&tensor.name, place.len(), factor, 0.0));
        }
        let shape: Vec<usize> =
            case["shape"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect();
        let rows = shape[0];
        let features = values("input", rows * spec.input.iter().product::<u32>() as usize, 1.0, 0.0);
        let coefficients = values("coefficients", shape.iter().product(), 1.0, 0.0);
        match own::plan(&spec, &layout, true).unwrap() {
            Err(word) => assert!(ON_BURN.contains(&word.as_str()), "{name}: {word} has no kernel"),
            Ok(mut own) => {
                let kit = Kit { level: Level::best(), team: &alone };
                close(
                    &format!("{name}: own output"),
                    own.forward(&state, &features, rows, None, kit),
                    &case["output"],
                );
                let mut gradient = vec![0.0; own.len()];
                own.backward(&state, &coefficients, &mut gradient, kit);
                close(
                    &format!("{name}: own gradient of the input"),
                    &own.by_sample(kit),
                    &case["gradients"]["input"],
                );
                for (index, tensor) in layout.tensors().iter().enumerate() {
                    let (found, expected) =
                        (&gradient[layout.place(index)], &case["gradients"][&tensor.name]);
                    close(&format!("{name}: own gradient of {}", tensor.name), found, expected);
                }
            }
        }

        let net = Net::new(&spec, &layout).unwrap();
        let device = Device::flex().autodiff();
        let params = net.params(&state, &device, true);
        let sample = net.sample(features, rows, &device).require_grad();
        let pass = net.run(&params, sample.clone(), None, &mut |_, _| {}).unwrap();
        let found: Vec<u32> = shape[1..].iter().map(|side| *side as u32).collect();
        assert_eq!(model::output_shape(&spec).unwrap(), found, "{name}");
        close(&format!("{name}: output"), &net::values(pass.output.clone().detach()), &case["output"]);
        let coefficients = burn_tensor::TensorData::new(coefficients, pass.output.dims());
        let objective = (pass.output * burn_tensor::Tensor::<2>::from_data(coefficients, &device)).sum();
        let mut gradients = objective.backward();
        let of_input = net::values(sample.grad(&gradients).unwrap());
        close(&format!("{name}: gradient of the input"), &of_input, &case["gradients"]["input"]);
        let gradient = net.gradient(&params, &mut gradients);
        for (index, tensor) in layout.tensors().iter().enumerate() {
            let expected = &case["gradients"][&tensor.name];
            close(&format!("{name}: gradient of {}", tensor.name), &gradient[layout.place(index)], expected);
        }
    }
}

/// A model of an embedding and a linear layer, with its state.
fn embedding() -> (ModelSpec, ModelState, Net) {
    let spec = "{input: [3], layers: [{embedding: {name: e, rows: 5, width: 2}}, {linear: {name: a, out: 1, bias: false}}]}";
    let spec = ModelSpec::parse(spec).unwrap();
    let state = model::init(&spec, 1).unwrap();
    let net = Net::new(&spec, state.layout()).unwrap();
    (spec, state, net)
}

#[test]
fn embedding_looks_rows_up_and_sends_gradients_back_to_them() {
    let (_, state, net) = embedding();
    let device = Device::flex().autodiff();
    let params = net.params(&state, &device, true);
    let pass = net.forward(&params, vec![4.0, 0.0, 4.0, 2.0, 4.0, 0.0], 2, None, &device).unwrap();
    let (rows, weight) = (&state.f32[..10], &state.f32[10..]);
    let of = |row: usize| rows[2 * row] * weight[0] + rows[2 * row + 1] * weight[1];
    let found = net::values(pass.output.clone().detach());
    for (found, row) in found.iter().zip([4, 0, 4, 2, 4, 0]) {
        assert!((found - of(row)).abs() < 1e-6, "{row}");
    }
    let gradient = net.gradient(&params, &mut pass.output.sum().backward());
    for (row, times) in [(0, 2.0), (1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0)] {
        for (found, weight) in gradient[2 * row..2 * row + 2].iter().zip(weight) {
            assert!((found - times * weight).abs() < 1e-6, "{row}");
        }
    }
}

#[test]
fn number_that_names_no_row_of_an_embedding_is_refused() {
    let (_, state, net) = embedding();
    let device = Device::flex();
    let params = net.params(&state, &device, false);
    for number in [5.0, -1.0, 0.5, f32::NAN] {
        let error = net.forward(&params, vec![0.0, number, 1.0], 1, None, &device).err().unwrap();
        assert_eq!(
            error.to_string(),
            format!("a sample has the number {number}; the embedding has the rows 0 to 4")
        );
        assert!(error.hint().unwrap().contains("raise `rows`"));
    }
}

#[test]
fn manual_lists_the_layers_that_run_on_burn() {
    let chapter = include_str!("../../../../../src/manual/training.md");
    let (_, list) = chapter.split_once("These layers have no kernel:\n\n").unwrap();
    let (list, _) = list.split_once("\n\n").unwrap();
    let listed: std::collections::BTreeSet<&str> = list.split('`').skip(1).step_by(2).collect();
    assert_eq!(listed, ON_BURN.iter().copied().collect());
}

/// Layers that run on burn.
pub(super) const ON_BURN: &[&str] = &[
    "reshape",
    "permute",
    "slice",
    "select",
    "mean",
    "max",
    "scale",
    "parameter",
    "prelu",
    "matmul",
    "embedding",
    "gelu_tanh",
    "instance_norm",
    "conv_transpose1d",
    "lstm",
    "gru",
    "attention",
];
