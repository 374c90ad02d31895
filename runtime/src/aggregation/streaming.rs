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
//! writes the model and nothing else, and hashes leaves behind it; the next round's first pass writes over the
//! sum instead of adding to zeros.
//!
//! Updates that are clipped are read twice: their distances from the base are measured first, over
//! [`Measure`]'s shards, which the layout alone decides, and then they are added like others with the integers that
//! [`Clip`] makes of their weights.

mod pass;

use std::{
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fl_engine::{
    Digest, Weight,
    aggregate::{
        AbsorbError, Clip, ExactMean, Fault, Measure, PayloadChecker, RuleError, Stream, most_total,
    },
    limits,
    plan::{ExactRange, Scope},
    tensor::root_over,
};

use self::pass::{Batch, Finish, Look, Pass, Sum, Summand};
use crate::{
    aggregation::{
        pool_call::{Call, CancelOnDrop},
        server_step::Step,
    },
    memory::{MemoryError, StagedSlot},
    payload::{Draft, Payload, PayloadPool},
    pool::{Pool, PoolError},
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
        // Some shards more than threads, so that a thread that is late holds up little; each of whole leaves, and of no
        // more than are hashed at once.
        let leaves = layout.f32_len() / LEAF;
        let shards = (pool.threads() * SHARDS_A_THREAD).min(leaves).max(leaves.div_ceil(MOST_LEAVES)).max(1);
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
        let answers = call.answers(jobs, is_echo).await;
        let (Some(Look { mut batch, .. }), Some(measure)) = (Arc::into_inner(look), &self.sum.measure) else {
            return Err(SumError::Incomplete);
        };
        let shards = match answers {
            Ok(shards) => shards,
            Err(error) => {
                self.let_go(batch).await?;
                return Err(error);
            }
        };
        let mut partials = vec![Vec::new(); batch.updates.len()];
        for parts in shards {
            partials.iter_mut().zip(parts).for_each(|(all, part)| all.push(part));
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
        let leaves = call.answers(jobs, is_echo).await;
        // Every job has let go of it before it answered.
        let Some(Pass { batch, finish, .. }) = Arc::into_inner(pass) else {
            return Err(SumError::Incomplete);
        };
        self.let_go(batch).await?;
        let leaves = leaves?;
        self.residual = residual;
        let finished = finish.and_then(|Finish { parts, .. }| {
            self.forget();
            let layout = &self.sum.layout;
            let root = root_over(layout.hash(), leaves.into_iter().flatten(), layout.byte_len() as u64);
            parts.join().map(|draft| draft.finish_with(root))
        });
        self.complete = true;
        Ok(finished)
    }
}

/// What a job answers whose call another has stopped.
fn is_echo(error: &SumError) -> bool {
    matches!(error, SumError::Incomplete)
}

fn go_on(call: &Call) -> Result<(), SumError> {
    if call.is_cancelled() { Err(SumError::Incomplete) } else { Ok(()) }
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
/// Whole leaves of a shard.
const MOST_LEAVES: usize = fl_sys::sha256::sixteen::LANES;

#[cfg(test)]
mod tests;
