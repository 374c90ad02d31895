//! The weighted mean of a round's updates (McMahan et al., arXiv:1602.05629), exact.

use std::{ops::Range, sync::Arc};

use super::exact::{Bins, MOST_AT_ONCE, Weighted};
use crate::{
    Weight, limits,
    plan::ExactRange,
    tensor::{Combine, Dtype, Layout},
};

/// The accumulator of one round: f32 tensors in exact bins, i64 tensors by their declared rule.
///
/// Updates are checked before ([`super::PayloadChecker`]). Absorbing fails only where the sum of the weights
/// would overflow.
#[derive(Clone, Debug)]
pub struct ExactMean {
    layout: Arc<Layout>,
    shards: Vec<Shard>,
    integers: Vec<i64>,
    total: u64,
    updates: u32,
    most_total: u64,
}

/// Bins of one run of f32 elements: what one thread works on.
#[derive(Clone, Debug)]
pub struct Shard {
    range: Range<usize>,
    bins: Bins,
}

/// Why an update does not fit into the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AbsorbError {
    /// The weights' sum would pass its bound.
    #[error("the weights of this round add up to {0}, more than the exact sum holds")]
    TotalWeight(u64),
    /// The payload's length is not the layout's.
    #[error("an update has another length than the model")]
    Length,
}

impl Shard {
    /// Elements of the f32 segment.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// Makes room for this many more terms an element; call it once before the updates of a pass.
    ///
    /// # Panics
    /// With 4094 terms or more.
    pub fn reserve(&mut self, terms: u32) {
        self.bins.reserve(terms);
    }

    /// Adds one update's elements. `bytes` starts at element `from` of the f32 segment.
    ///
    /// # Panics
    /// When the elements are not all within [`Self::range`].
    pub fn absorb(&mut self, from: usize, bytes: &[u8], weight: Weight) {
        self.absorb_all(from, &[(bytes, weight.value())]);
    }

    /// Adds the same elements of up to [`MOST_AT_ONCE`] updates in one pass. Each one's bytes begin at
    /// element `from` of the f32 segment; its weight is an integer below `2^weight_bits`, and 0 adds nothing.
    ///
    /// # Panics
    /// When the elements are not all within [`Self::range`], an update is shorter than the first, or there
    /// are more.
    pub fn absorb_all(&mut self, from: usize, updates: &[(&[u8], u32)]) {
        let mut runs = [([].as_slice(), 0); MOST_AT_ONCE];
        self.bins.add(from - self.range.start, elements(updates, &mut runs));
    }

    /// Adds elements `weight` times for a weight of any size, as terms of less than 2^29 each; [`terms_of`]
    /// of them have to be reserved.
    ///
    /// # Panics
    /// When the elements are not all within [`Self::range`].
    pub fn absorb_heavy(&mut self, from: usize, bytes: &[u8], weight: u64) {
        let (start, values) = (from - self.range.start, bytes.as_chunks::<4>().0);
        let (times, rest) = (weight / HEAVIEST, weight % HEAVIEST);
        if times > 0 {
            self.bins.add_times(start, values, HEAVIEST as u32, times as u32);
        }
        if rest > 0 {
            self.bins.add(start, &[(values, rest as u32)]);
        }
    }

    /// Appends the mean's payload over this shard's elements to `out`, for a sum of weights `total`; `base`
    /// holds the same elements of the base's payload. The sum stays as it is.
    ///
    /// # Panics
    /// When `total` is zero or `base` has another length.
    pub fn finalise(&mut self, layout: &Layout, total: u64, base: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + self.range.len() * 4, 0);
        self.bins.normalise();
        self.bins.mean(0, total, out[start..].as_chunks_mut::<4>().0);
        keep_base(layout, Dtype::F32, self.range(), base, &mut out[start..]);
    }

    /// Writes the mean's payload over the elements from `from` on to `out`: what was absorbed and up to
    /// [`MOST_AT_ONCE`] further updates, as for [`Self::absorb_all`], over `total`, which has their weights
    /// in it. Of these elements the sums are spent. [`keep_base`] restores the tensors held out,
    /// [`Self::emptied`] follows the last run.
    ///
    /// # Panics
    /// When the elements are not all within [`Self::range`], an update is shorter than `out`, there are more,
    /// or `total` is zero.
    pub fn take_mean(&mut self, from: usize, updates: &[(&[u8], u32)], total: u64, out: &mut [u8]) {
        let mut runs = [([].as_slice(), 0); MOST_AT_ONCE];
        let updates = elements(updates, &mut runs);
        self.bins.take_mean(from - self.range.start, updates, total, out.as_chunks_mut::<4>().0);
    }

    /// Marks all sums as consumed by [`Self::take_mean`]: the sum is empty.
    pub fn emptied(&mut self) {
        self.bins.emptied();
    }

    /// Back to an empty sum, keeping the memory.
    pub fn clear(&mut self) {
        self.bins.clear();
    }
}

impl ExactMean {
    /// An empty sum in `shards` runs of about equal length (at least one). Runs longer than a leaf of the
    /// chunk tree begin at leaves, so that each can be hashed apart.
    #[must_use]
    pub fn new(layout: Arc<Layout>, range: ExactRange, shards: usize) -> Self {
        let len = layout.f32_len();
        let step = len.div_ceil(shards.max(1)).max(1);
        let step = if step > LEAF { step.next_multiple_of(LEAF) } else { step };
        let shards = (0..len.div_ceil(step).max(1))
            .map(|i| {
                let range_of = i * step..((i + 1) * step).min(len);
                Shard { bins: Bins::zeros(range_of.len(), range), range: range_of }
            })
            .collect();
        let integers = vec![0; layout.i64_len()];
        Self { layout, shards, integers, total: 0, updates: 0, most_total: most_total(range) }
    }

    /// Back to an empty sum, keeping the memory.
    pub fn clear(&mut self) {
        self.shards.iter_mut().for_each(|s| s.bins.clear());
        (self.total, self.updates) = (0, 0);
    }

    /// Sum of the absorbed weights.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The shards, for threads of the caller's.
    pub fn shards_mut(&mut self) -> &mut [Shard] {
        &mut self.shards
    }

    /// Takes the shards out, for threads that work on them apart; nothing can be absorbed or finalised here
    /// then.
    #[must_use]
    pub fn take_shards(&mut self) -> Vec<Shard> {
        std::mem::take(&mut self.shards)
    }

    /// Writes the integers' part of the mean's payload to `out`; `base` is that part of the base's payload.
    ///
    /// # Panics
    /// When `base` or `out` has another length.
    pub fn finalise_integers(&self, base: &[u8], out: &mut [u8]) {
        for (bytes, value) in out.as_chunks_mut::<8>().0.iter_mut().zip(&self.integers) {
            *bytes = value.to_le_bytes();
        }
        keep_base(&self.layout, Dtype::I64, 0..self.integers.len(), base, out);
    }

    /// Books an update's weight and integers; its f32 elements go to every shard.
    ///
    /// # Errors
    /// [`AbsorbError::TotalWeight`]; nothing has changed then.
    pub fn admit(&mut self, integers: impl Iterator<Item = i64>, weight: Weight) -> Result<(), AbsorbError> {
        let total = self.total + u64::from(weight.value());
        if total > self.most_total {
            return Err(AbsorbError::TotalWeight(total));
        }
        let first = self.updates == 0;
        let mut integers = integers;
        for segment in self.layout.segments(Dtype::I64) {
            let combine = self.layout.tensors()[segment.tensor].combine;
            for (sum, value) in self.integers[segment.range].iter_mut().zip(&mut integers) {
                *sum = match combine {
                    _ if first => value,
                    Combine::Max => (*sum).max(value),
                    Combine::Sum => sum.wrapping_add(value),
                    Combine::Keep | Combine::Rule => *sum,
                };
            }
        }
        self.total = total;
        self.updates += 1;
        Ok(())
    }

    /// Absorbs a whole payload that was checked.
    ///
    /// # Errors
    /// [`AbsorbError`]; nothing has changed then.
    pub fn absorb(&mut self, payload: &[u8], weight: Weight) -> Result<(), AbsorbError> {
        if payload.len() != self.layout.byte_len() {
            return Err(AbsorbError::Length);
        }
        let (floats, integers) = payload.split_at(self.layout.f32_len() * 4);
        self.admit(integers.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)), weight)?;
        for shard in &mut self.shards {
            shard.reserve(1);
            let range = shard.range();
            for from in range.clone().step_by(ELEMENTS_A_PASS) {
                let to = (from + ELEMENTS_A_PASS).min(range.end);
                shard.absorb(from, &floats[from * 4..to * 4], weight);
            }
        }
        Ok(())
    }

    /// Writes the mean's payload to `out` (cleared first): each f32 correctly rounded, held-out tensors as in
    /// `base`, integers by their rule.
    ///
    /// # Panics
    /// When nothing was absorbed, or `base` is not a payload of the layout.
    pub fn finalise(&mut self, base: &[u8], out: &mut Vec<u8>) {
        assert_eq!(base.len(), self.layout.byte_len(), "the base is a payload of the layout");
        out.clear();
        out.reserve(self.layout.byte_len());
        let (floats, integers) = base.split_at(self.layout.f32_len() * 4);
        for shard in &mut self.shards {
            let range = shard.range();
            shard.finalise(&self.layout, self.total, &floats[range.start * 4..range.end * 4], out);
        }
        let start = out.len();
        out.resize(self.layout.byte_len(), 0);
        self.finalise_integers(integers, &mut out[start..]);
    }
}

/// The largest sum of weights that the accumulator holds.
#[must_use]
pub fn most_total(range: ExactRange) -> u64 {
    // hi holds X · W · 2^k < 2^63.
    1 << (range.weight_bits + 11).min(50)
}

/// Copies the tensors of `dtype` that aggregation leaves alone from `base` to `out`; both hold the elements
/// `range` of their segment.
///
/// # Panics
/// When one of them has another length.
pub fn keep_base(layout: &Layout, dtype: Dtype, range: Range<usize>, base: &[u8], out: &mut [u8]) {
    assert!(
        base.len() == out.len() && base.len() == range.len() * dtype.size(),
        "a run of the layout's payload"
    );
    for segment in layout.segments(dtype).filter(|s| layout.tensors()[s.tensor].combine == Combine::Keep) {
        let (start, end) = (segment.range.start.max(range.start), segment.range.end.min(range.end));
        if start < end {
            let bytes = (start - range.start) * dtype.size()..(end - range.start) * dtype.size();
            out[bytes.clone()].copy_from_slice(&base[bytes]);
        }
    }
}

/// Terms an element that [`Shard::absorb_heavy`] adds for `weight`.
#[must_use]
pub fn terms_of(weight: u64) -> u64 {
    weight.div_ceil(HEAVIEST)
}

/// Updates' bytes as elements, in `runs`.
fn elements<'a, 'b>(
    updates: &[(&'a [u8], u32)],
    runs: &'b mut [Weighted<'a>; MOST_AT_ONCE],
) -> &'b [Weighted<'a>] {
    for (run, (bytes, weight)) in runs.iter_mut().zip(updates) {
        *run = (bytes.as_chunks::<4>().0, *weight);
    }
    &runs[..updates.len()]
}

/// The largest weight of one term.
const HEAVIEST: u64 = (1 << Weight::BITS) - 1;
/// Elements under one leaf of the chunk tree.
const LEAF: usize = limits::LEAF_BYTES / 4;
/// Elements absorbed before the next: bins and values of one pass stay in the first-level cache.
pub const ELEMENTS_A_PASS: usize = limits::LEAF_BYTES / 64;
