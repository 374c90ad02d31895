//! A rule over columns: what users implement, and what it is given.

use std::{fmt, ops::Range};

use crate::Weight;

/// A rule that makes each element of the next model from that element of every update.
///
/// It is called on pool threads, for a few hundred elements at a time, in no promised order. Its answer for
/// an element may depend on that element's column, the weights and the base alone, so that every thread count
/// gives the same bits.
///
/// The mean of the middle half of each column, weights not counted:
///
/// ```
/// use std::sync::Arc;
/// use fl_engine::aggregate::{Block, ColumnRule, Method, Order, combine};
///
/// #[derive(Debug)]
/// struct MiddleHalf;
///
/// impl ColumnRule for MiddleHalf {
///     fn order(&self, updates: usize) -> Order {
///         // The quarters below and above need not be in order, and are not read.
///         Order::Ranks(updates / 4..updates - updates / 4)
///     }
///
///     fn combine(&self, block: &mut Block<'_>, out: &mut [f32]) {
///         let (first, last) = (block.updates() / 4, block.updates() - block.updates() / 4);
///         out.fill(0.0);
///         for rank in first..last {
///             out.iter_mut().zip(block.row(rank)).for_each(|(sum, value)| *sum += value);
///         }
///         out.iter_mut().for_each(|sum| *sum /= (last - first) as f32);
///     }
/// }
///
/// let updates: [&[f32]; 4] = [&[1.0, 50.0], &[-9.0, 5.0], &[3.0, 7.0], &[90.0, 6.0]];
/// let next = combine(&Method::Columns(Arc::new(MiddleHalf)), &updates, &[1; 4], &[0.0; 2]).unwrap();
/// assert_eq!(next, [2.0, 6.5]);
/// ```
pub trait ColumnRule: fmt::Debug + Send + Sync {
    /// How the columns are to be ordered before [`Self::combine`] sees them, in a round of this many updates.
    /// Asked once a round.
    fn order(&self, updates: usize) -> Order {
        let _ = updates;
        Order::Roster
    }

    /// Writes the answer for each column of `block` to `out`, which has [`Block::len`] elements of
    /// unspecified content. An answer of -0 becomes +0; one that is not finite or outside the plan's range
    /// ends the round with an error.
    fn combine(&self, block: &mut Block<'_>, out: &mut [f32]);
}

/// In which order a rule reads a column. Zeros are all +0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Row `i` is the `i`-th update's, in roster order, that of [`Block::weights`].
    Roster,
    /// Row `k` holds each column's `k`-th smallest value, for these `k`; other rows are unspecified. Fewer
    /// ranks cost less.
    Ranks(Range<usize>),
    /// [`Block::pairs`] has each column's `k`-th smallest value with the weight of the update that sent it,
    /// for every `k`; [`Block::row`] is unspecified.
    Weighted,
}

/// A value and the weight of the update that it comes from.
///
/// An f32 in f64 leaves the low 29 bits of the mantissa free, and a weight is below `2^29`: it lies there. So
/// pairs are sorted as f64, and the weight decides between equal values alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Pair(f64);

impl Pair {
    /// `value` is not -0.
    #[inline]
    pub(super) fn new(value: f32, weight: Weight) -> Self {
        Self(f64::from_bits(f64::from(value).to_bits() | u64::from(weight.value())))
    }

    /// The value; no zero is -0.
    #[must_use]
    #[inline]
    pub fn value(self) -> f32 {
        f64::from_bits(self.0.to_bits() & !LOW) as f32
    }

    /// The weight, an integer: sums of all weights of a round are exact in f64.
    #[must_use]
    #[inline]
    pub fn weight(self) -> f64 {
        f64::from_bits(self.0.to_bits() & LOW | TWO_52.to_bits()) - TWO_52
    }
}

/// The same few hundred elements of every update: a row an update, a column an element.
#[derive(Debug)]
pub struct Block<'a> {
    pub(super) values: &'a mut [f32],
    /// As `values`, for [`Order::Weighted`] alone.
    pub(super) pairs: &'a [Pair],
    pub(super) weights: &'a [Weight],
    pub(super) base: &'a [f32],
    pub(super) first: usize,
}

impl Block<'_> {
    /// Rows.
    #[must_use]
    pub fn updates(&self) -> usize {
        self.weights.len()
    }

    /// Columns.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a block has columns")]
    pub fn len(&self) -> usize {
        self.base.len()
    }

    /// One row, as the rule's [`Order`] has it.
    ///
    /// # Panics
    /// When `index` is not below [`Self::updates`].
    #[must_use]
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.len()..][..self.len()]
    }

    /// One row of values with their weights, for [`Order::Weighted`].
    ///
    /// # Panics
    /// When `rank` is not below [`Self::updates`], or the rule has another order.
    #[must_use]
    pub fn pairs(&self, rank: usize) -> &[Pair] {
        &self.pairs[rank * self.len()..][..self.len()]
    }

    /// All rows one after another, to be worked in.
    #[must_use]
    pub fn values_mut(&mut self) -> &mut [f32] {
        self.values
    }

    /// The updates' weights, in roster order.
    #[must_use]
    pub fn weights(&self) -> &[Weight] {
        self.weights
    }

    /// The round's base, which the updates started from: an element a column.
    #[must_use]
    pub fn base(&self) -> &[f32] {
        self.base
    }

    /// Where the first column is in the f32 segment of the layout.
    #[must_use]
    pub fn first(&self) -> usize {
        self.first
    }
}

/// Columns of a block: its rows stay in the first-level cache, or are long enough for a vector where they
/// cannot.
pub(super) fn block_width(updates: usize) -> usize {
    (WIDE / updates.max(1)).clamp(NARROW, WIDEST) / NARROW * NARROW
}

/// The bits of an f64 that an f32 leaves zero.
const LOW: u64 = (1 << Weight::BITS) - 1;
/// `2^52`: an integer in its low bits is added to it.
const TWO_52: f64 = 4_503_599_627_370_496.0;

/// Elements of a block: 32 KiB. Half as many would leave room in the first-level cache, and read memory in
/// shorter pieces, which costs more.
const WIDE: usize = 8192;
/// Fewest columns.
const NARROW: usize = 64;
/// Most columns.
const WIDEST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_keep_every_value_and_weight_and_are_ordered_by_value() {
        let values =
            [-f32::MAX, -1.5, -f32::MIN_POSITIVE, -1e-45, 0.0, 1e-45, f32::MIN_POSITIVE, 1.5, f32::MAX];
        let weights = [1, 2, 1000, (1 << 29) - 1].map(|w| Weight::new(w).unwrap());
        for (i, value) in values.into_iter().enumerate() {
            for weight in weights {
                let pair = Pair::new(value, weight);
                assert_eq!(pair.value().to_bits(), value.to_bits());
                assert_eq!(pair.weight(), f64::from(weight.value()));
                let above = values[i + 1..].iter().flat_map(|v| weights.map(|w| Pair::new(*v, w)));
                assert!(above.into_iter().all(|above| pair < above), "{value} {weight:?}");
            }
        }
    }
}
