//! What PyTorch's layers become where ONNX has no operator for them: normalisations, GELU, SiLU and linear
//! layers in several nodes.
//!
//! A pattern is recognised at its last node, and its layer takes what the first node takes. Layers of nodes
//! before the last one are then needed by nobody and left out.

use fl_engine::model::Layer;

use super::{
    computing::{dense, rounded, turned, with_affine},
    constant::index,
    file::Node,
    graph::{Given, Graph, Norm, NormKind, Value, Weight, Why},
    layers::Flow,
};

/// Sums, differences and products: of two flows, of a flow and a constant, or the end of a pattern. `None` if
/// the node is none of these.
pub(super) fn pattern(graph: &mut Graph<'_>, node: &Node<'_>) -> Option<Given> {
    let [a, b] = *node.inputs.as_slice() else { return None };
    match node.op {
        "Mul" => {
            let product = [(a, b), (b, a)].into_iter().find_map(|(x, gate)| gated(graph, x, gate));
            let product = product.or_else(|| gelu(graph, a, b));
            if let Some((layer, x)) = product {
                return Some(on(graph, layer, x));
            }
            [(a, b), (b, a)].into_iter().find_map(|(norm, weight)| scaled(graph, norm, weight)).map(Ok)
        }
        "Add" => [(a, b), (b, a)].into_iter().find_map(|(first, bias)| added(graph, node, first, bias)),
        "Div" => {
            let (flow, kind) = normalised(graph, a, b)?;
            let settled = graph.settle(&flow);
            Some(settled.map(|of| Value::Norm(Norm { of, kind, shape: flow.shape, weight: None })))
        }
        _ => None,
    }
}

fn on(graph: &mut Graph<'_>, layer: Layer, x: &str) -> Given {
    match graph.get(x) {
        Some(Value::Flow(flow)) => {
            let flow = flow.clone();
            let place = graph.settle(&flow)?;
            graph.push(layer, vec![place], Vec::new())
        }
        _ => Err(Why::new("takes something that the network does not compute", "")),
    }
}

/// Whether a name is a value of the network.
fn passes(graph: &Graph<'_>, name: &str) -> Option<()> {
    matches!(graph.get(name), Some(Value::Flow(_))).then_some(())
}

/// `x · sigmoid(x)` and `x · hard_sigmoid(x)`.
fn gated<'n>(graph: &Graph<'_>, x: &'n str, gate: &str) -> Option<(Layer, &'n str)> {
    passes(graph, x)?;
    let of_x = |op: &str| graph.made_by(gate, op).is_some_and(|node| node.inputs == [x]);
    if of_x("Sigmoid") {
        return Some((Layer::Silu, x));
    }
    let hard = of_x("HardSigmoid") && matches!(graph.get(gate), Some(Value::Flow(_)));
    hard.then_some((Layer::HardSwish, x))
}

/// `½ · x · (1 + erf(x / √2))`, in any order, and the same with `tanh`.
fn gelu<'a>(graph: &Graph<'a>, first: &'a str, second: &'a str) -> Option<(Layer, &'a str)> {
    let inner = |name: &str| match *graph.made_by(name, "Mul")?.inputs.as_slice() {
        [a, b] => Some([a, b]),
        _ => None,
    };
    let triples = [(inner(first), second), (inner(second), first)];
    let triples = triples.into_iter().filter_map(|(pair, other)| pair.map(|[a, b]| [a, b, other]));
    for [a, b, c] in triples {
        for [half, x, one] in [[a, b, c], [a, c, b], [b, a, c], [b, c, a], [c, a, b], [c, b, a]] {
            if graph.scalar(half) != Some(0.5) || passes(graph, x).is_none() {
                continue;
            }
            if erf_of(graph, one) == Some(x) {
                return Some((Layer::Gelu, x));
            }
            if is_tanh_of(graph, one, x).is_some() {
                return Some((Layer::GeluTanh, x));
            }
        }
    }
    None
}

/// Whether a name is `1 + tanh(√(2 / π) · (x + 0.044715 · x³))`.
fn is_tanh_of(graph: &Graph<'_>, one: &str, x: &str) -> Option<()> {
    let near = |name: &str, expected: f64| {
        graph.scalar(name).is_some_and(|found| (f64::from(found) / expected - 1.0).abs() < 1e-5)
    };
    // The other factor or term beside a constant.
    let beside = |name: &str, op: &str, expected: f64| {
        let [a, b] = *graph.made_by(name, op)?.inputs.as_slice() else { return None };
        [(a, b), (b, a)].into_iter().find_map(|(x, constant)| near(constant, expected).then_some(x))
    };
    let inner = *graph.made_by(beside(one, "Add", 1.0)?, "Tanh")?.inputs.first()?;
    let sum = graph.made_by(beside(inner, "Mul", 0.797_884_560_802_865_4)?, "Add")?;
    let [a, b] = *sum.inputs.as_slice() else { return None };
    let cube = [(a, b), (b, a)].into_iter().find_map(|(own, cube)| (own == x).then_some(cube))?;
    let cube = graph.producer(beside(cube, "Mul", 0.044715)?)?;
    let square = |name: &str| graph.made_by(name, "Mul").is_some_and(|node| node.inputs == [x, x]);
    let [a, b] = *cube.inputs.as_slice() else { return None };
    let is_cube = match cube.op {
        "Mul" => a == x && square(b) || b == x && square(a),
        "Pow" => a == x && graph.scalar(b) == Some(3.0),
        _ => false,
    };
    is_cube.then_some(())
}

/// The x of `1 + erf(x / √2)`.
fn erf_of<'a>(graph: &Graph<'a>, name: &str) -> Option<&'a str> {
    let sum = graph.made_by(name, "Add")?;
    let [a, b] = *sum.inputs.as_slice() else { return None };
    let erf = [(a, b), (b, a)]
        .into_iter()
        .find_map(|(erf, one)| (graph.scalar(one) == Some(1.0)).then_some(erf))?;
    let inner = graph.producer(graph.made_by(erf, "Erf")?.inputs.first()?)?;
    let [x, root] = *inner.inputs.as_slice() else { return None };
    let expected = match inner.op {
        "Div" => std::f64::consts::SQRT_2,
        "Mul" => std::f64::consts::FRAC_1_SQRT_2,
        _ => return None,
    };
    ((f64::from(graph.scalar(root)?) - expected).abs() < 1e-6).then_some(x)
}

/// `(x − mean(x)) / √(mean((x − mean(x))²) + ε)` over the last axes.
fn normalised(graph: &Graph<'_>, centred: &str, deviation: &str) -> Option<(Flow, NormKind)> {
    let difference = graph.made_by(centred, "Sub")?;
    let [x, mean] = *difference.inputs.as_slice() else { return None };
    let sum = graph.made_by(graph.made_by(deviation, "Sqrt")?.inputs.first()?, "Add")?;
    let [variance, eps] = *sum.inputs.as_slice() else { return None };
    let (variance, mean) = (graph.made_by(variance, "ReduceMean")?, graph.made_by(mean, "ReduceMean")?);
    let square = graph.producer(variance.inputs.first()?)?;
    let squared = match (square.op, square.inputs.as_slice()) {
        ("Pow", [base, two]) => *base == centred && graph.scalar(two) == Some(2.0),
        ("Mul", [a, b]) => *a == centred && *b == centred,
        _ => false,
    };
    let Some(Value::Flow(flow)) = graph.get(x) else { return None };
    let rank = flow.shape.len() + 1;
    let axes = |node: &Node<'_>| {
        let axes = graph.list(node, "axes", 1)?;
        axes.iter().map(|axis| index(*axis, rank)).collect::<Option<Vec<_>>>()
    };
    let (over, same) = (axes(mean)?, axes(variance)?);
    let last = over.iter().copied().eq(rank - over.len()..rank) && over.len() < rank;
    let kept = [mean, variance].iter().all(|node| node.whole("keepdims", 1) == 1);
    if !squared || *mean.inputs.first()? != x || over != same || !last || !kept {
        return None;
    }
    let eps = rounded(f64::from(graph.scalar(eps)?));
    Some((flow.clone(), NormKind::Last { axes: over.len() as u32, eps }))
}

/// A normalisation times its weight.
fn scaled(graph: &Graph<'_>, norm: &str, weight: &str) -> Option<Value> {
    let Some(Value::Norm(norm)) = graph.get(norm) else { return None };
    let weight =
        graph.weight_named(weight).filter(|weight| norm.weight.is_none() && fits(graph, norm, weight))?;
    Some(Value::Norm(Norm { weight: Some(weight.clone()), ..norm.clone() }))
}

/// Whether a weight of a normalisation is repeated along the axes that the normalisation means.
fn fits(graph: &Graph<'_>, norm: &Norm, weight: &Weight) -> bool {
    let held: Vec<i64> = graph.layers.shape(norm.of).iter().map(|side| i64::from(*side)).collect();
    match norm.kind {
        NormKind::Last { axes, .. } => weight.shape == held[held.len().saturating_sub(axes as usize)..],
        NormKind::Groups { .. } => {
            let sides = held.len() - 1;
            let own = weight.shape.len() > sides && weight.shape[weight.shape.len() - sides - 1] == held[0];
            let ones = weight.shape.iter().filter(|side| **side != 1).count() == usize::from(held[0] != 1);
            own && ones
        }
    }
}

/// A normalisation plus its bias, or a product plus the bias of its linear layer.
fn added(graph: &mut Graph<'_>, node: &Node<'_>, first: &str, bias: &str) -> Option<Given> {
    let bias = graph.weight_named(bias)?.clone();
    if let Some(Value::Norm(norm)) = graph.get(first) {
        let norm = norm.clone();
        return (norm.weight.is_some() && fits(graph, &norm, &bias))
            .then(|| with_affine(graph, node, norm, bias));
    }
    let product = graph.made_by(first, "MatMul")?;
    passes(graph, product.inputs.first()?)?;
    let weight = turned(graph.weight(product, 1)?);
    let [out, _] = *weight.shape.as_slice() else { return None };
    (bias.shape == [out]).then(|| dense(graph, product, weight, Some(bias)))
}
