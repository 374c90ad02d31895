//! Nodes that compute: layers with weights, pools, activations and arithmetic.

use fl_engine::model::{Edges, Layer, Sides, Span};

use super::{
    constant::index,
    file::Node,
    graph::{Given, Graph, Norm, NormKind, Value, Weight, Why},
    layers::{Flow, View},
    moving, views,
};

pub(super) fn convolve(graph: &mut Graph<'_>, node: &Node<'_>) -> Given {
    let place = graph.place(node, 0)?;
    let (weight, bias) = with_bias(graph, node)?;
    let axes = weight.shape.len().saturating_sub(2);
    if weight.transposed || !(1..=2).contains(&axes) || graph.layers.shape(place).len() != axes + 1 {
        return Err(Why::new("does not go over one or two axes", "a plan has 1-D and 2-D convolutions"));
    }
    not_automatic(node)?;
    let name = graph.field(node, &weight, bias.as_ref())?;
    let sources = sources(graph, &name, &weight, bias.as_ref())?;
    let numbers = |setting: &str, absent: u32, count: usize| numbers(node, setting, absent, count);
    let (stride, dilation) = (numbers("strides", 1, axes)?, numbers("dilations", 1, axes)?);
    let pads = numbers("pads", 0, 2 * axes)?;
    let kernel: Option<Vec<u32>> = weight.shape[2..].iter().map(|side| u32::try_from(*side).ok()).collect();
    let kernel = kernel.ok_or_else(|| Why::new("has a kernel that is too large", ""))?;
    let groups = u32::try_from(node.whole("group", 1)).map_err(|_| Why::new(NUMBER, ""))?;
    let channels = |axis: usize, factor: i64| {
        let channels = weight.shape[axis].checked_mul(factor).and_then(|out| u32::try_from(out).ok());
        channels.ok_or_else(|| Why::new("has too many channels", ""))
    };
    let bias = bias.is_some();
    if node.op == "ConvTranspose" && node.attribute("output_shape").is_some() {
        return Err(Why::new("asks for a size of the output", "use output_padding"));
    }
    let layer = match (node.op, axes) {
        ("Conv", 1) => {
            let (stride, dilation) = (stride[0], dilation[0]);
            let padding = Span([pads[0], pads[1]]);
            Layer::Conv1d {
                name,
                out: channels(0, 1)?,
                kernel: kernel[0],
                stride,
                padding,
                bias,
                dilation,
                groups,
            }
        }
        ("Conv", _) => Layer::Conv2d {
            name,
            out: channels(0, 1)?,
            kernel: pair(&kernel),
            stride: pair(&stride),
            padding: Span([pads[0], pads[2], pads[1], pads[3]]),
            bias,
            dilation: pair(&dilation),
            groups,
        },
        (_, 2) => {
            let output_padding = pair(&numbers("output_padding", 0, axes)?);
            Layer::ConvTranspose2d {
                name,
                out: channels(1, i64::from(groups))?,
                kernel: pair(&kernel),
                stride: pair(&stride),
                padding: pair(&even(&pads)?),
                bias,
                dilation: pair(&dilation),
                groups,
                output_padding,
            }
        }
        _ => Layer::ConvTranspose1d {
            name,
            out: channels(1, i64::from(groups))?,
            kernel: kernel[0],
            stride: stride[0],
            padding: even(&pads)?[0],
            bias,
            dilation: dilation[0],
            groups,
            output_padding: numbers("output_padding", 0, axes)?[0],
        },
    };
    graph.push(layer, vec![place], sources)
}

/// `Gemm` with a weight, or `MatMul` with a transposed one: a linear layer. `MatMul` has no bias yet.
pub(super) fn linear(graph: &mut Graph<'_>, node: &Node<'_>) -> Given {
    let Some(weight) = graph.weight(node, 1).cloned() else {
        let named = |at: usize| node.inputs.get(at).and_then(|name| View::named(graph, name));
        let (Some(left), Some(right), "MatMul") = (named(0), named(1), node.op) else {
            return Err(Why::new("multiplies by a matrix that is computed", "use nn.Linear"));
        };
        return views::product(graph, &left, &right).map(View::value);
    };
    let (weight, bias) = if node.op == "Gemm" {
        let settings = (node.float("alpha", 1.0), node.float("beta", 1.0), node.whole("transA", 0));
        if settings != (1.0, 1.0, 0) {
            return Err(Why::new("scales or transposes what a linear layer takes", ""));
        }
        let (weight, bias) = with_bias(graph, node)?;
        (if node.whole("transB", 0) == 1 { weight } else { turned(&weight) }, bias)
    } else {
        (turned(&weight), None)
    };
    dense(graph, node, weight, bias)
}

pub(super) fn dense(graph: &mut Graph<'_>, node: &Node<'_>, weight: Weight, bias: Option<Weight>) -> Given {
    let place = graph.place(node, 0)?;
    let name = graph.field(node, &weight, bias.as_ref())?;
    if weight.transposed && !super::graph::is_unnamed(graph.name(&weight)) {
        let why = "multiplies by a matrix that has its inputs in rows".to_owned();
        return Err(Why::new(why, "use nn.Linear, whose weight has a row for each output"));
    }
    let features = graph.layers.shape(place).last().copied().map(i64::from);
    let [out, inputs] = *weight.shape.as_slice() else {
        return Err(Why::new("has a weight with other than two axes", ""));
    };
    if Some(inputs) != features {
        let why = format!("is given {:?} and has a weight for {inputs} features", graph.layers.shape(place));
        return Err(Why::new(why, ""));
    }
    let out = u32::try_from(out).map_err(|_| Why::new("has too many outputs", ""))?;
    let sources = sources(graph, &name, &weight, bias.as_ref())?;
    graph.push(Layer::Linear { name, out, bias: bias.is_some() }, vec![place], sources)
}

pub(super) fn batch_norm(graph: &mut Graph<'_>, node: &Node<'_>) -> Given {
    if graph.trains && node.whole("training_mode", 0) == 0 {
        let instead =
            "call net.train() before the export, and name the layer under `freeze` of the plan's task";
        return Err(Why::new("is in evaluation mode while others are in training mode", instead));
    }
    let place = graph.place(node, 0)?;
    let parts: Option<Vec<Weight>> = (1..5).map(|index| graph.weight(node, index).cloned()).collect();
    let parts = parts.ok_or_else(|| {
        Why::new("lacks weight, bias or running statistics", "use affine=True and track_running_stats=True")
    })?;
    let name = graph.field(node, &parts[0], Some(&parts[1]))?;
    let names = ["weight", "bias", "running_mean", "running_var"];
    let sources = names.iter().zip(&parts).map(|(part, weight)| graph.source(&name, part, weight));
    let sources = sources.collect::<Result<Vec<_>, _>>()?;
    let momentum = rounded(1.0 - rounded(f64::from(node.float("momentum", 0.9))));
    let eps = rounded(f64::from(node.float("epsilon", 1e-5)));
    graph.push(Layer::BatchNorm { name, eps, momentum, count: false }, vec![place], sources)
}

/// `LayerNormalization`, of opset 17 and later.
pub(super) fn layer_norm(graph: &mut Graph<'_>, node: &Node<'_>) -> Given {
    let flow = graph.flow(node, 0)?;
    let axis = index(node.whole("axis", -1), flow.shape.len() + 1).filter(|axis| *axis > 0);
    let axis =
        axis.ok_or_else(|| Why::new("normalises over the batch", "use nn.BatchNorm1d or nn.BatchNorm2d"))?;
    let kind = NormKind::Last { axes: (flow.shape.len() + 1 - axis) as u32, eps: eps(node) };
    let norm =
        Norm { of: graph.settle(&flow)?, kind, shape: flow.shape, weight: graph.weight(node, 1).cloned() };
    match graph.weight(node, 2).cloned() {
        Some(bias) => with_affine(graph, node, norm, bias),
        None => Err(Why::new("has no weight or no bias", "use elementwise_affine=True, bias=True")),
    }
}

/// `InstanceNormalization`: of channels, or of what `GroupNorm` makes channels of.
pub(super) fn instance_norm(graph: &mut Graph<'_>, node: &Node<'_>) -> Given {
    if let Some(norm) = moving::groups(graph, node, eps(node)) {
        return Ok(Value::Norm(norm));
    }
    let place = graph.place(node, 0)?;
    let shape = graph.layers.shape(place).to_vec();
    let (Some(weight), Some(bias)) = (graph.weight(node, 1).cloned(), graph.weight(node, 2).cloned()) else {
        let all =
            |at: usize, number: f32| graph.constant(node, at).is_some_and(|c| c.uniform() == Some(number));
        if all(1, 1.0) && all(2, 0.0) && shape.len() > 1 {
            return graph.push(Layer::InstanceNorm { eps: eps(node) }, vec![place], Vec::new());
        }
        return Err(Why::new("has no weight or no bias", "use affine=True"));
    };
    let kind = NormKind::Groups { groups: shape[0], eps: eps(node) };
    with_affine(graph, node, Norm { of: place, kind, shape, weight: Some(weight) }, bias)
}

/// A normalisation whose weight and bias are there.
pub(super) fn with_affine(graph: &mut Graph<'_>, node: &Node<'_>, norm: Norm, bias: Weight) -> Given {
    let weight = norm.weight.ok_or_else(|| Why::new("has no weight", "use affine=True"))?;
    if graph.layers.shape(norm.of) != norm.shape {
        return Err(Why::new("changes a shape before a normalisation is complete", ""));
    }
    let name = graph.field(node, &weight, Some(&bias))?;
    let sources = sources(graph, &name, &weight, Some(&bias))?;
    let layer = match norm.kind {
        NormKind::Last { axes, eps } => Layer::LayerNorm { name, axes, eps },
        NormKind::Groups { groups, eps } => Layer::GroupNorm { name, groups, eps },
    };
    graph.push(layer, vec![norm.of], sources)
}

pub(super) fn pool(graph: &mut Graph<'_>, node: &Node<'_>) -> Given {
    let place = graph.place(node, 0)?;
    let held = graph.layers.shape(place);
    let axes = held.len() - 1;
    if !(1..=2).contains(&axes) {
        return Err(Why::new("pools something other than an image or a sequence", ""));
    }
    if node.op == "GlobalAveragePool" {
        return graph.push(Layer::AdaptiveAvgPool { size: 1.into() }, vec![place], Vec::new());
    }
    if node.op == "GlobalMaxPool" {
        let kernel = pair(&held[1..]);
        let layer = Layer::MaxPool { kernel, stride: None, padding: 0.into(), ceil: false };
        return graph.push(layer, vec![place], Vec::new());
    }
    not_automatic(node)?;
    let numbers = |setting: &str, absent: u32, count: usize| numbers(node, setting, absent, count);
    let kernel = numbers("kernel_shape", 0, axes)?;
    let stride = numbers("strides", 1, axes)?;
    let padding = even(&numbers("pads", 0, 2 * axes)?)?;
    if numbers("dilations", 1, axes)?.iter().any(|step| *step != 1) {
        return Err(Why::new("pools with dilation", "use dilation=1"));
    }
    let (kernel, stride, padding) = (pair(&kernel), pair(&stride), pair(&padding));
    let (stride, ceil) = ((stride != kernel).then_some(stride), node.whole("ceil_mode", 0) != 0);
    if node.op == "MaxPool" {
        return graph.push(Layer::MaxPool { kernel, stride, padding, ceil }, vec![place], Vec::new());
    }
    // Before opset 19, exporters write the zeros as a node of their own.
    let padded = match graph.layers.made(place) {
        Some((Layer::Pad { by }, from)) if padding == Sides::from(0) && !ceil => {
            padding_of(*by, axes, kernel).map(|p| (p, from))
        }
        _ => None,
    };
    let (padding, count_pad, place) = match padded {
        Some((padding, from)) => (padding, true, from),
        // Without padding both say the same.
        None => (padding, node.whole("count_include_pad", 0) != 0 || padding == Sides::from(0), place),
    };
    let layer = Layer::AvgPool { kernel, stride, padding, ceil, count_pad };
    graph.push(layer, vec![place], Vec::new())
}

/// The padding of a pool that says the same as these zeros at the edges.
fn padding_of(by: Edges, axes: usize, kernel: Sides) -> Option<Sides> {
    let Span([top, bottom, left, right]) = by;
    let padding = if axes == 1 { Span([top, top]) } else { Span([top, left]) };
    let even = top == bottom && (axes == 1 || left == right);
    let most = |axis: usize| padding.0[axis] <= kernel.0[axis] / 2;
    (even && most(0) && most(1)).then_some(padding)
}

/// The axes that a node takes together, which count the batch; `None` if the batch is one of them, or none is
/// named.
fn reduced(graph: &Graph<'_>, node: &Node<'_>, rank: usize) -> Option<Vec<usize>> {
    let axes = graph.list(node, "axes", 1)?;
    let axes: Option<Vec<usize>> = axes.iter().map(|axis| index(*axis, rank)).collect();
    axes.filter(|axes| !axes.contains(&0) && !axes.is_empty())
}

/// A mean over axes. Over all axes but the first, it is the mean of each channel.
pub(super) fn mean(graph: &mut Graph<'_>, node: &Node<'_>) -> Given {
    let flow = graph.flow(node, 0)?;
    let (rank, held) = (flow.shape.len() + 1, graph.layers.shape(flow.place).to_vec());
    let axes = reduced(graph, node, rank).ok_or_else(|| Why::new("takes the mean of the batch", MEAN))?;
    let gone = |axis: usize| axes.contains(&(axis + 1));
    let kept: u64 =
        (0..rank - 1).filter(|axis| !gone(*axis)).map(|axis| u64::from(flow.shape[axis])).product();
    let first = (0..rank - 1).find(|axis| gone(*axis)).unwrap_or(0);
    // The axes that are left are in front, and are the channels together.
    let behind = (first..rank - 1).all(|axis| gone(axis) || flow.shape[axis] == 1);
    if !behind || held.len() < 2 || kept != u64::from(held[0]) {
        return over(graph, node, &flow, axes);
    }
    let layer = Layer::AdaptiveAvgPool { size: 1.into() };
    let place = graph.layers.push(layer, vec![flow.place], Vec::new()).map_err(|e| Why::of(&e))?.place;
    let keep = node.whole("keepdims", 1) != 0;
    let side = |axis: usize| if gone(axis) { keep.then_some(1) } else { Some(flow.shape[axis]) };
    Ok(Value::Flow(Flow { place, shape: (0..rank - 1).filter_map(side).collect() }))
}

/// `ReduceMax`.
pub(super) fn max(graph: &mut Graph<'_>, node: &Node<'_>) -> Given {
    let flow = graph.flow(node, 0)?;
    match reduced(graph, node, flow.shape.len() + 1) {
        Some(axes) => over(graph, node, &flow, axes),
        None => Err(Why::new("takes the largest value of the batch", "name the axes: x.amax((2, 3))")),
    }
}

/// A mean or the largest value over these axes, which count the batch.
fn over(graph: &mut Graph<'_>, node: &Node<'_>, flow: &Flow, mut axes: Vec<usize>) -> Given {
    axes.sort_unstable();
    axes.dedup();
    let place = graph.settle(flow)?;
    let axes: Vec<u32> = axes.into_iter().map(|axis| axis as u32 - 1).collect();
    let keep = node.whole("keepdims", 1) != 0;
    let layer = if node.op == "ReduceMax" { Layer::Max { axes, keep } } else { Layer::Mean { axes, keep } };
    graph.push(layer, vec![place], Vec::new())
}

/// `PRelu`, whose slopes belong to channels.
pub(super) fn prelu(graph: &mut Graph<'_>, node: &Node<'_>) -> Given {
    let place = graph.place(node, 0)?;
    let weight =
        graph.weight(node, 1).cloned().ok_or_else(|| Why::new("has slopes that are computed", ""))?;
    let name = graph.field(node, &weight, None)?;
    let sides = graph.layers.shape(place).len() - 1;
    let slopes: Vec<i64> = weight.shape.iter().copied().filter(|side| *side != 1).collect();
    // Of [channels, 1, 1] the ones stand for height and width.
    let behind = weight.shape.len().checked_sub(sides + 1);
    let slopes = match *slopes.as_slice() {
        [] => Some(1),
        [slopes] if behind.is_some_and(|at| weight.shape[at] == slopes) => u32::try_from(slopes).ok(),
        _ => None,
    };
    let slopes = slopes.ok_or_else(|| Why::new("has other slopes than one a channel", "use nn.PReLU"))?;
    let sources = vec![graph.source(&name, "weight", &weight)?];
    graph.push(Layer::PRelu { name, slopes }, vec![place], sources)
}

pub(super) fn drop_out(graph: &mut Graph<'_>, node: &Node<'_>, opset: i64) -> Given {
    let flow = graph.flow(node, 0)?;
    let setting = |index: usize| node.inputs.get(index).and_then(|name| graph.scalar(name));
    let (p, training) = if opset < 12 {
        (node.float("ratio", 0.5), 1.0)
    } else {
        (setting(1).unwrap_or(0.5), setting(2).unwrap_or(0.0))
    };
    if p == 0.0 || training == 0.0 {
        return Ok(Value::Flow(flow));
    }
    let place = graph.settle(&flow)?;
    graph.push(Layer::Dropout { p }, vec![place], Vec::new())
}

/// Activations, each a node of its own.
pub(super) fn activate(graph: &mut Graph<'_>, node: &Node<'_>, opset: i64) -> Given {
    let place = graph.place(node, 0)?;
    let rank = graph.layers.shape(place).len() + 1;
    let near = |found: f32, expected: f64| (f64::from(found) - expected).abs() < 1e-6;
    let layer = match node.op {
        "Relu" => Layer::Relu,
        "Sigmoid" => Layer::Sigmoid,
        "Tanh" => Layer::Tanh,
        "HardSwish" => Layer::HardSwish,
        "LeakyRelu" => Layer::LeakyRelu { slope: rounded(f64::from(node.float("alpha", 0.01))) },
        "Elu" => Layer::Elu { alpha: rounded(f64::from(node.float("alpha", 1.0))) },
        "HardSigmoid" => {
            if !near(node.float("alpha", 0.2), 1.0 / 6.0) || !near(node.float("beta", 0.5), 0.5) {
                return Err(Why::new("is a hard sigmoid with another slope than 1/6", "use nn.Hardsigmoid"));
            }
            Layer::HardSigmoid
        }
        "Gelu" if node.text("approximate") == "tanh" => Layer::GeluTanh,
        "Gelu" => Layer::Gelu,
        "Clip" => {
            let bound = |setting: &str, index: usize| match node.attribute(setting) {
                Some(bound) => Ok(Some(bound.float)),
                None => match node.inputs.get(index).filter(|name| !name.is_empty()) {
                    Some(name) => graph.scalar(name).map(Some).ok_or_else(|| {
                        Why::new("has a bound that is computed or trained", "give bounds as numbers")
                    }),
                    None => Ok(None),
                },
            };
            match (bound("min", 1)?, bound("max", 2)?) {
                (Some(0.0), Some(6.0)) => Layer::Relu6,
                (Some(0.0), None) => Layer::Relu,
                (least, most) => {
                    let show =
                        |bound: Option<f32>| bound.map_or_else(|| "no bound".to_owned(), |b| b.to_string());
                    let why = format!("holds values between {} and {}", show(least), show(most));
                    return Err(Why::new(why, "use nn.ReLU6, nn.ReLU or nn.Hardsigmoid"));
                }
            }
        }
        "Softmax" | "LogSoftmax" => {
            let axis = index(node.whole("axis", if opset < 13 { 1 } else { -1 }), rank);
            // Before opset 13, all axes from this one on are one.
            let axis = axis.filter(|axis| *axis > 0 && (opset >= 13 || *axis == rank - 1));
            let axis = axis
                .ok_or_else(|| Why::new("goes over the batch or over several axes", ""))
                .map(|a| a as u32 - 1)?;
            if node.op == "Softmax" { Layer::Softmax { axis } } else { Layer::LogSoftmax { axis } }
        }
        _ => return Err(Why::new("has no layer in a plan", "")),
    };
    graph.push(layer, vec![place], Vec::new())
}

/// Sums, differences and products of flows, and of a flow with a constant that changes nothing.
pub(super) fn combine(graph: &mut Graph<'_>, node: &Node<'_>) -> Given {
    let neutral = if ["Mul", "Div"].contains(&node.op) { 1.0 } else { 0.0 };
    for (index, name) in node.inputs.iter().enumerate() {
        let free = index == 1 || ["Add", "Mul"].contains(&node.op);
        if free && node.inputs.len() == 2 && graph.scalar(name) == Some(neutral) {
            return graph.flow(node, 1 - index).map(Value::Flow);
        }
    }
    if let [first, second] = *node.inputs.as_slice()
        && ["Mul", "Div"].contains(&node.op)
    {
        let (at, by) = match (graph.scalar(first), graph.scalar(second), node.op) {
            (_, Some(by), "Mul") => (0, Some(f64::from(by))),
            (_, Some(by), _) if by != 0.0 => (0, Some(1.0 / f64::from(by))),
            (Some(by), _, "Mul") => (1, Some(f64::from(by))),
            _ => (0, None),
        };
        if let Some(by) = by.map(rounded).filter(|by| by.is_finite()) {
            let place = graph.place(node, at)?;
            return graph.push(Layer::Scale { by }, vec![place], Vec::new());
        }
    }
    let layer = match node.op {
        "Add" | "Sum" => Layer::Add,
        "Sub" => Layer::Sub,
        "Mul" => Layer::Mul,
        _ => return Err(Why::new("divides", "a plan has no layer for divisions")),
    };
    if node.inputs.iter().any(|name| matches!(graph.get(name), Some(Value::Constant(_)))) {
        return Err(Why::new(
            "computes with a constant",
            "a plan has no layer for constants: fold it into a weight",
        ));
    }
    let rank = graph.rank(node);
    let mut places = Vec::with_capacity(node.inputs.len());
    for at in 0..node.inputs.len() {
        let flow = graph.flow_or_parameter(node, at, rank)?;
        places.push(graph.settle(&flow)?);
    }
    graph.push(layer, places, Vec::new())
}

/// The weight of a node and its bias, if the node has one that is not 0 everywhere.
fn with_bias(graph: &Graph<'_>, node: &Node<'_>) -> Result<(Weight, Option<Weight>), Why> {
    let weight = graph.weight(node, 1).cloned();
    let weight = weight.ok_or_else(|| {
        Why::new(
            "has a weight that is computed (weight_norm, parametrizations)",
            "remove the parametrization before the export",
        )
    })?;
    if node.inputs.get(2).is_none_or(|name| name.is_empty()) || none(graph, node) {
        return Ok((weight, None));
    }
    match graph.weight(node, 2) {
        Some(bias) => Ok((weight, Some(bias.clone()))),
        None => Err(Why::new("has a bias that is computed", "")),
    }
}

fn none(graph: &Graph<'_>, node: &Node<'_>) -> bool {
    graph.constant(node, 2).is_some_and(|bias| bias.uniform() == Some(0.0))
}

fn sources(
    graph: &Graph<'_>,
    name: &str,
    weight: &Weight,
    bias: Option<&Weight>,
) -> Result<Vec<super::layers::Source>, Why> {
    let bias = bias.map(|bias| graph.source(name, "bias", bias));
    std::iter::once(graph.source(name, "weight", weight)).chain(bias).collect()
}

/// A matrix with rows and columns the other way round.
pub(super) fn turned(weight: &Weight) -> Weight {
    let mut turned = weight.clone();
    turned.shape.reverse();
    turned.transposed = !turned.transposed;
    turned
}

/// Whole numbers of a setting.
fn numbers(node: &Node<'_>, setting: &str, absent: u32, count: usize) -> Result<Vec<u32>, Why> {
    let Some(attribute) = node.attribute(setting) else { return Ok(vec![absent; count]) };
    let numbers: Option<Vec<u32>> =
        attribute.wholes.iter().map(|number| u32::try_from(*number).ok()).collect();
    let numbers = numbers.filter(|numbers| numbers.len() == count);
    numbers.ok_or_else(|| Why::new(format!("has {setting} {:?}", attribute.wholes), ""))
}

fn pair(numbers: &[u32]) -> Sides {
    match *numbers {
        [height, width] => Span([height, width]),
        ref other => other.first().copied().unwrap_or(0).into(),
    }
}

/// Padding that is the same at both ends of each axis.
fn even(pads: &[u32]) -> Result<Vec<u32>, Why> {
    let (before, after) = pads.split_at(pads.len() / 2);
    if before == after {
        Ok(before.to_vec())
    } else {
        Err(Why::new("pads one end more than the other", "use nn.ZeroPad2d before"))
    }
}

fn not_automatic(node: &Node<'_>) -> Result<(), Why> {
    if ["", "NOTSET"].contains(&node.text("auto_pad")) {
        return Ok(());
    }
    Err(Why::new("leaves its padding open (auto_pad)", "give the padding as numbers"))
}

fn eps(node: &Node<'_>) -> f64 {
    rounded(f64::from(node.float("epsilon", 1e-5)))
}

/// A number of 32 bits as it was written: seven digits.
pub(super) fn rounded(number: f64) -> f64 {
    format!("{number:.6e}").parse().unwrap_or(number)
}

const NUMBER: &str = "has a number out of range";
const MEAN: &str = "use nn.AdaptiveAvgPool1d(1) or nn.AdaptiveAvgPool2d(1)";
