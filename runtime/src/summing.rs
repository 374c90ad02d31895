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
//!
//! The last pass is what everybody waits for. It reads the sum once, adds the last updates and divides in registers,
//! writes the model and nothing else, and hashes two leaves at a time; the next round's first pass writes over the
//! sum instead of adding to zeros.
//!
//! Updates that are clipped are read twice: their distances from the base are measured first, over
//! [`Measure`]'s shards, which the layout alone decides, and then they are added like others with the integers that
//! [`Clip`](fl_engine::aggregate::Clip) makes of their weights.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use fl_engine::{
    Digest, Weight,
    aggregate::{
        AbsorbError, Clip, ExactMean, Fault, Measure, PASS, Partial, PayloadChecker, RuleError, Shard,
        Stream, keep_base, most_total, terms_of,
    },
    limits,
    plan::{ExactRange, Scope},
    tensor::{Dtype, Layout, leaves_of, root_over},
};

use crate::{
    memory::{MemoryError, StagedSlot},
    payload::{Draft, Parts, Payload, PayloadPool, digests},
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
    /// Updates are to be clipped, and the model that they are measured from is not given, or not the one that the sum
    /// began with. The sum is as before.
    #[error("updates are clipped around the model that their round began with")]
    Base,
    /// Updates are to be clipped, and the model that they are measured from cannot be summed. The sum is as before.
    #[error("the model that updates are clipped around cannot be summed")]
    Unfit(#[source] Fault),
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
    stream: Stream,
    range: ExactRange,
    most_total: u64,
    /// Whether every shard holds the same updates.
    complete: bool,
    /// What the base counts with beside the updates, when those are clipped.
    residual: u64,
    /// Root of the model that updates are clipped around, since the first of a sum.
    around: Option<Digest>,
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
    /// How distances from the base are measured, where updates are clipped.
    measure: Option<Measure>,
}

#[derive(Debug, Default)]
struct Scratch {
    /// Decrypted leaves.
    leaves: [Vec<u8>; AT_ONCE],
    /// Deltas from the base.
    deltas: fl_engine::aggregate::Scratch,
}

impl Summing {
    /// An empty sum of updates by their weights, over the layout of `payloads`: 16 bytes of memory a f32 element and 8 an
    /// i64 element.
    #[must_use]
    pub fn new(pool: Pool, payloads: PayloadPool, range: ExactRange) -> Self {
        Self::of(Stream::WeightedMean, pool, payloads, range)
    }

    /// An empty sum for any rule that streams, with the plan's range; memory as for [`Self::new`].
    #[must_use]
    pub fn of(stream: Stream, pool: Pool, payloads: PayloadPool, exact: ExactRange) -> Self {
        let (range, clipped) = match stream {
            Stream::Clipped(_) => (Clip::range(exact), true),
            Stream::WeightedMean | Stream::Mean => (exact, false),
        };
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
        let measure = clipped.then(|| Measure::new(&layout, Scope::Model, 1));
        let sum = Sum { layout, book: Mutex::new(book), shards, runs, scratch: Mutex::default(), measure };
        Self {
            pool,
            payloads,
            sum: Arc::new(sum),
            stream,
            range,
            most_total: most_total(range),
            complete: true,
            residual: 0,
            around: None,
        }
    }

    /// Sum of the weights added so far, each as the rule counts it in full: as it is, as 1, or times a power of two.
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
    /// [`SumError`]; each variant says whether the sum is as before. [`SumError::Base`] for updates that are clipped.
    ///
    /// # Cancel safety
    /// Not cancel-safe: the sum is incomplete then. Slots come back as soon as the jobs under way have noticed, within
    /// a leaf's work each.
    pub async fn absorb(&mut self, batch: Vec<(StagedSlot, Weight)>) -> Result<(), SumError> {
        self.add(batch, None).await
    }

    /// [`Self::absorb`] where updates may be clipped: `base` is the model that their round began with.
    ///
    /// # Errors
    /// [`SumError`]; each variant says whether the sum is as before.
    ///
    /// # Cancel safety
    /// As [`Self::absorb`].
    pub async fn absorb_around(
        &mut self,
        batch: Vec<(StagedSlot, Weight)>,
        base: &Payload,
    ) -> Result<(), SumError> {
        self.add(batch, Some(base)).await
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
        self.check(&batch, Some(base), true)?;
        let draft = self.payloads.take().await;
        let last = self.all_but_last(batch, Some(base)).await?;
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
        self.forget();
        self.complete = true;
        Ok(())
    }

    /// Empties the book beside the shards.
    fn forget(&mut self) {
        lock(&self.sum.book).clear();
        (self.residual, self.around) = (0, None);
    }

    async fn add(
        &mut self,
        batch: Vec<(StagedSlot, Weight)>,
        base: Option<&Payload>,
    ) -> Result<(), SumError> {
        self.check(&batch, base, false)?;
        let last = self.all_but_last(batch, base).await?;
        match last.updates.is_empty() {
            true => Ok(()),
            false => self.pass(last, None).await.map(drop),
        }
    }

    /// Refuses, before anything has changed, what cannot be added.
    fn check(
        &self,
        batch: &[(StagedSlot, Weight)],
        base: Option<&Payload>,
        finish: bool,
    ) -> Result<(), SumError> {
        if !self.complete {
            return Err(SumError::Incomplete);
        }
        let expected = self.sum.layout.byte_len();
        let alike = batch.iter().all(|(slot, _)| slot.payload_len() == expected as u64);
        if !alike || base.is_some_and(|base| base.len() != expected) {
            return Err(AbsorbError::Length.into());
        }
        if self.sum.measure.is_some() && (!batch.is_empty() || finish) {
            let around = base.ok_or(SumError::Base)?.root();
            if self.around.is_some_and(|first| first != around) {
                return Err(SumError::Base);
            }
        }
        let total =
            self.total() + batch.iter().map(|(_, weight)| u64::from(self.full(*weight).value())).sum::<u64>();
        match total {
            0 if finish => Err(SumError::Empty),
            _ if total > self.most_total => Err(AbsorbError::TotalWeight(total).into()),
            _ => Ok(()),
        }
    }

    /// What an update adds to the divisor.
    fn full(&self, weight: Weight) -> Weight {
        match self.stream {
            Stream::WeightedMean => weight,
            Stream::Mean => Weight::ONE,
            Stream::Clipped(clip) => clip.full(weight),
        }
    }

    /// Adds all but the last [`AT_ONCE`] updates or fewer, which it returns with their shares.
    async fn all_but_last(
        &mut self,
        mut updates: Vec<(StagedSlot, Weight)>,
        base: Option<&Payload>,
    ) -> Result<Batch, SumError> {
        let mut first = 0;
        while updates.len() > AT_ONCE {
            let rest = updates.split_off(AT_ONCE);
            let batch = self.share(first, updates, base).await?;
            self.pass(batch, None).await?;
            (first, updates) = (first + AT_ONCE, rest);
        }
        self.share(first, updates, base).await
    }

    /// What each update counts with: known from its weight, or from its distance as well.
    async fn share(
        &mut self,
        first: usize,
        updates: Vec<(StagedSlot, Weight)>,
        base: Option<&Payload>,
    ) -> Result<Batch, SumError> {
        let summand = |(slot, weight)| {
            let full = self.full(weight);
            Summand { slot, weight, full, share: full.value() }
        };
        let batch = Batch { first, updates: updates.into_iter().map(summand).collect() };
        match (self.stream, base) {
            (Stream::Clipped(clip), Some(base)) if !batch.updates.is_empty() => {
                self.clip(clip, batch, base).await
            }
            _ => Ok(batch),
        }
    }

    /// Measures the updates' distances from `base`, and cuts their shares.
    async fn clip(&mut self, clip: Clip, batch: Batch, base: &Payload) -> Result<Batch, SumError> {
        if self.around.is_none() {
            let (base, layout, range) = (base.clone(), Arc::clone(&self.sum.layout), self.range);
            let fit = move || PayloadChecker::new(layout, range).update(base.as_slice());
            self.pool.run(fit).await?.map_err(SumError::Unfit)?;
        }
        // Slots given and not yet added: whoever fails or drops this call has lost them.
        self.complete = false;
        self.around = Some(base.root());
        let call = Call::default();
        let _cancel = CancelOnDrop(call.clone());
        let look = Arc::new(Look { batch, base: base.clone(), call: call.clone() });
        let work = |index: usize| {
            let (sum, look) = (Arc::clone(&self.sum), Arc::clone(&look));
            self.pool.run(move || sum.look(&look, index))
        };
        let shards = self.sum.measure.iter().map(|measure| measure.shards().len()).sum();
        let jobs: Vec<_> = (0..shards).map(work).collect();
        let (mut partials, mut failed) = (vec![Vec::new(); look.batch.updates.len()], None);
        for job in jobs {
            match job.await.map_err(SumError::from).flatten() {
                Ok(parts) => partials.iter_mut().zip(parts).for_each(|(all, part)| all.push(part)),
                Err(error) => {
                    call.cancel();
                    if matches!(failed, None | Some(SumError::Incomplete)) {
                        failed = Some(error);
                    }
                }
            }
        }
        let (Some(Look { mut batch, .. }), Some(measure)) = (Arc::into_inner(look), &self.sum.measure) else {
            return Err(SumError::Incomplete);
        };
        if let Some(error) = failed {
            self.let_go(batch).await?;
            return Err(error);
        }
        for (summand, partials) in batch.updates.iter_mut().zip(partials) {
            let products = measure.merge(partials);
            let distance = products.first().map_or(0.0, |products| products.norm_squared(0));
            summand.share = clip.weight(summand.weight, distance).map_or(0, Weight::value);
        }
        Ok(batch)
    }

    /// Frees slots. Deleting spill files takes its time, which is not the caller's thread's.
    async fn let_go(&self, batch: Batch) -> Result<(), PoolError> {
        if batch.updates.iter().any(|summand| summand.slot.in_memory().is_none()) {
            self.pool.run(move || drop(batch)).await?;
        }
        Ok(())
    }

    /// Adds `batch` in one pass over every shard, and with a base and a draft takes the mean in the same pass.
    async fn pass(
        &mut self,
        batch: Batch,
        finish: Option<(&Payload, Draft, Option<&Step>)>,
    ) -> Result<Option<Payload>, SumError> {
        self.complete = false;
        let full: u64 = batch.updates.iter().map(|summand| u64::from(summand.full.value())).sum();
        let shares: u64 = batch.updates.iter().map(|summand| u64::from(summand.share)).sum();
        let (total, residual) = (self.total() + full, self.residual + (full - shares));
        let finish = finish.map(|(base, draft, step)| Finish {
            base: base.clone(),
            step: step.cloned(),
            parts: draft.split(self.sum.runs.iter().map(Range::len)),
            total,
            residual,
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
        self.let_go(batch).await?;
        if let Some(error) = failed {
            return Err(error);
        }
        self.residual = residual;
        let finished = finish.and_then(|Finish { parts, .. }| {
            self.forget();
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
    updates: Vec<Summand>,
}

/// An update of a pass.
#[derive(Debug)]
struct Summand {
    slot: StagedSlot,
    /// The collaborator's.
    weight: Weight,
    /// What it adds to the divisor.
    full: Weight,
    /// What its values are multiplied by.
    share: u32,
}

/// A look at the distances of a batch, shared by its jobs.
#[derive(Debug)]
struct Look {
    batch: Batch,
    base: Payload,
    call: Call,
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
    /// What the base counts with.
    residual: u64,
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

    fn go_on(&self) -> Result<(), SumError> {
        if self.is_cancelled() { Err(SumError::Incomplete) } else { Ok(()) }
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
        let residual = pass.finish.as_ref().map_or(0, |finish| finish.residual);
        pass.call.go_on()?;
        shard.reserve(pass.batch.updates.len() as u32 + terms_of(residual) as u32);
        for from in range.clone().step_by(LEAF) {
            pass.call.go_on()?;
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
            hash_pairs(&part[..leaf.end * 4 - bytes.start], &mut leaves);
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
            // One leaf of an odd number, or the shorter last one, which integers may belong to.
            leaves.extend(leaves_of(&part[leaves.len() * LEAF_BYTES..]));
        }
        Ok(leaves)
    }

    /// One of [`Measure`]'s shards of a look: what each update's distance from the base grows by.
    fn look(&self, look: &Look, index: usize) -> Result<Vec<Partial>, SumError> {
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
            look.call.go_on()?;
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

/// Goes through a leaf in runs of [`PASS`] elements: the first of each, and its bytes within the leaf.
fn each_run(leaf: &Range<usize>, mut work: impl FnMut(usize, Range<usize>)) {
    for from in leaf.clone().step_by(PASS) {
        let to = (from + PASS).min(leaf.end);
        work(from, (from - leaf.start) * 4..(to - leaf.start) * 4);
    }
}

/// Hashes the last two whole leaves of `done` when both are new: the second is still in the first-level caches, the
/// first one in the next.
fn hash_pairs(done: &[u8], leaves: &mut Vec<Digest>) {
    if let Some((one, two)) = done[leaves.len() * LEAF_BYTES..].split_at_checked(LEAF_BYTES)
        && two.len() == LEAF_BYTES
    {
        leaves.extend(digests(one, two));
    }
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
