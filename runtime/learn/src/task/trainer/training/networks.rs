//! Whole networks against PyTorch: outputs in both modes, the losses of ten steps, and outputs after them.
//!
//! `networks/` has the layers as `fl-host model import` writes them from PyTorch's exports, which a test of
//! `fl-host` compares. `reference/networks.py` records `networks.json`. Both sides make weights and inputs by
//! one formula. Dropout is off, because its masks are random.

use burn_tensor::Device;
use fl_engine::{
    model::{self, ModelSpec},
    plan::Optimiser,
    tensor::Dtype,
};
use fl_kernels::{Kit, Level, alone};
use serde_json::Value;

use super::{
    hashed,
    kinds::ON_BURN,
    net::{self, Net},
    optimiser::Memory,
    *,
};

/// A file of `networks/`, whose first line is the key `model`.
fn spec(name: &str) -> ModelSpec {
    let path = format!("{}/src/task/trainer/training/networks/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let mut spec = ModelSpec::parse(text.split_once('\n').unwrap().1).unwrap();
    for layer in &mut spec.layers {
        if let model::Layer::Dropout { p } = layer {
            *p = 0.0;
        }
    }
    spec
}

/// Within 1e-4 of the largest value expected; sums, too.
fn far(found: &[f32], expected: &Value) -> f64 {
    let every = expected["every"].as_u64().unwrap() as usize;
    let values: Vec<f64> =
        expected["values"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
    assert_eq!(found.len().div_ceil(every), values.len());
    let largest = values.iter().fold(1e-3, |most: f64, value| most.max(value.abs()));
    let pairs = found.iter().step_by(every).zip(&values);
    let worst =
        pairs.fold(0.0, |most: f64, (found, value)| most.max((f64::from(*found) - value).abs() / largest));
    let sum: f64 = found.iter().map(|value| f64::from(*value)).sum();
    let squares: f64 = found.iter().map(|value| f64::from(*value).powi(2)).sum();
    let expected = [0usize, 1].map(|index| expected["sums"][index].as_f64().unwrap());
    let scale = (expected[1] * found.len() as f64).sqrt();
    worst.max((sum - expected[0]).abs() / scale).max((squares / expected[1] - 1.0).abs())
}

/// A model with the values that the script makes.
fn start(spec: &ModelSpec) -> ModelState {
    let mut state = model::init(spec, 0).unwrap();
    let layout = Arc::clone(state.layout());
    for segment in layout.segments(Dtype::F32) {
        let tensor = &layout.tensors()[segment.tensor];
        let transposed = spec.layers.iter().any(|layer| {
            matches!(layer, model::Layer::ConvTranspose1d { name, .. } | model::Layer::ConvTranspose2d { name, .. } if format!("{name}.weight") == tensor.name)
        });
        let (a, c) = hashed::scale(&tensor.name, &tensor.shape, transposed);
        let values = hashed::values(&tensor.name, segment.range.len(), a, c);
        state.f32[segment.range].copy_from_slice(&values);
    }
    state
}

/// A batch as the script makes it.
fn features(spec: &ModelSpec, rows: usize, recorded: &Value) -> Vec<f32> {
    let count = rows * spec.input.iter().product::<u32>() as usize;
    match recorded["numbers"].as_u64() {
        Some(numbers) => {
            hashed::integers("input", count).map(|k| k.rem_euclid(numbers as i32) as f32).collect()
        }
        None => hashed::values("input", count, 1.0, 0.0),
    }
}

#[test]
fn imported_networks_compute_and_learn_as_in_pytorch() {
    let recorded: Value = serde_json::from_str(include_str!("networks.json")).unwrap();
    let (rows, rate) = (recorded["rows"].as_u64().unwrap() as usize, recorded["rate"].as_f64().unwrap());
    let networks = recorded["networks"].as_object().unwrap();
    assert!(networks.len() >= 30, "{}", networks.len());
    let (mut of_outputs, mut of_losses) = (0f64, 0f64);
    for (name, recorded) in networks {
        let spec = spec(name);
        let mut state = start(&spec);
        let layout = Arc::clone(state.layout());
        let net = Net::new(&spec, &layout).unwrap();
        let features = features(&spec, rows, recorded);
        let plain = Device::flex();
        let params = net.params(&state, &plain, false);
        let pass = net.forward(&params, features.clone(), rows, None, &plain).unwrap();
        let off = far(&net::values(pass.output), &recorded["eval"]);
        assert!(off < 1e-4, "{name}: outputs in evaluation are off by {off:.1e}");
        of_outputs = of_outputs.max(off);

        let device = Device::flex().autodiff();
        let sgd = Optimiser::Sgd { learning_rate: rate, momentum: 0.0, weight_decay: 0.0 };
        let (mut memory, mut draws) = (Memory::default(), Draws::new(0));
        for (step, expected) in recorded["losses"].as_array().unwrap().iter().enumerate() {
            let params = net.params(&state, &device, true);
            let pass = net.forward(&params, features.clone(), rows, Some(&mut draws), &device).unwrap();
            let output = net::values(pass.output.clone().detach());
            if step == 0 {
                let off = far(&output, &recorded["train"]);
                assert!(off < 1e-4, "{name}: outputs in training are off by {off:.1e}");
                of_outputs = of_outputs.max(off);
            }
            let target = hashed::values("target", output.len(), 1.0, 0.0);
            let loss = loss::mean(&Loss::Mse, pass.output, &target, &device);
            let gradient = net.gradient(&params, &mut loss.backward());
            let (found, expected) = (f64::from(loss.into_scalar::<f32>()), expected.as_f64().unwrap());
            let off = (found / expected - 1.0).abs();
            assert!(off < 1e-3, "{name}: the loss of step {step} is {found} where PyTorch has {expected}");
            of_losses = of_losses.max(off);
            net.update_statistics(&mut state, pass.statistics);
            memory.step(sgd, &mut state.f32[..net.len()], &gradient, net.trained()).unwrap();
        }
        let params = net.params(&state, &plain, false);
        let pass = net.forward(&params, features, rows, None, &plain).unwrap();
        let off = far(&net::values(pass.output), &recorded["after"]);
        assert!(off < 1e-3, "{name}: outputs after training are off by {off:.1e}");
        of_losses = of_losses.max(off);
    }
    println!("worst of {} networks: outputs {of_outputs:.1e}, training {of_losses:.1e}", networks.len());
}

#[test]
fn imported_networks_learn_on_kernels_as_in_pytorch() {
    let recorded: Value = serde_json::from_str(include_str!("networks.json")).unwrap();
    let (rows, rate) = (recorded["rows"].as_u64().unwrap() as usize, recorded["rate"].as_f64().unwrap());
    let kit = Kit { level: Level::best(), team: &alone };
    for (name, recorded) in recorded["networks"].as_object().unwrap() {
        let spec = spec(name);
        let mut state = start(&spec);
        let mut own = match own::plan(&spec, state.layout(), false).unwrap() {
            Ok(own) => own,
            Err(word) => {
                assert!(ON_BURN.contains(&word.as_str()), "{name}: {word} has no kernel");
                continue;
            }
        };
        let features = features(&spec, rows, recorded);
        let off = far(own.forward(&state, &features, rows, None, kit), &recorded["eval"]);
        assert!(off < 1e-4, "{name}: outputs in evaluation are off by {off:.1e}");
        let sgd = Optimiser::Sgd { learning_rate: rate, momentum: 0.0, weight_decay: 0.0 };
        let (mut memory, mut draws, mut slopes) = (Memory::default(), Draws::new(0), Vec::new());
        let mut gradient = vec![0.0; own.len()];
        for (step, expected) in recorded["losses"].as_array().unwrap().iter().enumerate() {
            let output = own.forward(&state, &features, rows, Some(&mut draws), kit);
            if step == 0 {
                let off = far(output, &recorded["train"]);
                assert!(off < 1e-4, "{name}: outputs in training are off by {off:.1e}");
            }
            let target = hashed::values("target", output.len(), 1.0, 0.0);
            let loss = f64::from(own::loss::mean(&Loss::Mse, output, &target, rows, &mut slopes));
            let expected = expected.as_f64().unwrap();
            let off = (loss / expected - 1.0).abs();
            assert!(off < 1e-3, "{name}: the loss of step {step} is {loss} where PyTorch has {expected}");
            own.backward(&state, &slopes, &mut gradient, kit);
            own.update_statistics(&mut state);
            let len = own.len();
            memory.step(sgd, &mut state.f32[..len], &gradient, own.trained()).unwrap();
        }
        let off = far(own.forward(&state, &features, rows, None, kit), &recorded["after"]);
        assert!(off < 1e-3, "{name}: outputs after training are off by {off:.1e}");
    }
}
