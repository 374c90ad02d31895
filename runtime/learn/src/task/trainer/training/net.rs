//! A model as burn computes it: the spec's graph over tensors cut from a model state.

mod layer;
mod sequence;

use std::{ops::Range, sync::Arc};

use burn_tensor::{Device, Gradients, Tensor, TensorData};
use fl_engine::{
    Draws,
    model::{self, Layer, ModelSpec},
    tensor::{Dtype, Layout, ModelState, Segment},
};

use self::layer::Training;
use crate::task::error::TaskError;

/// A model's layers, and where its parameters lie.
pub(super) struct Net {
    input: Vec<usize>,
    nodes: Vec<Node>,
    /// Shape and place of each f32 tensor, in the order of the layers.
    tensors: Vec<(Vec<usize>, Range<usize>)>,
    /// Places of the tensors that gradients reach: all but running statistics.
    trained: Vec<Range<usize>>,
    /// Places of counts of batches in the i64 segment.
    counts: Vec<usize>,
}

/// A layer with its inputs: 0 is the sample, n is what the nth layer gives.
struct Node {
    layer: Layer,
    from: Vec<usize>,
    /// Shape of the first input, the batch left out.
    input: Vec<usize>,
    /// Shape of what the layer gives.
    output: Vec<usize>,
    /// The inputs that no later layer takes.
    last_use: Vec<usize>,
}

/// The tensors of a state on a device, flat, in the order of the layers.
pub(super) struct Params(Vec<Tensor<1>>);

/// The result of a forward pass.
pub(super) struct Pass {
    /// `[rows, outputs]`, all values of a sample in one row.
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
    /// Share of the batch in the running statistics.
    momentum: f32,
}

impl Net {
    /// Checks that `layout` begins with the tensors of `spec`, held out of aggregation or not. Optimiser
    /// state may follow.
    pub(super) fn new(spec: &ModelSpec, layout: &Arc<Layout>) -> Result<Self, TaskError> {
        let count = super::tensors::count_tensors(spec, layout)?;
        let sides = |shape: &[u32]| shape.iter().map(|&side| side as usize).collect::<Vec<_>>();
        let segments = |dtype| layout.segments(dtype).filter(move |segment| segment.tensor < count);
        let floats: Vec<_> = segments(Dtype::F32).collect();
        let tensor = |s: &Segment| (sides(&layout.tensors()[s.tensor].shape), s.range.clone());
        let learns = |s: &&Segment| !model::is_statistic(&layout.tensors()[s.tensor].name);
        let node = |at: model::Placed<'_>| Node {
            layer: at.layer.clone(),
            from: at.from,
            input: sides(&at.input),
            output: sides(&at.output),
            last_use: Vec::new(),
        };
        let mut nodes: Vec<Node> = model::place(spec)?.into_iter().map(node).collect();
        let mut taken = vec![false; nodes.len() + 1];
        for node in nodes.iter_mut().rev() {
            for &input in &node.from {
                if !std::mem::replace(&mut taken[input], true) {
                    node.last_use.push(input);
                }
            }
        }
        Ok(Self {
            input: sides(&spec.input),
            nodes,
            tensors: floats.iter().map(tensor).collect(),
            trained: floats.iter().filter(learns).map(|s| s.range.clone()).collect(),
            counts: segments(Dtype::I64).map(|s| s.range.start).collect(),
        })
    }

    /// Number of the model's f32 elements. A state's f32 segment begins with these elements.
    pub(super) fn len(&self) -> usize {
        self.tensors.last().map_or(0, |(_, range)| range.end)
    }

    /// Places of the elements that an optimiser steps on.
    pub(super) fn trained(&self) -> &[Range<usize>] {
        &self.trained
    }

    /// Samples of one forward pass outside training, at most `most`: what the widest layer takes or gives
    /// has up to about 64 MiB.
    pub(super) fn at_once(&self, most: usize) -> usize {
        let values = |node: &Node| {
            let window = node
                .layer
                .window(node.input.len().saturating_sub(1))
                .map_or(1, |window| window.kernel.iter().map(|side| *side as usize).product());
            let (input, output): (usize, usize) = (node.input.iter().product(), node.output.iter().product());
            let inside = match node.layer {
                // Scores of each place for each other one.
                Layer::Attention { heads, .. } => {
                    (heads as usize * node.input[0]).max(3 * node.input[1]) * node.input[0]
                }
                // The gates of every step.
                Layer::Lstm { hidden, .. } | Layer::Gru { hidden, .. } => 8 * hidden as usize * node.input[0],
                _ => 0,
            };
            window.saturating_mul(input).max(output).max(inside)
        };
        let widest = self.nodes.iter().map(values).max().unwrap_or(1).max(1);
        (VALUES_AT_ONCE / widest).clamp(1, most)
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
        training: Option<&mut Draws>,
        device: &Device,
    ) -> Result<Pass, TaskError> {
        self.run(params, self.sample(features, rows, device), training, &mut |_, _| {})
    }

    /// `rows` samples as the first layer takes them.
    pub(super) fn sample(&self, features: Vec<f32>, rows: usize, device: &Device) -> Tensor<4> {
        Tensor::from_data(TensorData::new(features, layer::whole(rows, &self.input)), device)
    }

    /// As [`Self::forward`]; `watch` sees what each layer gives, with the layer's index.
    pub(super) fn run(
        &self,
        params: &Params,
        sample: Tensor<4>,
        training: Option<&mut Draws>,
        watch: &mut dyn FnMut(usize, &Tensor<4>),
    ) -> Result<Pass, TaskError> {
        let rows = sample.dims()[0];
        let mut params = params.0.iter().zip(&self.tensors).map(|(tensor, (shape, _))| (tensor, shape));
        let mut training = training.map(|draws| Training { draws, statistics: Vec::new() });
        let mut flows: Vec<Option<Tensor<4>>> = vec![Some(sample)];
        for (index, node) in self.nodes.iter().enumerate() {
            let inputs: Vec<Tensor<4>> = node.from.iter().filter_map(|&from| flows[from].clone()).collect();
            node.last_use.iter().for_each(|&from| flows[from] = None);
            let out = node.compute(rows, inputs, &mut params, &mut training)?;
            watch(index, &out);
            flows.push(Some(out));
        }
        let flow = flows.pop().flatten().ok_or(TaskError::Layout)?;
        let width = flow.dims()[1..].iter().product();
        let mut statistics = training.map_or_else(Vec::new, |training| training.statistics);
        statistics.iter_mut().for_each(|seen| seen.tensor = self.tensors.len() - seen.tensor);
        Ok(Pass { output: flow.reshape([rows, width]), statistics })
    }

    /// Moves running statistics towards those of the batch by the layer's momentum, as PyTorch does, and
    /// counts the batch. The variance is the one without bias.
    pub(super) fn update_statistics(&self, state: &mut ModelState, seen: Vec<Statistics>) {
        for Statistics { tensor, mean, variance, count, momentum } in seen {
            let unbiased = count as f32 / (count.max(2) - 1) as f32;
            for (tensor, seen, scale) in [(tensor, mean, 1.0), (tensor + 1, variance, unbiased)] {
                let running = &mut state.f32[self.tensors[tensor].1.clone()];
                for (running, seen) in running.iter_mut().zip(values(seen)) {
                    *running += momentum * (scale * seen - *running);
                }
            }
        }
        self.counts.iter().for_each(|&place| state.i64[place] = state.i64[place].saturating_add(1));
    }
}

#[cfg(test)]
impl Params {
    /// All elements, back from the device.
    pub(super) fn values(&self) -> Vec<f32> {
        self.0.iter().flat_map(|tensor| values(tensor.clone())).collect()
    }
}

/// A tensor's elements, row-major, with their bits.
pub(super) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let data = tensor.into_data();
    data.iter::<f32>().collect()
}

/// Values of one layer that a pass outside training may hold, for all its samples.
const VALUES_AT_ONCE: usize = 16 << 20;
