//! What the jobs of one pass over a round do on their shards.

use std::{ops::Range, sync::Arc};

use fl_engine::{
    Digest,
    aggregate::{Combiner, Measure, Partial},
};

use super::{Round, scratch::WorkerScratch};
use crate::{
    aggregation::{AggregationError, pool_call::ScratchStack, server_step::RoundStep, shards::Shards},
    payload::{Parts, leaves::Leaves},
};

/// What the jobs of every pass share.
#[derive(Debug)]
pub(super) struct SharedModel {
    pub(super) shards: Shards,
    pub(super) scratch: ScratchStack<WorkerScratch>,
}

/// The pass that makes the model.
#[derive(Debug)]
pub(super) struct CombinePass {
    pub(super) round: Arc<Round>,
    pub(super) combiner: Combiner,
    /// The model is written here.
    pub(super) parts: Parts,
    pub(super) step: Option<RoundStep>,
}

impl SharedModel {
    /// What one shard adds to the products of all updates.
    pub(super) fn measure(
        &self,
        round: &Round,
        measure: &Measure,
        index: usize,
    ) -> Result<Partial, AggregationError> {
        let mut partial = measure.partial(index);
        let base = round.base.as_slice();
        self.scratch.with(|scratch| {
            for run in runs_of(&measure.shards()[index]) {
                round.call.go_on()?;
                let bytes = run.start * 4..run.end * 4;
                scratch.with_run(round.updates.iter(), &bytes, |inputs, scratch| {
                    partial.accumulate(run.start, inputs, &base[bytes.clone()], scratch);
                })?;
            }
            Ok(partial)
        })
    }

    /// One shard's part of the model. Returns the digests of the shard's leaves.
    pub(super) fn combine(&self, pass: &CombinePass, index: usize) -> Result<Vec<Digest>, AggregationError> {
        self.scratch.with(|scratch| self.combine_on(scratch, pass, index))
    }

    fn combine_on(
        &self,
        scratch: &mut WorkerScratch,
        pass: &CombinePass,
        index: usize,
    ) -> Result<Vec<Digest>, AggregationError> {
        let CombinePass { round, combiner, parts, step } = pass;
        let (whole, base) = (self.shards.bytes(index), round.base.as_slice());
        let mut part = parts.part(index);
        let mut leaves = Leaves::new(whole.len());
        for run in runs_of(&self.shards.elements()[index]) {
            round.call.go_on()?;
            let bytes = run.start * 4..run.end * 4;
            let base = &base[bytes.clone()];
            let out = &mut part[bytes.start - whole.start..bytes.end - whole.start];
            let inputs = combiner.inputs().iter().map(|index| &round.updates[*index]);
            scratch.with_run(inputs, &bytes, |inputs, scratch| {
                combiner.run(run.start, inputs, base, out, scratch)
            })??;
            if let Some(step) = step {
                step.take(index, run.start, base, out)?;
            }
            leaves.follow(&part[..bytes.end - whole.start]);
        }
        if self.shards.is_last(index) {
            self.combine_integers(scratch, pass, &mut part)?;
        }
        Ok(leaves.finish(&part))
    }

    /// `part` is the last shard's.
    fn combine_integers(
        &self,
        scratch: &mut WorkerScratch,
        pass: &CombinePass,
        part: &mut [u8],
    ) -> Result<(), AggregationError> {
        let CombinePass { round, combiner, .. } = pass;
        let integers = self.shards.integers();
        if integers.is_empty() {
            return Ok(());
        }
        let mut read = Vec::with_capacity(combiner.inputs().len() * integers.len());
        for index in combiner.inputs() {
            scratch.append(&round.updates[*index], &integers, &mut read)?;
        }
        let inputs: Vec<&[u8]> = read.chunks(integers.len()).collect();
        let out = part.len() - integers.len();
        combiner.integers(&inputs, &round.base.as_slice()[integers], &mut part[out..]);
        Ok(())
    }
}

/// The runs of a shard. A shard begins at a chunk of the spill files, so each run is one chunk there.
fn runs_of(shard: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = shard.end;
    shard.clone().step_by(RUN).map(move |from| from..(from + RUN).min(end))
}

/// Elements read at once: 64 KiB of every update.
const RUN: usize = 16 * 1024;
