//! Nodes that compute with constants and shapes alone.

use super::{
    constant::{Constant, index, range},
    file::{self, Node},
    graph::{Graph, Value, Weight, of_tensor},
};

/// What a node gives that no sample reaches: a constant, or a weight in another shape. `None` for a node that
/// a sample reaches, and for arithmetic that has no such answer.
pub(super) fn fold(graph: &Graph<'_>, node: &Node<'_>) -> Option<Value> {
    if node.op == "Shape" {
        let shape = graph.shape_of(node.inputs.first()?)?;
        let (start, end) = (node.whole("start", 0), node.whole("end", i64::MAX));
        let kept = range(start, end, 1, shape.len())?.into_iter().map(|axis| shape[axis]).collect();
        return Some(Value::Constant(Constant::list(kept)));
    }
    let is_flow = |name: &&str| {
        matches!(graph.get(name), Some(Value::Flow(_) | Value::View(_) | Value::Norm(_) | Value::Missing(_)))
    };
    let likeness = if node.op == "CastLike" { 1 } else { usize::MAX };
    if node.inputs.iter().take(likeness).any(is_flow) {
        return None;
    }
    if let Some(weight) = graph.weight(node, 0)
        && let Some(seen) = view(graph, node, weight)
    {
        return Some(Value::Weight(seen));
    }
    constant(graph, node).map(Value::Constant)
}

/// A weight in another shape.
fn view(graph: &Graph<'_>, node: &Node<'_>, weight: &Weight) -> Option<Weight> {
    let mut seen = weight.clone();
    match node.op {
        "Identity" => seen.alias = true,
        "CastLike" => {}
        "Reshape" if !seen.transposed => seen.shape = viewed(&seen.shape, &graph.wholes(node, 1)?)?,
        "Cast" if node.whole("to", 0) == file::FLOAT => {}
        "Transpose" => {
            let order = node.attribute("perm").map(|order| order.wholes.as_slice());
            if seen.shape.len() != 2 || order.is_some_and(|order| order != [1, 0]) {
                return None;
            }
            seen.shape.reverse();
            seen.transposed = !seen.transposed;
        }
        "Unsqueeze" => seen.shape = unsqueezed(&seen.shape, &graph.list(node, "axes", 1)?, &1)?,
        "Squeeze" => seen.shape = squeezed(&seen.shape, graph.list(node, "axes", 1).as_deref(), &1)?,
        _ => return None,
    }
    Some(seen)
}

fn constant(graph: &Graph<'_>, node: &Node<'_>) -> Option<Constant> {
    if node.op == "Constant" {
        return literal(node);
    }
    let first = graph.constant(node, 0);
    match node.op {
        "Identity" | "CastLike" => first,
        "Cast" => match node.whole("to", 0) {
            file::FLOAT => first?.cast(true),
            file::INT32 | file::INT64 => first?.cast(false),
            _ => None,
        },
        "Unsqueeze" => {
            let first = first?;
            let shape: Vec<i64> = first.shape.iter().map(|side| *side as i64).collect();
            first.reshaped(&unsqueezed(&shape, &graph.list(node, "axes", 1)?, &1)?, false)
        }
        "Squeeze" => {
            let first = first?;
            let shape: Vec<i64> = first.shape.iter().map(|side| *side as i64).collect();
            first.reshaped(&squeezed(&shape, graph.list(node, "axes", 1).as_deref(), &1)?, false)
        }
        "Reshape" => first?.reshaped(&graph.wholes(node, 1)?, node.whole("allowzero", 0) == 0),
        "Transpose" => {
            let first = first?;
            let order: Vec<usize> = match node.attribute("perm") {
                Some(order) => {
                    order.wholes.iter().map(|axis| usize::try_from(*axis).ok()).collect::<Option<_>>()?
                }
                None => (0..first.shape.len()).rev().collect(),
            };
            first.permuted(&order)
        }
        "Concat" => {
            let all: Vec<Constant> =
                (0..node.inputs.len()).map(|index| graph.constant(node, index)).collect::<Option<_>>()?;
            if index(node.whole("axis", 0), all.first()?.shape.len())? != 0 {
                return None;
            }
            Constant::joined(&all)
        }
        "Gather" => {
            let (first, which) = (first?, graph.constant(node, 1)?);
            let axis = index(node.whole("axis", 0), first.shape.len())?;
            let side = first.shape[axis];
            let indices: Vec<usize> =
                which.as_plain()?.into_iter().map(|at| index(at, side)).collect::<Option<_>>()?;
            let taken = first.taken(axis, &indices)?;
            let shape = [&first.shape[..axis], &which.shape, &first.shape[axis + 1..]].concat();
            Some(Constant { shape, ..taken })
        }
        "Slice" => {
            let mut found = first?;
            let (starts, ends) = (graph.list(node, "starts", 1)?, graph.list(node, "ends", 2)?);
            let axes = graph.list(node, "axes", 3).unwrap_or_else(|| (0..starts.len() as i64).collect());
            let steps = graph.wholes(node, 4).unwrap_or_else(|| vec![1; starts.len()]);
            if [ends.len(), axes.len(), steps.len()].iter().any(|length| *length != starts.len()) {
                return None;
            }
            for (at, start) in starts.iter().enumerate() {
                let axis = index(axes[at], found.shape.len())?;
                found = found.taken(axis, &range(*start, ends[at], steps[at], found.shape[axis])?)?;
            }
            Some(found)
        }
        "ConstantOfShape" => {
            let shape = sides(&graph.wholes(node, 0)?)?;
            let filling = match node.attribute("value") {
                Some(value) => of_tensor(value.tensor.as_ref()?)?,
                None => Constant::floats(vec![1], vec![0.0]),
            };
            Constant { shape: Vec::new(), ..filling }.expanded(shape)
        }
        "Expand" => {
            let (first, to) = (first?, sides(&graph.wholes(node, 1)?)?);
            // A side of 1 asks for no change.
            let shape = if to.len() == first.shape.len() {
                first.shape.iter().zip(&to).map(|(own, side)| if *side == 1 { *own } else { *side }).collect()
            } else {
                to
            };
            first.expanded(shape)
        }
        "Range" => {
            let [start, end, step] = [0, 1, 2].map(|index| graph.wholes(node, index));
            let (start, end, step) = (*start?.first()?, *end?.first()?, *step?.first()?);
            let count = usize::try_from(end.checked_sub(start)?.checked_div(step.max(1))?).ok()?;
            if step < 1 || count >= super::constant::ELEMENTS {
                return None;
            }
            let numbers: Vec<i64> = (start..end).step_by(usize::try_from(step).ok()?).collect();
            Some(Constant::wholes(vec![numbers.len()], numbers))
        }
        "Where" => {
            let chosen = graph.constant(node, 0)?.as_plain()?;
            let (yes, no) = (graph.constant(node, 1)?, graph.constant(node, 2)?);
            match chosen.as_slice() {
                [1] => Some(yes),
                [0] => Some(no),
                // Of shapes, side by side.
                chosen => {
                    let (yes, no) = (yes.as_wholes()?, no.as_wholes()?);
                    let sides = yes.into_iter().zip(no).zip(chosen);
                    let sides: Vec<_> =
                        sides.map(|((yes, no), chosen)| if *chosen == 1 { yes } else { no }).collect();
                    (sides.len() == chosen.len()).then(|| Constant::list(sides))
                }
            }
        }
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Pow" | "Equal" => {
            first?.with(&graph.constant(node, 1)?, node.op)
        }
        "Neg" | "Sqrt" | "Floor" | "Ceil" => first?.mapped(node.op),
        _ => None,
    }
}

/// A shape with as many elements. A side of -1 follows from the others.
fn viewed(shape: &[i64], to: &[i64]) -> Option<Vec<i64>> {
    let product = |sides: &[i64]| sides.iter().try_fold(1i64, |all, side| all.checked_mul(*side));
    let (elements, mut sides) = (product(shape)?, to.to_vec());
    if let Some(open) = sides.iter().position(|side| *side == -1) {
        sides[open] = 1;
        sides[open] = elements.checked_div(product(&sides)?)?;
    }
    (sides.iter().all(|side| *side > 0) && product(&sides) == Some(elements)).then_some(sides)
}

/// The value of a node `Constant`.
fn literal(node: &Node<'_>) -> Option<Constant> {
    let value = node.attributes.first()?;
    match value.name {
        "value" => of_tensor(value.tensor.as_ref()?),
        "value_int" => Some(Constant::wholes(Vec::new(), vec![value.whole])),
        "value_ints" => Some(Constant::wholes(vec![value.wholes.len()], value.wholes.clone())),
        "value_float" => Some(Constant::floats(Vec::new(), vec![value.float])),
        "value_floats" => Some(Constant::floats(vec![value.floats.len()], value.floats.clone())),
        _ => None,
    }
}

/// A shape with sides of `one` put in at these axes of the result.
pub(super) fn unsqueezed<T: Clone>(shape: &[T], axes: &[i64], one: &T) -> Option<Vec<T>> {
    let rank = shape.len() + axes.len();
    let mut new = axes.iter().map(|axis| index(*axis, rank)).collect::<Option<Vec<_>>>()?;
    new.sort_unstable();
    new.dedup();
    let mut out = shape.to_vec();
    for axis in &new {
        if *axis > out.len() {
            return None;
        }
        out.insert(*axis, one.clone());
    }
    (new.len() == axes.len()).then_some(out)
}

/// A shape without these sides, which are `one`; without axes, without all sides of `one`.
pub(super) fn squeezed<T: Clone + PartialEq>(shape: &[T], axes: Option<&[i64]>, one: &T) -> Option<Vec<T>> {
    let Some(axes) = axes else { return Some(shape.iter().filter(|side| *side != one).cloned().collect()) };
    let gone = axes.iter().map(|axis| index(*axis, shape.len())).collect::<Option<Vec<_>>>()?;
    if gone.iter().any(|axis| shape[*axis] != *one) {
        return None;
    }
    let kept = shape.iter().enumerate().filter(|(axis, _)| !gone.contains(axis));
    Some(kept.map(|(_, side)| side.clone()).collect())
}

fn sides(wholes: &[i64]) -> Option<Vec<usize>> {
    wholes.iter().map(|side| usize::try_from(*side).ok()).collect()
}
