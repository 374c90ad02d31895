//! Whether samples of one shape are samples of the model's shape.

/// Refuses samples whose values would be read as something else than they are: says why, and the cure.
///
/// Equal shapes fit, and shapes that differ by sides of 1. A flat sample fits every shape of as many values.
pub(super) fn check(found: &[usize], input: &[u32]) -> Result<(), (String, String)> {
    let input: Vec<usize> = input.iter().map(|&side| side as usize).collect();
    let (inner, needed) = (without_ones(found), without_ones(&input));
    if inner == needed || inner.len() <= 1 && values(&inner) == values(&needed) {
        return Ok(());
    }
    if inner.len() <= 1 || values(&inner) != values(&needed) {
        let (has, needs) = (values(&inner).unwrap_or(usize::MAX), values(&needed).unwrap_or(usize::MAX));
        let what = format!("a sample has {has} values, but the model's input {input:?} needs {needs}");
        let hint = "change model.input in the plan, or remove the columns that are not features";
        return Err((what, hint.to_owned()));
    }
    let what = format!("a sample has the shape {found:?}, but the model's input has the shape {input:?}");
    let hint = match transposed("x", found, &input) {
        Some(call) => format!("save the array with its axes in the model's order: {call}"),
        None => format!(
            "write `input: {}` into the plan's model, or save the array in the model's shape: numpy.reshape(x, (-1, {}))",
            as_input(found),
            listed(&input)
        ),
    };
    Err((what, hint))
}

/// Refuses labels whose values would be read as something else than they are. `label` has at least one side.
#[cfg(feature = "tables")]
pub(super) fn check_label(found: &[usize], label: &[u32]) -> Result<(), (String, String)> {
    if check(found, label).is_ok() {
        return Ok(());
    }
    let label: Vec<usize> = label.iter().map(|&side| side as usize).collect();
    let what =
        format!("a label has the shape {found:?}; the plan's loss takes labels of the shape {label:?}");
    let hint = match transposed("y", found, &label) {
        Some(call) => format!("save the labels with their axes in this order: {call}"),
        // The values of all labels may lie on one axis.
        None if found.is_empty() || values(found) == values(&label) => format!(
            "save the labels in this shape, after a first axis for the samples: numpy.reshape(y, (-1, {}))",
            listed(&label)
        ),
        None => "save labels of this shape, or change the model: its output and the loss decide the shape"
            .to_owned(),
    };
    Err((what, hint))
}

/// The sides that are not 1.
fn without_ones(sides: &[usize]) -> Vec<usize> {
    sides.iter().copied().filter(|&side| side != 1).collect()
}

/// How many values a shape has; `None` if a usize cannot say.
fn values(sides: &[usize]) -> Option<usize> {
    sides.iter().try_fold(1usize, |n, &side| n.checked_mul(side))
}

/// For example `3, 8, 8`.
fn listed(sides: &[usize]) -> String {
    sides.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

/// The call that brings the axes of the array `name` into the order of `needed`, if their order is all that
/// differs.
fn transposed(name: &str, found: &[usize], needed: &[usize]) -> Option<String> {
    let inner = without_ones(found);
    let order = transposition(&inner, &without_ones(needed))?;
    let squeezed = if inner.len() == found.len() { name.to_owned() } else { format!("{name}.squeeze()") };
    let axes: Vec<usize> = order.iter().map(|axis| axis + 1).collect();
    Some(format!("numpy.transpose({squeezed}, (0, {}))", listed(&axes)))
}

/// A sample's shape as `model.input` has it: an image of one channel has three sides there.
fn as_input(found: &[usize]) -> String {
    match found {
        [height, width] => format!("[1, {height}, {width}]"),
        sides => format!("{sides:?}"),
    }
}

/// The order of the axes of `found` that gives `needed`; equal sides keep their order.
fn transposition(found: &[usize], needed: &[usize]) -> Option<Vec<usize>> {
    let mut order = Vec::new();
    for side in needed {
        let axis = (0..found.len()).find(|axis| found[*axis] == *side && !order.contains(axis))?;
        order.push(axis);
    }
    (order.len() == found.len()).then_some(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_shapes_flat_rows_and_sides_of_one_fit() {
        for (found, input) in [
            (&[3, 8, 9][..], &[3, 8, 9][..]),
            (&[216], &[3, 8, 9]),
            (&[8, 9], &[1, 8, 9]),
            (&[1, 8, 9], &[8, 9]),
            (&[8, 9, 1], &[1, 8, 9]),
            (&[1, 64, 1], &[64]),
            (&[1], &[1]),
            (&[], &[1]),
        ] {
            assert_eq!(check(found, input), Ok(()), "{found:?} {input:?}");
        }
    }

    #[test]
    fn other_shapes_are_refused_with_their_cure() {
        let cure = |found: &[usize], input: &[u32]| check(found, input).unwrap_err().1;
        let transposed = "save the array with its axes in the model's order: numpy.transpose";
        assert_eq!(cure(&[32, 32, 3], &[3, 32, 32]), format!("{transposed}(x, (0, 3, 1, 2))"));
        assert_eq!(cure(&[9, 1, 8], &[1, 8, 9]), format!("{transposed}(x.squeeze(), (0, 2, 1))"));
        assert!(cure(&[28, 28], &[784]).starts_with("write `input: [1, 28, 28]` into the plan's model, or"));
        assert!(cure(&[4, 9], &[6, 6]).ends_with("numpy.reshape(x, (-1, 6, 6))"));
        let (what, _) = check(&[3], &[4]).unwrap_err();
        assert_eq!(what, "a sample has 3 values, but the model's input [4] needs 4");
    }

    #[cfg(feature = "tables")]
    #[test]
    fn labels_of_other_shapes_are_refused_with_their_cure() {
        let (what, cure) = check_label(&[], &[1, 8, 8]).unwrap_err();
        assert_eq!(what, "a label has the shape []; the plan's loss takes labels of the shape [1, 8, 8]");
        assert!(cure.ends_with("numpy.reshape(y, (-1, 1, 8, 8))"));
        assert_eq!(check_label(&[8, 8], &[1, 8, 8]), Ok(()));
        let cure = |found: &[usize], label: &[u32]| check_label(found, label).unwrap_err().1;
        assert!(cure(&[9, 8], &[1, 8, 9]).ends_with("numpy.transpose(y, (0, 2, 1))"), "not a reshape");
        assert!(cure(&[4, 18], &[8, 9]).ends_with("numpy.reshape(y, (-1, 8, 9))"));
        assert!(cure(&[16, 16], &[8, 8]).starts_with("save labels of this shape, or change the model"));
    }
}
