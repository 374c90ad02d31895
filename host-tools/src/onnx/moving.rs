//! Nodes that move values and change shapes: reshape, slice, pad, join, resize.
//!
//! Axis 0 of the network is the batch, which no layer of a plan sees. A reshape only changes the shape that
//! a flow is said to have; a layer comes where the new shape is used.

use fl_engine::model::{Layer, Span, Upsampling};

use super::{
    constant::{Whole, index},
    file::Node,
    folding::{squeezed, unsqueezed},
    graph::{Given, Graph, NormKind, Value, Why},
    layers::Flow,
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
    let flow = graph.flow(node, 0)?;
    let shape = reshaped(&flow.shape, &target, keep, graph.batch)?;
    Ok(Value::Flow(Flow { shape, ..flow }))
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
    let flow = graph.flow(node, 0)?;
    let axes = graph.list(node, "axes", 1);
    // The batch is no side of 1.
    let whole = [&[0], flow.shape.as_slice()].concat();
    let shape = match (node.op, &axes) {
        ("Squeeze", axes) => squeezed(&whole, axes.as_deref(), &1),
        (_, Some(axes)) => unsqueezed(&whole, axes, 1),
        _ => None,
    };
    match shape.as_deref().and_then(<[u32]>::split_first) {
        Some((0, shape)) => Ok(Value::Flow(Flow { shape: shape.to_vec(), ..flow })),
        _ => Err(Why::new("moves the batch, or takes away a side that is not 1", BATCH)),
    }
}

pub(super) fn transpose(graph: &Graph<'_>, node: &Node<'_>) -> Given {
    let flow = graph.flow(node, 0)?;
    let rank = flow.shape.len() + 1;
    let order: Vec<i64> =
        node.attribute("perm").map_or_else(|| (0..rank as i64).rev().collect(), |order| order.wholes.clone());
    if order.first() != Some(&0) || order.len() != rank || (0..rank as i64).any(|axis| !order.contains(&axis))
    {
        return Err(Why::new("moves the batch to another axis", BATCH));
    }
    // Sides of 1 move without a value that moves.
    let sides = |axis: &&i64| flow.shape[(**axis - 1) as usize] != 1;
    let moved: Vec<&i64> = order[1..].iter().filter(sides).collect();
    if !moved.is_sorted() {
        return Err(Why::new("changes the order of axes", "a plan has no layer for permute or transpose"));
    }
    let shape = order[1..].iter().map(|axis| flow.shape[(*axis - 1) as usize]).collect();
    Ok(Value::Flow(Flow { shape, ..flow }))
}

pub(super) fn slice(graph: &mut Graph<'_>, node: &Node<'_>) -> Given {
    let mut flow = graph.flow(node, 0)?;
    let (starts, ends) = (graph.list(node, "starts", 1), graph.list(node, "ends", 2));
    let (Some(starts), Some(ends)) = (starts, ends) else { return Err(Why::new(VALUES, "")) };
    let axes = graph.list(node, "axes", 3).unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = graph.wholes(node, 4).unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()].iter().any(|length| *length != starts.len()) {
        return Err(Why::new(VALUES, ""));
    }
    for (at, axis) in axes.iter().enumerate() {
        let axis = index(*axis, flow.shape.len() + 1).ok_or_else(|| Why::new(AXIS, ""))?;
        if steps[at] != 1 {
            return Err(Why::new("takes each second value or fewer", "use a stride or a pool"));
        }
        if axis == 0 {
            return Err(Why::new("takes a part of the batch", BATCH));
        }
        let side = i64::from(flow.shape[axis - 1]);
        let bound = |at: i64| if at < 0 { at.saturating_add(side) } else { at }.clamp(0, side);
        flow = cut(graph, flow, axis, bound(starts[at]), bound(ends[at]))?;
    }
    Ok(Value::Flow(flow))
}

/// What is between two bounds of an axis, which is counted with the batch.
fn cut(graph: &mut Graph<'_>, flow: Flow, axis: usize, start: i64, end: i64) -> Result<Flow, Why> {
    let side = i64::from(flow.shape[axis - 1]);
    if start == 0 && end == side {
        return Ok(flow);
    }
    if start >= end {
        return Err(Why::new("takes an empty part", ""));
    }
    if axis < 2 {
        return Err(Why::new(
            "takes a part of the channels or features",
            "a plan can cut height, width and length alone",
        ));
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

/// A single index of an axis.
pub(super) fn gather(graph: &mut Graph<'_>, node: &Node<'_>) -> Given {
    if graph.weight(node, 0).is_some() {
        return Err(Why::new(
            "looks up rows of a tensor (an embedding)",
            "a plan has no layer for embeddings",
        ));
    }
    let flow = graph.flow(node, 0)?;
    let which =
        graph.constant(node, 1).filter(|which| which.shape.is_empty()).and_then(|which| which.as_plain());
    let axis = index(node.whole("axis", 0), flow.shape.len() + 1).filter(|axis| *axis > 0);
    let (Some([at]), Some(axis)) = (which.as_deref(), axis) else {
        return Err(Why::new("picks values by a list of indices, or a part of the batch", ""));
    };
    let at = index(*at, flow.shape[axis - 1] as usize).ok_or_else(|| Why::new(AXIS, ""))? as i64;
    let mut cut = cut(graph, flow, axis, at, at + 1)?;
    cut.shape.remove(axis - 1);
    Ok(Value::Flow(cut))
}

pub(super) fn concat(graph: &mut Graph<'_>, node: &Node<'_>) -> Given {
    let places =
        (0..node.inputs.len()).map(|index| graph.place(node, index)).collect::<Result<Vec<_>, _>>()?;
    let rank = places.first().map_or(0, |place| graph.layers.shape(*place).len());
    let axis = index(node.whole("axis", 0), rank + 1).filter(|axis| *axis > 0);
    let axis = axis.ok_or_else(|| Why::new("joins along the batch", BATCH))? as u32 - 1;
    match places.as_slice() {
        [one] => Ok(Value::Flow(Flow { place: *one, shape: graph.layers.shape(*one).to_vec() })),
        _ => graph.push(Layer::Concat { axis }, places, Vec::new()),
    }
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

/// What `GroupNorm` becomes where ONNX has no operator for it: the channels in groups, and each group
/// normalised as if it were a channel.
pub(super) fn groups(graph: &Graph<'_>, node: &Node<'_>, eps: f64) -> Option<super::graph::Norm> {
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

const BATCH: &str = "keep the batch as the first axis";
const VALUES: &str = "has settings that depend on values";
const AXIS: &str = "names an axis that is not there";
