//! What the jobs of one pass do: read a run of every update, add it, and in the last pass take the mean, the server's
//! step and the leaves' digests.

use std::{
    ops::Range,
    sync::{Arc, Mutex},
};

use fl_engine::{
    Digest, Weight,
    aggregate::{ELEMENTS_A_PASS, ExactMean, Measure, Partial, Shard, keep_base, terms_of},
    tensor::{Dtype, Layout},
};

use super::{AT_ONCE, LEAF, SumError, go_on, lock};
use crate::{
    aggregation::{pool_call::Call, server_step::Step},
    memory::StagedSlot,
    payload::{Parts, Payload, leaves::Leaves},
};

/// What the jobs share.
#[derive(Debug)]
pub(super) struct Sum {
    pub(super) layout: Arc<Layout>,
    /// Weights and integers; its shards are below.
    pub(super) book: Mutex<ExactMean>,
    pub(super) shards: Vec<Mutex<Shard>>,
    /// Bytes of the payload that belong to each shard; the integers belong to the last.
    pub(super) runs: Vec<Range<usize>>,
    /// Buffers for spilled leaves, at most one set a pool thread.
    pub(super) scratch: Mutex<Vec<Scratch>>,
    /// How distances from the base are measured, where updates are clipped.
    pub(super) measure: Option<Measure>,
}

#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Decrypted leaves.
    pub(super) leaves: [Vec<u8>; AT_ONCE],
    /// Deltas from the base.
    pub(super) deltas: fl_engine::aggregate::Scratch,
}

/// Updates of one pass.
#[derive(Debug)]
pub(super) struct Batch {
    /// Place of the first in what the caller gave.
    pub(super) first: usize,
    pub(super) updates: Vec<Summand>,
}

/// An update of a pass.
#[derive(Debug)]
pub(super) struct Summand {
    pub(super) slot: StagedSlot,
    /// The collaborator's.
    pub(super) weight: Weight,
    /// What it adds to the divisor.
    pub(super) full: Weight,
    /// What its values are multiplied by.
    pub(super) share: u32,
}

/// A look at the distances of a batch, shared by its jobs.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) batch: Batch,
    pub(super) base: Payload,
    pub(super) call: Call,
}

/// One pass, shared by its jobs; dropped with the last of them, which frees the slots.
#[derive(Debug)]
pub(super) struct Pass {
    pub(super) batch: Batch,
    pub(super) finish: Option<Finish>,
    pub(super) call: Call,
}

/// What the mean is written to.
#[derive(Debug)]
pub(super) struct Finish {
    pub(super) base: Payload,
    pub(super) step: Option<Step>,
    pub(super) parts: Parts,
    pub(super) total: u64,
    /// What the base counts with.
    pub(super) residual: u64,
}

/// The same run of every update of a pass.
#[derive(Clone, Copy)]
struct Runs<'a> {
    all: [(&'a [u8], u32); AT_ONCE],
    updates: usize,
}

impl<'a> Runs<'a> {
    /// Bytes with the weight that they count with, update by update.
    fn as_slice(&self) -> &[(&'a [u8], u32)] {
        &self.all[..self.updates]
    }

    /// A part of the run.
    fn within(mut self, bytes: &Range<usize>) -> Self {
        self.all[..self.updates].iter_mut().for_each(|(run, _)| *run = &run[bytes.clone()]);
        self
    }
}

impl Batch {
    /// Bytes `range` of every update, in memory or decrypted into `scratch`.
    fn read<'a>(&'a self, range: &Range<usize>, scratch: &'a mut [Vec<u8>]) -> Result<Runs<'a>, SumError> {
        let mut all = [([].as_slice(), 0); AT_ONCE];
        for (index, ((summand, run), scratch)) in self.updates.iter().zip(&mut all).zip(scratch).enumerate() {
            let read = summand.slot.read(range.start as u64..range.end as u64, scratch);
            let bytes = read.map_err(|source| SumError::Update { index: self.first + index, source })?;
            *run = (bytes, summand.share);
        }
        Ok(Runs { all, updates: self.updates.len() })
    }
}

impl Sum {
    /// One shard's part of a pass; answers its leaves when there is a mean to take. The last shard has the integers
    /// too.
    pub(super) fn work(&self, pass: &Pass, index: usize) -> Result<Vec<Digest>, SumError> {
        let mut shard = lock(&self.shards[index]);
        let mut scratch = lock(&self.scratch).pop().unwrap_or_default();
        let done = self.work_on(&mut shard, pass, index, &mut scratch);
        lock(&self.scratch).push(scratch);
        done
    }

    fn work_on(
        &self,
        shard: &mut Shard,
        pass: &Pass,
        index: usize,
        scratch: &mut Scratch,
    ) -> Result<Vec<Digest>, SumError> {
        let (range, bytes) = (shard.range(), self.runs[index].clone());
        let mut out = pass.finish.as_ref().map(|finish| (finish, finish.parts.part(index)));
        let mut leaves = Leaves::new(out.as_ref().map_or(0, |_| bytes.len()));
        let residual = pass.finish.as_ref().map_or(0, |finish| finish.residual);
        go_on(&pass.call)?;
        shard.reserve(pass.batch.updates.len() as u32 + terms_of(residual) as u32);
        for from in range.clone().step_by(LEAF) {
            go_on(&pass.call)?;
            let leaf = from..(from + LEAF).min(range.end);
            let updates = pass.batch.read(&(leaf.start * 4..leaf.end * 4), &mut scratch.leaves)?;
            let Some((finish, part)) = &mut out else {
                each_run(&leaf, |from, within| shard.absorb_all(from, updates.within(&within).as_slice()));
                continue;
            };
            let base = &finish.base.as_slice()[leaf.start * 4..leaf.end * 4];
            let out = &mut part[leaf.start * 4 - bytes.start..leaf.end * 4 - bytes.start];
            each_run(&leaf, |from, within| {
                let (updates, out) = (updates.within(&within), &mut out[within.clone()]);
                if residual == 0 {
                    return shard.take_mean(from, updates.as_slice(), finish.total, out);
                }
                shard.absorb_all(from, updates.as_slice());
                shard.absorb_heavy(from, &base[within], residual);
                shard.take_mean(from, &[], finish.total, out);
            });
            keep_base(&self.layout, Dtype::F32, leaf.clone(), base, out);
            if let Some(step) = &finish.step {
                step.take(index, leaf.start, base, out)?;
            }
            leaves.follow(&part[..leaf.end * 4 - bytes.start]);
        }
        let last = index + 1 == self.shards.len();
        if last {
            self.admit(pass, scratch)?;
        }
        if let Some((finish, mut part)) = out {
            shard.emptied();
            if last {
                let integers = self.layout.f32_len() * 4..self.layout.byte_len();
                let base = &finish.base.as_slice()[integers.clone()];
                let out = &mut part[integers.start - bytes.start..];
                lock(&self.book).finalise_integers(base, out);
            }
            return Ok(leaves.finish(&part));
        }
        Ok(Vec::new())
    }

    /// One of [`Measure`]'s shards of a look: what each update's distance from the base grows by.
    pub(super) fn look(&self, look: &Look, index: usize) -> Result<Vec<Partial>, SumError> {
        let mut scratch = lock(&self.scratch).pop().unwrap_or_default();
        let done = self.look_at(look, index, &mut scratch);
        lock(&self.scratch).push(scratch);
        done
    }

    fn look_at(&self, look: &Look, index: usize, scratch: &mut Scratch) -> Result<Vec<Partial>, SumError> {
        // Only a sum of clipped updates looks.
        let measure = self.measure.as_ref().ok_or(SumError::Incomplete)?;
        let mut partials: Vec<_> = look.batch.updates.iter().map(|_| measure.partial(index)).collect();
        let range = measure.shards()[index].clone();
        for from in range.clone().step_by(LEAF) {
            go_on(&look.call)?;
            let bytes = from * 4..(from + LEAF).min(range.end) * 4;
            let updates = look.batch.read(&bytes, &mut scratch.leaves)?;
            let base = &look.base.as_slice()[bytes];
            for (partial, (values, _)) in partials.iter_mut().zip(updates.as_slice()) {
                partial.accumulate(from, &[values], base, &mut scratch.deltas);
            }
        }
        Ok(partials)
    }

    /// Books weights and integers.
    fn admit(&self, pass: &Pass, scratch: &mut Scratch) -> Result<(), SumError> {
        let integers = self.layout.f32_len() * 4..self.layout.byte_len();
        let updates = pass.batch.read(&integers, &mut scratch.leaves)?;
        let mut book = lock(&self.book);
        for (summand, (integers, _)) in pass.batch.updates.iter().zip(updates.as_slice()) {
            let integers = integers.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b));
            book.admit(integers, summand.full)?;
        }
        Ok(())
    }
}

/// Goes through a leaf in runs of [`ELEMENTS_A_PASS`] elements: the first of each, and its bytes within the leaf.
fn each_run(leaf: &Range<usize>, mut work: impl FnMut(usize, Range<usize>)) {
    for from in leaf.clone().step_by(ELEMENTS_A_PASS) {
        let to = (from + ELEMENTS_A_PASS).min(leaf.end);
        work(from, (from - leaf.start) * 4..(to - leaf.start) * 4);
    }
}
