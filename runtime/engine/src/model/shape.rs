//! Shapes, layer by layer: the inputs and output of each layer, and whether they fit together.

use std::collections::BTreeMap;

use super::{
    Layer, LayerAt, ModelError, ModelSpec, Steps, Upsampling, is_optimiser_tensor, span::Sides,
    window::Window,
};
use crate::limits;

/// A layer with the shapes of its first input and of its output, without the batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed<'a> {
    /// The layer.
    pub layer: &'a Layer,
    /// Its inputs: 0 is the sample, n is what `layers[n - 1]` gives.
    pub from: Vec<usize>,
    /// Shape of the first input: `[features]`, `[channels, length]` or `[channels, height, width]`.
    pub input: Vec<u32>,
    /// As `input`.
    pub output: Vec<u32>,
}

/// Checks every layer against what arrives at it.
///
/// Convolutions and pools round their output down, as PyTorch's defaults do: rows and columns that fill no
/// whole window are dropped.
///
/// # Errors
/// [`ModelError`] names the first layer at fault, the shapes that arrive and what it needs.
pub fn place(spec: &ModelSpec) -> Result<Vec<Placed<'_>>, ModelError> {
    if ranked(&spec.input).is_err() {
        return Err(ModelError::Input(spec.input.clone()));
    }
    let count = spec.layers.len();
    if count == 0 || count > limits::LAYERS {
        return Err(ModelError::Layers(count as u64));
    }
    let spelt = !spec.from.is_empty();
    if spelt && (spec.from.len() != count || spec.from.iter().zip(0..).all(|(from, n)| *from == [n])) {
        return Err(ModelError::From);
    }
    let mut names = BTreeMap::new();
    let mut used = vec![false; count];
    let mut placed: Vec<Placed<'_>> = Vec::with_capacity(count);
    for (index, layer) in spec.layers.iter().enumerate() {
        let at = || LayerAt::new(index, layer);
        if let Some(name) = layer.name() {
            if !is_field_name(name) {
                return Err(ModelError::FieldName(at()));
            }
            if is_optimiser_tensor(name) {
                return Err(ModelError::Reserved(at()));
            }
            if let Some(first) = names.insert(name, index) {
                return Err(ModelError::Duplicate { first, second: at() });
            }
        }
        let from: Vec<usize> =
            spec.from.get(index).map_or(vec![index], |from| from.iter().map(|n| *n as usize).collect());
        let (least, most) = layer.takes();
        if !(least..=most).contains(&from.len()) {
            return Err(ModelError::Inputs { layer: at(), given: from.len(), least, most });
        }
        if from.iter().any(|n| *n > index) {
            return Err(ModelError::From);
        }
        from.iter().for_each(|n| used[n.saturating_sub(1)] |= *n > 0);
        let shape = |n: &usize| n.checked_sub(1).map_or(&*spec.input, |n| &*placed[n].output);
        let inputs: Vec<&[u32]> = from.iter().map(shape).collect();
        let output = output(layer, &inputs, &at)?;
        if matches!(layer, Layer::Embedding { .. }) && from != [0] {
            let what = "an embedding takes the sample itself, before any other layer".to_owned();
            return Err(ModelError::Setting { layer: at(), what });
        }
        let input = inputs.first().map_or_else(Vec::new, |input| input.to_vec());
        placed.push(Placed { layer, from, input, output });
    }
    if names.is_empty() {
        return Err(ModelError::NoParameters);
    }
    let unused = used[..count - 1].iter().position(|used| !used);
    unused.map_or(Ok(placed), |n| Err(ModelError::Unused(LayerAt::new(n, &spec.layers[n]))))
}

/// Shape of the last layer's output, the batch left out.
///
/// # Errors
/// As [`place`].
pub fn output_shape(spec: &ModelSpec) -> Result<Vec<u32>, ModelError> {
    Ok(place(spec)?.pop().map_or_else(|| spec.input.clone(), |last| last.output))
}

/// Shape of what one layer gives, the batch left out. `index` is its index in `layers`, which an error names.
///
/// Names are not looked at, and neither is what stands above: [`place`] does.
///
/// # Errors
/// [`ModelError`] if the layer does not take inputs of these shapes.
pub fn layer_output(index: usize, layer: &Layer, inputs: &[&[u32]]) -> Result<Vec<u32>, ModelError> {
    let at = || LayerAt::new(index, layer);
    let (least, most) = layer.takes();
    if !(least..=most).contains(&inputs.len()) {
        return Err(ModelError::Inputs { layer: at(), given: inputs.len(), least, most });
    }
    output(layer, inputs, &at)
}

fn output(layer: &Layer, inputs: &[&[u32]], at: &dyn Fn() -> LayerAt) -> Result<Vec<u32>, ModelError> {
    let input = inputs.first().copied().unwrap_or_default();
    let needs = |needs: &str| {
        let arrive = inputs.iter().map(|shape| shape.to_vec()).collect();
        ModelError::Shape { layer: at(), arrive, needs: needs.to_owned() }
    };
    let setting = |what: String| ModelError::Setting { layer: at(), what };
    let positive = |what: &str, numbers: &[u32]| match numbers.contains(&0) {
        true => Err(setting(format!("{what} is 0; it must be at least 1"))),
        false => Ok(()),
    };
    let same = || input.iter().copied().map(u128::from).collect::<Vec<_>>();
    // The channels, and the sides that a window moves over.
    let (channels, sides) = input.split_first().map_or((0, input), |(channels, sides)| (*channels, sides));
    let image = || match sides {
        [] => Err(needs("[channels, length] or [channels, height, width]")),
        _ => Ok(()),
    };
    let with_sides = |side: &dyn Fn(usize, u32) -> Result<u128, ModelError>| {
        let sides = sides.iter().enumerate().map(|(axis, length)| side(axis, *length));
        [Ok(channels.into())].into_iter().chain(sides).collect::<Result<Vec<u128>, _>>()
    };
    let shape: Vec<u128> = match layer {
        Layer::Linear { out, .. } => {
            positive("out", &[*out])?;
            let mut shape = same();
            if let Some(last) = shape.last_mut() {
                *last = (*out).into();
            }
            shape
        }
        Layer::Conv1d { .. }
        | Layer::ConvTranspose1d { .. }
        | Layer::Conv2d { .. }
        | Layer::ConvTranspose2d { .. } => {
            let axes =
                if matches!(layer, Layer::Conv1d { .. } | Layer::ConvTranspose1d { .. }) { 1 } else { 2 };
            if sides.len() != axes {
                return Err(needs(if axes == 1 {
                    "[channels, length]"
                } else {
                    "[channels, height, width]"
                }));
            }
            let Some(window) = layer.window(axes) else { return Ok(input.to_vec()) };
            check_numbers(&window, positive)?;
            let mut shape = with_sides(&|axis, length| along(&window, axis, length, &needs))?;
            if let Some(weights) = window.weights {
                positive("out", &[weights.out])?;
                positive("groups", &[weights.groups])?;
                if channels % weights.groups != 0 || weights.out % weights.groups != 0 {
                    return Err(needs(&format!(
                        "input channels and output channels ({}) that its groups ({}) divide",
                        weights.out, weights.groups
                    )));
                }
                shape[0] = weights.out.into();
            }
            let beyond =
                |axis: &usize| window.extra[*axis] >= window.stride[*axis].max(window.dilation[*axis]);
            if (0..2).any(|axis| beyond(&axis) && window.extra[axis] > 0) {
                return Err(setting(
                    "output_padding must be smaller than the stride or the dilation".to_owned(),
                ));
            }
            shape
        }
        Layer::MaxPool { kernel, stride, padding, .. } | Layer::AvgPool { kernel, stride, padding, .. } => {
            image()?;
            let Some(window) = layer.window(sides.len()) else { return Ok(input.to_vec()) };
            check_numbers(&window, positive)?;
            for span in [kernel, padding, stride.as_ref().unwrap_or(kernel)] {
                one_number(span, sides.len()).map_err(setting)?;
            }
            if *stride == Some(*kernel) {
                return Err(setting("stride is the kernel's; leave it out".to_owned()));
            }
            if kernel.0.iter().zip(padding.0).any(|(kernel, padding)| padding > kernel / 2) {
                return Err(setting("padding must be at most half of the kernel".to_owned()));
            }
            with_sides(&|axis, length| along(&window, axis, length, &needs))?
        }
        Layer::BatchNorm { .. }
        | Layer::Relu
        | Layer::Gelu
        | Layer::Sigmoid
        | Layer::Tanh
        | Layer::LeakyRelu { .. }
        | Layer::Silu
        | Layer::HardSwish
        | Layer::HardSigmoid
        | Layer::Relu6
        | Layer::Elu { .. }
        | Layer::Scale { .. }
        | Layer::GeluTanh => same(),
        Layer::Dropout { p } => {
            if !(0.0..1.0).contains(p) {
                return Err(setting(format!("p is {p}; it must be at least 0 and below 1")));
            }
            same()
        }
        Layer::Softmax { axis } | Layer::LogSoftmax { axis } => {
            if *axis as usize >= input.len() {
                return Err(needs(&no_axis(*axis)));
            }
            same()
        }
        Layer::LayerNorm { axes, .. } => {
            positive("axes", &[*axes])?;
            if *axes as usize > input.len() {
                return Err(needs(&format!("a shape of at least {axes} axes")));
            }
            same()
        }
        Layer::GroupNorm { groups, .. } => {
            positive("groups", &[*groups])?;
            if channels % groups != 0 {
                return Err(needs(&format!("channels that its groups ({groups}) divide")));
            }
            same()
        }
        Layer::Flatten => vec![input.iter().copied().map(u128::from).product()],
        Layer::Add | Layer::Sub | Layer::Mul => {
            let mut shape = input.to_vec();
            for other in &inputs[1..] {
                let mut pairs = shape.iter().zip(*other);
                if other.len() != shape.len() || pairs.any(|(a, b)| a != b && *a != 1 && *b != 1) {
                    return Err(needs("equal sides, or sides of 1"));
                }
                shape.iter_mut().zip(*other).for_each(|(side, other)| *side = (*side).max(*other));
            }
            shape.into_iter().map(u128::from).collect()
        }
        Layer::Concat { axis } => {
            let axis = *axis as usize;
            let meets = |other: &&[u32]| {
                other.len() == input.len() && (0..input.len()).all(|n| n == axis || input[n] == other[n])
            };
            if axis >= input.len() || !inputs.iter().all(meets) {
                return Err(needs(&format!("shapes that differ on axis {axis} alone; the first axis is 0")));
            }
            let mut shape = same();
            shape[axis] = inputs.iter().map(|other| u128::from(other[axis])).sum();
            shape
        }
        Layer::Pad { .. } => {
            image()?;
            let by = layer.edges(sides.len()).ok_or_else(|| setting(SEQUENCE.to_owned()))?;
            with_sides(&|axis, length| {
                Ok(u128::from(length) + u128::from(by[2 * axis]) + u128::from(by[2 * axis + 1]))
            })?
        }
        Layer::Crop { .. } => {
            image()?;
            let by = layer.edges(sides.len()).ok_or_else(|| setting(SEQUENCE.to_owned()))?;
            with_sides(&|axis, length| {
                let cut = u128::from(by[2 * axis]) + u128::from(by[2 * axis + 1]);
                let left = u128::from(length).checked_sub(cut).filter(|left| *left > 0);
                left.ok_or_else(|| needs("sides that are longer than what is taken away"))
            })?
        }
        Layer::PadTo => {
            image()?;
            let fits = |(length, wanted): (&u32, &u32)| length <= wanted;
            if inputs[1].len() != input.len() || !sides.iter().zip(&inputs[1][1..]).all(fits) {
                return Err(needs("a second input with sides at least as long"));
            }
            with_sides(&|axis, _| Ok(inputs[1][1 + axis].into()))?
        }
        Layer::Upsample { mode, scale, size, corners } => {
            image()?;
            if *corners && *mode == Upsampling::Nearest {
                return Err(setting("corners is for bilinear alone".to_owned()));
            }
            let ((Some(by), None) | (None, Some(by))) = (scale, size) else {
                return Err(setting("give either scale or size".to_owned()));
            };
            positive(if scale.is_some() { "scale" } else { "size" }, &by.0)?;
            one_number(by, sides.len()).map_err(setting)?;
            let factor = |length: u32| if scale.is_some() { u128::from(length) } else { 1 };
            with_sides(&|axis, length| Ok(factor(length) * u128::from(by.0[axis])))?
        }
        Layer::Reshape { shape } => {
            ranked(shape).map_err(&setting)?;
            if elements(shape) != elements(input) {
                return Err(needs(&format!("as many values as {shape:?} has")));
            }
            if shape == input {
                return Err(setting("the shape is the input's; leave the layer out".to_owned()));
            }
            shape.iter().copied().map(u128::from).collect()
        }
        Layer::Permute { order } => {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            if sorted.iter().copied().ne(0..input.len() as u32) || order.is_sorted() {
                let what = format!("order {order:?} is not another order of the {} axes", input.len());
                return Err(setting(what));
            }
            order.iter().map(|axis| u128::from(input[*axis as usize])).collect()
        }
        Layer::Slice { axis, start, end, step } => {
            positive("step", &[*step])?;
            let side = *input.get(*axis as usize).ok_or_else(|| needs(&no_axis(*axis)))?;
            if *end == Some(side) {
                return Err(setting("end is the end of the axis; leave it out".to_owned()));
            }
            let end = end.unwrap_or(side);
            if *start >= end || end > side {
                return Err(needs(&format!("an axis {axis} with the indices {start} to {end}")));
            }
            let mut shape = same();
            shape[*axis as usize] = (end - start).div_ceil(*step).into();
            shape
        }
        Layer::Select { axis, index } => {
            let side = *input.get(*axis as usize).ok_or_else(|| needs(&no_axis(*axis)))?;
            if *index >= side || input.len() == 1 {
                return Err(needs(&format!("an axis {axis} with the index {index}, and another axis")));
            }
            let mut shape = same();
            shape.remove(*axis as usize);
            shape
        }
        Layer::Mean { axes, keep } | Layer::Max { axes, keep } => {
            if axes.is_empty() || !axes.is_sorted_by(|a, b| a < b) {
                return Err(setting("axes is a list of different axes in ascending order".to_owned()));
            }
            let gone = |axis: usize| axes.iter().any(|gone| *gone as usize == axis);
            if axes.iter().any(|axis| *axis as usize >= input.len()) || !*keep && axes.len() == input.len() {
                return Err(needs(&format!("a shape with the axes {axes:?} and another one")));
            }
            let side = |(axis, side): (usize, &u32)| match gone(axis) {
                true => keep.then_some(1),
                false => Some(u128::from(*side)),
            };
            input.iter().enumerate().filter_map(side).collect()
        }
        Layer::Parameter { shape, .. } => {
            ranked(shape).map_err(&setting)?;
            shape.iter().copied().map(u128::from).collect()
        }
        Layer::PRelu { slopes, .. } => {
            if *slopes != 1 && *slopes != channels {
                return Err(needs(&format!("as many channels as slopes ({slopes}), or 1 slope")));
            }
            same()
        }
        Layer::Matmul => {
            let ([before @ .., rows, inner], [others @ .., other, columns]) = (input, inputs[1]) else {
                return Err(needs("two inputs whose last two axes are matrices"));
            };
            if inner != other || before != others {
                return Err(needs("[.., a, b] and [.., b, c] with the same sides in front"));
            }
            let shape = [before, &[*rows, *columns]].concat();
            shape.into_iter().map(u128::from).collect()
        }
        Layer::Embedding { rows, width, .. } => {
            positive("rows", &[*rows])?;
            positive("width", &[*width])?;
            if input.len() > 2 {
                return Err(needs("a shape of 1 or 2 axes"));
            }
            let mut shape = same();
            shape.push((*width).into());
            shape
        }
        Layer::InstanceNorm { .. } => {
            image()?;
            same()
        }
        Layer::Lstm { hidden, layers, bidirectional, take, dropout, .. }
        | Layer::Gru { hidden, layers, bidirectional, take, dropout, .. } => {
            positive("hidden", &[*hidden])?;
            positive("layers", &[*layers])?;
            let [length, _] = *input else { return Err(needs("[length, features]")) };
            if *dropout > 0.0 && *layers == 1 {
                return Err(setting("dropout is between layers, and there is 1 layer".to_owned()));
            }
            let width = u128::from(*hidden) * if *bidirectional { 2 } else { 1 };
            // All gates of a tensor.
            if 4 * width * width.max(input[1].into()) > u128::from(limits::ELEMENTS) {
                return Err(ModelError::TooLarge { layer: at() });
            }
            match take {
                Steps::Sequence => vec![length.into(), width],
                Steps::Last => vec![width],
            }
        }
        Layer::Attention { heads, .. } => {
            positive("heads", &[*heads])?;
            let [_, width] = *input else { return Err(needs("[length, features]")) };
            if width % heads != 0 {
                return Err(needs(&format!("features that its heads ({heads}) divide")));
            }
            if 3 * u128::from(width) * u128::from(width) > u128::from(limits::ELEMENTS) {
                return Err(ModelError::TooLarge { layer: at() });
            }
            same()
        }
        Layer::AdaptiveAvgPool { size } => {
            image()?;
            positive("size", &size.0)?;
            one_number(size, sides.len()).map_err(setting)?;
            with_sides(&|axis, _| Ok(size.0[axis].into()))?
        }
    };
    let sides: Option<Vec<u32>> = shape.iter().map(|&side| u32::try_from(side).ok()).collect();
    sides.filter(|sides| elements(sides).is_some()).ok_or_else(|| ModelError::TooLarge { layer: at() })
}

fn check_numbers(
    window: &Window,
    positive: impl Fn(&str, &[u32]) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    positive("kernel", &window.kernel)?;
    positive("stride", &window.stride)?;
    positive("dilation", &window.dilation)
}

fn along(
    window: &Window,
    axis: usize,
    length: u32,
    needs: &dyn Fn(&str) -> ModelError,
) -> Result<u128, ModelError> {
    window.along(axis, length).map_err(|least| match least {
        0 => needs("sides that its padding does not crop to nothing"),
        least => needs(&format!("sides of at least {least}")),
    })
}

/// A shape of a sample, without sides of 0.
fn ranked(shape: &[u32]) -> Result<(), String> {
    let known = (1..=3).contains(&shape.len()) && !shape.contains(&0) && elements(shape).is_some();
    if known { Ok(()) } else { Err("shape is a list of 1 to 3 numbers above 0".to_owned()) }
}

fn no_axis(axis: u32) -> String {
    format!("a shape with an axis {axis}; the first axis is 0")
}

/// A sequence has one side.
fn one_number(span: &Sides, axes: usize) -> Result<(), String> {
    if axes == 2 || span.all(span.0[0]) { Ok(()) } else { Err("a sequence takes one number".to_owned()) }
}

/// Product of the sides, up to [`limits::ELEMENTS`].
fn elements(shape: &[u32]) -> Option<u64> {
    shape
        .iter()
        .try_fold(1u64, |product, &side| product.checked_mul(u64::from(side)))
        .filter(|&product| product <= limits::ELEMENTS)
}

fn is_field_name(name: &str) -> bool {
    name.split('.')
        .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
}

const SEQUENCE: &str = "for [channels, length], by is one number or [before, after, 0, 0]";

#[cfg(test)]
mod tests;
