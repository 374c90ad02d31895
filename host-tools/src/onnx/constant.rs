//! Small constants of a network, and the arithmetic that exporters write out for shapes.
//!
//! A shape may hold the batch, whose size nobody knows: a whole number here is a factor, times the batch or
//! not. Every function gives `None` for what has no such answer, and for results that are too large.

/// Numbers with a shape.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Constant {
    pub(super) shape: Vec<usize>,
    pub(super) numbers: Numbers,
}

/// The elements in row-major order. A single one stands for all elements of any shape.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Numbers {
    Wholes(Vec<Whole>),
    Floats(Vec<f32>),
}

/// A whole number, or so many times the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) factor: i64,
    pub(super) batch: bool,
}

impl Whole {
    pub(super) fn plain(factor: i64) -> Self {
        Self { factor, batch: false }
    }
}

impl Constant {
    pub(super) fn wholes(shape: Vec<usize>, numbers: Vec<i64>) -> Self {
        Self { shape, numbers: Numbers::Wholes(numbers.into_iter().map(Whole::plain).collect()) }
    }

    pub(super) fn list(numbers: Vec<Whole>) -> Self {
        Self { shape: vec![numbers.len()], numbers: Numbers::Wholes(numbers) }
    }

    pub(super) fn floats(shape: Vec<usize>, numbers: Vec<f32>) -> Self {
        Self { shape, numbers: Numbers::Floats(numbers) }
    }

    /// The number of elements, up to [`ELEMENTS`].
    fn count(&self) -> Option<usize> {
        count(&self.shape)
    }

    /// The whole numbers, each written out.
    pub(super) fn as_wholes(&self) -> Option<Vec<Whole>> {
        let Numbers::Wholes(numbers) = &self.numbers else { return None };
        spread(numbers, self.count()?)
    }

    /// The whole numbers, if none is a multiple of the batch.
    pub(super) fn as_plain(&self) -> Option<Vec<i64>> {
        self.as_wholes()?.into_iter().map(|whole| (!whole.batch).then_some(whole.factor)).collect()
    }

    /// The number, if all elements are this number.
    pub(super) fn uniform(&self) -> Option<f32> {
        match &self.numbers {
            Numbers::Floats(numbers) => {
                let first = numbers.first()?;
                numbers.iter().all(|number| number == first).then_some(*first)
            }
            Numbers::Wholes(numbers) => {
                let first = numbers.first()?;
                (!first.batch && numbers.iter().all(|number| number == first)).then_some(first.factor as f32)
            }
        }
    }

    /// The number of a constant with a single element.
    pub(super) fn scalar(&self) -> Option<f32> {
        if self.count()? == 1 { self.uniform() } else { None }
    }

    /// The same elements in another shape. A side of -1 follows from the others; 0 keeps a side, if `keep`.
    pub(super) fn reshaped(&self, to: &[i64], keep: bool) -> Option<Self> {
        let elements = self.count()?;
        let side = |(axis, side): (usize, &i64)| match *side {
            0 if keep => self.shape.get(axis).map(|side| *side as i64),
            side => Some(side),
        };
        let mut sides: Vec<i64> = to.iter().enumerate().map(side).collect::<Option<_>>()?;
        let known =
            sides.iter().filter(|side| **side != -1).try_fold(1i64, |all, side| all.checked_mul(*side))?;
        for side in sides.iter_mut().filter(|side| **side == -1) {
            *side = (elements as i64).checked_div(known)?;
        }
        let shape: Vec<usize> =
            sides.into_iter().map(|side| usize::try_from(side).ok()).collect::<Option<_>>()?;
        (count(&shape)? == elements).then(|| Self { shape, numbers: self.numbers.clone() })
    }

    /// The elements of `axis` with these indices.
    pub(super) fn taken(&self, axis: usize, indices: &[usize]) -> Option<Self> {
        let side = *self.shape.get(axis)?;
        let mut shape = self.shape.clone();
        shape[axis] = indices.len();
        count(&shape)?;
        if indices.iter().any(|index| *index >= side) {
            return None;
        }
        let (inner, outer) = (count(&self.shape[axis + 1..])?, count(&self.shape[..axis])?);
        let places = (0..outer).flat_map(|row| indices.iter().map(move |index| (row * side + index) * inner));
        let places: Vec<usize> = places.flat_map(|place| place..place + inner).collect();
        self.picked(shape, &places)
    }

    /// With its axes in another order.
    pub(super) fn permuted(&self, order: &[usize]) -> Option<Self> {
        if order.len() != self.shape.len() || (0..order.len()).any(|axis| !order.contains(&axis)) {
            return None;
        }
        let shape: Vec<usize> = order.iter().map(|axis| self.shape[*axis]).collect();
        let step = |axis: &usize| count(&self.shape[axis + 1..]);
        let steps: Vec<usize> = order.iter().map(step).collect::<Option<_>>()?;
        let place = |mut index: usize| {
            let mut place = 0;
            for (side, step) in shape.iter().zip(&steps).rev() {
                place += index % side * step;
                index /= side;
            }
            place
        };
        let places: Vec<usize> = (0..self.count()?).map(place).collect();
        self.picked(shape, &places)
    }

    /// One behind the other along the first axis.
    pub(super) fn joined(all: &[Self]) -> Option<Self> {
        let mut shape = all.first()?.shape.clone();
        if all.iter().any(|other| other.shape.len() != shape.len() || other.shape[1..] != shape[1..]) {
            return None;
        }
        *shape.first_mut()? = all.iter().map(|other| other.shape[0]).try_fold(0, usize::checked_add)?;
        count(&shape)?;
        // An empty list has no type of its own.
        let (mut wholes, mut floats) = (Vec::new(), Vec::new());
        for other in all.iter().filter(|other| other.count() != Some(0)) {
            match &other.numbers {
                Numbers::Wholes(numbers) => wholes.extend(spread(numbers, other.count()?)?),
                Numbers::Floats(numbers) => floats.extend(spread(numbers, other.count()?)?),
            }
        }
        match (wholes.is_empty(), floats.is_empty()) {
            (_, true) => Some(Self { shape, numbers: Numbers::Wholes(wholes) }),
            (true, false) => Some(Self { shape, numbers: Numbers::Floats(floats) }),
            _ => None,
        }
    }

    /// A constant of one number in a shape of any size.
    pub(super) fn expanded(&self, shape: Vec<usize>) -> Option<Self> {
        let one = self.numbers.len() == 1 || self.uniform().is_some();
        if !one {
            return (self.shape == shape).then(|| self.clone());
        }
        let numbers = match &self.numbers {
            Numbers::Wholes(numbers) => Numbers::Wholes(vec![*numbers.first()?]),
            Numbers::Floats(numbers) => Numbers::Floats(vec![*numbers.first()?]),
        };
        Some(Self { shape, numbers })
    }

    /// Element by element, after one of both is repeated to the other's shape.
    pub(super) fn with(&self, other: &Self, op: &str) -> Option<Self> {
        let (mine, others) = (self.count()?, other.count()?);
        let shape = match (mine, others) {
            (1, _) if other.shape.len() >= self.shape.len() => &other.shape,
            (_, 1) => &self.shape,
            _ if self.shape == other.shape => &self.shape,
            _ => return None,
        };
        let size = mine.max(others);
        let numbers = match (&self.numbers, &other.numbers) {
            (Numbers::Wholes(a), Numbers::Wholes(b)) => {
                let pairs = spread(a, size)?.into_iter().zip(spread(b, size)?);
                Numbers::Wholes(pairs.map(|(a, b)| whole(a, b, op)).collect::<Option<_>>()?)
            }
            (Numbers::Floats(a), Numbers::Floats(b)) => {
                let pairs = spread(a, size)?.into_iter().zip(spread(b, size)?);
                Numbers::Floats(pairs.map(|(a, b)| float(a, b, op)).collect::<Option<_>>()?)
            }
            _ => return None,
        };
        Some(Self { shape: shape.clone(), numbers })
    }

    /// As numbers with or without a point.
    pub(super) fn cast(&self, to_float: bool) -> Option<Self> {
        let numbers = match &self.numbers {
            Numbers::Wholes(wholes) if to_float => {
                let float = |whole: &Whole| (!whole.batch).then_some(whole.factor as f32);
                Numbers::Floats(wholes.iter().map(float).collect::<Option<_>>()?)
            }
            Numbers::Floats(floats) if !to_float => {
                let whole = |float: &f32| {
                    let near = float.is_finite() && float.abs() < 1e15;
                    near.then(|| Whole::plain(float.trunc() as i64))
                };
                Numbers::Wholes(floats.iter().map(whole).collect::<Option<_>>()?)
            }
            same => same.clone(),
        };
        Some(Self { shape: self.shape.clone(), numbers })
    }

    /// Each number on its own.
    pub(super) fn mapped(&self, op: &str) -> Option<Self> {
        let numbers = match &self.numbers {
            Numbers::Wholes(wholes) if op == "Neg" => {
                let negative = |whole: &Whole| Some(Whole { factor: whole.factor.checked_neg()?, ..*whole });
                Numbers::Wholes(wholes.iter().map(negative).collect::<Option<_>>()?)
            }
            Numbers::Floats(floats) => {
                let function: fn(f32) -> f32 = match op {
                    "Neg" => |x| -x,
                    "Sqrt" => f32::sqrt,
                    "Floor" => f32::floor,
                    "Ceil" => f32::ceil,
                    _ => return None,
                };
                Numbers::Floats(floats.iter().copied().map(function).collect())
            }
            Numbers::Wholes(_) => return None,
        };
        Some(Self { shape: self.shape.clone(), numbers })
    }

    fn picked(&self, shape: Vec<usize>, places: &[usize]) -> Option<Self> {
        let elements = self.count()?;
        let numbers = match &self.numbers {
            Numbers::Wholes(all) => Numbers::Wholes(pick(&spread(all, elements)?, places)?),
            Numbers::Floats(all) => Numbers::Floats(pick(&spread(all, elements)?, places)?),
        };
        Some(Self { shape, numbers })
    }
}

impl Numbers {
    fn len(&self) -> usize {
        match self {
            Self::Wholes(numbers) => numbers.len(),
            Self::Floats(numbers) => numbers.len(),
        }
    }
}

/// The place that an index from the front, or from the end if it is negative, names.
pub(super) fn index(index: i64, side: usize) -> Option<usize> {
    let side = i64::try_from(side).ok()?;
    let index = if index < 0 { index.checked_add(side)? } else { index };
    (0..side).contains(&index).then_some(index as usize)
}

/// The indices from `start` to before `end`, as slices of ONNX count them.
pub(super) fn range(start: i64, end: i64, step: i64, side: usize) -> Option<Vec<usize>> {
    if side > ELEMENTS {
        return None;
    }
    let (last, side) = (i64::try_from(side).ok()?, side as i128);
    let bound = |at: i64, least: i128, most: i128| {
        let at = if at < 0 { i128::from(at) + i128::from(last) } else { i128::from(at) };
        at.clamp(least, most)
    };
    let indices: Vec<usize> = match step {
        1.. => {
            let (start, end) = (bound(start, 0, side), bound(end, 0, side));
            (start..end).step_by(usize::try_from(step).ok()?).map(|index| index as usize).collect()
        }
        -1 => {
            let (start, end) = (bound(start, -1, side - 1), bound(end, -1, side - 1));
            (end + 1..=start).rev().map(|index| index as usize).collect()
        }
        _ => return None,
    };
    Some(indices)
}

fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |all, side| all.checked_mul(*side)).filter(|all| *all <= ELEMENTS)
}

/// Each element written out.
fn spread<T: Copy>(numbers: &[T], elements: usize) -> Option<Vec<T>> {
    match numbers {
        [one] => Some(vec![*one; elements]),
        all => (all.len() == elements).then(|| all.to_vec()),
    }
}

fn pick<T: Copy>(all: &[T], places: &[usize]) -> Option<Vec<T>> {
    places.iter().map(|place| all.get(*place).copied()).collect()
}

fn whole(a: Whole, b: Whole, op: &str) -> Option<Whole> {
    let batch = a.batch || b.batch;
    let factor = match (op, a.batch, b.batch) {
        ("Mul", false, false) | ("Mul", true, false) | ("Mul", false, true) => {
            a.factor.checked_mul(b.factor)?
        }
        ("Add", ..) if a.batch == b.batch => a.factor.checked_add(b.factor)?,
        ("Sub", ..) if a.batch == b.batch => a.factor.checked_sub(b.factor)?,
        ("Div", true, false) => (a.factor.checked_rem(b.factor)? == 0).then(|| a.factor / b.factor)?,
        ("Div", true, true) => {
            let factor = (a.factor.checked_rem(b.factor)? == 0).then(|| a.factor / b.factor)?;
            return Some(Whole::plain(factor));
        }
        // As PyTorch's exporter means it: towards zero, of numbers that are not negative.
        ("Div", false, false) => a.factor.checked_div(b.factor)?,
        ("Mod", false, false) => a.factor.checked_rem_euclid(b.factor)?,
        ("Equal", ..) => return Some(Whole::plain(i64::from(a == b))),
        _ => return None,
    };
    Some(Whole { factor, batch })
}

fn float(a: f32, b: f32, op: &str) -> Option<f32> {
    Some(match op {
        "Add" => a + b,
        "Sub" => a - b,
        "Mul" => a * b,
        "Div" => a / b,
        "Pow" => a.powf(b),
        _ => return None,
    })
}

/// Most elements of a constant that are written out.
pub(super) const ELEMENTS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn list(numbers: &[i64]) -> Constant {
        Constant::wholes(vec![numbers.len()], numbers.to_vec())
    }

    const BATCH: Whole = Whole { factor: 1, batch: true };

    #[test]
    fn arithmetic_keeps_the_batch_apart() {
        let batch = Constant::list(vec![BATCH]);
        let twice = batch.with(&list(&[2]), "Mul").unwrap();
        assert_eq!(twice.as_wholes().unwrap(), [Whole { factor: 2, batch: true }]);
        assert_eq!(twice.as_plain(), None);
        assert_eq!(twice.with(&batch, "Div").unwrap().as_plain().unwrap(), [2]);
        for (op, other) in [("Add", 1), ("Div", 3), ("Div", 0), ("Mod", 2)] {
            assert_eq!(batch.with(&list(&[other]), op), None, "{op} {other}");
        }
        assert_eq!(list(&[7]).with(&list(&[0]), "Div"), None);
        assert_eq!(list(&[i64::MAX]).with(&list(&[2]), "Mul"), None);
    }

    #[test]
    fn indices_count_from_both_ends() {
        assert_eq!(range(0, i64::MAX, 1, 3).unwrap(), [0, 1, 2]);
        assert_eq!(range(0, -2, 1, 5).unwrap(), [0, 1, 2]);
        assert_eq!(range(-1, i64::MIN, -1, 3).unwrap(), [2, 1, 0]);
        assert_eq!(range(4, 2, 1, 5).unwrap(), [0usize; 0]);
        assert_eq!((range(0, 1, 0, 3), range(0, 1, -2, 3)), (None, None));
        assert_eq!((index(-1, 3), index(3, 3), index(-4, 3)), (Some(2), None, None));
    }

    #[test]
    fn elements_move_as_in_onnx() {
        // What F.pad makes of its amounts: pairs from the last axis on, turned round.
        let pairs = list(&[1, 2, 3, 4]).reshaped(&[-1, 2], true).unwrap();
        let turned = pairs.taken(0, &[1, 0]).unwrap().permuted(&[1, 0]).unwrap();
        assert_eq!(turned.reshaped(&[-1], true).unwrap().as_plain().unwrap(), [3, 1, 4, 2]);
        assert_eq!(Constant::joined(&[list(&[1]), list(&[2, 3])]).unwrap(), list(&[1, 2, 3]));
        assert_eq!(list(&[1, 2]).permuted(&[1, 0]), None);
        assert_eq!(list(&[1, 2]).taken(0, &[2]), None);
        assert_eq!(list(&[1, 2]).reshaped(&[0, 0], true), None);
    }

    #[test]
    fn what_is_too_large_is_not_written_out() {
        let zero = Constant::floats(Vec::new(), vec![0.0]);
        let wide = zero.expanded(vec![1 << 40, 1 << 40]).unwrap();
        assert_eq!((wide.uniform(), wide.as_wholes()), (Some(0.0), None));
        assert_eq!(wide.with(&zero, "Add"), None);
        assert_eq!(list(&[1, 2]).expanded(vec![4, 2]), None);
    }
}
