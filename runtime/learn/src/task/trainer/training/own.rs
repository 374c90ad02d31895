//! A model as this project's kernels compute it: the spec's graph, planned once, over buffers that every
//! batch uses again.
//!
//! The order of every sum depends on the model's and the batch's shapes alone. So the same task gives the
//! same bits for every number of threads, and for every processor with multiply-add. Parameters are read
//! from the model state and gradients are written in its layout.

mod activation;
mod arena;
pub(super) mod loss;
mod network;

use std::ops::Range;

use fl_engine::{
    Draws,
    limits::INPUTS,
    tensor::{Layout, ModelState},
};
use fl_kernels::{Image, Kit, Lanes, by_lanes, combine, conv::Finish, norm, pointwise, pool, resize};

pub(super) use self::network::plan;
use self::{
    arena::Arena,
    network::{Convolution, LineNorm, Lines, Node, Op},
};

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
    arena: Arena,
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
    /// A layer's weights as a pass reads them.
    packed: Vec<Lanes>,
    norm: norm::Scratch,
    lanes: [Vec<Lanes>; 4],
    rows: [Vec<f32>; 2],
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

    /// Bytes that values and gradients of one sample take.
    pub(super) fn bytes_of_sample(&self) -> usize {
        self.arena.bytes_of_sample()
    }

    /// Bytes of all buffers in a step on `rows` samples; `usize::MAX` for more than a `usize` counts. Counted
    /// are values and gradients; for the largest layer its weights in the order of a pass and the partial
    /// sums of their gradient; what single layers keep; and batches in rows.
    pub(super) fn bytes_of_step(&self, rows: usize) -> usize {
        let (mut of_layer, mut kept, mut in_rows) = (0, 0_usize, 0);
        for Node { op, from } in &self.nodes {
            let taken = || self.values[self.value_of[from[0]]].values();
            match op {
                Op::Conv(conv) => {
                    of_layer = of_layer.max(conv.shape.bytes_of_pass(rows));
                    if let Some(Lines { of_sample, images }) = &conv.lines {
                        let [seen, given] = images.each_ref();
                        let line = seen.bytes_of_sample().saturating_add(given.bytes_of_sample());
                        kept = kept.saturating_add(line.saturating_mul(*of_sample));
                        let widest = seen.values().max(given.values());
                        in_rows = in_rows.max(widest.saturating_mul(*of_sample));
                    }
                }
                Op::Dropout { mask, .. } => {
                    kept = kept.saturating_add(mask.bytes_of_sample());
                    in_rows = in_rows.max(taken());
                }
                Op::LineNorm(_) | Op::Softmax(_) | Op::Flatten => in_rows = in_rows.max(taken()),
                _ => {}
            }
        }
        let [first, last] = [0, self.nodes.len()].map(|place| self.values[self.value_of[place]].values());
        // Two lists for layers that leave the blocks, the features, the output, and the loss's gradient by
        // the output.
        let floats = in_rows.saturating_add(last).saturating_mul(2).saturating_add(first);
        let of_sample = self.arena.bytes_of_sample().saturating_add(kept);
        let of_sample = of_sample.saturating_add(floats.saturating_mul(size_of::<f32>()));
        of_sample.saturating_mul(rows).saturating_add(of_layer)
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
        self.arena.begin([&mut self.values, &mut self.slopes]);
        for at in 0..self.nodes.len() {
            self.arena.enter(at, rows, [&mut self.values, &mut self.slopes]);
            if at == 0 {
                self.values[self.value_of[0]].load(kit, features);
            }
            self.run(at, state, training.as_deref_mut(), kit);
            self.arena.leave(at, [&mut self.values, &mut self.slopes]);
        }
        let last = &self.values[self.value_of[self.nodes.len()]];
        last.store_into(kit, &mut self.buffers.output);
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
                match conv.lines.take() {
                    None => conv.forth(kit, state, x, finish, &mut out, &mut buffers.packed),
                    Some(mut lines) => {
                        let ([row, _], [from, to]) = (&mut buffers.rows, &mut *lines.images);
                        refill(kit, x, row, from);
                        to.hold(from.samples());
                        conv.forth(kit, state, from, finish, to, &mut buffers.packed);
                        refill(kit, to, row, &mut out);
                        conv.lines = Some(lines);
                    }
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
            Op::LineNorm(LineNorm { shape, weight, bias, moments }) => {
                let [from, to] = &mut buffers.rows;
                x.store_into(kit, from);
                to.resize(from.len(), 0.0);
                let affine = [&state.f32[weight.clone()], &state.f32[bias.clone()]];
                shape.apply(kit, from, affine, moments, to);
                out.load(kit, to);
            }
            Op::Softmax(softmax) => {
                let [row, _] = &mut buffers.rows;
                x.store_into(kit, row);
                softmax.apply(kit, row);
                out.load(kit, row);
            }
            Op::Resize(by) => resize::resize(kit, by, x, &mut out),
            Op::Combine(how) => {
                let inputs = inputs(from, values, value_of);
                combine::combine(kit, *how, &inputs[..from.len()], &mut out);
            }
            Op::Relu => pointwise::relu(kit, x, &mut out),
            Op::Map(activation) => pointwise::map(kit, x, &mut out, |x| activation.of(x)),
            Op::Largest(windows) => pool::largest(kit, windows, x, &mut out),
            Op::Mean(windows) => pool::mean(kit, windows, x, &mut out),
            Op::Dropout { p, mask } => {
                pointwise::copy(kit, x, &mut out);
                if let Some(draws) = training {
                    let [row, _] = &mut buffers.rows;
                    draw_mask(draws, *p, x.values() * x.samples(), row);
                    mask.hold(x.samples());
                    mask.load(kit, row);
                    pointwise::multiply(kit, mask, &mut out);
                }
            }
            Op::Flatten => {
                let [row, _] = &mut buffers.rows;
                refill(kit, x, row, &mut out);
            }
            Op::Add { relu } => {
                pointwise::copy(kit, x, &mut out);
                (1..from.len()).for_each(|n| pointwise::add(kit, input(n), &mut out));
                if *relu {
                    pointwise::relu_in_place(kit, &mut out);
                }
            }
            Op::Place { parts, covers, .. } => {
                if !*covers {
                    out.clear(kit);
                }
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
        let (rows, count) = (self.values[self.value_of[0]].samples(), self.nodes.len());
        self.written.fill(false);
        let last = self.slope_of[count];
        for at in (0..count).rev() {
            let step = 2 * count - 1 - at;
            self.arena.enter(step, rows, [&mut self.values, &mut self.slopes]);
            if self.wanted[at + 1] {
                let own = self.slope_of[at + 1];
                if step == count {
                    self.slopes[last].load(kit, by_output);
                    self.written[last] = true;
                }
                // No later layer gave a gradient: only the sides of these values were used.
                begin(kit, own, &mut self.slopes, &mut self.written);
                self.run_back(at, state, gradient, kit);
            }
            self.arena.leave(step, [&mut self.values, &mut self.slopes]);
        }
    }

    /// The gradient by the sample, if the plan has one, in rows.
    #[cfg(test)]
    pub(super) fn by_sample(&self, kit: Kit<'_>) -> Vec<f32> {
        let mut rows = Vec::new();
        self.slopes[self.slope_of[0]].store_into(kit, &mut rows);
        rows
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
                if let Some(mut lines) = conv.lines.take() {
                    let ([row, _], [seen, by_out]) = (&mut buffers.rows, &mut *lines.images);
                    refill(kit, &slope, row, by_out);
                    let [parts, sums] = [&mut buffers.parts, &mut buffers.lanes[0]];
                    conv.by_weights(kit, [seen, by_out], parts, sums, gradient);
                    if wanted[place] {
                        // The input is of no more use.
                        conv.back(kit, state, by_out, false, seen, &mut buffers.packed);
                        seen.store_into(kit, row);
                        give_rows(kit, row, to, slopes, written);
                    }
                    conv.lines = Some(lines);
                } else {
                    let [parts, sums] = [&mut buffers.parts, &mut buffers.lanes[0]];
                    conv.by_weights(kit, [x, &slope], parts, sums, gradient);
                    if wanted[place] {
                        conv.back(kit, state, &slope, written[to], &mut slopes[to], &mut buffers.packed);
                        written[to] = true;
                    }
                }
            }
            Op::Norm(norm) => {
                let sums = &mut norm.by_affine;
                norm::back(kit, x, &norm.moments, norm.relu, &mut slope, &mut buffers.norm, sums);
                write_lanes(sums.iter().map(|[_, weight]| weight), &mut gradient[norm.weight.clone()]);
                write_lanes(sums.iter().map(|[bias, _]| bias), &mut gradient[norm.bias.clone()]);
                pass_on(kit, &slope, own, to, wanted[place], slopes, written);
            }
            Op::LineNorm(LineNorm { shape, weight, bias, moments }) => {
                let [seen, row] = &mut buffers.rows;
                x.store_into(kit, seen);
                slope.store_into(kit, row);
                let (by_weight, by_bias) = gradient[weight.start..bias.end].split_at_mut(weight.len());
                shape.back(kit, seen, &state.f32[weight.clone()], moments, row, [by_weight, by_bias]);
                slope.load(kit, row);
                pass_on(kit, &slope, own, to, wanted[place], slopes, written);
            }
            Op::Softmax(softmax) => {
                let [given, row] = &mut buffers.rows;
                out.store_into(kit, given);
                slope.store_into(kit, row);
                softmax.back(kit, given, row);
                slope.load(kit, row);
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
            Op::Largest(_) | Op::Mean(_) | Op::Resize(_) | Op::Flatten if !wanted[place] => {}
            Op::Largest(windows) => {
                begin(kit, to, slopes, written);
                pool::largest_back(kit, windows, x, out, &slope, &mut slopes[to]);
            }
            Op::Mean(windows) => {
                begin(kit, to, slopes, written);
                pool::mean_back(kit, windows, &slope, &mut slopes[to]);
            }
            Op::Resize(by) => {
                begin(kit, to, slopes, written);
                resize::resize_back(kit, by, &slope, &mut slopes[to]);
            }
            Op::Combine(how) => {
                let inputs = inputs(from, values, value_of);
                for (n, place) in from.iter().enumerate().filter(|(_, place)| wanted[**place]) {
                    let to = slope_of[*place];
                    begin(kit, to, slopes, written);
                    combine::combine_back(kit, *how, &inputs[..from.len()], n, &slope, &mut slopes[to]);
                }
            }
            Op::Flatten => {
                let [row, _] = &mut buffers.rows;
                slope.store_into(kit, row);
                give_rows(kit, row, to, slopes, written);
            }
            Op::Add { relu } => {
                if *relu {
                    pointwise::relu_back(kit, out, &mut slope);
                }
                for place in from.iter() {
                    pass_on(kit, &slope, own, slope_of[*place], wanted[*place], slopes, written);
                }
            }
            Op::Place { parts, whole, .. } => {
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

impl Convolution {
    /// Computes the layer.
    fn forth(
        &self,
        kit: Kit<'_>,
        state: &ModelState,
        x: &Image,
        finish: Finish<'_>,
        out: &mut Image,
        packed: &mut Vec<Lanes>,
    ) {
        let weights = &state.f32[self.weight.clone()];
        if self.transposed {
            self.shape.pack_up(kit, weights, packed);
            self.shape.up(kit, x, packed, finish, out);
        } else {
            self.shape.pack_down(kit, weights, packed);
            self.shape.down(kit, x, packed, finish, out);
        }
    }

    /// Writes, or with `add` adds, the gradient by the input.
    fn back(
        &self,
        kit: Kit<'_>,
        state: &ModelState,
        slope: &Image,
        add: bool,
        by_x: &mut Image,
        packed: &mut Vec<Lanes>,
    ) {
        let (weights, finish) = (&state.f32[self.weight.clone()], Finish { add, ..Finish::default() });
        if self.transposed {
            self.shape.pack_down(kit, weights, packed);
            self.shape.down(kit, slope, packed, finish, by_x);
        } else {
            self.shape.pack_up(kit, weights, packed);
            self.shape.up(kit, slope, packed, finish, by_x);
        }
    }

    /// Writes the gradients by the weights and by the bias.
    fn by_weights(
        &self,
        kit: Kit<'_>,
        [x, slope]: [&Image; 2],
        parts: &mut Vec<Lanes>,
        sums: &mut Vec<Lanes>,
        gradient: &mut [f32],
    ) {
        let (large, small) = if self.transposed { (slope, x) } else { (x, slope) };
        self.shape.by_weights(kit, large, small, parts, &mut gradient[self.weight.clone()]);
        if let Some(bias) = &self.bias {
            pointwise::channel_sums(kit, slope, sums);
            write_lanes(sums.iter(), &mut gradient[bias.clone()]);
        }
    }
}

/// What a layer takes, in the first elements.
fn inputs<'a>(from: &[usize], values: &'a [Image], value_of: &[usize]) -> [&'a Image; INPUTS] {
    let mut inputs = [&values[value_of[from[0]]]; INPUTS];
    inputs.iter_mut().zip(from).for_each(|(input, place)| *input = &values[value_of[*place]]);
    inputs
}

/// Fills an image with the values of another of other sides, row by row.
fn refill(kit: Kit<'_>, from: &Image, row: &mut Vec<f32>, to: &mut Image) {
    from.store_into(kit, row);
    to.hold(row.len() / to.values().max(1));
    to.load(kit, row);
}

/// Gives a gradient in rows to a place.
fn give_rows(kit: Kit<'_>, row: &[f32], to: usize, slopes: &mut [Image], written: &mut [bool]) {
    if std::mem::replace(&mut written[to], true) {
        slopes[to].load_more(kit, row);
    } else {
        slopes[to].load(kit, row);
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
