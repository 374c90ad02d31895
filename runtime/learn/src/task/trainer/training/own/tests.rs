//! The executor against burn, on whole networks; against itself with other instructions, other numbers of
//! threads and buffers that other batches have used.

use std::thread;

use burn_tensor::Device;
use fl_engine::{
    Draws,
    model::{self, ModelSpec},
    plan::Loss,
    tensor::ModelState,
};
use fl_kernels::{Kit, Level, Team, alone};

use super::*;
use crate::task::trainer::training::{
    loss as burn_loss,
    net::{self, Net},
};

fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut draws = Draws::new(seed);
    (0..count).map(|_| (2.0 * draws.unit() - 1.0) as f32).collect()
}

/// A model with parameters away from those of a fresh one.
fn state(spec: &ModelSpec) -> ModelState {
    let mut state = model::init(spec, 5).unwrap();
    let more = noise(3, state.f32.len());
    for (index, tensor) in state.layout().tensors().to_vec().iter().enumerate() {
        if tensor.name.ends_with("running_var") || tensor.shape.is_empty() {
            continue;
        }
        let range = state.layout().place(index);
        state.f32[range.clone()].iter_mut().zip(&more[range]).for_each(|(value, more)| *value += 0.1 * more);
    }
    state
}

/// What a pass over one batch gives.
struct Found {
    output: Vec<f32>,
    gradient: Vec<f32>,
    /// With moved statistics.
    state: ModelState,
    outside: Vec<f32>,
}

fn by_burn(spec: &ModelSpec, features: &[f32], slopes: &[f32], rows: usize) -> Found {
    let mut state = state(spec);
    let net = Net::new(spec, state.layout()).unwrap();
    let plain = Device::flex();
    let pass =
        net.forward(&net.params(&state, &plain, false), features.to_vec(), rows, None, &plain).unwrap();
    let outside = net::values(pass.output);
    let device = Device::flex().autodiff();
    let params = net.params(&state, &device, true);
    let pass = net.forward(&params, features.to_vec(), rows, Some(&mut Draws::new(9)), &device).unwrap();
    let output = net::values(pass.output.clone().detach());
    let slopes = burn_tensor::TensorData::new(slopes.to_vec(), pass.output.dims());
    let mut gradients = (pass.output * burn_tensor::Tensor::<2>::from_data(slopes, &device)).sum().backward();
    let gradient = net.gradient(&params, &mut gradients);
    net.update_statistics(&mut state, pass.statistics);
    Found { output, gradient, state, outside }
}

fn planned(spec: &ModelSpec) -> (Own, ModelState) {
    let state = state(spec);
    (plan(spec, state.layout(), false).unwrap().unwrap(), state)
}

fn by_own(
    own: &mut Own,
    mut state: ModelState,
    features: &[f32],
    slopes: &[f32],
    rows: usize,
    kit: Kit<'_>,
) -> Found {
    let outside = own.forward(&state, features, rows, None, kit).to_vec();
    let output = own.forward(&state, features, rows, Some(&mut Draws::new(9)), kit).to_vec();
    let mut gradient = vec![0.0; own.len()];
    own.backward(&state, slopes, &mut gradient, kit);
    own.update_statistics(&mut state);
    Found { output, gradient, state, outside }
}

fn best() -> Kit<'static> {
    Kit { level: Level::best(), team: &alone }
}

/// Within `most` of the largest value of its tensor.
#[track_caller]
fn close(what: &str, found: &[f32], expected: &[f32], most: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1e-3, |most: f32, value| most.max(value.abs()));
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs() / largest;
        assert!(error < most, "{what}, element {at}: {found} where burn has {expected} (largest {largest})");
    }
}

fn of_sample(spec: &ModelSpec) -> [usize; 2] {
    let product = |shape: &[u32]| shape.iter().map(|side| *side as usize).product();
    [product(&spec.input), product(&model::output_shape(spec).unwrap())]
}

#[test]
fn networks_compute_and_differentiate_as_burn_does() {
    for (word, text) in NETWORKS {
        let spec = ModelSpec::parse(text).unwrap();
        let [input, output] = of_sample(&spec);
        for rows in [6, 1] {
            // A batch normalisation over one value has no deviation.
            if rows == 1 && !OF_ONE_ROW.contains(word) {
                continue;
            }
            // Samples without a value so near to a corner of a ReLU that rounding decides its side: one such
            // value moves every gradient below it. Of eight seeds, one has such a value in the U-Net.
            let (features, slopes) = (noise(11, rows * input), noise(12, rows * output));
            let expected = by_burn(&spec, &features, &slopes, rows);
            let (mut own, state) = planned(&spec);
            let found = by_own(&mut own, state, &features, &slopes, rows, best());
            close(&format!("{word}, outside training"), &found.outside, &expected.outside, 2e-5);
            close(&format!("{word}, output"), &found.output, &expected.output, 5e-5);
            close(&format!("{word}, statistics"), &found.state.f32, &expected.state.f32, 2e-5);
            assert_eq!(found.state.i64, expected.state.i64, "{word}");
            let largest = expected.gradient.iter().fold(0.0, |most: f32, value| most.max(value.abs()));
            for (index, tensor) in expected.state.layout().tensors().iter().enumerate() {
                if tensor.shape.is_empty() {
                    continue;
                }
                let range = expected.state.layout().place(index);
                let (found, expected) = (&found.gradient[range.clone()], &expected.gradient[range]);
                let own = expected.iter().fold(0.0, |most: f32, value| most.max(value.abs()));
                // A bias before a normalisation has no gradient but rounding.
                let most = if own < 1e-4 * largest { 1e-5 * largest } else { 3e-4 * own };
                for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
                    let name = &tensor.name;
                    let is_near = (found - expected).abs() < most;
                    assert!(
                        is_near,
                        "{word}, {name}, element {at}: {found} where burn has {expected} (within {most})"
                    );
                }
            }
        }
    }
}

fn team<const N: usize>(work: &(dyn Fn() + Sync)) {
    thread::scope(|scope| {
        (1..N).for_each(|_| drop(scope.spawn(work)));
        work();
    });
}

#[test]
fn every_number_of_threads_and_every_vector_width_give_the_same_bits() {
    let (two, seven): (Team<'static>, Team<'static>) = (&team::<2>, &team::<7>);
    let more = [two, seven].map(|team| Kit { level: Level::best(), team });
    let kits: Vec<Kit<'_>> = Level::all().map(|level| Kit { level, team: &alone }).chain(more).collect();
    for (word, text) in NETWORKS.iter().filter(|(word, _)| *word != "resnet") {
        let spec = ModelSpec::parse(text).unwrap();
        let [input, output] = of_sample(&spec);
        let (features, slopes) = (noise(1, 3 * input), noise(2, 3 * output));
        let mut first: Option<Vec<u32>> = None;
        for kit in &kits {
            let (mut own, state) = planned(&spec);
            let found = by_own(&mut own, state, &features, &slopes, 3, *kit);
            let all = [found.output, found.gradient, found.state.f32, found.outside].concat();
            let bits: Vec<u32> = all.iter().map(|value| value.to_bits()).collect();
            let first = first.get_or_insert_with(|| bits.clone());
            assert!(*first == bits, "{word}: {} has other bits", kit.level.name());
        }
    }
}

#[test]
fn buffers_that_other_batches_used_change_nothing() {
    for (word, text) in NETWORKS.iter().filter(|(word, _)| *word != "resnet") {
        let spec = ModelSpec::parse(text).unwrap();
        let [input, output] = of_sample(&spec);
        let pass = |own: &mut Own, seed: u64, rows: usize| {
            let (features, slopes) = (noise(seed, rows * input), noise(seed + 1, rows * output));
            by_own(own, state(&spec), &features, &slopes, rows, best())
        };
        let fresh = pass(&mut planned(&spec).0, 4, 5);
        let (mut used, _) = planned(&spec);
        pass(&mut used, 1, 7);
        pass(&mut used, 2, 3);
        let found = pass(&mut used, 4, 5);
        assert_eq!((found.output, found.gradient), (fresh.output, fresh.gradient), "{word}");
        assert_eq!((found.outside, found.state), (fresh.outside, fresh.state), "{word}");
    }
}

/// Bytes of all that a planned model has reserved. Its arena has its buffers back.
fn reserved(own: &mut Own) -> usize {
    own.arena.begin([&mut own.values, &mut own.slopes]);
    let of = |image: &Image| image.clone().give().len();
    let kept = |node: &Node| match &node.op {
        Op::Conv(conv) => conv.lines.as_ref().map_or(0, |lines| lines.images.iter().map(of).sum()),
        Op::Dropout { mask, .. } => of(mask),
        _ => 0,
    };
    let kept: usize = own.nodes.iter().map(kept).sum();
    let Buffers { parts, packed, rows, lanes, output, .. } = &own.buffers;
    let lanes: usize = lanes.iter().map(Vec::capacity).sum();
    let lanes = own.arena.reserved() + kept + parts.capacity() + packed.capacity() + lanes;
    size_of::<Lanes>() * lanes + 4 * (rows.iter().map(Vec::capacity).sum::<usize>() + output.capacity())
}

#[test]
fn steps_after_the_first_reserve_no_memory_and_the_first_one_what_is_planned() {
    let unet = ("U-Net", "{network: unet, input: [3, 64, 64], base: 16, depth: 3, sigmoid: false}");
    for (word, text) in NETWORKS.iter().filter(|(word, _)| *word != "resnet").chain([&unet]) {
        let spec = ModelSpec::parse(text).unwrap();
        let [input, output] = of_sample(&spec);
        let (features, slopes) = (noise(1, 4 * input), noise(2, 4 * output));
        let (mut own, state) = planned(&spec);
        let mut step = || {
            by_own(&mut own, state.clone(), &features, &slopes, 4, best());
            reserved(&mut own)
        };
        let first = step();
        assert_eq!(step(), first, "{word}");
        // The features and the loss's gradient lie with the caller.
        let all = first + 4 * 4 * (input + output);
        let planned = own.bytes_of_step(4);
        println!("{word}: {all} bytes are reserved, {planned} planned");
        // Beside what is counted are the bias and the moments of a layer.
        assert!(all < planned + (16 << 10), "{word}: {planned} bytes are planned, {all} reserved");
        assert!(planned < all + all / 4 + (16 << 10), "{word}: {planned} bytes are planned, {all} reserved");
        assert!(all < 32_000_000, "{word}: {all}");
        assert_eq!(own.bytes_of_sample() * 4, size_of::<Lanes>() * own.arena.reserved(), "{word}");
    }
}

#[test]
fn strides_paddings_and_kernels_of_any_size_are_planned_at_once() {
    let most = u32::MAX;
    let begin = std::time::Instant::now();
    let plan_of = |layer: &str| {
        let text = format!("{{input: [1, 60, 60], layers: [{layer}]}}");
        let spec = ModelSpec::parse(&text).unwrap();
        let layout = model::layout(&spec).unwrap();
        plan(&spec, &layout, false).unwrap().map(|own| own.bytes_of_step(7))
    };
    let wide = format!("{{conv2d: {{name: c, out: 1, kernel: 3, stride: {most}}}}}");
    assert!(plan_of(&wide).unwrap() < 1 << 23);
    let padded = format!("{{conv2d: {{name: c, out: 1, kernel: 3, stride: {most}, padding: {most}}}}}");
    assert!(plan_of(&padded).unwrap() > 1 << 60);
    let kernel = "{conv2d: {name: c, out: 1, kernel: 60000, stride: 60000, padding: 60000}}";
    assert_eq!(plan_of(kernel).unwrap_err(), "conv2d");
    assert!(begin.elapsed() < std::time::Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[test]
fn padded_sequence_takes_little_more_than_one_without_padding() {
    let bytes = |padding: u32| {
        let layer = format!("{{conv1d: {{name: c, out: 16, kernel: 3, dilation: 64, padding: {padding}}}}}");
        let spec = ModelSpec::parse(&format!("{{input: [64, 16000], layers: [{layer}]}}")).unwrap();
        planned(&spec).0.bytes_of_sample()
    };
    assert!(bytes(64) < bytes(0) * 2, "{} and {}", bytes(64), bytes(0));
}

#[test]
fn losses_and_their_gradients_are_those_of_burn() {
    let (rows, width) = (3, 12);
    let entropy = |weights: &[f64], smoothing| Loss::CrossEntropy { weights: weights.to_vec(), smoothing };
    let shares = [0.0, 1.0, 1.0, 0.0, 0.25, 1.0];
    for loss in [
        Loss::cross_entropy(),
        entropy(&[1.0, 2.0, 0.5], 0.0),
        entropy(&[], 0.1),
        entropy(&[1.0, 2.0, 0.5], 0.1),
        Loss::BinaryCrossEntropy,
        Loss::Mse,
        Loss::Dice { logits: false },
        Loss::Dice { logits: true },
        Loss::BceDice,
        Loss::Focal { gamma: 2.0, alpha: 0.25 },
        Loss::Focal { gamma: 0.0, alpha: 0.6 },
        Loss::L1,
        Loss::Huber { delta: 0.4 },
    ] {
        let classes = matches!(loss, Loss::CrossEntropy { .. });
        for places in if classes { vec![1, 4] } else { vec![width] } {
            let width = if classes { 3 * places } else { width };
            let mut output: Vec<f32> = noise(8, rows * width).iter().map(|value| 3.0 * value).collect();
            output[1] = 60.0;
            let label = |at: usize| if classes { (at % 3) as f32 } else { shares[at % shares.len()] };
            let labels: Vec<f32> = (0..rows * places).map(label).collect();
            let device = Device::flex().autodiff();
            let data = burn_tensor::TensorData::new(output.clone(), [rows, width]);
            let tensor = burn_tensor::Tensor::<2>::from_data(data, &device).require_grad();
            let mean = burn_loss::mean(&loss, tensor.clone(), &labels, &device);
            let expected = net::values(tensor.grad(&mean.backward()).unwrap());
            let mut slopes = vec![7.0; 1];
            let found = loss::mean(&loss, &output, &labels, rows, &mut slopes);
            close(&format!("{loss:?}"), &[found], &[mean.into_scalar::<f32>()], 1e-5);
            close(&format!("gradient of {loss:?}"), &slopes, &expected, 1e-5);
        }
    }
}

/// Networks that are compared with one row, too.
const OF_ONE_ROW: &[&str] =
    &["cnn", "groups", "mlp", "normalised samples", "pools", "repeated sides", "sequences in groups"];

/// A network with the layers of its word, on which both backends are compared.
const NETWORKS: &[(&str, &str)] = &[
    ("mlp", "{network: mlp, input: [30], hidden: [17, 40], outputs: 3}"),
    ("cnn", "{network: cnn, input: [1, 13, 12], channels: [4, 18], hidden: [20], outputs: 5}"),
    ("unet", "{network: unet, input: [3, 20, 27], base: 6, depth: 2, sigmoid: false}"),
    ("unet with sigmoid", "{network: unet, input: [1, 16, 16], base: 16, depth: 1}"),
    ("resnet", "{network: resnet, input: [3, 33, 40], depth: 18, outputs: 4}"),
    (
        "strides, paddings and dilations",
        "{input: [5, 17, 19], layers: [{conv2d: {name: a, out: 20, kernel: [3, 4], stride: [2, 3], padding: [2, 1, 0, 1]}},
        {leaky_relu: {slope: 0.1}}, {conv2d: {name: b, out: 7, kernel: 3, dilation: 2, padding: 2}}, relu6,
        {conv_transpose2d: {name: c, out: 18, kernel: 3, stride: 2, padding: 1, output_padding: 1, dilation: 2}},
        {batch_norm: {name: n}}, silu, {conv_transpose2d: {name: d, out: 3, kernel: 4, bias: false}}, hard_swish]}",
    ),
    (
        "sequences",
        "{input: [4, 23], layers: [{conv1d: {name: a, out: 9, kernel: 5, stride: 2, padding: [3, 1]}}, {batch_norm: {name: n}},
        relu, {max_pool: {kernel: 3, stride: 2, padding: 1}}, {conv1d: {name: b, out: 6, kernel: 2}}, elu,
        {avg_pool: {kernel: 2}}, flatten, {linear: {name: c, out: 4}}]}",
    ),
    (
        "pools",
        "{input: [3, 11, 10], layers: [{conv2d: {name: a, out: 17, kernel: 3}}, relu,
        {max_pool: {kernel: 3, stride: 2, padding: 1, ceil: true}}, {conv2d: {name: b, out: 5, kernel: 1}},
        {avg_pool: {kernel: 3, stride: 2, padding: 1, ceil: true}}, tanh, {adaptive_avg_pool: {size: [2, 3]}}, hard_sigmoid,
        flatten, {linear: {name: c, out: 4}}, gelu]}",
    ),
    (
        "branches",
        "{input: [3, 8, 9], layers: [{conv2d: {name: a, out: 6, kernel: 3, padding: 1}, as: a}, {relu: , as: r},
        {batch_norm: {name: n}, from: a, as: n}, {add: , from: [r, n, a], as: s}, {relu: , as: t},
        {concat: , from: [t, a, input], as: c}, {conv2d: {name: b, out: 20, kernel: 2, stride: 2}}, sigmoid,
        {pad: {by: [0, 1, 2, 1]}}, {crop: {by: [1, 0, 1, 1]}, as: p}, {pad_to: , from: [p, t]}, {dropout: {p: 0.4}},
        {batch_norm: {name: m}}, {dropout: {p: 0.2}}]}",
    ),
    (
        "features",
        "{input: [12], layers: [{linear: {name: a, out: 33}, as: a}, {batch_norm: {name: n}}, relu, {dropout: {p: 0.3}},
        {flatten: , as: f}, {linear: {name: b, out: 33, bias: false}, as: b}, {add: , from: [b, f, a]}, relu,
        {linear: {name: c, out: 2}}]}",
    ),
    (
        "groups",
        "{input: [6, 12, 11], layers: [{conv2d: {name: a, out: 40, kernel: 3, groups: 2, padding: 1}}, {batch_norm: {name: n}},
        relu6, {conv2d: {name: b, out: 40, kernel: 3, stride: 2, padding: 1, groups: 40, bias: false}}, {batch_norm: {name: m}},
        relu, {conv_transpose2d: {name: c, out: 20, kernel: 3, stride: 2, output_padding: 1, groups: 5}}, silu,
        {conv_transpose2d: {name: d, out: 20, kernel: 2, groups: 20}}, {conv2d: {name: e, out: 36, kernel: 1, groups: 4}}]}",
    ),
    (
        "normalised samples",
        "{input: [6, 9, 8], layers: [{conv2d: {name: a, out: 24, kernel: 3}}, {group_norm: {name: g, groups: 3}}, relu,
        {layer_norm: {name: l, axes: 2}}, {linear: {name: b, out: 5}}, gelu, {layer_norm: {name: m}}, {softmax: {axis: 1}},
        {upsample: {mode: bilinear, scale: 2}}, {upsample: {mode: nearest, size: [5, 9]}}, flatten,
        {linear: {name: c, out: 7}}, {layer_norm: {name: k}}, log_softmax]}",
    ),
    (
        "repeated sides",
        "{input: [20, 6, 5], layers: [{conv2d: {name: a, out: 20, kernel: 1}, as: a}, adaptive_avg_pool,
        {conv2d: {name: b, out: 20, kernel: 1}}, {hard_sigmoid: , as: s}, {mul: , from: [s, a], as: m},
        {conv2d: {name: c, out: 1, kernel: 1}, from: a, as: one}, {add: , from: [one, m, s], as: t},
        {sub: , from: [t, input], as: d}, {linear: {name: e, out: 5}}, {relu: , as: r}, {concat: {axis: 1}, from: [r, d, t], as: u},
        {concat: {axis: 2}, from: [u, u], as: v}, {mul: , from: [v, v]}]}",
    ),
    (
        "sequences in groups",
        "{input: [4, 15], layers: [{conv1d: {name: a, out: 12, kernel: 3, groups: 4, dilation: 2, padding: 2}}, tanh,
        {layer_norm: {name: n}}, {linear: {name: b, out: 9}, as: b}, {group_norm: {name: g, groups: 12}},
        {upsample: {mode: bilinear, scale: 3, corners: true}, as: u}, {concat: {axis: 1}, from: [u, b]}, {softmax: {axis: 0}}]}",
    ),
];
