//! The first pass of a rule that measures distances: dot products of all updates' deltas.
//!
//! The shards of a model are summed apart, on any thread, and merged in their order; within a shard, sums
//! grow in the order of the elements. So the bits depend on the layout alone, not on threads, and not on what
//! was read from disk.

use std::{ops::Range, sync::Arc};

use super::{
    Scratch,
    deltas::{ELEMENTS_A_STEP, LANES, add_products, place, subtract},
    spans::Spans,
};
use crate::{limits, plan::Scope, tensor::Layout};

/// Dot products of every pair of deltas `xᵢ - base`, of the whole model or of one tensor; f64.
#[derive(Clone, Debug, PartialEq)]
pub struct Products {
    updates: usize,
    /// Row by row, the lower triangle with its diagonal.
    sums: Vec<f64>,
}

/// What the first pass of a round measures, and in which shards.
#[derive(Clone, Debug)]
pub struct Measure {
    spans: Arc<Spans>,
    updates: usize,
    shards: Vec<Range<usize>>,
}

/// The sums of one shard: what one thread works on.
#[derive(Clone, Debug)]
pub struct Partial {
    spans: Arc<Spans>,
    updates: usize,
    shard: Range<usize>,
    /// The element that the next run begins at.
    next: usize,
    /// First part of the shard; a triangle a part from there on.
    first: usize,
    sums: Vec<f64>,
}

impl Products {
    /// From a function of two indices, the first not below the second: for tests of a rule.
    #[must_use]
    pub fn from_fn(updates: usize, product: impl Fn(usize, usize) -> f64) -> Self {
        let product = &product;
        let sums = (0..updates).flat_map(|i| (0..=i).map(move |j| product(i, j))).collect();
        Self { updates, sums }
    }

    /// How many updates there are.
    #[must_use]
    pub fn updates(&self) -> usize {
        self.updates
    }

    /// The dot product of two deltas.
    ///
    /// # Panics
    /// When an index is not below [`Self::updates`].
    #[must_use]
    pub fn product(&self, i: usize, j: usize) -> f64 {
        assert!(i < self.updates && j < self.updates, "{i}, {j} of {} updates", self.updates);
        self.sums[place(i.max(j), i.min(j))]
    }

    /// The squared distance of an update from the base.
    ///
    /// # Panics
    /// As [`Self::product`].
    #[must_use]
    pub fn norm_squared(&self, i: usize) -> f64 {
        self.product(i, i)
    }

    /// The squared distance between two updates, never below 0.
    ///
    /// # Panics
    /// As [`Self::product`].
    #[must_use]
    pub fn distance_squared(&self, i: usize, j: usize) -> f64 {
        (self.product(i, i) + self.product(j, j) - 2.0 * self.product(i, j)).max(0.0)
    }
}

impl Measure {
    /// For a round of this many updates. With one update, the squared distance of that one from the base.
    #[must_use]
    pub fn new(layout: &Layout, scope: Scope, updates: usize) -> Self {
        let len = layout.f32_len();
        let step = len.div_ceil(SHARDS).max(1).next_multiple_of(LEAF);
        let shards = (0..len.div_ceil(step)).map(|i| i * step..((i + 1) * step).min(len)).collect();
        Self { spans: Arc::new(Spans::new(layout, scope)), updates, shards }
    }

    /// The elements of each shard: whole leaves of the chunk tree, in order; at most eight.
    #[must_use]
    pub fn shards(&self) -> &[Range<usize>] {
        &self.shards
    }

    /// Zero sums of one shard.
    ///
    /// # Panics
    /// When `shard` is not below the number of [`Self::shards`].
    #[must_use]
    pub fn partial(&self, shard: usize) -> Partial {
        let shard = self.shards[shard].clone();
        let mut parts = self.spans.within(shard.clone()).filter_map(|span| span.part);
        let first = parts.next();
        let last = parts.last().or(first);
        let count = first.zip(last).map_or(0, |(first, last)| last + 1 - first);
        let sums = vec![0.0; count * triangle(self.updates)];
        let (spans, first) = (Arc::clone(&self.spans), first.unwrap_or(0));
        Partial { spans, updates: self.updates, next: shard.start, shard, first, sums }
    }

    /// The products of every part: one for the whole model, or one a combined tensor in layout order.
    ///
    /// # Panics
    /// When the partial sums are not those of every shard in order, each of them complete.
    #[must_use]
    pub fn merge(&self, partials: impl IntoIterator<Item = Partial>) -> Vec<Products> {
        let size = triangle(self.updates);
        let zero = Products { updates: self.updates, sums: vec![0.0; size] };
        let mut all = vec![zero; self.spans.parts()];
        let mut shards = self.shards.iter();
        for partial in partials {
            assert_eq!(Some(&partial.shard), shards.next(), "shards in their order");
            assert_eq!(partial.next, partial.shard.end, "a shard that was read to its end");
            for (products, sums) in
                all[partial.first..].iter_mut().zip(partial.sums.chunks_exact(size.max(1)))
            {
                products.sums.iter_mut().zip(sums).for_each(|(all, sum)| *all += sum);
            }
        }
        assert_eq!(shards.next(), None, "every shard");
        all
    }
}

impl Partial {
    /// The elements of the shard.
    #[must_use]
    pub fn shard(&self) -> Range<usize> {
        self.shard.clone()
    }

    /// The memory that the sums take, in bytes.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.sums.len() * 8
    }

    /// Adds the elements from `from` on: the same run of every update's payload and of the base's. Runs
    /// follow one another without a gap, and each but the shard's last is a multiple of [`ELEMENTS_A_STEP`]
    /// elements.
    ///
    /// # Panics
    /// When the run is not the next of the shard, or the payloads' lengths or number are wrong.
    pub fn accumulate(&mut self, from: usize, inputs: &[&[u8]], base: &[u8], scratch: &mut Scratch) {
        let end = from + base.len() / 4;
        assert_eq!(inputs.len(), self.updates, "a run of every update");
        assert!(inputs.iter().all(|input| input.len() == base.len()), "runs of one length");
        assert!(from == self.next && end <= self.shard.end, "the next run of the shard");
        assert!((end - from).is_multiple_of(ELEMENTS_A_STEP) || end == self.shard.end, "whole steps");
        self.next = end;
        let size = triangle(self.updates);
        let spans = Arc::clone(&self.spans);
        let deltas = scratch.deltas.first(self.updates * ELEMENTS_A_STEP);
        let deltas = deltas.as_chunks_mut::<LANES>().0.as_chunks_mut::<{ ELEMENTS_A_STEP / LANES }>().0;
        for step in (from..end).step_by(ELEMENTS_A_STEP) {
            for span in spans.within(step..(step + ELEMENTS_A_STEP).min(end)) {
                let Some(part) = span.part else { continue };
                let bytes = (span.range.start - from) * 4..(span.range.end - from) * 4;
                let base = base[bytes.clone()].as_chunks::<4>().0;
                for (row, input) in deltas.iter_mut().zip(inputs) {
                    subtract(row.as_flattened_mut(), input[bytes.clone()].as_chunks::<4>().0, base);
                }
                add_products(deltas, &mut self.sums[(part - self.first) * size..][..size]);
            }
        }
    }
}

fn triangle(updates: usize) -> usize {
    updates * (updates + 1) / 2
}

/// Most shards of a model.
const SHARDS: usize = 8;
/// Elements under one leaf of the chunk tree.
const LEAF: usize = limits::LEAF_BYTES / 4;
