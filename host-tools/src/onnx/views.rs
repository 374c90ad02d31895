//! Values whose batch is not in front, or lies together with other sides in one axis, and values in another
//! order than a layer gives them.
//!
//! Layers of a plan never see the batch. So a view keeps apart what a place holds for a sample, and how the
//! network sees it: each axis is a list of sides, one of which may be the batch. Changes of shape, and axes
//! that move with the batch, cost no layer. Sides that change their order become a layer `permute`.

use fl_engine::model::Layer;

use super::{
    constant::Whole,
    graph::{BATCH, Graph, Why},
    layers::{Axis, Flow, View},
};

/// The axes after a change of shape. `baked` is the size of the batch that the export has baked in.
pub(super) fn reshaped(view: &View, target: &[Whole], keep: bool, baked: Option<i64>) -> Option<Vec<Axis>> {
    let mut left: std::collections::VecDeque<Option<u32>> =
        view.axes.iter().flatten().copied().filter(|side| *side != Some(1)).collect();
    let mut axes: Vec<Option<Axis>> = vec![None; target.len()];
    let open = target.iter().position(|side| side.factor == -1 && !side.batch);
    let forward = 0..open.unwrap_or(target.len());
    let backward = open.map_or(0, |open| open + 1)..if open.is_some() { target.len() } else { 0 };
    for (at, back) in forward.map(|at| (at, false)).chain(backward.rev().map(|at| (at, true))) {
        let side = target[at];
        let (mut need, mut batch) = match side {
            Whole { factor: 0, batch: false } if keep => {
                let axis = view.axes.get(at)?;
                let product =
                    axis.iter().flatten().try_fold(1u64, |all, side| all.checked_mul(u64::from(*side)))?;
                (product, axis.contains(&None))
            }
            Whole { factor, batch } => (u64::try_from(factor).ok().filter(|side| *side > 0)?, batch),
        };
        let mut axis = Axis::new();
        while need > 1 || batch {
            let next = if back { left.pop_back() } else { left.pop_front() };
            match next? {
                None if batch => batch = false,
                None => {
                    let size = u64::try_from(baked?).ok().filter(|size| *size > 1)?;
                    need = need.is_multiple_of(size).then(|| need / size)?;
                }
                Some(whole) if need.is_multiple_of(whole.into()) => {
                    need /= u64::from(whole);
                    axis.push(Some(whole));
                    continue;
                }
                Some(whole) => {
                    let part = u32::try_from(need).ok().filter(|part| whole.is_multiple_of(*part))?;
                    axis.push(Some(part));
                    let rest = Some(whole / part);
                    if back {
                        left.push_back(rest)
                    } else {
                        left.push_front(rest)
                    }
                    need = 1;
                    continue;
                }
            }
            axis.push(None);
        }
        if back {
            axis.reverse();
        }
        if axis.is_empty() {
            axis.push(Some(1));
        }
        axes[at] = Some(axis);
    }
    match open {
        Some(open) => axes[open] = Some(if left.is_empty() { vec![Some(1)] } else { left.into() }),
        None if !left.is_empty() => return None,
        None => {}
    }
    axes.into_iter().collect()
}

/// The axes in another order. Sides that move become a layer.
pub(super) fn permuted(graph: &mut Graph<'_>, view: &View, order: &[usize]) -> Result<View, Why> {
    let mut numbers = 0..;
    // Sides of 1 move without a value that moves.
    let numbered = |axis: &Axis| -> Vec<usize> {
        axis.iter().filter(|side| side.is_some_and(|side| side > 1)).filter_map(|_| numbers.next()).collect()
    };
    let by_axis: Vec<Vec<usize>> = view.axes.iter().map(numbered).collect();
    let sides: Vec<u32> = view.sides().into_iter().filter(|side| *side > 1).collect();
    let moved: Vec<usize> = order.iter().flat_map(|axis| by_axis[*axis].iter().copied()).collect();
    let place = ordered(graph, view.place, sides, moved)?;
    Ok(View { place, axes: order.iter().map(|axis| view.axes[*axis].clone()).collect() })
}

/// A place that holds these sides in another order.
fn ordered(
    graph: &mut Graph<'_>,
    mut place: usize,
    mut sides: Vec<u32>,
    mut order: Vec<usize>,
) -> Result<usize, Why> {
    // Two changes of order in a row are one.
    while let Some((Layer::Permute { order: before }, from)) = graph.layers.made(place)
        && graph.layers.shape(place) == sides
    {
        order = order.iter().map(|axis| before[*axis] as usize).collect();
        place = from;
        sides = graph.layers.shape(from).to_vec();
    }
    if order.is_sorted() {
        return Ok(place);
    }
    // Sides that stay together move as one.
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for axis in order {
        match groups.last_mut() {
            Some(group) if group.last() == Some(&axis.wrapping_sub(1)) => group.push(axis),
            _ => groups.push(vec![axis]),
        }
    }
    let mut by_source: Vec<usize> = (0..groups.len()).collect();
    by_source.sort_by_key(|group| groups[*group][0]);
    if groups.len() > 3 {
        return Err(Why::new(
            "changes the order of more than three axes",
            "a plan's `permute` moves three axes",
        ));
    }
    let product = |group: &Vec<usize>| group.iter().try_fold(1u32, |all, axis| all.checked_mul(sides[*axis]));
    let shape: Option<Vec<u32>> = by_source.iter().map(|group| product(&groups[*group])).collect();
    let shape = shape.ok_or_else(|| Why::new("gives too many values", ""))?;
    let of = |group: usize| by_source.iter().position(|other| *other == group).map(|at| at as u32);
    let order: Vec<u32> = (0..groups.len()).filter_map(of).collect();
    let from = graph.settle(&Flow { place, shape })?;
    let made =
        graph.layers.push(Layer::Permute { order }, vec![from], Vec::new()).map_err(|e| Why::of(&e))?;
    Ok(made.place)
}

/// A part of an axis, which is not the batch: every `step`th index from `start` to before `end`.
pub(super) fn part(
    graph: &mut Graph<'_>,
    view: &View,
    axis: usize,
    [start, end, step]: [u32; 3],
) -> Result<View, Why> {
    let side = view.side(axis).ok_or_else(|| Why::new("takes a part of the batch", BATCH))?;
    if (start, end, step) == (0, side, 1) {
        return Ok(view.clone());
    }
    let (from, at) = around(graph, view, axis, side)?;
    let layer = Layer::Slice { axis: at, start, end: (end != side).then_some(end), step };
    let made = graph.layers.push(layer, vec![from], Vec::new()).map_err(|e| Why::of(&e))?;
    let mut axes = view.axes.clone();
    axes[axis] = vec![Some((end - start).div_ceil(step))];
    Ok(View { place: made.place, axes })
}

/// One index of an axis, which is gone then.
pub(super) fn select(graph: &mut Graph<'_>, view: &View, axis: usize, index: u32) -> Result<View, Why> {
    let side = view.side(axis).ok_or_else(|| Why::new("takes a part of the batch", BATCH))?;
    let mut axes = view.axes.clone();
    axes.remove(axis);
    if side == 1 {
        return Ok(View { place: view.place, axes });
    }
    let (from, at) = around(graph, view, axis, side)?;
    let layer = match graph.layers.shape(from).len() {
        1 => Layer::Slice { axis: 0, start: index, end: (index + 1 != side).then_some(index + 1), step: 1 },
        _ => Layer::Select { axis: at, index },
    };
    let made = graph.layers.push(layer, vec![from], Vec::new()).map_err(|e| Why::of(&e))?;
    Ok(View { place: made.place, axes })
}

/// A place with an axis of its own for a side, and that axis. If there are more than three axes, the sides
/// before this one become a single side, and so do the sides behind.
fn around(graph: &mut Graph<'_>, view: &View, axis: usize, side: u32) -> Result<(usize, u32), Why> {
    let [before, behind] = view.around(axis);
    let whole = |sides: Vec<u32>, few: bool| -> Option<Vec<u32>> {
        if few {
            return Some(sides);
        }
        let product = sides.iter().try_fold(1u32, |all, side| all.checked_mul(*side))?;
        Some(if product == 1 { Vec::new() } else { vec![product] })
    };
    let few = before.len() + behind.len() < 3;
    let (Some(before), Some(behind)) = (whole(before, few), whole(behind, few)) else {
        return Err(Why::new("has too many values", ""));
    };
    let at = before.len() as u32;
    let shape = [before, vec![side], behind].concat();
    Ok((graph.settle(&Flow { place: view.place, shape })?, at))
}

/// The product of two views as matrices.
pub(super) fn product(graph: &mut Graph<'_>, left: &View, right: &View) -> Result<View, Why> {
    let ([before, rows, inner], [others, again, columns]) =
        (matrices(left).ok_or_else(why)?, matrices(right).ok_or_else(why)?);
    fn why() -> Why {
        Why::new("multiplies something other than matrices of a sample", BATCH)
    }
    // Sides of 1 aside, both lie in the same sides.
    let sides = |axes: &[Axis]| -> Vec<Option<u32>> {
        axes.iter().flatten().copied().filter(|side| *side != Some(1)).collect()
    };
    let (lead, other) = (&left.axes[..left.axes.len() - 2], &right.axes[..right.axes.len() - 2]);
    if sides(lead) != sides(other) || inner != again {
        return Err(Why::new("multiplies matrices that lie in different axes", "give both the same axes"));
    }
    let shape = |number: u32, a: u32, b: u32| if number == 1 { vec![a, b] } else { vec![number, a, b] };
    let left_place = graph.settle(&Flow { place: left.place, shape: shape(before, rows, inner) })?;
    let right_place = graph.settle(&Flow { place: right.place, shape: shape(others, again, columns) })?;
    let places = vec![left_place, right_place];
    let made = graph.layers.push(Layer::Matmul, places, Vec::new()).map_err(|e| Why::of(&e))?;
    let axes = [lead, &[vec![Some(rows)], vec![Some(columns)]]].concat();
    Ok(View { place: made.place, axes })
}

/// How many matrices a sample has, with their rows and columns.
fn matrices(view: &View) -> Option<[u32; 3]> {
    let lead = view.axes.len().checked_sub(2)?;
    let number =
        view.axes[..lead].iter().flatten().flatten().try_fold(1u32, |all, side| all.checked_mul(*side))?;
    view.axes[..lead].iter().any(|axis| axis.contains(&None)).then_some(())?;
    Some([number, view.side(lead)?, view.side(lead + 1)?])
}
