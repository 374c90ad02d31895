//! A model as burn computes it: the spec's layers over tensors cut from a model state.

use std::{ops::Range, sync::Arc};

use burn_tensor::{
    Device, Gradients, Tensor, TensorData, activation, module,
    ops::{AvgPoolOptions, ConvOptions, ConvTransposeOptions, MaxPoolOptions},
};
use fl_engine::{
    Draws,
    model::{self, Layer, ModelSpec},
    tensor::{Dtype, Layout, ModelState},
};

use crate::task::error::TaskError;

/// A model's layers, and where its parameters lie.
pub(super) struct Net {
    input: Vec<usize>,
    layers: Vec<Layer>,
    /// Shape and place of each tensor, in the order of the layers.
    tensors: Vec<(Vec<usize>, Range<usize>)>,
    /// Places of the tensors that gradients reach: all but running statistics.
    trained: Vec<Range<usize>>,
}

/// The tensors of a state on a device, flat, in the order of the layers.
pub(super) struct Params(Vec<Tensor<1>>);

/// The result of a forward pass.
pub(super) struct Pass {
    /// `[rows, outputs]`.
    pub(super) output: Tensor<2>,
    /// The batch's statistics at each batch normalisation, in order; empty outside training.
    pub(super) statistics: Vec<Statistics>,
}

/// A training batch's mean and variance by channel.
pub(super) struct Statistics {
    /// Index of `running_mean` among the model's tensors; `running_var` is the next.
    tensor: usize,
    mean: Tensor<1>,
    /// Biased.
    variance: Tensor<1>,
    /// Values of one channel.
    count: usize,
}

/// Activations between layers.
enum Flow {
    /// `[rows, features]`.
    Flat(Tensor<2>),
    /// `[rows, channels, height, width]`.
    Image(Tensor<4>),
}

impl Net {
    /// Checks that `layout` begins with the tensors of `spec`, held out of aggregation or not. Optimiser
    /// state may follow.
    pub(super) fn new(spec: &ModelSpec, layout: &Arc<Layout>) -> Result<Self, TaskError> {
        let own = model::layout(spec)?;
        let count = own.tensors().len();
        let shapes = |layout: &Layout| -> Vec<_> {
            layout.tensors().iter().take(count).map(|t| (t.name.clone(), t.shape.clone(), t.dtype)).collect()
        };
        if shapes(&own) != shapes(layout) {
            return Err(TaskError::Layout);
        }
        let sides = |shape: &[u32]| shape.iter().map(|&side| side as usize).collect::<Vec<_>>();
        let segments: Vec<_> = layout.segments(Dtype::F32).take(count).collect();
        let tensor =
            |s: &fl_engine::tensor::Segment| (sides(&layout.tensors()[s.tensor].shape), s.range.clone());
        let learns = |s: &&fl_engine::tensor::Segment| !model::is_statistic(&layout.tensors()[s.tensor].name);
        Ok(Self {
            input: sides(&spec.input),
            layers: spec.layers.clone(),
            tensors: segments.iter().map(tensor).collect(),
            trained: segments.iter().filter(learns).map(|s| s.range.clone()).collect(),
        })
    }

    /// Number of the model's elements. A state's f32 segment begins with these elements.
    pub(super) fn len(&self) -> usize {
        self.tensors.last().map_or(0, |(_, range)| range.end)
    }

    /// Places of the elements that an optimiser steps on.
    pub(super) fn trained(&self) -> &[Range<usize>] {
        &self.trained
    }

    /// Copies a state's tensors to `device`, bit for bit. With `track`, the trained tensors record what is
    /// done with them, for gradients.
    pub(super) fn params(&self, state: &ModelState, device: &Device, track: bool) -> Params {
        let tensor = |(_, range): &(Vec<usize>, Range<usize>)| {
            let data = TensorData::new(state.f32[range.clone()].to_vec(), [range.len()]);
            let tensor = Tensor::<1>::from_data(data, device);
            if track && self.trained.contains(range) { tensor.require_grad() } else { tensor }
        };
        Params(self.tensors.iter().map(tensor).collect())
    }

    /// The gradient of every element of the model; 0 for elements that no gradient reaches.
    pub(super) fn gradient(&self, params: &Params, gradients: &mut Gradients) -> Vec<f32> {
        let mut flat = vec![0.0; self.len()];
        for (tensor, (_, range)) in params.0.iter().zip(&self.tensors) {
            if let Some(gradient) = tensor.grad_remove(gradients) {
                flat[range.clone()].copy_from_slice(&values(gradient));
            }
        }
        flat
    }

    /// Runs the layers on `rows` samples. With `training`, dropout draws its masks from that stream, and
    /// batch normalisation uses the batch's own statistics.
    pub(super) fn forward(
        &self,
        params: &Params,
        features: Vec<f32>,
        rows: usize,
        mut training: Option<&mut Draws>,
        device: &Device,
    ) -> Result<Pass, TaskError> {
        let mut flow = match *self.input.as_slice() {
            [channels, height, width] => {
                let data = TensorData::new(features, [rows, channels, height, width]);
                Flow::Image(Tensor::from_data(data, device))
            }
            _ => {
                let width = features.len() / rows.max(1);
                Flow::Flat(Tensor::from_data(TensorData::new(features, [rows, width]), device))
            }
        };
        let mut statistics = Vec::new();
        let mut next = 0;
        for layer in &self.layers {
            flow = match layer {
                Layer::Linear { bias, .. } => {
                    let weight = self.take::<2>(params, &mut next);
                    let bias = bias.then(|| self.take::<1>(params, &mut next));
                    Flow::Flat(module::linear(flow.flat(), weight.transpose(), bias))
                }
                Layer::Conv2d { stride, padding, bias, .. } => {
                    let weight = self.take::<4>(params, &mut next);
                    let bias = bias.then(|| self.take::<1>(params, &mut next));
                    let (stride, padding) = (*stride as usize, *padding as usize);
                    let options = ConvOptions::new([stride; 2], [padding; 2], [1, 1], 1);
                    Flow::Image(module::conv2d(flow.image(), weight, bias, options))
                }
                Layer::ConvTranspose2d { stride, padding, bias, .. } => {
                    let weight = self.take::<4>(params, &mut next);
                    let bias = bias.then(|| self.take::<1>(params, &mut next));
                    let (stride, padding) = (*stride as usize, *padding as usize);
                    let options = ConvTransposeOptions::new([stride; 2], [padding; 2], [0, 0], [1, 1], 1);
                    Flow::Image(module::conv_transpose2d(flow.image(), weight, bias, options))
                }
                Layer::BatchNorm { .. } => {
                    let [weight, bias] = [(); 2].map(|()| self.take::<1>(params, &mut next));
                    let tensor = next;
                    let [mean, variance] = [(); 2].map(|()| self.take::<1>(params, &mut next));
                    if training.is_some() {
                        let (out, seen) = flow.normalise_by_batch(weight, bias, tensor);
                        statistics.push(seen);
                        out
                    } else {
                        flow.normalise(weight, bias, mean, variance)
                    }
                }
                Layer::MaxPool { kernel } => {
                    let options = MaxPoolOptions::new([*kernel as usize; 2]);
                    Flow::Image(module::max_pool2d(flow.image(), options))
                }
                Layer::AvgPool { kernel } => {
                    let options = AvgPoolOptions::new([*kernel as usize; 2]);
                    Flow::Image(module::avg_pool2d(flow.image(), options))
                }
                Layer::Dropout { p } => match &mut training {
                    Some(draws) => flow.drop_out(*p, draws, device),
                    None => flow,
                },
                Layer::Relu => flow.each(activation::relu, activation::relu),
                Layer::Gelu => flow.each(activation::gelu, activation::gelu),
                Layer::Sigmoid => flow.each(activation::sigmoid, activation::sigmoid),
                Layer::Tanh => flow.each(activation::tanh, activation::tanh),
                Layer::Flatten => Flow::Flat(flow.flat()),
                other => return Err(TaskError::Foreign(format!("layer {other:?}"))),
            };
        }
        Ok(Pass { output: flow.flat(), statistics })
    }

    /// Moves running statistics a tenth of the way to those of the batch, as PyTorch does. The variance is
    /// the one without bias.
    pub(super) fn update_statistics(&self, state: &mut ModelState, seen: Vec<Statistics>) {
        for Statistics { tensor, mean, variance, count } in seen {
            let unbiased = count as f32 / (count.max(2) - 1) as f32;
            for (tensor, seen, scale) in [(tensor, mean, 1.0), (tensor + 1, variance, unbiased)] {
                let running = &mut state.f32[self.tensors[tensor].1.clone()];
                for (running, seen) in running.iter_mut().zip(values(seen)) {
                    *running += MOMENTUM * (scale * seen - *running);
                }
            }
        }
    }

    /// The next of the model's tensors, in its shape.
    fn take<const D: usize>(&self, params: &Params, next: &mut usize) -> Tensor<D> {
        let at = *next;
        *next += 1;
        let mut shape = [1; D];
        shape.copy_from_slice(&self.tensors[at].0);
        params.0[at].clone().reshape(shape)
    }
}

#[cfg(test)]
impl Params {
    /// All elements, back from the device.
    pub(super) fn values(&self) -> Vec<f32> {
        self.0.iter().flat_map(|tensor| values(tensor.clone())).collect()
    }
}

impl Flow {
    fn flat(self) -> Tensor<2> {
        match self {
            Self::Flat(x) => x,
            Self::Image(x) => x.flatten(1, 3),
        }
    }

    /// The engine has checked that a layer which needs images gets images.
    fn image(self) -> Tensor<4> {
        match self {
            Self::Image(x) => x,
            Self::Flat(x) => {
                let [rows, features] = x.dims();
                x.reshape([rows, features, 1, 1])
            }
        }
    }

    fn each(self, flat: fn(Tensor<2>) -> Tensor<2>, image: fn(Tensor<4>) -> Tensor<4>) -> Self {
        match self {
            Self::Flat(x) => Self::Flat(flat(x)),
            Self::Image(x) => Self::Image(image(x)),
        }
    }

    fn normalise(self, weight: Tensor<1>, bias: Tensor<1>, mean: Tensor<1>, variance: Tensor<1>) -> Self {
        match self {
            Self::Flat(x) => Self::Flat(module::batch_norm(x, weight, bias, mean, variance, EPSILON)),
            Self::Image(x) => Self::Image(module::batch_norm(x, weight, bias, mean, variance, EPSILON)),
        }
    }

    fn normalise_by_batch(self, weight: Tensor<1>, bias: Tensor<1>, tensor: usize) -> (Self, Statistics) {
        let (flow, mean, variance, count) = match self {
            Self::Flat(x) => {
                let [rows, _] = x.dims();
                let out = module::batch_norm_train(x, weight, bias, EPSILON);
                (Self::Flat(out.output), out.mean, out.variance, rows)
            }
            Self::Image(x) => {
                let [rows, _, height, width] = x.dims();
                let out = module::batch_norm_train(x, weight, bias, EPSILON);
                (Self::Image(out.output), out.mean, out.variance, rows * height * width)
            }
        };
        (flow, Statistics { tensor, mean, variance, count })
    }

    /// Zeroes values with probability `p` and scales the others by `1 / (1 − p)` (Srivastava et al., JMLR 15,
    /// 2014).
    fn drop_out(self, p: f32, draws: &mut Draws, device: &Device) -> Self {
        let mut mask = |values: usize| -> Vec<f32> {
            let kept = 1.0 / (1.0 - p);
            let unit = |word: u64| (word >> 40) as f32 / (1 << 24) as f32;
            (0..values).map(|_| if unit(draws.next_u64()) < p { 0.0 } else { kept }).collect()
        };
        match self {
            Self::Flat(x) => {
                let shape = x.dims();
                let mask = TensorData::new(mask(shape.iter().product()), shape);
                Self::Flat(x * Tensor::from_data(mask, device))
            }
            Self::Image(x) => {
                let shape = x.dims();
                let mask = TensorData::new(mask(shape.iter().product()), shape);
                Self::Image(x * Tensor::from_data(mask, device))
            }
        }
    }
}

/// A tensor's elements, row-major, with their bits.
pub(super) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let data = tensor.into_data();
    data.iter::<f32>().collect()
}

/// PyTorch's defaults.
const EPSILON: f64 = 1e-5;
const MOMENTUM: f32 = 0.1;
