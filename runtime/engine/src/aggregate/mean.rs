//! The weighted mean of a round's updates (McMahan et al., arXiv:1602.05629), exact.

use std::ops::Range;
use std::sync::Arc;

use super::exact::Bins;
use crate::plan::ExactRange;
use crate::tensor::{Combine, Dtype, Layout};
use crate::{Weight, limits};

/// The accumulator of one round: f32 tensors in exact bins, i64 tensors by their declared rule.
///
/// Updates are checked before ([`super::PayloadChecker`]); absorbing cannot fail but for the weights' sum.
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
    #[error("the weights of this round would sum to {0}, past what the accumulator holds")]
    TotalWeight(u64),
    /// The payload's length is not the layout's.
    #[error("payload of another length than the layout's")]
    Length,
}

impl Shard {
    /// Elements of the f32 segment.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// Makes room for this many more updates; call it once before [`Self::absorb`] of each.
    pub fn reserve(&mut self, updates: u32) {
        self.bins.reserve(updates);
    }

    /// Adds one update's elements. `bytes` starts at element `from` of the f32 segment.
    ///
    /// # Panics
    /// When the elements are not all within [`Self::range`].
    pub fn absorb(&mut self, from: usize, bytes: &[u8], weight: Weight) {
        self.bins.add(from - self.range.start, bytes.as_chunks::<4>().0, weight.value());
    }

    /// Adds the same elements of four updates in one pass.
    ///
    /// # Panics
    /// As [`Self::absorb`], and when the four differ in length.
    pub fn absorb_four(&mut self, from: usize, bytes: [&[u8]; 4], weights: [Weight; 4]) {
        let values = bytes.map(|b| b.as_chunks::<4>().0);
        self.bins.add_four(from - self.range.start, values, weights.map(Weight::value));
    }
}

impl ExactMean {
    /// An empty sum in `shards` runs of about equal length (at least one).
    #[must_use]
    pub fn new(layout: Arc<Layout>, range: ExactRange, shards: usize) -> Self {
        let len = layout.f32_len();
        let step = len.div_ceil(shards.max(1)).max(1);
        let shards = (0..len.div_ceil(step).max(1))
            .map(|i| {
                let range_of = i * step..((i + 1) * step).min(len);
                Shard { bins: Bins::zeros(range_of.len(), range), range: range_of }
            })
            .collect();
        let integers = vec![0; layout.i64_len()];
        // hi holds X · W · 2^k < 2^63.
        let most_total = 1 << (range.weight_bits + 11).min(50);
        Self { layout, shards, integers, total: 0, updates: 0, most_total }
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
            for from in range.clone().step_by(PASS) {
                let to = (from + PASS).min(range.end);
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
        let mut means = [0.0; PASS];
        for shard in &mut self.shards {
            shard.bins.normalise();
            for from in (0..shard.range.len()).step_by(PASS) {
                let means = &mut means[..PASS.min(shard.range.len() - from)];
                shard.bins.mean(from, self.total, means);
                means.iter().for_each(|v| out.extend(v.to_le_bytes()));
            }
        }
        self.integers.iter().for_each(|v| out.extend(v.to_le_bytes()));
        for (index, tensor) in self.layout.tensors().iter().enumerate() {
            if tensor.combine == Combine::Keep {
                let (start, size) = match tensor.dtype {
                    Dtype::F32 => (0, 4),
                    Dtype::I64 => (self.layout.f32_len() * 4, 8),
                };
                let place = self.layout.place(index);
                let bytes = start + place.start * size..start + place.end * size;
                out[bytes.clone()].copy_from_slice(&base[bytes]);
            }
        }
    }
}

/// Elements absorbed before the next: bins and values of one pass stay in the first-level cache.
const PASS: usize = limits::LEAF_BYTES / 64;
