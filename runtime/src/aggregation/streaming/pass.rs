//! What the jobs of one pass do: read a run of every update and add it. In the last pass they also take the
//! mean and the server's step, and hash the leaves.

use std::{ops::Range, sync::Mutex};

use fl_engine::{
    Digest, Weight,
    aggregate::{
        ELEMENTS_A_PASS, ExactMean, MOST_AT_ONCE, Measure, Partial, Scratch, Shard, keep_base, terms_of,
    },
    tensor::Dtype,
};

use super::LEAF;
use crate::{
    aggregation::{
        AggregationError,
        pool_call::{CallToken, ScratchStack, lock},
        server_step::RoundStep,
        shards::Shards,
        update::StagedUpdate,
    },
    payload::{Parts, Payload, leaves::Leaves},
};

/// What the jobs of every pass share.
#[derive(Debug)]
pub(super) struct SharedSum {
    pub(super) shards: Shards,
    /// The sum of the f32 elements in each shard.
    pub(super) sums: Vec<Mutex<Shard>>,
    /// The sum of the weights, and the integers. Its shards are `sums`.
    pub(super) totals: Mutex<ExactMean>,
    pub(super) scratch: ScratchStack<LeafScratch>,
    /// How distances from the base model are measured, where updates are clipped.
    pub(super) measure: Option<Measure>,
}

/// Memory of one job.
#[derive(Debug, Default)]
pub(super) struct LeafScratch {
    /// Decrypted leaves of spilled updates.
    leaves: [Vec<u8>; MOST_AT_ONCE],
    /// Differences from the base model.
    deltas: Scratch,
}

/// Updates of one pass, at most [`MOST_AT_ONCE`].
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) updates: Vec<WeightedUpdate>,
}

/// An update of a pass.
#[derive(Debug)]
pub(super) struct WeightedUpdate {
    pub(super) update: StagedUpdate,
    /// What the update adds to the divisor.
    pub(super) full: Weight,
    /// The factor of the update's values: `full`, or less for a clipped update.
    pub(super) share: u32,
}

/// A pass that measures how far each update is from the base model.
#[derive(Debug)]
pub(super) struct DistancePass {
    pub(super) batch: Batch,
    pub(super) base: Payload,
    pub(super) call: CallToken,
}

/// A pass that adds updates, and makes the model when it is the round's last. Dropping it frees the updates'
/// slots.
#[derive(Debug)]
pub(super) struct Pass {
    pub(super) batch: Batch,
    pub(super) last: Option<LastPass>,
    pub(super) call: CallToken,
}

/// What the round's last pass needs to make the model.
#[derive(Debug)]
pub(super) struct LastPass {
    pub(super) base: Payload,
    pub(super) step: Option<RoundStep>,
    /// The model is written here.
    pub(super) parts: Parts,
    /// The divisor.
    pub(super) total: u64,
    /// The weight of the base model.
    pub(super) residual: u64,
}

/// The same run of every update of a pass.
#[derive(Clone, Copy)]
struct Runs<'a> {
    all: [(&'a [u8], u32); MOST_AT_ONCE],
    updates: usize,
}

impl<'a> Runs<'a> {
    /// Bytes and factor, update by update.
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
    /// Bytes `range` of every update, from memory or decrypted into `scratch`.
    fn read<'a>(
        &'a self,
        range: &Range<usize>,
        scratch: &'a mut [Vec<u8>],
    ) -> Result<Runs<'a>, AggregationError> {
        let mut all = [([].as_slice(), 0); MOST_AT_ONCE];
        for ((weighted, run), scratch) in self.updates.iter().zip(&mut all).zip(scratch) {
            *run = (weighted.update.read(range, scratch)?, weighted.share);
        }
        Ok(Runs { all, updates: self.updates.len() })
    }

    pub(super) fn into_updates(self) -> Vec<StagedUpdate> {
        self.updates.into_iter().map(|weighted| weighted.update).collect()
    }
}

impl SharedSum {
    /// One shard's part of a pass. The last pass returns the digests of the shard's leaves.
    pub(super) fn work(&self, pass: &Pass, index: usize) -> Result<Vec<Digest>, AggregationError> {
        let mut sum = lock(&self.sums[index]);
        self.scratch.with(|scratch| self.work_on(&mut sum, pass, index, scratch))
    }

    fn work_on(
        &self,
        sum: &mut Shard,
        pass: &Pass,
        index: usize,
        scratch: &mut LeafScratch,
    ) -> Result<Vec<Digest>, AggregationError> {
        let (range, bytes) = (sum.range(), self.shards.bytes(index));
        let mut out = pass.last.as_ref().map(|last| (last, last.parts.part(index)));
        let mut leaves = Leaves::new(out.as_ref().map_or(0, |_| bytes.len()));
        let residual = pass.last.as_ref().map_or(0, |last| last.residual);
        pass.call.go_on()?;
        sum.reserve(pass.batch.updates.len() as u32 + terms_of(residual) as u32);
        for from in range.clone().step_by(LEAF) {
            pass.call.go_on()?;
            let leaf = from..(from + LEAF).min(range.end);
            let updates = pass.batch.read(&(leaf.start * 4..leaf.end * 4), &mut scratch.leaves)?;
            let Some((last, part)) = &mut out else {
                each_run(&leaf, |from, within| sum.absorb_all(from, updates.within(&within).as_slice()));
                continue;
            };
            let base = &last.base.as_slice()[leaf.start * 4..leaf.end * 4];
            let out = &mut part[leaf.start * 4 - bytes.start..leaf.end * 4 - bytes.start];
            each_run(&leaf, |from, within| {
                let (updates, out) = (updates.within(&within), &mut out[within.clone()]);
                if residual == 0 {
                    return sum.take_mean(from, updates.as_slice(), last.total, out);
                }
                sum.absorb_all(from, updates.as_slice());
                sum.absorb_heavy(from, &base[within], residual);
                sum.take_mean(from, &[], last.total, out);
            });
            keep_base(self.shards.layout(), Dtype::F32, leaf.clone(), base, out);
            if let Some(step) = &last.step {
                step.take(index, leaf.start, base, out)?;
            }
            leaves.follow(&part[..leaf.end * 4 - bytes.start]);
        }
        if self.shards.is_last(index) {
            self.add_integers(pass, scratch)?;
        }
        let Some((last, mut part)) = out else { return Ok(Vec::new()) };
        sum.emptied();
        if self.shards.is_last(index) {
            let integers = self.shards.integers();
            let base = &last.base.as_slice()[integers.clone()];
            lock(&self.totals).finalise_integers(base, &mut part[integers.start - bytes.start..]);
        }
        Ok(leaves.finish(&part))
    }

    /// Adds the weights and integers of a pass to the totals.
    fn add_integers(&self, pass: &Pass, scratch: &mut LeafScratch) -> Result<(), AggregationError> {
        let updates = pass.batch.read(&self.shards.integers(), &mut scratch.leaves)?;
        let mut totals = lock(&self.totals);
        for (weighted, (integers, _)) in pass.batch.updates.iter().zip(updates.as_slice()) {
            let integers = integers.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b));
            totals.admit(integers, weighted.full)?;
        }
        Ok(())
    }

    /// What shard `index` of [`Measure`] adds to each update's distance from the base model.
    pub(super) fn measure(
        &self,
        pass: &DistancePass,
        index: usize,
    ) -> Result<Vec<Partial>, AggregationError> {
        self.scratch.with(|scratch| self.measure_on(pass, index, scratch))
    }

    fn measure_on(
        &self,
        pass: &DistancePass,
        index: usize,
        scratch: &mut LeafScratch,
    ) -> Result<Vec<Partial>, AggregationError> {
        // A sum has a measure when its updates are clipped, and only then are distances measured.
        let measure = self.measure.as_ref().ok_or(AggregationError::Incomplete)?;
        let mut partials: Vec<_> = pass.batch.updates.iter().map(|_| measure.partial(index)).collect();
        let range = measure.shards()[index].clone();
        for from in range.clone().step_by(LEAF) {
            pass.call.go_on()?;
            let bytes = from * 4..(from + LEAF).min(range.end) * 4;
            let updates = pass.batch.read(&bytes, &mut scratch.leaves)?;
            let base = &pass.base.as_slice()[bytes];
            for (partial, (values, _)) in partials.iter_mut().zip(updates.as_slice()) {
                partial.accumulate(from, &[values], base, &mut scratch.deltas);
            }
        }
        Ok(partials)
    }
}

/// Goes through a leaf in runs of [`ELEMENTS_A_PASS`] elements. `work` gets the first element of a run, and
/// the run's bytes within the leaf.
fn each_run(leaf: &Range<usize>, mut work: impl FnMut(usize, Range<usize>)) {
    for from in leaf.clone().step_by(ELEMENTS_A_PASS) {
        let to = (from + ELEMENTS_A_PASS).min(leaf.end);
        work(from, (from - leaf.start) * 4..(to - leaf.start) * 4);
    }
}
