//! The plan of a model: which kernel computes each layer, and where values and gradients lie.
//!
//! An activation `max(0, x)` is computed by the layer before it, where nothing else takes what that layer
//! gives. Layers that change a gradient in place share its buffer.

use std::{ops::Range, sync::Arc};

use fl_engine::{
    model::{self, Layer, ModelSpec, Placed, Upsampling, Window},
    tensor::{Dtype, Layout},
};
use fl_kernels::{
    Image, Lanes, combine::Combine, conv::Conv, lines, norm::Moments, pointwise::Part, pool::Windows,
    resize::Resize,
};

use super::{
    super::tensors::count_tensors,
    Buffers, Own,
    activation::Activation,
    arena::{Arena, Life},
    floats,
};
use crate::task::error::TaskError;

/// A layer with its inputs, by place.
pub(super) struct Node {
    pub(super) op: Op,
    pub(super) from: Vec<usize>,
}

/// What computes a layer.
pub(super) enum Op {
    /// The layer before has computed it.
    Same,
    Conv(Convolution),
    Norm(Norm),
    LineNorm(LineNorm),
    Softmax(lines::Softmax),
    Resize(Resize),
    /// Of equal shapes, except for sides of 1.
    Combine(Combine),
    Relu,
    Map(Activation),
    Largest(Windows),
    Mean(Windows),
    Dropout {
        p: f32,
        mask: Image,
    },
    Flatten,
    Add {
        relu: bool,
    },
    /// Copies of the inputs, or of the first ones. With `whole`, each input's values are all copied; with
    /// `covers`, nothing else is in the output.
    Place {
        parts: Vec<Part>,
        whole: bool,
        covers: bool,
    },
}

/// A convolution, a transposed one, or a linear layer.
pub(super) struct Convolution {
    pub(super) shape: Conv,
    pub(super) transposed: bool,
    pub(super) weight: Range<usize>,
    pub(super) bias: Option<Range<usize>>,
    pub(super) relu: bool,
    /// For a linear layer over the last of several axes.
    pub(super) lines: Option<Lines>,
}

/// The lines of a batch, and what a linear layer gives for them. Both keep their memory.
pub(super) struct Lines {
    /// Lines of a sample.
    pub(super) of_sample: usize,
    /// As lists of features.
    pub(super) images: Box<[Image; 2]>,
}

/// A normalisation of each sample.
pub(super) struct LineNorm {
    pub(super) shape: lines::LineNorm,
    pub(super) weight: Range<usize>,
    pub(super) bias: Range<usize>,
    pub(super) moments: Vec<lines::Moments>,
}

/// A batch normalisation.
pub(super) struct Norm {
    pub(super) weight: Range<usize>,
    pub(super) bias: Range<usize>,
    pub(super) mean: Range<usize>,
    pub(super) variance: Range<usize>,
    pub(super) eps: f64,
    pub(super) momentum: f32,
    pub(super) relu: bool,
    /// Pixels of a sample.
    pub(super) pixels: usize,
    pub(super) moments: Vec<Moments>,
    pub(super) by_affine: Vec<[Lanes; 2]>,
}

/// Plans a model whose tensors `layout` begins with; `Err` of the word of the first layer that no kernel
/// computes.
pub(in super::super) fn plan(
    spec: &ModelSpec,
    layout: &Arc<Layout>,
    by_sample: bool,
) -> Result<Result<Own, String>, TaskError> {
    let count = count_tensors(spec, layout)?;
    let placed = model::place(spec)?;
    let shapes: Vec<Vec<usize>> = std::iter::once(&spec.input)
        .chain(placed.iter().map(|at| &at.output))
        .map(|shape| shape.iter().map(|side| *side as usize).collect())
        .collect();
    let ranges = floats(layout, count);
    let mut tensors = ranges.iter().cloned();
    let mut take = || tensors.next().ok_or(TaskError::Layout);
    let mut nodes: Vec<Node> = Vec::with_capacity(placed.len());
    for at in &placed {
        if at.from.is_empty() || matches!(at.layer, Layer::ConvTranspose1d { .. }) {
            return Ok(Err(at.layer.word().to_owned()));
        }
        let inputs: Vec<&[usize]> = at.from.iter().map(|&place| &*shapes[place]).collect();
        match op(at, &inputs, &mut take)? {
            Some(op) => nodes.push(Node { op, from: at.from.clone() }),
            None => return Ok(Err(at.layer.word().to_owned())),
        }
    }
    let mut uses = vec![0; nodes.len() + 1];
    nodes.iter().flat_map(|node| &node.from).for_each(|&place| uses[place] += 1);
    uses[nodes.len()] += 1;
    fold_activations(&mut nodes, &uses);

    // Without an input's gradient, the layers before the first weights need none.
    let mut wanted = vec![by_sample];
    for node in &nodes {
        let weights = matches!(node.op, Op::Conv(_) | Op::Norm(_) | Op::LineNorm(_));
        let any = weights || node.from.iter().any(|&place| wanted[place]);
        wanted.push(any);
    }
    let mut value_of = vec![0];
    let mut slope_of = vec![0];
    let (mut values, mut slopes) = (1, 1);
    for node in &nodes {
        let first = node.from[0];
        let own = |count: &mut usize| {
            *count += 1;
            *count - 1
        };
        let same = matches!(node.op, Op::Same);
        let in_place = matches!(
            node.op,
            Op::Norm(_) | Op::LineNorm(_) | Op::Softmax(_) | Op::Relu | Op::Map(_) | Op::Dropout { .. }
        );
        value_of.push(if same { value_of[first] } else { own(&mut values) });
        let shared = same || in_place && uses[first] == 1 && first > 0;
        slope_of.push(if shared { slope_of[first] } else { own(&mut slopes) });
    }
    let (mut halo_of_value, mut halo_of_slope) = (vec![[0; 2]; values], vec![[0; 2]; slopes]);
    let widen = |halo: &mut [usize; 2], to: [usize; 2]| *halo = [0, 1].map(|axis| halo[axis].max(to[axis]));
    for (at, node) in nodes.iter().enumerate() {
        let Op::Conv(conv) = &node.op else { continue };
        let (forward, back) = match conv.transposed {
            false => (conv.shape.halo_down(), conv.shape.halo_up()),
            true => (conv.shape.halo_up(), conv.shape.halo_down()),
        };
        widen(&mut halo_of_value[value_of[node.from[0]]], forward);
        widen(&mut halo_of_slope[slope_of[at + 1]], back);
    }
    let images = |of: &[usize], halos: Vec<[usize; 2]>| {
        let mut images: Vec<Image> = halos.iter().map(|_| Image::default()).collect();
        for (slot, shape) in of.iter().zip(&shapes) {
            images[*slot] = image(shape, halos[*slot]);
        }
        images
    };
    let learns = |(tensor, range): (usize, &Range<usize>)| {
        let name = &layout.tensors()[tensor].name;
        (!model::is_statistic(name)).then(|| range.clone())
    };
    let floats = layout.segments(Dtype::F32).filter(|segment| segment.tensor < count);
    let indices: Vec<usize> = floats.map(|segment| segment.tensor).collect();
    let integers = layout.segments(Dtype::I64).filter(|segment| segment.tensor < count);
    let (values, slopes) = (images(&value_of, halo_of_value), images(&slope_of, halo_of_slope));
    let lives = lives(&nodes, &wanted, [&value_of, &slope_of], [values.len(), slopes.len()]);
    Ok(Ok(Own {
        written: vec![false; slopes.len()],
        arena: Arena::new(lives, [&values, &slopes]),
        values,
        slopes,
        len: ranges.last().map_or(0, |range| range.end),
        trained: indices.into_iter().zip(&ranges).filter_map(learns).collect(),
        counts: integers.map(|segment| segment.range.start).collect(),
        buffers: Buffers::default(),
        nodes,
        value_of,
        slope_of,
        wanted,
    }))
}

/// The steps between which each image of values, then each of gradients, is used. Forward, the layer `n` is
/// computed in step `n`; back, the last layer comes first.
fn lives(
    nodes: &[Node],
    wanted: &[bool],
    [value_of, slope_of]: [&[usize]; 2],
    [values, slopes]: [usize; 2],
) -> [Vec<Option<Life>>; 2] {
    let count = nodes.len();
    let (mut of_values, mut of_slopes) = (vec![None; values], vec![None; slopes]);
    let used = |lives: &mut Vec<Option<Life>>, slot: usize, step: usize| {
        let life = lives[slot].get_or_insert(Life { first: step, last: step });
        (life.first, life.last) = (life.first.min(step), life.last.max(step));
    };
    used(&mut of_values, value_of[0], 0);
    // The output is read after the last layer, and its gradient is written before.
    used(&mut of_values, value_of[count], count);
    used(&mut of_slopes, slope_of[count], count);
    if wanted[0] {
        used(&mut of_slopes, slope_of[0], 2 * count);
    }
    for (at, node) in nodes.iter().enumerate() {
        let back = 2 * count - 1 - at;
        used(&mut of_values, value_of[at + 1], at);
        node.from.iter().for_each(|place| used(&mut of_values, value_of[*place], at));
        if !wanted[at + 1] {
            continue;
        }
        used(&mut of_slopes, slope_of[at + 1], back);
        for place in node.from.iter().filter(|place| wanted[**place]) {
            used(&mut of_slopes, slope_of[*place], back);
        }
        let (input, output) = match &node.op {
            Op::Conv(conv) => (true, conv.relu),
            Op::Norm(_) | Op::LineNorm(_) | Op::Map(_) | Op::Combine(Combine::Product) => (true, false),
            Op::Largest(_) => (true, true),
            Op::Relu | Op::Softmax(_) => (false, true),
            Op::Add { relu } => (false, *relu),
            Op::Same
            | Op::Resize(_)
            | Op::Combine(_)
            | Op::Mean(_)
            | Op::Dropout { .. }
            | Op::Flatten
            | Op::Place { .. } => (false, false),
        };
        if input {
            node.from.iter().for_each(|place| used(&mut of_values, value_of[*place], back));
        }
        if output {
            used(&mut of_values, value_of[at + 1], back);
        }
    }
    [of_values, of_slopes]
}

/// Lets layers compute the `max(0, x)` that alone takes what they give.
fn fold_activations(nodes: &mut [Node], uses: &[usize]) {
    for at in 1..nodes.len() {
        let place = nodes[at].from[0];
        if !matches!(nodes[at].op, Op::Relu) || place == 0 || uses[place] != 1 {
            continue;
        }
        let relu = match &mut nodes[place - 1].op {
            Op::Conv(conv) => &mut conv.relu,
            Op::Norm(norm) => &mut norm.relu,
            Op::Add { relu } => relu,
            _ => continue,
        };
        *relu = true;
        nodes[at].op = Op::Same;
    }
}

/// A buffer for a shape of a sample. Sequences are images of height 1.
fn image(shape: &[usize], halo: [usize; 2]) -> Image {
    match *shape {
        [features] => Image::features(features),
        [channels, length] => Image::new([channels, 1, length], halo),
        [channels, height, width] => Image::new([channels, height, width], halo),
        _ => Image::default(),
    }
}

/// Height and width.
fn sides(shape: &[usize]) -> [usize; 2] {
    match *shape {
        [_, length] => [1, length],
        [_, height, width] => [height, width],
        _ => [1; 2],
    }
}

/// What computes the layer, if a kernel does.
fn op(
    at: &Placed<'_>,
    inputs: &[&[usize]],
    take: &mut impl FnMut() -> Result<Range<usize>, TaskError>,
) -> Result<Option<Op>, TaskError> {
    let output: Vec<usize> = at.output.iter().map(|side| *side as usize).collect();
    // The sides of images are all that buffers have.
    if inputs.iter().any(|shape| !(1..=3).contains(&shape.len())) || !(1..=3).contains(&output.len()) {
        return Ok(None);
    }
    let (input, axes) = (inputs[0], inputs[0].len() - 1);
    let product = |sides: &[usize]| sides.iter().product::<usize>();
    if let Some(window) = at.layer.window(axes) {
        return windowed(at.layer, &window, input, &output, take);
    }
    Ok(Some(match at.layer {
        Layer::Linear { bias, .. } => {
            let (outs, ins) = (output[axes], input[axes]);
            let lines = (axes > 0).then(|| Lines {
                of_sample: product(&input[..axes]),
                images: Box::new([ins, outs].map(Image::features)),
            });
            let (weight, bias) = (take()?, if *bias { Some(take()?) } else { None });
            Op::Conv(Convolution {
                shape: Conv::linear(outs, ins),
                transposed: false,
                weight,
                bias,
                relu: false,
                lines,
            })
        }
        Layer::LayerNorm { axes, eps, .. } => {
            let width = product(&input[input.len() - *axes as usize..]);
            let shape = lines::LineNorm { width, pixels: 1, eps: *eps };
            Op::LineNorm(LineNorm { shape, weight: take()?, bias: take()?, moments: Vec::new() })
        }
        Layer::GroupNorm { groups, eps, .. } => {
            let width = product(input) / *groups as usize;
            let shape = lines::LineNorm { width, pixels: product(&input[1..]), eps: *eps };
            Op::LineNorm(LineNorm { shape, weight: take()?, bias: take()?, moments: Vec::new() })
        }
        Layer::Softmax { axis } | Layer::LogSoftmax { axis } => {
            let (axis, log) = (*axis as usize, matches!(at.layer, Layer::LogSoftmax { .. }));
            Op::Softmax(lines::Softmax { count: input[axis], step: product(&input[axis + 1..]), log })
        }
        Layer::Upsample { .. } | Layer::AdaptiveAvgPool { .. }
            if sides(input).into_iter().chain(sides(&output)).any(|side| side > LONGEST) =>
        {
            return Ok(None);
        }
        Layer::Upsample { mode, corners, .. } => {
            let (from, to) = (sides(input), sides(&output));
            Op::Resize(match mode {
                Upsampling::Nearest => Resize::nearest(from, to),
                Upsampling::Bilinear => Resize::bilinear(from, to, *corners),
            })
        }
        Layer::BatchNorm { eps, momentum, .. } => Op::Norm(Norm {
            weight: take()?,
            bias: take()?,
            mean: take()?,
            variance: take()?,
            eps: *eps,
            momentum: *momentum as f32,
            relu: false,
            pixels: input[1..].iter().product(),
            moments: Vec::new(),
            by_affine: Vec::new(),
        }),
        Layer::Relu => Op::Relu,
        Layer::Dropout { p } => Op::Dropout { p: *p, mask: image(input, [0; 2]) },
        Layer::Flatten if axes == 0 => Op::Place {
            parts: vec![Part { from: 0..input[0], to: 0, shift: [0; 2] }],
            whole: true,
            covers: true,
        },
        Layer::Flatten => Op::Flatten,
        Layer::Add if inputs.iter().all(|other| *other == input) => Op::Add { relu: false },
        Layer::Add => Op::Combine(Combine::Sum),
        Layer::Sub => Op::Combine(Combine::Difference),
        Layer::Mul => Op::Combine(Combine::Product),
        Layer::Concat { axis } => {
            let axis = *axis as usize;
            let mut end = 0;
            let part = |shape: &&[usize]| {
                let at = end;
                end += shape[axis];
                let mut part = Part { from: 0..shape[0], to: 0, shift: [0; 2] };
                match axis {
                    0 => part.to = at,
                    // The only side of a sequence is its width.
                    _ => part.shift[if shape.len() == 2 { 1 } else { axis - 1 }] = at as isize,
                }
                part
            };
            Op::Place { parts: inputs.iter().map(part).collect(), whole: true, covers: true }
        }
        Layer::Pad { .. } | Layer::Crop { .. } => {
            let edges = at.layer.edges(axes).ok_or(TaskError::Layout)?.map(|edge| edge as isize);
            let first = if axes == 1 { [0, edges[0]] } else { [edges[0], edges[2]] };
            let whole = matches!(at.layer, Layer::Pad { .. });
            let shift = if whole { first } else { first.map(|by| -by) };
            Op::Place { parts: vec![Part { from: 0..input[0], to: 0, shift }], whole, covers: !whole }
        }
        Layer::PadTo => {
            let (small, large) = (sides(input), sides(&output));
            let shift = [0, 1].map(|axis: usize| ((large[axis] - small[axis]) / 2) as isize);
            Op::Place { parts: vec![Part { from: 0..input[0], to: 0, shift }], whole: true, covers: false }
        }
        Layer::AdaptiveAvgPool { .. } => Op::Mean(Windows::covering(sides(input), sides(&output))),
        layer => match Activation::new(layer) {
            Some(activation) => Op::Map(activation),
            None => return Ok(None),
        },
    }))
}

/// A convolution or a pool.
fn windowed(
    layer: &Layer,
    window: &Window,
    input: &[usize],
    output: &[usize],
    take: &mut impl FnMut() -> Result<Range<usize>, TaskError>,
) -> Result<Option<Op>, TaskError> {
    // A sequence is an image of height 1 here, and one of width 1 in the engine.
    let along = |pair: [u32; 2], other: usize| {
        let [first, second] = pair.map(|number| number as usize);
        if input.len() == 2 { [other, first] } else { [first, second] }
    };
    let [top, bottom, left, right] = window.edges;
    let (kernel, stride) = (along(window.kernel, 1), along(window.stride, 1));
    let edges = along([top, left], 0);
    let (small, large) = (sides(output), sides(input));
    // Windows have tables of the sides.
    if large.into_iter().chain(small).any(|side| side > LONGEST) {
        return Ok(None);
    }
    let Some(weights) = window.weights else {
        let padded = !matches!(layer, Layer::AvgPool { count_pad: false, .. });
        debug_assert!(top == bottom && left == right);
        let windows = Windows::moving(kernel, stride, edges, large, small, padded);
        let largest = matches!(layer, Layer::MaxPool { .. });
        return Ok(Some(if largest { Op::Largest(windows) } else { Op::Mean(windows) }));
    };
    let (weight, bias) = (take()?, if weights.bias { Some(take()?) } else { None });
    let dilation = along(window.dilation, 1);
    let (channels, sides) = match weights.transposed {
        false => ([output[0], input[0]], [small, large]),
        true => ([input[0], output[0]], [large, small]),
    };
    if !Conv::has_small_tables(kernel, stride, sides[1]) {
        return Ok(None);
    }
    let shape =
        Conv::new(channels, kernel, stride, dilation, edges, sides).in_groups(weights.groups as usize);
    Ok(Some(Op::Conv(Convolution {
        shape,
        transposed: weights.transposed,
        weight,
        bias,
        relu: false,
        lines: None,
    })))
}

/// Longest side of an image that windows or an interpolation go over.
const LONGEST: usize = 1 << 22;
