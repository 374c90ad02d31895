//! The named U-Net against values that PyTorch worked out, without its weights: `reference/unet.py` writes
//! `unet.json`, and both sides make the weights, the picture and the mask by one formula.

use burn_tensor::{Device, Tensor, TensorData};
use fl_engine::{
    model::{self, ModelSpec},
    tensor::Dtype,
};
use serde_json::Value;

use super::{
    hashed,
    net::{self, Net},
    *,
};

/// Sum and sum of squares of what a layer gave, by the name that PyTorch's module has.
type Sums = BTreeMap<String, [f64; 2]>;

fn sums<'a>(values: impl IntoIterator<Item = &'a f32>) -> [f64; 2] {
    values.into_iter().fold([0.0, 0.0], |[sum, squares], v| {
        let v = f64::from(*v);
        [sum + v, squares + v * v]
    })
}

/// A sum may be off by `rest` of the root of the sum of squares, which is off by `of_squares`.
#[track_caller]
fn meets(what: &str, found: [f64; 2], expected: &Value, of_squares: f64, rest: f64) {
    let expected = [0usize, 1].map(|n| expected[n].as_f64().unwrap());
    let off = [(found[0] - expected[0]).abs() / expected[1].sqrt(), (found[1] / expected[1] - 1.0).abs()];
    assert!(off[0] <= rest && off[1] <= of_squares, "{what}: {found:?} where PyTorch has {expected:?}");
}

/// One network of `unet.json`: a forward pass, a training pass, its gradients and its statistics. Gradients'
/// norms may be off by `of_norms`.
fn check(base: u32, height: usize, width: usize, of_norms: f64) {
    let rows = 2;
    let recorded: Value = serde_json::from_str(include_str!("unet.json")).unwrap();
    let expected = &recorded[format!("base{base}_{rows}x3x{height}x{width}")];
    let text = format!("{{network: unet, input: [3, {height}, {width}], base: {base}}}");
    let spec = ModelSpec::parse(&text).unwrap();
    let mut state = model::init(&spec, 0).unwrap();
    let layout = Arc::clone(state.layout());
    assert_eq!(layout.tensors().len() as u64, expected["tensors"]);
    hashed::fill(&mut state);
    let net = Net::new(&spec, &layout).unwrap();
    let picture = hashed::values("input", rows * 3 * height * width, 1.0, 0.0);
    let mask: Vec<f32> =
        hashed::integers("mask", rows * height * width).map(|k| f32::from(u8::from(k >= 0))).collect();
    let named: Vec<String> = model::place(&spec)
        .unwrap()
        .iter()
        .map(|at| at.layer.name().unwrap_or(at.layer.word()).to_owned())
        .collect();
    let run = |state: &ModelState, training: bool, device: &Device| {
        let params = net.params(state, device, training);
        let (mut seen, mut pools) = (Sums::new(), 0);
        let sample = net.sample(picture.clone(), rows, device);
        let mut draws = Draws::new(0);
        let pass = net.run(&params, sample, training.then_some(&mut draws), &mut |index, out| {
            pools += usize::from(named[index] == "max_pool");
            let name = match named[index].as_str() {
                "max_pool" => format!("down{pools}.mpconv.0"),
                name => name.to_owned(),
            };
            if expected["eval"]["layers"].get(&name).is_some() {
                seen.insert(name, sums(&net::values(out.clone())));
            }
        });
        (params, pass.unwrap(), seen)
    };
    let compare = |mode: &str, output: &[f32], seen: &Sums| {
        let expected = &expected[mode];
        let places = [0, 1, width, height * width / 2, height * width - 1, rows * height * width - 1];
        for (place, expected) in places.into_iter().zip(expected["output"].as_array().unwrap()) {
            let (found, expected) = (f64::from(output[place]), expected.as_f64().unwrap());
            assert!(
                (found - expected).abs() < 1e-4,
                "{mode}, output {place}: {found} where PyTorch has {expected}"
            );
        }
        meets(&format!("{mode}, output"), sums(output), &expected["output_sum_sumsq"], 1e-5, 1e-4);
        let layers = expected["layers"].as_object().unwrap();
        assert_eq!(seen.len(), layers.len());
        for (name, expected) in layers {
            meets(&format!("{mode}, {name}"), seen[name], expected, 1e-5, 1e-4);
        }
    };
    let (_, pass, seen) = run(&state, false, &Device::flex());
    compare("eval", &net::values(pass.output), &seen);

    let device = Device::flex().autodiff();
    let (params, pass, seen) = run(&state, true, &device);
    compare("train", &net::values(pass.output.clone().detach()), &seen);
    let expected = &expected["train"];
    let mask: Tensor<2> = Tensor::from_data(TensorData::new(mask, pass.output.dims()), &device);
    let sum = |tensor: Tensor<2>| tensor.sum_dim(1).add_scalar(1.0);
    let both = sum(pass.output.clone() * mask.clone()).mul_scalar(2.0);
    let score = both / (sum(pass.output.clone()) + mask.sum_dim(1));
    let loss = score.mean().neg().add_scalar(1.0);
    let mut gradients = loss.backward();
    let loss = f64::from(loss.into_scalar::<f32>());
    assert!((loss - expected["loss"].as_f64().unwrap()).abs() < 1e-6, "{loss}");
    let gradient = net.gradient(&params, &mut gradients);
    for segment in layout.segments(Dtype::F32) {
        let name = &layout.tensors()[segment.tensor].name;
        let Some(norm) = expected["grad_l2"].get(name).and_then(Value::as_f64) else { continue };
        let values = &gradient[segment.range];
        let found = sums(values)[1].sqrt();
        // A batch's mean takes the bias before a normalisation out again: rounding alone is left.
        if name.ends_with("0.bias") || name.ends_with("3.bias") {
            assert!(found < 1e-6, "{name}: {found}");
            continue;
        }
        assert!((found / norm - 1.0).abs() < of_norms, "{name}: {found} where PyTorch has {norm}");
        let first = expected["grad_first"][name].as_f64().unwrap();
        let off = (f64::from(values[0]) - first).abs() / norm;
        assert!(off < of_norms, "{name}: first element {} where PyTorch has {first}", values[0]);
    }
    net.update_statistics(&mut state, pass.statistics);
    for (name, expected) in expected["running"].as_object().unwrap() {
        let index = layout.tensors().iter().position(|t| t.name == *name).unwrap();
        meets(name, sums(&state.f32[layout.place(index)]), expected, 1e-5, 1e-5);
    }
    assert_eq!(state.i64, [1; 18]);
}

/// The file has no metadata, integers of shape `[]`, and another order of tensors than the model.
#[test]
fn state_dict_that_pytorch_saved_is_read_as_it_is() {
    let spec = ModelSpec::parse("{network: unet, input: [3, 332, 332], base: 1}").unwrap();
    let mut expected = model::init(&spec, 0).unwrap();
    hashed::fill(&mut expected);
    expected.i64.fill(3);
    let (state, texts) =
        model::safetensors::read(include_bytes!("unet.safetensors"), expected.layout()).unwrap();
    assert_eq!((state.layout().tensors().len(), texts.len(), state.i64.len()), (136, 0, 18));
    assert!(state == expected);
}

#[test]
fn small_unet_agrees_with_pytorch() {
    check(16, 52, 44, 1e-4);
}

#[test]
#[ignore = "31 million parameters: ci/long networks"]
fn unet_of_kvasir_agrees_with_pytorch() {
    check(64, 52, 44, 1e-2);
    check(64, 64, 64, 1e-2);
}

#[test]
#[ignore = "a picture of 332 by 332 pixels: ci/long networks"]
fn unet_of_kvasir_runs_at_full_size() {
    let spec = ModelSpec::parse("{network: unet, input: [3, 332, 332]}").unwrap();
    let state = model::init(&spec, 0).unwrap();
    let net = Net::new(&spec, state.layout()).unwrap();
    let device = Device::flex().autodiff();
    let params = net.params(&state, &device, true);
    let sample = net.sample(hashed::values("input", 3 * 332 * 332, 1.0, 0.0), 1, &device);
    let pass = net.run(&params, sample, Some(&mut Draws::new(0)), &mut |_, _| {}).unwrap();
    assert_eq!(pass.output.dims(), [1, 332 * 332]);
    let mut gradients = pass.output.mean().backward();
    assert!(net.gradient(&params, &mut gradients).iter().all(|v| v.is_finite()));
}
