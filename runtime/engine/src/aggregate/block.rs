//! A rule over columns: what users implement, and what it is given.

use std::fmt;
use std::ops::Range;

use crate::Weight;

/// A rule that makes each element of the next model from that element of every update.
///
/// It is called on pool threads, for a few hundred elements at a time, in no promised order. Its answer for an element
/// may depend on that element's column, the weights and the base alone, so that every thread count gives the same bits.
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
    /// How the columns are to be ordered before [`Self::combine`] sees them, in a round of this many updates. Asked
    /// once a round.
    fn order(&self, updates: usize) -> Order {
        let _ = updates;
        Order::Roster
    }

    /// Writes the answer for each column of `block` to `out`, which has [`Block::len`] elements of unspecified content.
    /// An answer of -0 becomes +0; one that is not finite or outside the plan's range ends the round with an error.
    fn combine(&self, block: &mut Block<'_>, out: &mut [f32]);
}

/// In which order a rule reads a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Row `i` is the `i`-th update's, in roster order, that of [`Block::weights`].
    Roster,
    /// Row `k` holds each column's `k`-th smallest value, for these `k`; other rows are unspecified. Fewer ranks cost
    /// less.
    Ranks(Range<usize>),
    /// Row `k` holds each column's `k`-th smallest value, [`Block::row_weights`] the weights of the updates that sent
    /// them. Zeros are all +0.
    Weighted,
}

/// The same few hundred elements of every update: a row an update, a column an element.
#[derive(Debug)]
pub struct Block<'a> {
    pub(super) values: &'a mut [f32],
    /// As `values`, for [`Order::Weighted`] alone.
    pub(super) pairs: &'a [f64],
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

    /// The weights that belong to a row's values, as integers in f64, for [`Order::Weighted`].
    ///
    /// # Panics
    /// When `rank` is not below [`Self::updates`], or the rule has another order.
    #[must_use]
    pub fn row_weights(&self, rank: usize) -> &[f64] {
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
