//! A model as this project's kernels compute it: the spec's graph, planned once, over buffers that every
//! batch uses again.
//!
//! The order of every sum depends on the model's and the batch's shapes alone. So the same task gives the
//! same bits for every number of threads, and for every processor with multiply-add. Parameters are read
//! from the model state and gradients are written in its layout.

mod activation;
pub(super) mod loss;
mod network;

use std::ops::Range;

use fl_engine::{
    Draws,
    tensor::{Layout, ModelState},
};
use fl_kernels::{Image, Kit, Lanes, by_lanes, conv::Finish, norm, pointwise, pool};

pub(super) use self::network::plan;
use self::network::{Node, Op};

/// A planned model with its buffers.
pub(super) struct Own {
    nodes: Vec<Node>,
    /// Where each place's values lie: place 0 is the sample, n is what the nth layer gives.
    value_of: Vec<usize>,
    /// Where each place's gradient lies.
    slope_of: Vec<usize>,
    /// Whether a gradient of the place is wanted.
    wanted: Vec<bool>,
    values: Vec<Image>,
    slopes: Vec<Image>,
    /// Gradients that hold something already.
    written: Vec<bool>,
    /// Number of the model's f32 elements.
    len: usize,
    /// Places of the tensors that gradients reach.
    trained: Vec<Range<usize>>,
    /// Places of counts of batches in the i64 segment.
    counts: Vec<usize>,
    buffers: Buffers,
}

/// Memory of single steps.
#[derive(Default)]
struct Buffers {
    parts: Vec<Lanes>,
    norm: norm::Scratch,
    lanes: [Vec<Lanes>; 4],
    row: Vec<f32>,
    output: Vec<f32>,
}

impl Own {
    /// Number of the model's f32 elements. A state's f32 segment begins with these elements.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Places of the elements that an optimiser steps on.
    pub(super) fn trained(&self) -> &[Range<usize>] {
        &self.trained
    }

    /// Bytes that the values of one sample take.
    pub(super) fn bytes_of_sample(&self) -> usize {
        self.values.iter().map(Image::bytes_of_sample).sum()
    }

    /// Runs the layers on `rows` samples and returns the outputs, all values of a sample in one row. With
    /// `training`, dropout draws its masks from that stream, and batch normalisation uses the batch's own
    /// statistics.
    pub(super) fn forward(
        &mut self,
        state: &ModelState,
        features: &[f32],
        rows: usize,
        mut training: Option<&mut Draws>,
        kit: Kit<'_>,
    ) -> &[f32] {
        self.values.iter_mut().for_each(|image| image.hold(rows));
        self.values[self.value_of[0]].load(kit, features);
        for at in 0..self.nodes.len() {
            self.run(at, state, training.as_deref_mut(), kit);
        }
        let last = &self.values[self.value_of[self.nodes.len()]];
        self.buffers.output.resize(last.values() * rows, 0.0);
        last.store(kit, &mut self.buffers.output);
        &self.buffers.output
    }

    /// What the last forward pass gave.
    pub(super) fn output(&self) -> &[f32] {
        &self.buffers.output
    }

    fn run(&mut self, at: usize, state: &ModelState, training: Option<&mut Draws>, kit: Kit<'_>) {
        let Self { nodes, values, value_of, buffers, .. } = self;
        let Node { op, from } = &mut nodes[at];
        if matches!(op, Op::Same) {
            return;
        }
        let slot = value_of[at + 1];
        let mut out = std::mem::take(&mut values[slot]);
        let input = |n: usize| &values[value_of[from[n]]];
        let x = input(0);
        match op {
            Op::Same => {}
            Op::Conv(conv) => {
                let [lanes, ..] = &mut buffers.lanes;
                let bias = conv.bias.clone().map(|bias| {
                    by_lanes(&state.f32[bias], lanes);
                    &lanes[..]
                });
                let finish = Finish { bias, relu: conv.relu, add: false };
                let weights = &state.f32[conv.weight.clone()];
                if conv.transposed {
                    conv.shape.pack_up(kit, weights, &mut conv.packed);
                    conv.shape.up(kit, x, &conv.packed, finish, &mut out);
                } else {
                    conv.shape.pack_down(kit, weights, &mut conv.packed);
                    conv.shape.down(kit, x, &conv.packed, finish, &mut out);
                }
            }
            Op::Norm(norm) => {
                let ranges = [&norm.weight, &norm.bias, &norm.mean, &norm.variance];
                for (lanes, range) in buffers.lanes.iter_mut().zip(ranges) {
                    by_lanes(&state.f32[range.clone()], lanes);
                }
                let [weight, bias, mean, variance] = &buffers.lanes;
                let affine = norm::Affine { weight, bias, eps: norm.eps };
                match training {
                    Some(_) => {
                        norm::of_batch(kit, x, affine, &mut buffers.norm, &mut norm.moments);
                    }
                    None => norm::given(affine, mean, variance, &mut norm.moments),
                }
                norm::apply(kit, x, &norm.moments, norm.relu, &mut out);
            }
            Op::Relu => pointwise::relu(kit, x, &mut out),
            Op::Map(activation) => pointwise::map(kit, x, &mut out, |x| activation.of(x)),
            Op::Largest(windows) => pool::largest(kit, windows, x, &mut out),
            Op::Mean(windows) => pool::mean(kit, windows, x, &mut out),
            Op::Dropout { p, mask } => {
                pointwise::copy(kit, x, &mut out);
                if let Some(draws) = training {
                    draw_mask(draws, *p, x.values() * x.samples(), &mut buffers.row);
                    mask.hold(x.samples());
                    mask.load(kit, &buffers.row);
                    pointwise::multiply(kit, mask, &mut out);
                }
            }
            Op::Flatten => {
                buffers.row.resize(x.values() * x.samples(), 0.0);
                x.store(kit, &mut buffers.row);
                out.load(kit, &buffers.row);
            }
            Op::Add { relu } => {
                pointwise::copy(kit, x, &mut out);
                (1..from.len()).for_each(|n| pointwise::add(kit, input(n), &mut out));
                if *relu {
                    pointwise::relu_in_place(kit, &mut out);
                }
            }
            Op::Place { parts, .. } => {
                for (n, part) in parts.iter().enumerate() {
                    pointwise::place(kit, input(n), part, false, &mut out);
                }
            }
        }
        values[slot] = out;
    }

    /// Adds up the gradient of the loss by each element of the model, from the gradient `by_output` by what
    /// the last forward pass gave. Elements that no gradient reaches keep what `gradient` holds.
    pub(super) fn backward(
        &mut self,
        state: &ModelState,
        by_output: &[f32],
        gradient: &mut [f32],
        kit: Kit<'_>,
    ) {
        let rows = self.values[self.value_of[0]].samples();
        for (slot, wanted) in self.slope_of.iter().zip(&self.wanted) {
            if *wanted {
                self.slopes[*slot].hold(rows);
            }
        }
        self.written.fill(false);
        let last = self.slope_of[self.nodes.len()];
        self.slopes[last].load(kit, by_output);
        self.written[last] = true;
        for at in (0..self.nodes.len()).rev() {
            if self.wanted[at + 1] {
                self.run_back(at, state, gradient, kit);
            }
        }
    }

    fn run_back(&mut self, at: usize, state: &ModelState, gradient: &mut [f32], kit: Kit<'_>) {
        let Self { nodes, values, slopes, written, value_of, slope_of, wanted, buffers, .. } = self;
        let Node { op, from } = &mut nodes[at];
        if matches!(op, Op::Same) {
            return;
        }
        let (own, place) = (slope_of[at + 1], from[0]);
        let (x, out) = (&values[value_of[place]], &values[value_of[at + 1]]);
        let mut slope = std::mem::take(&mut slopes[own]);
        let to = slope_of[place];
        match op {
            Op::Same => {}
            Op::Conv(conv) => {
                if conv.relu {
                    pointwise::relu_back(kit, out, &mut slope);
                }
                let (large, small) = if conv.transposed { (&slope, x) } else { (x, &slope) };
                let parts = &mut buffers.parts;
                conv.shape.by_weights(kit, large, small, parts, &mut gradient[conv.weight.clone()]);
                if let Some(bias) = &conv.bias {
                    let [sums, ..] = &mut buffers.lanes;
                    pointwise::channel_sums(kit, &slope, sums);
                    write_lanes(sums.iter(), &mut gradient[bias.clone()]);
                }
                if wanted[place] {
                    let finish = Finish { add: written[to], ..Finish::default() };
                    let weights = &state.f32[conv.weight.clone()];
                    if conv.transposed {
                        conv.shape.pack_down(kit, weights, &mut conv.packed);
                        conv.shape.down(kit, &slope, &conv.packed, finish, &mut slopes[to]);
                    } else {
                        conv.shape.pack_up(kit, weights, &mut conv.packed);
                        conv.shape.up(kit, &slope, &conv.packed, finish, &mut slopes[to]);
                    }
                    written[to] = true;
                }
            }
            Op::Norm(norm) => {
                let sums = &mut norm.by_affine;
                norm::back(kit, x, &norm.moments, norm.relu, &mut slope, &mut buffers.norm, sums);
                write_lanes(sums.iter().map(|[_, weight]| weight), &mut gradient[norm.weight.clone()]);
                write_lanes(sums.iter().map(|[bias, _]| bias), &mut gradient[norm.bias.clone()]);
                pass_on(kit, &slope, own, to, wanted[place], slopes, written);
            }
            Op::Relu => {
                pointwise::relu_back(kit, out, &mut slope);
                pass_on(kit, &slope, own, to, wanted[place], slopes, written);
            }
            Op::Map(activation) => {
                pointwise::map_back(kit, x, &mut slope, |x| activation.slope(x));
                pass_on(kit, &slope, own, to, wanted[place], slopes, written);
            }
            Op::Dropout { mask, .. } => {
                pointwise::multiply(kit, mask, &mut slope);
                pass_on(kit, &slope, own, to, wanted[place], slopes, written);
            }
            Op::Largest(_) | Op::Mean(_) if !wanted[place] => {}
            Op::Largest(windows) => {
                begin(kit, to, slopes, written);
                pool::largest_back(kit, windows, x, out, &slope, &mut slopes[to]);
            }
            Op::Mean(windows) => {
                begin(kit, to, slopes, written);
                pool::mean_back(kit, windows, &slope, &mut slopes[to]);
            }
            Op::Flatten => {
                if wanted[place] && !written[to] {
                    buffers.row.resize(slope.values() * slope.samples(), 0.0);
                    slope.store(kit, &mut buffers.row);
                    slopes[to].load(kit, &buffers.row);
                    written[to] = true;
                } else if wanted[place] {
                    // Another layer has written the gradient already.
                    let mut image = slopes[to].clone();
                    buffers.row.resize(slope.values() * slope.samples(), 0.0);
                    slope.store(kit, &mut buffers.row);
                    image.load(kit, &buffers.row);
                    pointwise::add(kit, &image, &mut slopes[to]);
                }
            }
            Op::Add { relu } => {
                if *relu {
                    pointwise::relu_back(kit, out, &mut slope);
                }
                for place in from.iter() {
                    pass_on(kit, &slope, own, slope_of[*place], wanted[*place], slopes, written);
                }
            }
            Op::Place { parts, whole } => {
                for (place, part) in from.iter().zip(parts.iter()) {
                    let to = slope_of[*place];
                    if !wanted[*place] {
                        continue;
                    }
                    if !*whole {
                        begin(kit, to, slopes, written);
                    }
                    pointwise::place(kit, &slope, &part.turned(), written[to], &mut slopes[to]);
                    written[to] = true;
                }
            }
        }
        slopes[own] = slope;
    }

    /// Moves running statistics towards those of the last batch by the layer's momentum, as PyTorch does, and
    /// counts the batch. The variance is the one without bias.
    pub(super) fn update_statistics(&self, state: &mut ModelState) {
        let rows = self.values[self.value_of[0]].samples();
        for Node { op, .. } in &self.nodes {
            let Op::Norm(norm) = op else { continue };
            let count = rows * norm.pixels;
            let unbiased = count as f32 / (count.max(2) - 1) as f32;
            let mean = (&norm.mean, 1.0, 0);
            for (range, scale, which) in [mean, (&norm.variance, unbiased, 1)] {
                let seen = norm
                    .moments
                    .iter()
                    .flat_map(|moments| if which == 0 { moments.mean.0 } else { moments.variance.0 });
                for (running, seen) in state.f32[range.clone()].iter_mut().zip(seen) {
                    *running += norm.momentum * (scale * seen - *running);
                }
            }
        }
        self.counts.iter().for_each(|&place| state.i64[place] = state.i64[place].saturating_add(1));
    }
}

/// Gives a gradient to another place, unless both lie in one buffer.
fn pass_on(
    kit: Kit<'_>,
    slope: &Image,
    own: usize,
    to: usize,
    wanted: bool,
    slopes: &mut [Image],
    written: &mut [bool],
) {
    if !wanted || own == to {
        return;
    }
    if std::mem::replace(&mut written[to], true) {
        pointwise::add(kit, slope, &mut slopes[to]);
    } else {
        pointwise::copy(kit, slope, &mut slopes[to]);
    }
}

/// Sets a gradient to zero that nothing has been added to.
fn begin(kit: Kit<'_>, to: usize, slopes: &mut [Image], written: &mut [bool]) {
    if !std::mem::replace(&mut written[to], true) {
        slopes[to].clear(kit);
    }
}

fn write_lanes<'a>(lanes: impl Iterator<Item = &'a Lanes>, out: &mut [f32]) {
    out.iter_mut().zip(lanes.flat_map(|lanes| lanes.0)).for_each(|(out, value)| *out = value);
}

/// Zero with probability `p`, otherwise `1 / (1 − p)` (Srivastava et al., JMLR 15, 2014).
fn draw_mask(draws: &mut Draws, p: f32, count: usize, mask: &mut Vec<f32>) {
    let (kept, unit) = (1.0 / (1.0 - p), |word: u64| (word >> 40) as f32 / (1 << 24) as f32);
    mask.clear();
    mask.extend((0..count).map(|_| if unit(draws.next_u64()) < p { 0.0 } else { kept }));
}

/// What the executor knows of a layout.
fn floats(layout: &Layout, count: usize) -> Vec<Range<usize>> {
    let segments = layout.segments(fl_engine::tensor::Dtype::F32);
    segments.filter(|segment| segment.tensor < count).map(|segment| segment.range).collect()
}

#[cfg(test)]
mod tests;
