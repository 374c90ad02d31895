//! What each kind of layer computes.
//!
//! Between layers, values are `[rows, …]` with sides of 1 behind: `[rows, features, 1, 1]` and
//! `[rows, channels, length, 1]` beside `[rows, channels, height, width]`. An axis of a sample is then the
//! same axis of the tensor, one further.

use burn_tensor::{
    Tensor, TensorData, activation, module,
    ops::{
        AvgPoolOptions, ConvOptions, ConvTransposeOptions, InterpolateMode, InterpolateOptions,
        MaxPoolOptions, PadMode,
    },
};
use fl_engine::{
    Draws,
    model::{Layer, Upsampling, Weights, Window},
};

use super::{Node, Statistics};
use crate::task::error::TaskError;

/// What training brings: the stream of dropout's masks, and the statistics of batches.
pub(super) struct Training<'a> {
    pub(super) draws: &'a mut Draws,
    pub(super) statistics: Vec<Statistics>,
}

impl Node {
    /// What the layer gives for these inputs. The layer takes its tensors off the front of `params`. The
    /// engine has checked the shapes.
    pub(super) fn compute<'p>(
        &self,
        rows: usize,
        inputs: Vec<Tensor<4>>,
        params: &mut (impl ExactSizeIterator<Item = (&'p Tensor<1>, &'p Vec<usize>)> + 'p),
        training: &mut Option<Training<'_>>,
    ) -> Result<Tensor<4>, TaskError> {
        let shape = whole(rows, &self.output);
        let axes = self.input.len() - 1;
        let mut inputs = inputs.into_iter();
        let x = inputs.next().ok_or(TaskError::Layout)?;
        if let Some(window) = self.layer.window(axes) {
            return Ok(match window.weights {
                Some(weights) => {
                    let weight = take(params)?;
                    let bias = if weights.bias { Some(take::<1>(params)?) } else { None };
                    convolve(x, weight, bias, &window, weights)
                }
                None => pool(x, &self.layer, &window),
            });
        }
        Ok(match &self.layer {
            Layer::Linear { bias, .. } => {
                let weight = take::<2>(params)?.transpose();
                let bias = if *bias { Some(take(params)?) } else { None };
                if axes == 2 {
                    return Ok(module::linear(x, weight, bias));
                }
                let width = self.input[axes];
                let lines = rows * self.input[..axes].iter().product::<usize>();
                module::linear(x.reshape([lines, width]), weight, bias).reshape(shape)
            }
            Layer::BatchNorm { eps, momentum, .. } => {
                let (weight, bias) = (take(params)?, take(params)?);
                // From the end, because the end alone is known here.
                let tensor = params.len();
                let (mean, variance) = (take(params)?, take(params)?);
                let Some(training) = training else {
                    return Ok(module::batch_norm(x, weight, bias, mean, variance, *eps));
                };
                let [_, _, height, width] = x.dims();
                let out = module::batch_norm_train(x, weight, bias, *eps);
                training.statistics.push(Statistics {
                    tensor,
                    mean: out.mean,
                    variance: out.variance,
                    count: rows * height * width,
                    momentum: *momentum as f32,
                });
                out.output
            }
            Layer::LayerNorm { axes: count, eps, .. } => {
                let width = self.input[self.input.len() - *count as usize..].iter().product::<usize>();
                let lines = x.shape().num_elements() / width.max(1);
                let (weight, bias) = (flat(params)?, flat(params)?);
                module::layer_norm(x.reshape([lines, width]), weight, Some(bias), *eps).reshape(shape)
            }
            Layer::GroupNorm { groups, eps, .. } => {
                let (lines, channels) = (rows * *groups as usize, self.input[0]);
                let width = x.shape().num_elements() / lines.max(1);
                let x = x.reshape([lines, width]);
                let centred = x.clone() - x.mean_dim(1);
                let variance = centred.clone().powi_scalar(2).mean_dim(1);
                let scale = |tensor: Tensor<1>| tensor.reshape([1, channels, 1, 1]);
                let (weight, bias) = (scale(take(params)?), scale(take(params)?));
                (centred / variance.add_scalar(*eps).sqrt()).reshape(shape) * weight + bias
            }
            Layer::Dropout { p } => match training {
                Some(training) => drop_out(x, *p, training.draws),
                None => x,
            },
            Layer::Relu => activation::relu(x),
            Layer::Gelu => activation::gelu(x),
            Layer::Sigmoid => activation::sigmoid(x),
            Layer::Tanh => activation::tanh(x),
            Layer::LeakyRelu { slope } => activation::leaky_relu(x, *slope),
            Layer::Silu => activation::silu(x),
            Layer::HardSwish => activation::hard_swish(x),
            Layer::HardSigmoid => activation::hard_sigmoid(x, 1.0 / 6.0, 0.5),
            Layer::Relu6 => activation::relu6(x),
            Layer::Elu { alpha } => activation::elu(x, *alpha),
            Layer::Softmax { axis } => activation::softmax(x, 1 + *axis as usize),
            Layer::LogSoftmax { axis } => activation::log_softmax(x, 1 + *axis as usize),
            Layer::Flatten => x.reshape(shape),
            Layer::Add => inputs.fold(x, |sum, input| sum + input),
            Layer::Sub => inputs.fold(x, |left, input| left - input),
            Layer::Mul => inputs.fold(x, |product, input| product * input),
            Layer::Concat { axis } => {
                Tensor::cat(std::iter::once(x).chain(inputs).collect(), 1 + *axis as usize)
            }
            Layer::Pad { .. } => pad(x, self.layer.edges(axes).ok_or(TaskError::Layout)?),
            Layer::Crop { .. } => {
                let [top, _, left, _] = self.layer.edges(axes).ok_or(TaskError::Layout)?;
                let x = x.narrow(2, top as usize, shape[2]);
                x.narrow(3, left as usize, shape[3])
            }
            Layer::PadTo => {
                let [_, _, height, width] = x.dims();
                let (down, across) = ((shape[2] - height) as u32, (shape[3] - width) as u32);
                pad(x, [down / 2, down - down / 2, across / 2, across - across / 2])
            }
            Layer::Upsample { mode, corners, .. } => {
                let mode = match mode {
                    Upsampling::Nearest => InterpolateMode::Nearest,
                    Upsampling::Bilinear => InterpolateMode::Bilinear,
                };
                let options = InterpolateOptions::new(mode)
                    .with_align_corners(*corners)
                    .with_output_size([shape[2], shape[3]]);
                module::interpolate(x, options)
            }
            Layer::AdaptiveAvgPool { .. } => module::adaptive_avg_pool2d(x, [shape[2], shape[3]]),
            other => return Err(TaskError::Foreign(format!("layer {other:?}"))),
        })
    }
}

/// `[rows, …]` with sides of 1 behind.
pub(super) fn whole(rows: usize, sides: &[usize]) -> [usize; 4] {
    let mut shape = [1; 4];
    shape[0] = rows;
    shape[1..=sides.len()].copy_from_slice(sides);
    shape
}

/// The next of the model's tensors, in its shape, with sides of 1 behind.
fn take<'p, const D: usize>(
    params: &mut impl Iterator<Item = (&'p Tensor<1>, &'p Vec<usize>)>,
) -> Result<Tensor<D>, TaskError> {
    let (tensor, sides) = params.next().ok_or(TaskError::Layout)?;
    let mut shape = [1; D];
    shape[..sides.len()].copy_from_slice(sides);
    Ok(tensor.clone().reshape(shape))
}

/// The next of the model's tensors as it lies in the state.
fn flat<'p>(
    params: &mut impl Iterator<Item = (&'p Tensor<1>, &'p Vec<usize>)>,
) -> Result<Tensor<1>, TaskError> {
    params.next().map(|(tensor, _)| tensor.clone()).ok_or(TaskError::Layout)
}

fn sides([height, width]: [u32; 2]) -> [usize; 2] {
    [height as usize, width as usize]
}

fn convolve(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    window: &Window,
    weights: Weights,
) -> Tensor<4> {
    let [top, bottom, left, right] = window.edges;
    let (stride, dilation, groups) = (sides(window.stride), sides(window.dilation), weights.groups as usize);
    let even = top == bottom && left == right;
    let padding = if even { sides([top, left]) } else { [0; 2] };
    if weights.transposed {
        let options = ConvTransposeOptions::new(stride, padding, sides(window.extra), dilation, groups);
        return module::conv_transpose2d(x, weight, bias, options);
    }
    let x = if even { x } else { pad(x, window.edges) };
    module::conv2d(x, weight, bias, ConvOptions::new(stride, padding, dilation, groups))
}

fn pool(x: Tensor<4>, layer: &Layer, window: &Window) -> Tensor<4> {
    let [top, _, left, _] = window.edges;
    let (kernel, stride, padding) = (sides(window.kernel), sides(window.stride), sides([top, left]));
    if let Layer::AvgPool { count_pad, .. } = layer {
        let options = AvgPoolOptions::new(kernel)
            .with_stride(stride)
            .with_padding(padding)
            .with_ceil_mode(window.ceil)
            .with_count_include_pad(*count_pad);
        return module::avg_pool2d(x, options);
    }
    let options =
        MaxPoolOptions::new(kernel).with_stride(stride).with_padding(padding).with_ceil_mode(window.ceil);
    module::max_pool2d(x, options)
}

/// Zeros at the top, bottom, left and right.
fn pad(x: Tensor<4>, edges: [u32; 4]) -> Tensor<4> {
    let [top, bottom, left, right] = edges.map(|edge| edge as usize);
    if edges == [0; 4] { x } else { x.pad([(top, bottom), (left, right)], PadMode::Constant(0.0)) }
}

/// Zeroes values with probability `p` and scales the others by `1 / (1 − p)` (Srivastava et al., JMLR 15,
/// 2014).
fn drop_out(x: Tensor<4>, p: f32, draws: &mut Draws) -> Tensor<4> {
    let (shape, device, kept) = (x.dims(), x.device(), 1.0 / (1.0 - p));
    let unit = |word: u64| (word >> 40) as f32 / (1 << 24) as f32;
    let mask = (0..shape.iter().product()).map(|_| if unit(draws.next_u64()) < p { 0.0 } else { kept });
    let mask = TensorData::new(mask.collect::<Vec<f32>>(), shape);
    x * Tensor::from_data(mask, &device)
}
