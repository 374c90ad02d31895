//! The built-in rules over columns.

use super::{Block, ColumnRule, Order};

/// Median of each element (Yin et al., arXiv:1803.01498); of an even number, the mean of the two in the middle, rounded
/// once. Weights do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Median;

/// Weighted median of each element: the smallest value up to which the weights sum to more than half; where they sum
/// to half exactly, the mean of that value and the next, rounded once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightedMedian;

/// Mean of each element without its `floor(trim · n)` largest and as many smallest values (Yin et al.,
/// arXiv:1803.01498): a sum in ascending order in f64, rounded once. Weights do not count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrimmedMean {
    /// Share of the updates that is cut at each end, in `0 .. 0.5`.
    pub trim: f64,
}

/// Mean of the `keep` values nearest to the median of each element: the second half of Bulyan (El Mhamdi et al.,
/// arXiv:1802.07927). Of two that are equally near, the smaller is kept. A sum in ascending order in f64, rounded once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NearMedian {
    /// Values that are kept; at least 1, at most all.
    pub keep: usize,
}

impl ColumnRule for Median {
    fn order(&self, updates: usize) -> Order {
        Order::Ranks((updates - 1) / 2..updates / 2 + 1)
    }

    fn combine(&self, block: &mut Block<'_>, out: &mut [f32]) {
        let (below, above) = middle(block);
        for ((out, below), above) in out.iter_mut().zip(below).zip(above) {
            *out = midpoint(*below, *above);
        }
    }
}

impl ColumnRule for WeightedMedian {
    fn order(&self, _: usize) -> Order {
        Order::Weighted
    }

    fn combine(&self, block: &mut Block<'_>, out: &mut [f32]) {
        // Sums of integers below 2^53: exact.
        let half = block.weights().iter().map(|w| f64::from(w.value())).sum::<f64>() / 2.0;
        for (column, out) in out.iter_mut().enumerate() {
            let (mut below, mut above, mut sum) = (0.0, 0.0, 0.0);
            for rank in 0..block.updates() {
                let value = block.row(rank)[column];
                // The last value before which there is less than half, and the last before which there is no more.
                below = if sum < half { value } else { below };
                above = if sum <= half { value } else { above };
                sum += block.row_weights(rank)[column];
            }
            *out = midpoint(below, above);
        }
    }
}

impl TrimmedMean {
    fn cut(self, updates: usize) -> usize {
        // The share is below a half, its product with the number of updates may be rounded up to it.
        ((self.trim * updates as f64) as usize).min((updates - 1) / 2)
    }
}

impl ColumnRule for TrimmedMean {
    fn order(&self, updates: usize) -> Order {
        Order::Ranks(self.cut(updates)..updates - self.cut(updates))
    }

    fn combine(&self, block: &mut Block<'_>, out: &mut [f32]) {
        let cut = self.cut(block.updates());
        let kept = cut..block.updates() - cut;
        for (column, out) in out.iter_mut().enumerate() {
            let sum: f64 = kept.clone().map(|rank| f64::from(block.row(rank)[column])).sum();
            *out = (sum / kept.len() as f64) as f32;
        }
    }
}

impl ColumnRule for NearMedian {
    fn order(&self, updates: usize) -> Order {
        Order::Ranks(0..updates)
    }

    fn combine(&self, block: &mut Block<'_>, out: &mut [f32]) {
        let updates = block.updates();
        let keep = self.keep.clamp(1, updates);
        for (column, out) in out.iter_mut().enumerate() {
            let value = |rank: usize| f64::from(block.row(rank)[column]);
            let median = (value((updates - 1) / 2) + value(updates / 2)) / 2.0;
            // The nearest are neighbours in rank: the window moves up while its first is farther than the one behind.
            let start = (0..updates - keep)
                .take_while(|first| median - value(*first) > value(first + keep) - median)
                .count();
            let sum: f64 = (start..start + keep).map(value).sum();
            *out = (sum / keep as f64) as f32;
        }
    }
}

/// The two rows in the middle of a sorted block, which are one when their number is odd.
fn middle<'a>(block: &'a Block<'_>) -> (&'a [f32], &'a [f32]) {
    let updates = block.updates();
    (block.row((updates - 1) / 2), block.row(updates / 2))
}

/// Rounded once: the sum of two f32 of like size is exact in f64.
fn midpoint(a: f32, b: f32) -> f32 {
    ((f64::from(a) + f64::from(b)) / 2.0) as f32
}
