//! Numbers along height and width, in the shortest form that says them.

use serde::{Serialize, Serializer};

use crate::settings::{Field, PlanError, Setting, Takes, Value};

/// `N` numbers along the sides of an image. A plan may write one number for all of them, and of four the
/// first two equal ones and the last two equal ones as two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span<const N: usize>(pub [u32; N]);

/// One number for height and one for width.
pub type Sides = Span<2>;

/// A number for each edge: top, bottom, left, right.
pub type Edges = Span<4>;

impl<const N: usize> Span<N> {
    /// The span that these numbers say.
    pub(crate) fn of(numbers: &[u32]) -> Option<Self> {
        let all = match *numbers {
            [all] => vec![all; N],
            [height, width] if N == 4 => vec![height, height, width, width],
            _ => numbers.to_vec(),
        };
        all.try_into().ok().map(Self)
    }

    /// The fewest numbers that say it. Canonical bytes hold these, so a square kernel has the bytes of one
    /// number.
    pub(crate) fn shortest(&self) -> Vec<u32> {
        match *self.0.as_slice() {
            [first, ref rest @ ..] if rest.iter().all(|number| *number == first) => vec![first],
            [top, bottom, left, right] if top == bottom && left == right => vec![top, left],
            ref all => all.to_vec(),
        }
    }

    /// Whether all numbers are this one.
    pub(crate) fn all(&self, number: u32) -> bool {
        self.0 == [number; N]
    }
}

impl<const N: usize> From<u32> for Span<N> {
    fn from(number: u32) -> Self {
        Self([number; N])
    }
}

impl<const N: usize> Setting for Span<N> {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let number = |value: &Value| match value {
            Value::Whole(number) => u32::try_from(*number).ok(),
            _ => None,
        };
        let numbers: Option<Vec<u32>> = match field.value() {
            Value::List(nodes) => nodes.iter().map(|node| number(&node.value)).collect(),
            one => number(one).map(|number| vec![number]),
        };
        numbers.and_then(|numbers| Self::of(&numbers)).ok_or_else(|| field.refused())
    }
}

/// As a plan has it: a number, or a list of numbers.
impl<const N: usize> Serialize for Span<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self.shortest() {
            [number] => serializer.serialize_u32(number),
            ref numbers => numbers.serialize(serializer),
        }
    }
}

pub(super) const SIDES: Takes = Takes::Other { kind: "a whole number, or [height, width]", words: &[] };
pub(super) const ENDS: Takes = Takes::Other { kind: "a whole number, or [before, after]", words: &[] };
pub(super) const EDGES: Takes =
    Takes::Other { kind: "a whole number, [height, width], or [top, bottom, left, right]", words: &[] };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_said_in_the_shortest_form() {
        for (numbers, shortest) in [
            (vec![3], vec![3]),
            (vec![3, 3], vec![3]),
            (vec![1, 2], vec![1, 2]),
            (vec![1, 1, 2, 2], vec![1, 2]),
            (vec![1, 2, 1, 2], vec![1, 2, 1, 2]),
            (vec![0, 0, 0, 0], vec![0]),
        ] {
            assert_eq!(Edges::of(&numbers).unwrap().shortest(), shortest, "{numbers:?}");
        }
        assert_eq!(Sides::of(&[1, 2]).unwrap().shortest(), [1, 2]);
        for refused in [&[][..], &[1, 2, 3], &[1; 5]] {
            assert_eq!(Edges::of(refused), None);
        }
        assert_eq!(Sides::of(&[1; 4]), None);
    }
}
