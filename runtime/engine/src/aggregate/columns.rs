//! The built-in rules over columns.

use multiversion::multiversion;

use super::{Block, ColumnRule, Order, block::Pair};

/// Median of each element (Yin et al., arXiv:1803.01498); of an even number, the mean of the two in the
/// middle, rounded once. Weights do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Median;

/// Weighted median of each element: the smallest value up to which the weights sum to more than half; where
/// they sum to half exactly, the mean of that value and the next, rounded once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightedMedian;

/// Mean of each element without its `floor(trim · n)` largest and as many smallest values (Yin et al.,
/// arXiv:1803.01498): a sum in ascending order in f64, rounded once. Weights do not count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrimmedMean {
    /// Share of the updates that is cut at each end, in `0 .. 0.5`.
    pub trim: f64,
}

/// Mean of the `keep` values nearest to the median of each element: the second half of Bulyan (El Mhamdi et
/// al., arXiv:1802.07927). Of two that are equally near, the smaller is kept. A sum in ascending order in
/// f64, rounded once.
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
        midpoints(below, above, out);
    }
}

impl ColumnRule for WeightedMedian {
    fn order(&self, _: usize) -> Order {
        Order::Weighted
    }

    fn combine(&self, block: &mut Block<'_>, out: &mut [f32]) {
        // Sums of integers below 2^53: exact.
        let half = block.weights().iter().map(|w| f64::from(w.value())).sum::<f64>() / 2.0;
        weighted_medians(block.pairs, half, out);
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
        let (updates, len) = (block.updates(), block.len());
        let cut = self.cut(updates);
        means(&block.values[cut * len..(updates - cut) * len], out);
    }
}

impl ColumnRule for NearMedian {
    fn order(&self, updates: usize) -> Order {
        Order::Ranks(0..updates)
    }

    fn combine(&self, block: &mut Block<'_>, out: &mut [f32]) {
        let keep = self.keep.clamp(1, block.updates());
        means_near_medians(block.values, keep, out);
    }
}

/// The two rows in the middle of a sorted block, which are one when their number is odd.
fn middle<'a>(block: &'a Block<'_>) -> (&'a [f32], &'a [f32]) {
    let updates = block.updates();
    (block.row((updates - 1) / 2), block.row(updates / 2))
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2"))]
fn midpoints(below: &[f32], above: &[f32], out: &mut [f32]) {
    for ((out, below), above) in out.iter_mut().zip(below).zip(above) {
        *out = midpoint(*below, *above);
    }
}

/// Of sorted rows, one after another.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2"))]
fn weighted_medians(rows: &[Pair], half: f64, out: &mut [f32]) {
    weighted_medians_portable(rows, half, out);
}

/// Of rows one after another, added from the first on.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2"))]
fn means(rows: &[f32], out: &mut [f32]) {
    means_portable(rows, out);
}

/// Of sorted rows, one after another.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2"))]
fn means_near_medians(rows: &[f32], keep: usize, out: &mut [f32]) {
    means_near_medians_portable(rows, keep, out);
}

#[inline(always)]
fn weighted_medians_portable(rows: &[Pair], half: f64, out: &mut [f32]) {
    let len = out.len();
    let (wide, rest) = out.as_chunks_mut::<WIDE>();
    let from = wide.len() * WIDE;
    wide.iter_mut().enumerate().for_each(|(i, out)| *out = weighted_median(rows, len, i * WIDE, half));
    rest.iter_mut().enumerate().for_each(|(i, out)| [*out] = weighted_median(rows, len, from + i, half));
}

#[inline(always)]
fn means_portable(rows: &[f32], out: &mut [f32]) {
    let len = out.len();
    let (wide, rest) = out.as_chunks_mut::<WIDE>();
    let from = wide.len() * WIDE;
    wide.iter_mut().enumerate().for_each(|(i, out)| *out = mean(rows, len, i * WIDE));
    rest.iter_mut().enumerate().for_each(|(i, out)| [*out] = mean(rows, len, from + i));
}

#[inline(always)]
fn means_near_medians_portable(rows: &[f32], keep: usize, out: &mut [f32]) {
    let len = out.len();
    let (wide, rest) = out.as_chunks_mut::<WIDE>();
    let from = wide.len() * WIDE;
    wide.iter_mut().enumerate().for_each(|(i, out)| *out = mean_near_median(rows, len, i * WIDE, keep));
    rest.iter_mut().enumerate().for_each(|(i, out)| [*out] = mean_near_median(rows, len, from + i, keep));
}

/// `W` columns from `at` on, likewise below.
#[inline(always)]
fn weighted_median<const W: usize>(rows: &[Pair], len: usize, at: usize, half: f64) -> [f32; W] {
    let (mut below, mut above, mut sum) = ([Pair::default(); W], [Pair::default(); W], [0.0; W]);
    for row in rows.chunks_exact(len) {
        let row = columns::<W, _>(row, at);
        for i in 0..W {
            // The last value before which there is less than half, and the last before which there is no
            // more.
            below[i] = if sum[i] < half { row[i] } else { below[i] };
            above[i] = if sum[i] <= half { row[i] } else { above[i] };
            sum[i] += row[i].weight();
        }
    }
    std::array::from_fn(|i| midpoint(below[i].value(), above[i].value()))
}

#[inline(always)]
fn mean<const W: usize>(rows: &[f32], len: usize, at: usize) -> [f32; W] {
    let mut sum = [0.0; W];
    for row in rows.chunks_exact(len) {
        let row = columns::<W, _>(row, at);
        (0..W).for_each(|i| sum[i] += f64::from(row[i]));
    }
    let count = (rows.len() / len) as f64;
    sum.map(|sum| (sum / count) as f32)
}

#[inline(always)]
fn mean_near_median<const W: usize>(rows: &[f32], len: usize, at: usize, keep: usize) -> [f32; W] {
    let updates = rows.len() / len;
    let row = |rank: usize| columns::<W, _>(&rows[rank * len..(rank + 1) * len], at).map(f64::from);
    let (below, above) = (row((updates - 1) / 2), row(updates / 2));
    let median: [f64; W] = std::array::from_fn(|i| (below[i] + above[i]) / 2.0);
    // The nearest are neighbours in rank: their window moves up while its first is farther than the one
    // behind it. The distances from the median rise to both sides, so that these moves come before all
    // others.
    let mut start = [0.0; W];
    for first in 0..updates - keep {
        let (first, behind) = (row(first), row(first + keep));
        for i in 0..W {
            start[i] += if median[i] - first[i] > behind[i] - median[i] { 1.0 } else { 0.0 };
        }
    }
    let mut sum = [0.0; W];
    for rank in 0..updates {
        let (values, rank) = (row(rank), rank as f64);
        for i in 0..W {
            let kept = rank >= start[i] && rank < start[i] + keep as f64;
            sum[i] += if kept { values[i] } else { 0.0 };
        }
    }
    sum.map(|sum| (sum / keep as f64) as f32)
}

#[inline(always)]
fn columns<const W: usize, T: Copy>(row: &[T], at: usize) -> [T; W] {
    row[at..at + W].as_chunks::<W>().0[0]
}

/// Rounded once: the sum of two f32 of like size is exact in f64.
#[inline(always)]
fn midpoint(a: f32, b: f32) -> f32 {
    ((f64::from(a) + f64::from(b)) / 2.0) as f32
}

/// Columns that are worked on together: so many that a loop over them is compiled to vectors, not unrolled to
/// scalars.
const WIDE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Weight;

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|v| v.to_bits()).collect()
    }

    #[test]
    fn every_instruction_set_and_every_width_gives_the_same_bits() {
        for (updates, len) in [(1, 1), (2, 63), (7, 64), (9, 65), (32, 150)] {
            let mix = |i: usize| (i as u32).wrapping_mul(0x9e37_79b9) >> 8;
            let mut columns: Vec<Vec<f32>> = (0..len)
                .map(|c| (0..updates).map(|r| (mix(c * 99 + r) as f32 - 8e6) * 1e-3).collect())
                .collect();
            columns.iter_mut().for_each(|column: &mut Vec<f32>| column.sort_by(f32::total_cmp));
            let rows: Vec<f32> = (0..updates).flat_map(|r| columns.iter().map(move |c| c[r])).collect();
            let weight = |i: usize| Weight::new(1 + u64::from(mix(i)) % 1000).unwrap();
            let pairs: Vec<Pair> = rows.iter().enumerate().map(|(i, v)| Pair::new(*v, weight(i))).collect();
            let keep = updates.div_ceil(2);
            let (half, mut given, mut expected) = (250.0 * updates as f64, vec![0.0; len], vec![0.0; len]);
            weighted_medians(&pairs, half, &mut given);
            weighted_medians_portable(&pairs, half, &mut expected);
            assert_eq!(bits(&given), bits(&expected));
            let single: Vec<f32> =
                (0..len).map(|at| weighted_median::<1>(&pairs, len, at, half)[0]).collect();
            assert_eq!(bits(&given), bits(&single));
            means(&rows, &mut given);
            means_portable(&rows, &mut expected);
            assert_eq!(bits(&given), bits(&expected));
            let single: Vec<f32> = (0..len).map(|at| mean::<1>(&rows, len, at)[0]).collect();
            assert_eq!(bits(&given), bits(&single));
            means_near_medians(&rows, keep, &mut given);
            means_near_medians_portable(&rows, keep, &mut expected);
            assert_eq!(bits(&given), bits(&expected));
            let single: Vec<f32> =
                (0..len).map(|at| mean_near_median::<1>(&rows, len, at, keep)[0]).collect();
            assert_eq!(bits(&given), bits(&single));
        }
    }

    #[test]
    fn of_values_equally_near_to_the_median_the_smaller_is_kept() {
        // Medians 3 and 2.
        let rows = [1.0, 0.0, 3.0, 2.0, 5.0, 4.0];
        let mut out = [0.0; 2];
        means_near_medians(&rows, 2, &mut out);
        assert_eq!(out, [2.0, 1.0]);
    }

    #[test]
    fn a_share_of_nearly_a_half_leaves_the_middle() {
        let cut = |trim: f64, updates| TrimmedMean { trim }.cut(updates);
        assert_eq!([cut(0.5f64.next_down(), 4), cut(0.5f64.next_down(), 5)], [1, 2]);
        assert_eq!([cut(0.0, 9), cut(0.1, 9), cut(0.1, 10), cut(0.25, 10)], [0, 0, 1, 2]);
    }
}
