//! The sum of a round's updates, worked on by the CPU pool.
//!
//! The coordinator owns one [`Summing`] for the whole run: it hands over staged updates as they are accepted, up to
//! four a pass, and takes the mean when the round closes. Threads share the model by shards; each goes through its
//! shard leaf by leaf (256 KiB), so that what it reads, sums, rounds and hashes stays in the cache. Order, batches,
//! thread count, and whether an update lay in memory or on disk change no bit of the result. Nothing is allocated per
//! leaf, and no update is ever held as numbers.
//!
//! ```text
//!  Summing ──▶ Pass (updates, base, draft) ──▶ one job a shard ──▶ leaves ──▶ root, Payload
//!                 freed with the last job        locks its shard
//! ```

use std::{
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use fl_engine::{
    Digest, Weight,
    aggregate::{AbsorbError, ExactMean, PASS, RuleError, Shard, keep_base, most_total},
    limits,
    plan::ExactRange,
    tensor::{Dtype, Layout, leaves_of, root_over},
};

use crate::{
    memory::{MemoryError, StagedSlot},
    payload::{Draft, Parts, Payload, PayloadPool},
    pool::{Pool, PoolError},
    stepping::Step,
};

/// Updates that one pass over the sum adds.
pub const AT_ONCE: usize = 4;

/// Why updates were not added or a mean was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SumError {
    /// An update or the base has another length than the layout's, or the weights' sum would pass its bound. The sum
    /// is as before.
    #[error(transparent)]
    Refused(#[from] AbsorbError),
    /// A mean of no updates was asked for. The sum is as before.
    #[error("a mean of no updates")]
    Empty,
    /// The server's step leads nowhere. The sum is incomplete.
    #[error(transparent)]
    Step(#[from] RuleError),
    /// An update could not be read back: its spill file was changed, or the disk failed. The sum is incomplete.
    #[error("update {index} of the batch cannot be read back")]
    Update {
        /// Its place in the batch given.
        index: usize,
        /// Which slot and chunk.
        source: MemoryError,
    },
    /// A job panicked. The sum is incomplete.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// An earlier call failed or was dropped half-way: only [`Summing::clear`] goes on from here.
    #[error("the sum is incomplete; clear it and add every update of the round again")]
    Incomplete,
}

/// An exact sum on the CPU pool.
///
/// A call that fails after it has begun to add, or whose future is dropped, leaves the sum *incomplete*: every later
/// call but [`Self::clear`] then answers [`SumError::Incomplete`], so that no half-added update is ever counted.
#[derive(Debug)]
pub struct Summing {
    pool: Pool,
    payloads: PayloadPool,
    sum: Arc<Sum>,
    most_total: u64,
    /// Whether every shard holds the same updates.
    complete: bool,
}

/// What the jobs share.
#[derive(Debug)]
struct Sum {
    layout: Arc<Layout>,
    /// Weights and integers; its shards are below.
    book: Mutex<ExactMean>,
    shards: Vec<Mutex<Shard>>,
    /// Bytes of the payload that belong to each shard; the integers belong to the last.
    runs: Vec<Range<usize>>,
    /// Buffers for spilled leaves, at most one set a pool thread.
    scratch: Mutex<Vec<Scratch>>,
}

type Scratch = [Vec<u8>; AT_ONCE];

impl Summing {
    /// An empty sum over the layout of `payloads`: 16 bytes of memory a f32 element and 8 an i64 element.
    #[must_use]
    pub fn new(pool: Pool, payloads: PayloadPool, range: ExactRange) -> Self {
        let layout = Arc::clone(payloads.layout());
        // Some shards more than threads, so that a thread that is late holds up little; each of whole leaves.
        let shards = (pool.threads() * SHARDS_A_THREAD).min(layout.f32_len() / LEAF).max(1);
        let mut book = ExactMean::new(Arc::clone(&layout), range, shards);
        let shards = book.take_shards();
        let mut runs: Vec<_> = shards.iter().map(|s| s.range().start * 4..s.range().end * 4).collect();
        if let Some(last) = runs.last_mut() {
            last.end = layout.byte_len();
        }
        let shards = shards.into_iter().map(Mutex::new).collect();
        let sum = Sum { layout, book: Mutex::new(book), shards, runs, scratch: Mutex::default() };
        Self { pool, payloads, sum: Arc::new(sum), most_total: most_total(range), complete: true }
    }

    /// Sum of the weights added so far.
    #[must_use]
    pub fn total(&self) -> u64 {
        lock(&self.sum.book).total()
    }

    /// Elements of the f32 segment in each shard.
    #[must_use]
    pub fn shards(&self) -> Vec<Range<usize>> {
        self.sum.shards.iter().map(|shard| lock(shard).range()).collect()
    }

    /// Adds checked updates, [`AT_ONCE`] a pass; their slots are free when it returns, whatever it returns.
    ///
    /// # Errors
    /// [`SumError`]; each variant says whether the sum is as before.
    ///
    /// # Cancel safety
    /// Not cancel-safe: the sum is incomplete then. Slots come back as soon as the jobs under way have noticed, within
    /// a leaf's work each.
    pub async fn absorb(&mut self, batch: Vec<(StagedSlot, Weight)>) -> Result<(), SumError> {
        self.check(&batch, None)?;
        let last = self.all_but_last(batch).await?;
        match last.updates.is_empty() {
            true => Ok(()),
            false => self.pass(last, None).await.map(drop),
        }
    }

    /// The mean of everything added, held-out tensors as in `base`; the sum is empty afterwards and keeps its memory.
    /// Waits first for a buffer, see [`PayloadPool::take`].
    ///
    /// # Errors
    /// As [`Self::absorb`], and [`SumError::Empty`].
    ///
    /// # Cancel safety
    /// Nothing happens while it waits for a buffer; afterwards as [`Self::absorb`]. The buffer comes back as slots do.
    pub async fn finalise(&mut self, base: &Payload) -> Result<Payload, SumError> {
        self.absorb_and_finalise(Vec::new(), base).await
    }

    /// [`Self::absorb`] and [`Self::finalise`] in one: the last pass adds, rounds and hashes. It saves a wait for the
    /// pool and 1 to 2 % of the processor time of the two.
    ///
    /// # Errors
    /// As [`Self::finalise`].
    ///
    /// # Cancel safety
    /// As [`Self::finalise`].
    pub async fn absorb_and_finalise(
        &mut self,
        batch: Vec<(StagedSlot, Weight)>,
        base: &Payload,
    ) -> Result<Payload, SumError> {
        self.absorb_and_step(batch, base, None).await
    }

    /// [`Self::absorb_and_finalise`], with the server's step taken on the mean in the same pass; `step` is over
    /// [`Self::shards`].
    ///
    /// # Errors
    /// As [`Self::finalise`], and [`SumError::Step`].
    ///
    /// # Cancel safety
    /// As [`Self::finalise`].
    pub async fn absorb_and_step(
        &mut self,
        batch: Vec<(StagedSlot, Weight)>,
        base: &Payload,
        step: Option<&Step>,
    ) -> Result<Payload, SumError> {
        self.check(&batch, Some(base))?;
        let draft = self.payloads.take().await;
        let last = self.all_but_last(batch).await?;
        let finished = self.pass(last, Some((base, draft, step))).await?;
        // A pass with a draft ends with a payload.
        finished.ok_or(SumError::Incomplete)
    }

    /// Back to an empty and complete sum, whatever happened before; the memory is kept.
    ///
    /// # Errors
    /// [`SumError::Pool`] when the pool is gone; the sum stays incomplete then.
    ///
    /// # Cancel safety
    /// The sum is incomplete until it is called again.
    pub async fn clear(&mut self) -> Result<(), SumError> {
        self.complete = false;
        let call = Call::default();
        let _cancel = CancelOnDrop(call.clone());
        let clear = |index: usize| {
            let (sum, call) = (Arc::clone(&self.sum), call.clone());
            self.pool.run(move || {
                let mut shard = lock(&sum.shards[index]);
                if !call.is_cancelled() {
                    shard.clear();
                }
            })
        };
        let jobs: Vec<_> = (0..self.sum.shards.len()).map(clear).collect();
        for job in jobs {
            job.await?;
        }
        lock(&self.sum.book).clear();
        self.complete = true;
        Ok(())
    }

    /// Refuses, before anything has changed, what cannot be added.
    fn check(&self, batch: &[(StagedSlot, Weight)], base: Option<&Payload>) -> Result<(), SumError> {
        if !self.complete {
            return Err(SumError::Incomplete);
        }
        let expected = self.sum.layout.byte_len();
        let alike = batch.iter().all(|(slot, _)| slot.payload_len() == expected as u64);
        if !alike || base.is_some_and(|base| base.len() != expected) {
            return Err(AbsorbError::Length.into());
        }
        let total = self.total() + weight_of(batch);
        match total {
            0 if base.is_some() => Err(SumError::Empty),
            _ if total > self.most_total => Err(AbsorbError::TotalWeight(total).into()),
            _ => Ok(()),
        }
    }

    /// Adds all but the last [`AT_ONCE`] updates or fewer, which it returns.
    async fn all_but_last(&mut self, mut updates: Vec<(StagedSlot, Weight)>) -> Result<Batch, SumError> {
        let mut first = 0;
        while updates.len() > AT_ONCE {
            let rest = updates.split_off(AT_ONCE);
            self.pass(Batch { first, updates }, None).await?;
            (first, updates) = (first + AT_ONCE, rest);
        }
        Ok(Batch { first, updates })
    }

    /// Adds `batch` in one pass over every shard, and with a base and a draft takes the mean in the same pass.
    async fn pass(
        &mut self,
        batch: Batch,
        finish: Option<(&Payload, Draft, Option<&Step>)>,
    ) -> Result<Option<Payload>, SumError> {
        self.complete = false;
        let total = self.total() + weight_of(&batch.updates);
        let finish = finish.map(|(base, draft, step)| Finish {
            base: base.clone(),
            step: step.cloned(),
            parts: draft.split(self.sum.runs.iter().map(Range::len)),
            total,
        });
        let call = Call::default();
        let _cancel = CancelOnDrop(call.clone());
        let pass = Arc::new(Pass { batch, finish, call: call.clone() });
        let work = |index: usize| {
            let (sum, pass) = (Arc::clone(&self.sum), Arc::clone(&pass));
            self.pool.run(move || sum.work(&pass, index))
        };
        let jobs: Vec<_> = (0..self.sum.shards.len()).map(work).collect();
        let (mut leaves, mut failed) = (Vec::new(), None);
        for job in jobs {
            match job.await.map_err(SumError::from).flatten() {
                Ok(more) => leaves.extend(more),
                // The first that is not the echo of another's.
                Err(error) => {
                    call.cancel();
                    if matches!(failed, None | Some(SumError::Incomplete)) {
                        failed = Some(error);
                    }
                }
            }
        }
        // Every job has let go of it before it answered.
        let Some(Pass { batch, finish, .. }) = Arc::into_inner(pass) else {
            return Err(SumError::Incomplete);
        };
        if batch.updates.iter().any(|(slot, _)| slot.in_memory().is_none()) {
            // Deleting spill files takes its time, which is not the caller's thread's.
            self.pool.run(move || drop(batch)).await?;
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let finished = finish.and_then(|Finish { parts, .. }| {
            lock(&self.sum.book).clear();
            let layout = &self.sum.layout;
            let root = root_over(layout.hash(), leaves, layout.byte_len() as u64);
            parts.join().map(|draft| draft.finish_with(root))
        });
        self.complete = true;
        Ok(finished)
    }
}

/// Updates of one pass.
#[derive(Debug)]
struct Batch {
    /// Place of the first in what the caller gave.
    first: usize,
    updates: Vec<(StagedSlot, Weight)>,
}

/// One pass, shared by its jobs; dropped with the last of them, which frees the slots.
#[derive(Debug)]
struct Pass {
    batch: Batch,
    finish: Option<Finish>,
    call: Call,
}

/// What the mean is written to.
#[derive(Debug)]
struct Finish {
    base: Payload,
    step: Option<Step>,
    parts: Parts,
    total: u64,
}

impl Pass {
    /// Bytes `range` of every update, in memory or decrypted into `scratch`.
    fn read<'a>(
        &'a self,
        range: &Range<usize>,
        scratch: &'a mut Scratch,
    ) -> Result<[&'a [u8]; AT_ONCE], SumError> {
        let mut bytes = [[].as_slice(); AT_ONCE];
        for (index, (((slot, _), bytes), scratch)) in
            self.batch.updates.iter().zip(&mut bytes).zip(scratch).enumerate()
        {
            let read = slot.read(range.start as u64..range.end as u64, scratch);
            *bytes = read.map_err(|source| SumError::Update { index: self.batch.first + index, source })?;
        }
        Ok(bytes)
    }
}

/// Whether a call is still waited for. Jobs look under their shard's lock, which orders them against later calls: one
/// that comes late, after a [`Summing::clear`], finds its call cancelled and leaves the shard alone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call(Arc<AtomicBool>);

impl Call {
    pub(crate) fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Held by the call's future.
pub(crate) struct CancelOnDrop(pub(crate) Call);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Sum {
    /// One shard's part of a pass; answers its leaves when there is a mean to take. The last shard has the integers
    /// too.
    fn work(&self, pass: &Pass, index: usize) -> Result<Vec<Digest>, SumError> {
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
        let mut leaves = Vec::with_capacity(out.as_ref().map_or(0, |_| bytes.len().div_ceil(LEAF_BYTES)));
        let go_on = || if pass.call.is_cancelled() { Err(SumError::Incomplete) } else { Ok(()) };
        go_on()?;
        shard.reserve(pass.batch.updates.len() as u32);
        for from in range.clone().step_by(LEAF) {
            go_on()?;
            let leaf = from..(from + LEAF).min(range.end);
            let updates = pass.read(&(leaf.start * 4..leaf.end * 4), scratch)?;
            let mut out = out.as_mut().map(|(finish, part)| {
                let part = &mut part[leaf.start * 4 - bytes.start..leaf.end * 4 - bytes.start];
                (&**finish, part)
            });
            for from in leaf.clone().step_by(PASS) {
                let to = (from + PASS).min(leaf.end);
                let within = (from - leaf.start) * 4..(to - leaf.start) * 4;
                add(shard, from, &pass.batch, updates.map(|u| u.get(within.clone()).unwrap_or_default()));
                if let Some((finish, out)) = &mut out {
                    shard.take_mean(from, finish.total, &mut out[within]);
                }
            }
            if let Some((finish, out)) = out {
                let base = &finish.base.as_slice()[leaf.start * 4..leaf.end * 4];
                keep_base(&self.layout, Dtype::F32, leaf.clone(), base, out);
                if let Some(step) = &finish.step {
                    step.take(index, leaf.start, base, out)?;
                }
                // A shorter leaf is the last, and integers may belong to it.
                if out.len() == LEAF_BYTES {
                    leaves.push(Digest::of(out));
                }
            }
        }
        let last = index + 1 == self.shards.len();
        if last {
            self.admit(pass, scratch)?;
        }
        if let Some((finish, mut part)) = out {
            shard.emptied();
            let integers = self.layout.f32_len() * 4..self.layout.byte_len();
            if last {
                let base = &finish.base.as_slice()[integers.clone()];
                let out = &mut part[integers.start - bytes.start..];
                lock(&self.book).finalise_integers(base, out);
                leaves.extend(leaves_of(&part[leaves.len() * LEAF_BYTES..]));
            }
        }
        Ok(leaves)
    }

    /// Books weights and integers.
    fn admit(&self, pass: &Pass, scratch: &mut Scratch) -> Result<(), SumError> {
        let updates = pass.read(&(self.layout.f32_len() * 4..self.layout.byte_len()), scratch)?;
        let mut book = lock(&self.book);
        for ((_, weight), integers) in pass.batch.updates.iter().zip(updates) {
            book.admit(integers.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)), *weight)?;
        }
        Ok(())
    }
}

/// Adds elements `from..` of every update; `bytes` holds them, update by update.
fn add(shard: &mut Shard, from: usize, batch: &Batch, bytes: [&[u8]; AT_ONCE]) {
    match batch.updates.as_slice() {
        [(_, a), (_, b), (_, c), (_, d)] => shard.absorb_four(from, bytes, [*a, *b, *c, *d]),
        fewer => fewer.iter().zip(bytes).for_each(|((_, weight), bytes)| shard.absorb(from, bytes, *weight)),
    }
}

fn weight_of(updates: &[(StagedSlot, Weight)]) -> u64 {
    updates.iter().map(|(_, weight)| u64::from(weight.value())).sum()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A shard that a panic left half-way belongs to an incomplete sum.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const LEAF_BYTES: usize = limits::LEAF_BYTES;
/// Elements under one leaf.
const LEAF: usize = LEAF_BYTES / 4;
/// Shards for each thread of the pool.
const SHARDS_A_THREAD: usize = 4;

#[cfg(test)]
mod tests;
