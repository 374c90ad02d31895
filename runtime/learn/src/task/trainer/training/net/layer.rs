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
    model::{Layer, Steps, Upsampling, Weights, Window},
};

use super::{
    Node, Statistics,
    sequence::{Attention, Recurrent, drop_out, embed},
};
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
        if let Layer::Parameter { .. } = self.layer {
            let values = flat(params)?;
            let zeros = TensorData::new(vec![0.0f32; shape.iter().product()], shape);
            let zeros = Tensor::<4>::from_data(zeros, &values.device());
            return Ok(zeros + values.reshape(whole(1, &self.output)));
        }
        let axes = self.input.len().saturating_sub(1);
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
                let scale = |tensor: Tensor<1>| tensor.reshape([1, self.input[0], 1, 1]);
                let (weight, bias) = (scale(take(params)?), scale(take(params)?));
                normalised(x, rows * *groups as usize, *eps).reshape(shape) * weight + bias
            }
            Layer::InstanceNorm { eps } => normalised(x, rows * self.input[0], *eps).reshape(shape),
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
            Layer::GeluTanh => {
                let cube = x.clone() * x.clone() * x.clone();
                let inner = (x.clone() + cube.mul_scalar(0.044715)).mul_scalar(0.797_884_560_802_865_4);
                x.mul_scalar(0.5) * activation::tanh(inner).add_scalar(1.0)
            }
            Layer::PRelu { slopes, .. } => {
                let slope = take::<1>(params)?.reshape([1, *slopes as usize, 1, 1]);
                activation::relu(x.clone()) - slope * activation::relu(x.mul_scalar(-1.0))
            }
            Layer::Scale { by } => x.mul_scalar(*by),
            Layer::Reshape { .. } => x.reshape(shape),
            Layer::Permute { order } => {
                let mut held: Vec<usize> = (0..order.len()).collect();
                let mut x = x;
                for (at, axis) in order.iter().enumerate() {
                    let found =
                        held.iter().position(|held| *held == *axis as usize).ok_or(TaskError::Layout)?;
                    if found != at {
                        held.swap(at, found);
                        x = x.swap_dims(1 + at, 1 + found);
                    }
                }
                x
            }
            Layer::Slice { axis, start, step, .. } => {
                let (axis, count) = (*axis as usize, self.output[*axis as usize]);
                every(x, axis, *start as usize, count, *step as usize).reshape(shape)
            }
            Layer::Select { axis, index } => x.narrow(1 + *axis as usize, *index as usize, 1).reshape(shape),
            Layer::Mean { axes, .. } => {
                axes.iter().fold(x, |x, axis| x.mean_dim(1 + *axis as usize)).reshape(shape)
            }
            Layer::Max { axes, .. } => {
                axes.iter().fold(x, |x, axis| largest(x, 1 + *axis as usize)).reshape(shape)
            }
            Layer::Matmul => {
                let other = inputs.next().ok_or(TaskError::Layout)?;
                if axes == 2 {
                    return Ok(x.matmul(other));
                }
                // One matrix a sample.
                let matrix = |x: Tensor<4>| {
                    let [rows, height, width, _] = x.dims();
                    x.reshape([rows, 1, height, width])
                };
                matrix(x).matmul(matrix(other)).reshape(shape)
            }
            Layer::Embedding { .. } => embed(x, take(params)?)?.reshape(shape),
            Layer::Lstm { hidden, layers, bidirectional, bias, take: steps, dropout, .. }
            | Layer::Gru { hidden, layers, bidirectional, bias, take: steps, dropout, .. } => {
                let recurrent = Recurrent {
                    hidden: *hidden as usize,
                    layers: *layers as usize,
                    both: *bidirectional,
                    bias: *bias,
                    last: *steps == Steps::Last,
                    memory: matches!(self.layer, Layer::Lstm { .. }),
                    dropout: *dropout,
                };
                let draws = training.as_mut().map(|training| &mut *training.draws);
                recurrent.compute(x, &mut || take(params), draws)?
            }
            Layer::Attention { heads, bias, dropout, causal, .. } => {
                let input = take(params)?;
                let input_bias = if *bias { Some(take(params)?) } else { None };
                let output = take(params)?;
                let output_bias = if *bias { Some(take(params)?) } else { None };
                let (heads, causal, dropout) = (*heads as usize, *causal, *dropout);
                let attention = Attention { heads, causal, dropout, input, input_bias, output, output_bias };
                attention.compute(x, training.as_mut().map(|training| &mut *training.draws))
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

/// `x` in so many lines, each less its mean and divided by its deviation.
fn normalised(x: Tensor<4>, lines: usize, eps: f64) -> Tensor<2> {
    let width = x.shape().num_elements() / lines.max(1);
    let x = x.reshape([lines, width]);
    let centred = x.clone() - x.mean_dim(1);
    let variance = centred.clone().powi_scalar(2).mean_dim(1);
    centred / variance.add_scalar(eps).sqrt()
}

/// `count` indices of an axis of the sample from `start` on, `step` apart.
fn every(x: Tensor<4>, axis: usize, start: usize, count: usize, step: usize) -> Tensor<4> {
    if step == 1 {
        return x.narrow(1 + axis, start, count);
    }
    let dims = x.dims();
    let side = dims[1 + axis];
    let (outer, inner) = (dims[..=axis].iter().product(), dims[axis + 2..].iter().product());
    // Groups of `step` from `start` on; zeros fill the last one.
    let left = (side - start).min(count * step);
    let x = x.reshape([outer, 1, side, inner]).narrow(2, start, left);
    let x = pad(x, [0, (count * step - left) as u32, 0, 0]);
    x.reshape([outer, count, step, inner]).narrow(2, 0, 1)
}

/// The largest value of an axis, which stays with a side of 1. Of equal values the first gets the gradient.
fn largest(x: Tensor<4>, axis: usize) -> Tensor<4> {
    let mut dims = x.dims();
    let (outer, inner) = (dims[..axis].iter().product(), dims[axis + 1..].iter().product());
    let x = x.reshape([outer, 1, dims[axis], inner]);
    let options = MaxPoolOptions::new([dims[axis], 1]).with_stride([1, 1]);
    dims[axis] = 1;
    module::max_pool2d(x, options).reshape(dims)
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
