//! A model cut into shards, and what a pool thread does on one.

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use fl_engine::{
    Digest,
    aggregate::{Combiner, Measure, Partial},
    plan::Scope,
    tensor::Layout,
};

use super::{CombineError, Round, scratch::Bench};
use crate::{
    aggregation::server_step::Step,
    payload::{Parts, leaves::Leaves},
};

/// Shards of one layout, and the threads' memory.
#[derive(Debug)]
pub(super) struct Ground {
    layout: Arc<Layout>,
    /// Elements of the f32 segment; at least one shard, which may be empty.
    shards: Vec<Range<usize>>,
    /// Bytes of the payload that belong to each shard; the integers belong to the last.
    runs: Vec<Range<usize>>,
    /// At most one a pool thread.
    benches: Mutex<Vec<Bench>>,
}

/// The pass that writes the model, shared by its jobs.
#[derive(Debug)]
pub(super) struct Second {
    pub(super) round: Arc<Round>,
    pub(super) combiner: Combiner,
    pub(super) parts: Parts,
    pub(super) step: Option<Step>,
}

impl Ground {
    pub(super) fn new(layout: Arc<Layout>) -> Self {
        let mut shards = Measure::new(&layout, Scope::Model, 0).shards().to_vec();
        if shards.is_empty() {
            // Somebody has to combine the integers.
            shards.push(0..0);
        }
        let mut runs: Vec<_> = shards.iter().map(|shard| shard.start * 4..shard.end * 4).collect();
        if let Some(last) = runs.last_mut() {
            last.end = layout.byte_len();
        }
        Self { layout, shards, runs, benches: Mutex::default() }
    }

    pub(super) fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    pub(super) fn shards(&self) -> &[Range<usize>] {
        &self.shards
    }

    pub(super) fn runs(&self) -> &[Range<usize>] {
        &self.runs
    }

    pub(super) fn measure(&self, scope: Scope, updates: usize) -> Measure {
        Measure::new(&self.layout, scope, updates)
    }

    /// One shard's part of the first pass; `None` for a model without f32 elements.
    pub(super) fn measure_shard(
        &self,
        round: &Round,
        measure: &Measure,
        index: usize,
    ) -> Result<Option<Partial>, CombineError> {
        if index >= measure.shards().len() {
            return Ok(None);
        }
        let mut partial = measure.partial(index);
        let base = round.base.as_slice();
        self.with_bench(|bench| {
            for run in runs_of(&self.shards[index]) {
                go_on(round)?;
                let bytes = run.start * 4..run.end * 4;
                bench.with_run(round.updates.iter(), &bytes, |inputs, scratch| {
                    partial.accumulate(run.start, inputs, &base[bytes.clone()], scratch);
                })?;
            }
            Ok(Some(partial))
        })
    }

    /// One shard's part of the model; answers its leaves. The last shard has the integers too.
    pub(super) fn combine(&self, second: &Second, index: usize) -> Result<Vec<Digest>, CombineError> {
        self.with_bench(|bench| self.combine_on(bench, second, index))
    }

    fn combine_on(
        &self,
        bench: &mut Bench,
        second: &Second,
        index: usize,
    ) -> Result<Vec<Digest>, CombineError> {
        let Second { round, combiner, parts, step } = second;
        let (whole, base) = (self.runs[index].clone(), round.base.as_slice());
        let mut part = parts.part(index);
        let mut leaves = Leaves::new(whole.len());
        for run in runs_of(&self.shards[index]) {
            go_on(round)?;
            let bytes = run.start * 4..run.end * 4;
            let base = &base[bytes.clone()];
            let out = &mut part[bytes.start - whole.start..bytes.end - whole.start];
            let inputs = combiner.inputs().iter().map(|index| &round.updates[*index]);
            bench.with_run(inputs, &bytes, |inputs, scratch| {
                combiner.run(run.start, inputs, base, out, scratch)
            })??;
            if let Some(step) = step {
                step.take(index, run.start, base, out)?;
            }
            leaves.follow(&part[..bytes.end - whole.start]);
        }
        if index + 1 == self.shards.len() {
            self.combine_integers(bench, second, &mut part)?;
        }
        Ok(leaves.finish(&part))
    }

    /// `part` is the last shard's.
    fn combine_integers(
        &self,
        bench: &mut Bench,
        second: &Second,
        part: &mut [u8],
    ) -> Result<(), CombineError> {
        let Second { round, combiner, .. } = second;
        let integers = self.layout.f32_len() * 4..self.layout.byte_len();
        if integers.is_empty() {
            return Ok(());
        }
        let mut read = Vec::with_capacity(combiner.inputs().len() * integers.len());
        for index in combiner.inputs() {
            bench.append(&round.updates[*index], &integers, &mut read)?;
        }
        let inputs: Vec<&[u8]> = read.chunks(integers.len()).collect();
        let out = part.len() - integers.len();
        combiner.integers(&inputs, &round.base.as_slice()[integers], &mut part[out..]);
        Ok(())
    }

    fn with_bench<T>(&self, work: impl FnOnce(&mut Bench) -> T) -> T {
        let mut bench = self.benches().pop().unwrap_or_default();
        let done = work(&mut bench);
        self.benches().push(bench);
        done
    }

    fn benches(&self) -> std::sync::MutexGuard<'_, Vec<Bench>> {
        self.benches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that nobody waits for any more, or that has failed elsewhere, is not worked on.
fn go_on(round: &Round) -> Result<(), CombineError> {
    if round.call.is_cancelled() { Err(CombineError::Incomplete) } else { Ok(()) }
}

/// The runs of a shard, which begins at a chunk of the spill files: each is one chunk there.
fn runs_of(shard: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = shard.end;
    shard.clone().step_by(RUN).map(move |from| from..(from + RUN).min(end))
}

/// Elements read at once: 64 KiB of every update.
const RUN: usize = 16 * 1024;
