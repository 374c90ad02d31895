//! Nodes that move values and change shapes: reshape, slice, pad, join, resize.
//!
//! Axis 0 of the network is the batch, which no layer of a plan sees. A reshape only changes the shape that
//! a flow is said to have; a layer comes where the new shape is used.

use fl_engine::model::{Layer, Span, Upsampling};

use super::{
    constant::{Whole, index},
    file::{self, Node},
    folding::{squeezed, unsqueezed},
    graph::{BATCH, Given, Graph, NormKind, Value, Weight, Why},
    layers::{Flow, View},
    views,
};

pub(super) fn reshape(graph: &Graph<'_>, node: &Node<'_>) -> Given {
    let target = graph.constant(node, 1).and_then(|to| to.as_wholes());
    let target = target.ok_or_else(|| Why::new("changes a shape to one that depends on values", ""))?;
    let keep = node.whole("allowzero", 0) == 0;
    if let Some(Value::Norm(norm)) = node.inputs.first().and_then(|name| graph.get(name)) {
        let mut norm = norm.clone();
        norm.shape = reshaped(&norm.shape, &target, keep, graph.batch)?;
        return Ok(Value::Norm(norm));
    }
    let view = view(graph, node)?;
    let simple = graph.flow(node, 0).and_then(|flow| {
        let shape = reshaped(&flow.shape, &target, keep, graph.batch)?;
        Ok(Value::Flow(Flow { shape, ..flow }))
    });
    simple.or_else(|why| match views::reshaped(&view, &target, keep, graph.batch) {
        Some(axes) => Ok(View { axes, ..view }.value()),
        None => Err(why),
    })
}

/// What passes at the first input.
fn view(graph: &Graph<'_>, node: &Node<'_>) -> Result<View, Why> {
    match node.inputs.first().and_then(|name| View::named(graph, name)) {
        Some(view) => Ok(view),
        None => graph.flow(node, 0).map(|flow| View::of(&flow)),
    }
}

/// The new shape, the batch left out. `baked` is the size of the batch that the export has baked in.
fn reshaped(shape: &[u32], target: &[Whole], keep: bool, baked: Option<i64>) -> Result<Vec<u32>, Why> {
    let elements: u64 = shape.iter().map(|side| u64::from(*side)).product();
    let Some((first, rest)) = target.split_first() else {
        return Err(Why::new("takes the batch away", BATCH));
    };
    let batch = match first {
        Whole { factor: 1, batch: true } => true,
        Whole { batch: true, .. } => false,
        Whole { factor: 0, .. } => keep,
        Whole { factor: -1, .. } => true,
        Whole { factor, .. } => Some(*factor) == baked,
    };
    let side = |(axis, side): (usize, &Whole)| match (side.batch, side.factor) {
        (false, 0) if keep => shape.get(axis).map(|side| i64::from(*side)),
        (false, side) => Some(side),
        (true, _) => None,
    };
    let sides: Option<Vec<i64>> = rest.iter().enumerate().map(side).collect();
    let merges = || {
        let to: Vec<String> = target
            .iter()
            .map(|side| if side.batch { "batch".to_owned() } else { side.factor.to_string() })
            .collect();
        Why::new(format!("mixes the batch with other axes: [batch, {shape:?}] to [{}]", to.join(", ")), BATCH)
    };
    let mut sides = sides.filter(|_| batch).ok_or_else(merges)?;
    let mut known = sides.iter().filter(|side| **side != -1);
    let known =
        known.try_fold(1u64, |all, side| all.checked_mul(u64::try_from(*side).ok()?)).ok_or_else(merges)?;
    match sides.iter().filter(|side| **side == -1).count() {
        0 => {}
        1 if known > 0 && elements.is_multiple_of(known) && first.factor != -1 => {
            let rest = (elements / known) as i64;
            sides.iter_mut().filter(|side| **side == -1).for_each(|side| *side = rest);
        }
        _ => return Err(merges()),
    }
    let shape: Option<Vec<u32>> = sides.iter().map(|side| u32::try_from(*side).ok()).collect();
    let product =
        |shape: &Vec<u32>| shape.iter().try_fold(1u64, |all, side| all.checked_mul(u64::from(*side)));
    shape.filter(|shape| product(shape) == Some(elements)).ok_or_else(merges)
}

pub(super) fn flatten(graph: &Graph<'_>, node: &Node<'_>) -> Given {
    let flow = graph.flow(node, 0)?;
    if index(node.whole("axis", 1), flow.shape.len() + 1) != Some(1) {
        return Err(Why::new("flattens the batch, too", BATCH));
    }
    let elements = flow.shape.iter().try_fold(1u32, |all, side| all.checked_mul(*side));
    let shape = vec![elements.ok_or_else(|| Why::new("gives too many values", ""))?];
    Ok(Value::Flow(Flow { shape, ..flow }))
}

/// `Squeeze` and `Unsqueeze`.
pub(super) fn squeeze(graph: &Graph<'_>, node: &Node<'_>) -> Given {
    let axes = graph.list(node, "axes", 1);
    if let Some(Value::View(view)) = node.inputs.first().and_then(|name| graph.get(name)) {
        let one = vec![Some(1)];
        let moved = match (node.op, &axes) {
            ("Unsqueeze", Some(axes)) => unsqueezed(&view.axes, axes, &one),
            ("Squeeze", Some(axes)) => squeezed(&view.axes, Some(axes.as_slice()), &one),
            _ => None,
        };
        let axes = moved.ok_or_else(|| Why::new("takes away a side that is not 1", BATCH))?;
        return Ok(View { place: view.place, axes }.value());
    }
    let flow = graph.flow(node, 0)?;
    // The batch is no side of 1.
    let whole = [&[0], flow.shape.as_slice()].concat();
    let shape = match (node.op, &axes) {
        ("Squeeze", axes) => squeezed(&whole, axes.as_deref(), &1),
        (_, Some(axes)) => unsqueezed(&whole, axes, &1),
        _ => None,
    };
    match shape.as_deref().and_then(<[u32]>::split_first) {
        Some((0, shape)) => Ok(Value::Flow(Flow { shape: shape.to_vec(), ..flow })),
        _ => Err(Why::new("moves the batch, or takes away a side that is not 1", BATCH)),
    }
}

pub(super) fn transpose(graph: &mut Graph<'_>, node: &Node<'_>) -> Given {
    let view = view(graph, node)?;
    let rank = view.axes.len();
    let order: Vec<i64> =
        node.attribute("perm").map_or_else(|| (0..rank as i64).rev().collect(), |order| order.wholes.clone());
    if order.len() != rank || (0..rank as i64).any(|axis| !order.contains(&axis)) {
        return Err(Why::new(AXIS, ""));
    }
    let order: Vec<usize> = order.iter().map(|axis| *axis as usize).collect();
    views::permuted(graph, &view, &order).map(View::value)
}

pub(super) fn slice(graph: &mut Graph<'_>, node: &Node<'_>) -> Given {
    let mut view = view(graph, node)?;
    let starts = graph.list(node, "starts", 1).ok_or_else(|| Why::new(VALUES, ""))?;
    let ends = graph.list(node, "ends", 2).ok_or_else(|| Why::new(VALUES, ""))?;
    let axes = graph.list(node, "axes", 3).unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = graph.wholes(node, 4).unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()].iter().any(|length| *length != starts.len()) {
        return Err(Why::new(VALUES, ""));
    }
    for (at, axis) in axes.iter().enumerate() {
        let axis = index(*axis, view.axes.len()).ok_or_else(|| Why::new(AXIS, ""))?;
        // All of the batch, which exporters write out for each axis.
        if view.axes[axis].contains(&None)
            && (starts[at], steps[at]) == (0, 1)
            && ends[at] >= i64::from(i32::MAX)
        {
            continue;
        }
        let side = view.side(axis).ok_or_else(|| Why::new("takes a part of the batch", BATCH))?;
        let length = i64::from(side);
        let bound = |at: i64| if at < 0 { at.saturating_add(length) } else { at }.clamp(0, length);
        let (start, end) = (bound(starts[at]), bound(ends[at]));
        let step = u32::try_from(steps[at]).ok().filter(|step| *step > 0);
        let step =
            step.ok_or_else(|| Why::new("goes from the end to the beginning", "use a positive step"))?;
        if start >= end {
            return Err(Why::new("takes an empty part", ""));
        }
        view = match view.clone().value() {
            Value::Flow(flow) if step == 1 && is_cut(graph, &flow, axis) => {
                View::of(&cut(graph, flow, axis, start, end)?)
            }
            _ => views::part(graph, &view, axis, [start as u32, end as u32, step])?,
        };
    }
    Ok(view.value())
}

/// Whether a part of an axis is what `crop` takes: of height, width or length.
fn is_cut(graph: &Graph<'_>, flow: &Flow, axis: usize) -> bool {
    graph.layers.shape(flow.place) == flow.shape && flow.shape.len() > 1 && axis > 1
}

/// `SequenceAt`: one of the parts that `SplitToSequence` gives.
pub(super) fn part_of(graph: &Graph<'_>, node: &Node<'_>) -> Given {
    let Some(Value::Parts(parts)) = node.inputs.first().and_then(|name| graph.get(name)) else {
        return Err(Why::new("takes a list that is not made of parts of an axis", ""));
    };
    let at = graph.wholes(node, 1).filter(|at| at.len() == 1).and_then(|at| index(at[0], parts.len()));
    at.map(|at| parts[at].clone()).ok_or_else(|| Why::new(VALUES, ""))
}

/// `Split` and `SplitToSequence`: parts of an axis.
pub(super) fn split(graph: &mut Graph<'_>, node: &Node<'_>) -> Result<Vec<Value>, Why> {
    let view = view(graph, node)?;
    let axis = index(node.whole("axis", 0), view.axes.len()).ok_or_else(|| Why::new(AXIS, ""))?;
    let side = view.side(axis).ok_or_else(|| Why::new("takes a part of the batch", BATCH))?;
    let mut sizes = graph.list(node, "split", 1).filter(|sizes| !sizes.is_empty());
    let mut count = node.outputs.len();
    if node.op == "SplitToSequence" {
        if let ([each], true) =
            (sizes.as_deref().unwrap_or(&[1]), graph.constant(node, 1).is_none_or(|by| by.shape.is_empty()))
        {
            let each =
                u32::try_from(*each).ok().filter(|each| *each > 0).ok_or_else(|| Why::new(VALUES, ""))?;
            let starts = (0..side).step_by(each as usize).take(PARTS + 1);
            sizes = Some(starts.map(|start| i64::from(each.min(side - start))).collect());
        }
        count = sizes.as_ref().map_or(0, Vec::len);
        if count > PARTS || node.whole("keepdims", 1) == 0 && sizes.is_none() {
            return Err(Why::new("takes too many parts of an axis", "use slices"));
        }
    }
    let each = u64::from(side).div_ceil(count.max(1) as u64) as i64;
    let sizes =
        sizes.unwrap_or_else(|| (0..count as i64).map(|at| each.min(i64::from(side) - each * at)).collect());
    let sizes: Option<Vec<u32>> =
        sizes.iter().map(|size| u32::try_from(*size).ok().filter(|size| *size > 0)).collect();
    let fits = |sizes: &Vec<u32>| {
        sizes.len() == count && sizes.iter().map(|size| u64::from(*size)).sum::<u64>() == u64::from(side)
    };
    let sizes = sizes.filter(fits).ok_or_else(|| Why::new(VALUES, ""))?;
    let mut start = 0;
    let mut parts = Vec::with_capacity(count);
    for size in sizes {
        parts.push(views::part(graph, &view, axis, [start, start + size, 1])?.value());
        start += size;
    }
    Ok(parts)
}

/// What is between two bounds of an axis, which is counted with the batch.
fn cut(graph: &mut Graph<'_>, flow: Flow, axis: usize, start: i64, end: i64) -> Result<Flow, Why> {
    let side = i64::from(flow.shape[axis - 1]);
    if start == 0 && end == side {
        return Ok(flow);
    }
    let (before, after) = (start as u32, (side - end) as u32);
    let edges = match (flow.shape.len(), axis) {
        (2, _) if before == after => [before; 4],
        (2, _) | (3, 2) => [before, after, 0, 0],
        (3, 3) => [0, 0, before, after],
        _ => return Err(Why::new(AXIS, "")),
    };
    let place = graph.settle(&flow)?;
    graph.layers.push(Layer::Crop { by: Span(edges) }, vec![place], Vec::new()).map_err(|e| Why::of(&e))
}

/// A single index of an axis, or the rows of an embedding.
pub(super) fn gather(graph: &mut Graph<'_>, node: &Node<'_>) -> Given {
    if let Some(weight) = graph.weight(node, 0).cloned() {
        return embedding(graph, node, &weight);
    }
    let view = view(graph, node)?;
    let which = graph.constant(node, 1).filter(|which| which.shape.len() < 2).and_then(|which| {
        let list = which.shape.len() == 1;
        which.as_plain().map(|numbers| (numbers, list))
    });
    let axis = index(node.whole("axis", 0), view.axes.len()).filter(|axis| view.side(*axis).is_some());
    let (Some((numbers, list)), Some(axis)) = (which, axis) else {
        return Err(Why::new("picks values by a list of indices, or a part of the batch", ""));
    };
    let ([at], Some(side)) = (numbers.as_slice(), view.side(axis)) else {
        return Err(Why::new("picks values by a list of indices", "use slices"));
    };
    let at = index(*at, side as usize).ok_or_else(|| Why::new(AXIS, ""))? as u32;
    if list {
        return views::part(graph, &view, axis, [at, at + 1, 1]).map(View::value);
    }
    match view.clone().value() {
        Value::Flow(flow) if is_cut(graph, &flow, axis) => {
            let mut cut = cut(graph, flow, axis, at.into(), i64::from(at) + 1)?;
            cut.shape.remove(axis - 1);
            Ok(Value::Flow(cut))
        }
        _ => views::select(graph, &view, axis, at).map(View::value),
    }
}

/// Rows of a tensor, which the whole numbers of a sample name.
fn embedding(graph: &mut Graph<'_>, node: &Node<'_>, weight: &Weight) -> Given {
    let flow = graph.flow(node, 1)?;
    let name = graph.field(node, weight, None)?;
    let [rows, width] = *weight.shape.as_slice() else {
        return Err(Why::new("looks up rows of a tensor that has other than two axes", "use nn.Embedding"));
    };
    let known = node.whole("axis", 0) == 0 && flow.place == 0 && !weight.transposed;
    let (Ok(rows), Ok(width), true) = (u32::try_from(rows), u32::try_from(width), known) else {
        return Err(Why::new("looks rows up by numbers that are computed", "embed the network's input"));
    };
    let place = graph.settle(&flow)?;
    let sources = vec![graph.source(&name, "weight", weight)?];
    graph.push(Layer::Embedding { name, rows, width }, vec![place], sources)
}

pub(super) fn concat(graph: &mut Graph<'_>, node: &Node<'_>) -> Given {
    // A tensor of the file has as many axes as the values beside it.
    let rank = graph.rank(node);
    let parts = (0..node.inputs.len()).map(|at| graph.flow_or_parameter(node, at, rank));
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    let axis = index(node.whole("axis", 0), rank + 1).filter(|axis| *axis > 0);
    let axis = axis.ok_or_else(|| Why::new("joins along the batch", BATCH))? as u32 - 1;
    let places = parts.iter().map(|part| graph.settle(part)).collect::<Result<Vec<_>, _>>()?;
    match places.as_slice() {
        [one] => Ok(Value::Flow(Flow { place: *one, shape: graph.layers.shape(*one).to_vec() })),
        _ => graph.push(Layer::Concat { axis }, places, Vec::new()),
    }
}

/// `Expand`: a tensor of the file for each sample, or what has the shape already.
pub(super) fn expand(graph: &mut Graph<'_>, node: &Node<'_>) -> Given {
    let target = graph.constant(node, 1).and_then(|to| to.as_wholes());
    let target = target.ok_or_else(|| Why::new("changes a shape to one that depends on values", ""))?;
    let flow = graph.flow_or_parameter(node, 0, target.len().saturating_sub(1))?;
    let same = |(side, to): (&u32, &Whole)| !to.batch && (to.factor == i64::from(*side) || to.factor == 1);
    let sides = target.get(1..).unwrap_or_default();
    if sides.len() == flow.shape.len() && flow.shape.iter().zip(sides).all(same) {
        return Ok(Value::Flow(flow));
    }
    Err(Why::new("repeats values along an axis", "let add or mul repeat a side of 1"))
}

pub(super) fn pad(graph: &mut Graph<'_>, node: &Node<'_>) -> Given {
    let flow = graph.flow(node, 0)?;
    let mode = node.text("mode");
    if !["", "constant"].contains(&mode) {
        let why = format!("pads with values of the input (mode {mode})");
        return Err(Why::new(why, "use padding_mode='zeros'"));
    }
    if node.inputs.get(2).is_some_and(|name| !name.is_empty() && graph.scalar(name) != Some(0.0)) {
        return Err(Why::new("pads with another value than 0", "pad with 0"));
    }
    let rank = flow.shape.len() + 1;
    let pads = graph.list(node, "pads", 1).ok_or_else(|| Why::new(VALUES, ""))?;
    let axes = graph.wholes(node, 3).unwrap_or_else(|| (0..rank as i64).collect());
    if pads.len() != 2 * axes.len() {
        return Err(Why::new(VALUES, ""));
    }
    let mut by = vec![(0, 0); rank];
    for (at, axis) in axes.iter().enumerate() {
        let axis = index(*axis, rank).ok_or_else(|| Why::new(AXIS, ""))?;
        by[axis] = (pads[at], pads[axes.len() + at]);
    }
    if by.iter().all(|edges| *edges == (0, 0)) {
        return Ok(Value::Flow(flow));
    }
    if by[..2.min(rank)].iter().any(|edges| *edges != (0, 0)) || !(3..=4).contains(&rank) {
        return Err(Why::new(
            "pads channels, features or the batch",
            "a plan pads height, width and length alone",
        ));
    }
    let mut edges = Vec::new();
    for (before, after) in &by[2..] {
        edges.extend([before, after]);
    }
    let place = graph.settle(&flow)?;
    let amounts = |sign: i64| {
        let amount = |edge: &&i64| u32::try_from(edge.checked_mul(sign)?.max(0)).ok();
        let amounts = edges.iter().map(amount).collect::<Option<Vec<u32>>>();
        amounts.ok_or_else(|| Why::new("pads by too much", ""))
    };
    let (more, less) = (amounts(1)?, amounts(-1)?);
    let mut place = place;
    if less.iter().any(|edge| *edge > 0) {
        let layer = Layer::Crop { by: Span(whole(&less)) };
        place = graph.layers.push(layer, vec![place], Vec::new()).map_err(|e| Why::of(&e))?.place;
    }
    if more.iter().any(|edge| *edge > 0) {
        let layer = Layer::Pad { by: Span(whole(&more)) };
        place = graph.layers.push(layer, vec![place], Vec::new()).map_err(|e| Why::of(&e))?.place;
    }
    Ok(Value::Flow(Flow { place, shape: graph.layers.shape(place).to_vec() }))
}

/// Edges of an image, or of a sequence as a plan writes them.
fn whole(edges: &[u32]) -> [u32; 4] {
    match *edges {
        [top, bottom, left, right] => [top, bottom, left, right],
        [before, after] if before == after => [before; 4],
        [before, after] => [before, after, 0, 0],
        _ => [0; 4],
    }
}

pub(super) fn resize(graph: &mut Graph<'_>, node: &Node<'_>) -> Given {
    let place = graph.place(node, 0)?;
    let held = graph.layers.shape(place).to_vec();
    if held.len() < 2 {
        return Err(Why::new("resizes something other than an image or a sequence", ""));
    }
    let (mode, how) = (node.text("mode"), node.text("coordinate_transformation_mode"));
    let (mode, corners) = match (mode, how, node.text("nearest_mode")) {
        ("" | "nearest", "asymmetric", "floor") => (Upsampling::Nearest, false),
        ("linear", "" | "half_pixel" | "pytorch_half_pixel", _) => (Upsampling::Bilinear, false),
        ("linear", "align_corners", _) => (Upsampling::Bilinear, true),
        _ => {
            let why = format!("resizes in another way (mode {mode}, {how})");
            return Err(Why::new(why, "use mode nearest or bilinear"));
        }
    };
    if node.whole("antialias", 0) != 0 {
        return Err(Why::new("resizes with antialias", "leave antialias out"));
    }
    let sizes = graph.constant(node, 3).and_then(|sizes| sizes.as_wholes()).filter(|sizes| !sizes.is_empty());
    let size = match sizes {
        Some(sizes) => {
            let plain: Option<Vec<u32>> = sizes
                .iter()
                .skip(1)
                .map(|side| u32::try_from(side.factor).ok().filter(|_| !side.batch))
                .collect();
            plain.filter(|sides| sides.len() == held.len() && sides[0] == held[0])
        }
        None => {
            let scales = node.inputs.get(2).and_then(|name| graph.constant_named(name));
            let scale = |(side, scale): (&u32, &f32)| {
                let exact = f64::from(*side) * f64::from(*scale);
                (exact.fract() == 0.0 && (1.0..4e9).contains(&exact)).then_some(exact as u32)
            };
            let scales = scales.and_then(|scales| match scales.numbers {
                super::constant::Numbers::Floats(scales) if scales.len() == held.len() + 1 => Some(scales),
                _ => None,
            });
            scales.and_then(|scales| {
                let fits = scales[0] == 1.0 && scales[1] == 1.0;
                held.iter().zip(&scales[1..]).map(scale).collect::<Option<Vec<u32>>>().filter(|_| fits)
            })
        }
    };
    let size = size.ok_or_else(|| {
        Why::new(
            "resizes by a factor that gives no whole sides, or resizes channels",
            "give the size: nn.Upsample(size=…)",
        )
    })?;
    if size == held {
        return Ok(Value::Flow(Flow { place, shape: held }));
    }
    let factor = |(side, held): (&u32, &u32)| (side % held == 0).then_some(side / held);
    let factors: Option<Vec<u32>> = size[1..].iter().zip(&held[1..]).map(factor).collect();
    let sides = |sides: &[u32]| match *sides {
        [height, width] => Span([height, width]),
        ref other => other.first().copied().unwrap_or(1).into(),
    };
    let layer = match factors {
        Some(factors) => Layer::Upsample { mode, scale: Some(sides(&factors)), size: None, corners },
        None => Layer::Upsample { mode, scale: None, size: Some(sides(&size[1..])), corners },
    };
    graph.push(layer, vec![place], Vec::new())
}

/// A change of the type of elements, which is the same in all layers of a plan. Only the sample itself may
/// become whole numbers, for an embedding.
pub(super) fn cast(graph: &mut Graph<'_>, node: &Node<'_>) -> Given {
    let flow = graph.flow(node, 0)?;
    let to = if node.op == "Cast" {
        node.whole("to", 0)
    } else {
        let like = node.inputs.get(1).and_then(|name| graph.constant_named(name));
        match like.map(|like| like.numbers) {
            Some(super::constant::Numbers::Wholes(_)) => file::INT64,
            _ => file::FLOAT,
        }
    };
    match to {
        file::FLOAT => {}
        file::INT32 | file::INT64 if flow.place == 0 => graph.whole = true,
        file::INT32 | file::INT64 | file::BOOL => {
            return Err(Why::new("rounds or compares values", "leave out conditions and whole numbers"));
        }
        other => {
            let why = format!("gives elements of the type {other}; 1 (float) is needed");
            return Err(Why::new(why, "export net.float()"));
        }
    }
    Ok(Value::Flow(flow))
}

/// What `GroupNorm` becomes where ONNX has no operator for it: the channels in groups, and each group
/// normalised as if it were a channel.
pub(super) fn groups(graph: &Graph<'_>, node: &Node<'_>, eps: f64) -> Option<super::graph::Norm> {
    // Without a change of shape, the channels are normalised as they are.
    graph.made_by(node.inputs.first()?, "Reshape")?;
    let flow = graph.flow(node, 0).ok()?;
    let held = graph.layers.shape(flow.place);
    let [groups, _] = *flow.shape.as_slice() else { return None };
    let one =
        graph.constant(node, 1)?.uniform() == Some(1.0) && graph.constant(node, 2)?.uniform() == Some(0.0);
    (one && held.len() > 1 && held[0].is_multiple_of(groups.max(1))).then(|| super::graph::Norm {
        of: flow.place,
        kind: NormKind::Groups { groups, eps },
        shape: flow.shape.clone(),
        weight: None,
    })
}

/// Most parts that an axis is split into.
const PARTS: usize = 256;
const VALUES: &str = "has settings that depend on values";
const AXIS: &str = "names an axis that is not there";
