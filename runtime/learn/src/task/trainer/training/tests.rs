//! Layers against numbers worked out by hand, gradients against differences, parameters bit for bit.

use burn_tensor::Device;
use fl_engine::model::{self, Layer, ModelSpec};
use ndarray::ArrayD;

use super::{net::Net, *};

fn linear(name: &str, out: u32, bias: bool) -> Layer {
    Layer::Linear { name: name.to_owned(), out, bias }
}

fn model(text: &str) -> ModelSpec {
    ModelSpec::parse(text).unwrap()
}

/// Every kind of layer of the first release, on 2×6×6 images.
fn every_layer(outputs: u32) -> ModelSpec {
    model(&format!(
        "{{input: [2, 6, 6], layers: [
            {{conv2d: {{name: conv, out: 3, kernel: 3, padding: 1}}}}, {{batch_norm: {{name: norm}}}}, relu,
            {{max_pool: {{kernel: 2}}}},
            {{conv_transpose2d: {{name: up, out: 2, kernel: 3, stride: 2, padding: 1}}}}, gelu,
            {{avg_pool: {{kernel: 2}}}}, {{dropout: {{p: 0.25}}}}, flatten, {{linear: {{name: fc1, out: 6}}}},
            {{batch_norm: {{name: norm1}}}}, tanh, {{linear: {{name: fc2, out: 5, bias: false}}}}, sigmoid,
            {{linear: {{name: fc3, out: {outputs}}}}}]}}"
    ))
}

/// Values of the open interval −1 .. 1.
fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut draws = Draws::new(seed);
    (0..count).map(|_| (2.0 * draws.unit() - 1.0) as f32).collect()
}

fn net(spec: &ModelSpec) -> (Net, ModelState) {
    let state = model::init(spec, 5).unwrap();
    (Net::new(spec, state.layout()).unwrap(), state)
}

/// A model's outputs for one sample, all parameters set to `values`.
fn outputs(spec: &ModelSpec, values: &[f32], sample: &[f32]) -> Vec<f32> {
    let (net, mut state) = net(spec);
    state.f32.copy_from_slice(values);
    let device = Device::flex();
    let params = net.params(&state, &device, false);
    net::values(net.forward(&params, sample.to_vec(), 1, None, &device).unwrap().output)
}

fn one_layer(input: &[u32], layer: Layer) -> ModelSpec {
    ModelSpec::chain(input.to_vec(), vec![layer, Layer::Flatten])
}

#[test]
fn parameters_reach_the_device_and_return_with_their_bits() {
    let (net, mut state) = net(&every_layer(2));
    let odd = [-0.0, f32::MIN_POSITIVE / 4.0, f32::MAX, f32::from_bits(0x7fc0_1234), f32::NEG_INFINITY];
    state.f32[..5].copy_from_slice(&odd);
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    for device in [Device::flex(), Device::flex().autodiff()] {
        let params = net.params(&state, &device, device.is_autodiff());
        assert_eq!(bits(&params.values()), bits(&state.f32));
    }
}

#[test]
fn weights_mean_what_pytorch_means_by_them() {
    // y = W x + b with W [out, in] by rows.
    let dense = one_layer(&[3], linear("a", 2, true));
    let values = [1.0, 2.0, 3.0, 10.0, 20.0, 30.0, 0.5, -0.5];
    assert_eq!(outputs(&dense, &values, &[1.0, 0.0, -1.0]), [-1.5, -20.5]);
    // Cross-correlation: the kernel is not flipped. Two channels in, stride 2, padding 1.
    let conv = model(
        "{input: [2, 2, 2], layers: [{conv2d: {name: c, out: 1, kernel: 2, stride: 2, padding: 1}}, flatten]}",
    );
    let values = [1.0, 2.0, 3.0, 4.0, 10.0, 20.0, 30.0, 40.0, 0.5];
    let sample = [1.0, 2.0, 3.0, 4.0, 1.0, 1.0, 1.0, 1.0];
    assert_eq!(outputs(&conv, &values, &sample), [44.5, 36.5, 26.5, 14.5]);
    // Each value of the input stamps its kernel, here 1×2 values to [in, out] = [1, 2].
    let up = model("{input: [1, 1, 2], layers: [{conv_transpose2d: {name: u, out: 2, kernel: 2}}, flatten]}");
    let values = [1.0, 2.0, 3.0, 4.0, 10.0, 20.0, 30.0, 40.0, 0.5, -0.5];
    let expected = [1.5, 4.5, 4.5, 3.5, 10.5, 8.5, 9.5, 39.5, 39.5, 29.5, 99.5, 79.5];
    assert_eq!(outputs(&up, &values, &[1.0, 2.0]), expected);
    // (x − mean) / √(var + ε) · weight + bias.
    let norm = model("{input: [1], layers: [{batch_norm: {name: n}}]}");
    let found = outputs(&norm, &[2.0, 1.0, 3.0, 4.0], &[7.0])[0];
    assert!((found - 5.0).abs() < 1e-4, "{found}");
}

#[test]
fn pools_and_activations_compute_what_they_are_called() {
    let pooled = |pool: &str| {
        let unit = "{conv2d: {name: c, out: 1, kernel: 1, bias: false}}";
        let spec =
            model(&format!("{{input: [1, 3, 2], layers: [{unit}, {{{pool}: {{kernel: 2}}}}, flatten]}}"));
        outputs(&spec, &[1.0], &[1.0, 5.0, -3.0, 2.0, 9.0, 9.0])
    };
    assert_eq!(pooled("max_pool"), [5.0]);
    assert_eq!(pooled("avg_pool"), [1.25]);
    let activated = |activation: Layer| {
        let spec = ModelSpec::chain(vec![1], vec![linear("a", 2, false), activation]);
        outputs(&spec, &[1.0, -1.0], &[1.0])
    };
    assert_eq!(activated(Layer::Relu), [1.0, 0.0]);
    for (activation, expected) in [
        (Layer::Gelu, [0.841_344_8, -0.158_655_2]),
        (Layer::Sigmoid, [0.731_058_6, 0.268_941_4]),
        (Layer::Tanh, [0.761_594_2, -0.761_594_2]),
        (Layer::Dropout { p: 0.9 }, [1.0, -1.0]),
    ] {
        let found = activated(activation.clone());
        assert!(
            found.iter().zip(expected).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6),
            "{activation:?} {found:?}"
        );
    }
}

#[test]
fn gradients_of_every_layer_and_loss_are_those_of_small_differences() {
    let rows = 8;
    let features = noise(1, rows * 72);
    let cases = [
        (Loss::cross_entropy(), 3, vec![0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 2.0, 1.0]),
        (Loss::BinaryCrossEntropy, 1, vec![0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0]),
        (Loss::Mse, 1, noise(2, rows)),
    ];
    for (loss, outputs, labels) in cases {
        let spec = every_layer(outputs);
        let (net, mut state) = net(&spec);
        // Away from the zeros of fresh biases.
        state.f32.iter_mut().zip(noise(3, 10_000)).for_each(|(v, n)| *v += 0.1 * n);
        let device = Device::flex().autodiff();
        let params = net.params(&state, &device, true);
        let draws = || Draws::new(9);
        let pass = net.forward(&params, features.clone(), rows, Some(&mut draws()), &device).unwrap();
        let value = loss::mean(&loss, pass.output, &labels, &device);
        let mut gradients = value.backward();
        let gradient = net.gradient(&params, &mut gradients);
        // The loss in f64 and by other code.
        let at = |state: &ModelState| {
            let device = Device::flex();
            let params = net.params(state, &device, false);
            let pass = net.forward(&params, features.clone(), rows, Some(&mut draws()), &device).unwrap();
            let mut scores = Scores::new(&loss);
            scores.add(&net::values(pass.output), &labels, rows);
            scores.value(fl_engine::plan::Metric::Loss).unwrap()
        };
        let value = f64::from(value.into_scalar::<f32>());
        assert!((value - at(&state)).abs() < 1e-5, "{loss:?}: {value} and {}", at(&state));
        for (index, tensor) in state.layout().tensors().iter().enumerate() {
            let range = state.layout().place(index);
            let norm = gradient[range.clone()].iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
            if tensor.name.contains("running") {
                assert_eq!(norm, 0.0, "{}", tensor.name);
                continue;
            }
            // A batch's mean takes the bias before a batch normalisation out again: no gradient but rounding.
            if ["conv.bias", "fc1.bias"].contains(&tensor.name.as_str()) {
                assert!(norm < 1e-5, "{}: {norm}", tensor.name);
                continue;
            }
            let moved = |by: f64| {
                let mut state = state.clone();
                for i in range.clone() {
                    state.f32[i] += (by * f64::from(gradient[i]) / norm) as f32;
                }
                at(&state)
            };
            let step = 4e-3;
            let slope = (moved(step) - moved(-step)) / (2.0 * step);
            let error = (slope - norm).abs() / norm;
            assert!(error < 0.02, "{loss:?} {}: gradient {norm}, differences {slope}", tensor.name);
        }
    }
}

#[test]
fn running_statistics_move_a_tenth_towards_the_batch() {
    let spec = model("{input: [1], layers: [{batch_norm: {name: n}}]}");
    let (net, mut state) = net(&spec);
    let device = Device::flex().autodiff();
    let params = net.params(&state, &device, true);
    let batch = vec![1.0, 2.0, 3.0, 6.0];
    let pass = net.forward(&params, batch, 4, Some(&mut Draws::new(0)), &device).unwrap();
    net.update_statistics(&mut state, pass.statistics);
    // Mean 3; variance without bias 14 / 3.
    let expected = [1.0, 0.0, 0.3, 0.9 + 0.1 * 14.0 / 3.0];
    assert!(state.f32.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{:?}", state.f32);
}

#[test]
fn dropout_zeroes_its_share_and_keeps_the_mean() {
    let spec = ModelSpec::chain(vec![1], vec![linear("a", 10_000, false), Layer::Dropout { p: 0.3 }]);
    let (net, mut state) = net(&spec);
    state.f32.fill(1.0);
    let device = Device::flex();
    let params = net.params(&state, &device, false);
    let found = |seed| {
        let pass = net.forward(&params, vec![1.0], 1, Some(&mut Draws::new(seed)), &device).unwrap();
        net::values(pass.output)
    };
    let zeros = found(2).iter().filter(|v| **v == 0.0).count();
    assert!((2_850..3_150).contains(&zeros), "{zeros}");
    assert!(found(2).iter().all(|v| *v == 0.0 || (*v - 1.0 / 0.7).abs() < 1e-6));
    assert_eq!(found(2), found(2));
    assert_ne!(found(2), found(3));
}

#[test]
fn every_epoch_sees_every_row_once_in_another_order() {
    let mut batches = Batches::new(10, 4, Draws::new(3));
    assert_eq!(batches.in_epoch(), 3);
    let mut epoch = || -> Vec<Vec<usize>> { (0..3).map(|_| batches.next().to_vec()).collect() };
    let (first, second) = (epoch(), epoch());
    for seen in [&first, &second] {
        assert_eq!(seen.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2]);
        let mut rows = seen.concat();
        rows.sort_unstable();
        assert_eq!(rows, (0..10).collect::<Vec<_>>());
    }
    assert_ne!(first, second);
    assert_eq!(Batches::new(10, u32::MAX, Draws::new(3)).next().len(), 10);
}

#[test]
fn rows_are_gathered_in_the_order_asked_from_any_memory_order() {
    let features = ArrayD::from_shape_vec(vec![3, 2], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
    let columns =
        ArrayD::from_shape_vec(vec![2, 3], vec![0.0, 2.0, 4.0, 1.0, 3.0, 5.0]).unwrap().reversed_axes();
    for features in [features, columns] {
        let data = Dataset::new(features, ndarray::arr1(&[7.0, 8.0, 9.0]).into_dyn());
        assert_eq!(data.gather(&[2, 0]).unwrap(), (vec![4.0, 5.0, 0.0, 1.0], vec![9.0, 7.0]));
    }
}
