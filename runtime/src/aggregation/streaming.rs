//! Streaming aggregation: a running sum of a round's updates, and its mean when the round closes.
//!
//! [`Aggregation`](super::Aggregation) owns one [`StreamingAggregation`] for the whole run. It absorbs staged
//! updates as they arrive, up to [`MOST_AT_ONCE`] in one pass, and takes the mean at the end. The sum is cut
//! into shards, which the threads of the pool share. A job goes through its shard leaf by leaf (256 KiB), so
//! that what the job reads, sums, rounds and hashes stays in the cache. Nothing is allocated for a leaf.
//! Arrival order, batches, thread count and the place of an update (memory or disk) change no bit of the
//! result.
//!
//! ```text
//!  StreamingAggregation ──▶ Pass (updates, base, draft) ──▶ one job a shard ──▶ leaves ──▶ root, Payload
//!                           slots are free after the last job   locks its shard
//! ```
//!
//! Every collaborator waits for the last pass. That pass reads the sum once, adds the last updates and
//! divides in registers, writes nothing but the model, and hashes each leaf right after it. The first pass of
//! the next round writes over the sum instead of adding to zeros.
//!
//! Clipped updates are read twice. First their distances from the base model are measured, over the shards of
//! [`Measure`], which follow from the layout alone. Then the updates are added like others, with the integer
//! weights that [`Clip`] makes of the distances.

mod pass;

use std::sync::{Arc, Mutex};

use fl_engine::{
    Digest, Weight,
    aggregate::{AbsorbError, Clip, ExactMean, MOST_AT_ONCE, Measure, PayloadChecker, Stream, most_total},
    limits,
    plan::{ExactRange, Scope},
};

use self::pass::{Batch, DistancePass, LastPass, Pass, SharedSum, WeightedUpdate};
use super::{
    AggregationError,
    pool_call::{PoolCall, ScratchStack, lock},
    server_step::{RoundStep, ServerOptimiser},
    shards::Shards,
    update::{StagedUpdate, free},
};
use crate::{
    payload::{Draft, Payload, PayloadPool},
    pool::Pool,
};

/// An exact sum on the CPU pool, for one of the engine's [`Stream`] rules.
///
/// A call that fails after it took updates, or whose future is dropped then, leaves the sum *incomplete*:
/// every later call but [`Self::clear`] fails with [`AggregationError::Incomplete`]. So an update that was
/// half added never counts.
#[derive(Debug)]
pub struct StreamingAggregation {
    pool: Pool,
    payloads: PayloadPool,
    sum: Arc<SharedSum>,
    stream: Stream,
    range: ExactRange,
    most_total: u64,
    /// Whether every shard holds the same updates: all that were given.
    complete: bool,
    /// The weight of the base model beside the updates, when those are clipped.
    residual: u64,
    /// Root of the base model, once clipped updates were measured from it.
    around: Option<Digest>,
}

impl StreamingAggregation {
    /// An empty sum over the layout of `payloads`, in the plan's range `exact`. It takes 16 bytes of memory
    /// for each f32 element and 8 for each i64 element.
    #[must_use]
    pub fn new(stream: Stream, pool: Pool, payloads: PayloadPool, exact: ExactRange) -> Self {
        let (range, clipped) = match stream {
            Stream::Clipped(_) => (Clip::range(exact), true),
            Stream::WeightedMean | Stream::Mean => (exact, false),
        };
        let layout = Arc::clone(payloads.layout());
        // Some shards more than threads, so that a late thread delays the call little. A shard has whole
        // leaves, and no more than are hashed at once.
        let leaves = layout.f32_len() / LEAF;
        let shards = (pool.threads() * SHARDS_A_THREAD).min(leaves).max(leaves.div_ceil(MOST_LEAVES)).max(1);
        let mut totals = ExactMean::new(Arc::clone(&layout), range, shards);
        let sums = totals.take_shards();
        let measure = clipped.then(|| Measure::new(&layout, Scope::Model, 1));
        let sum = SharedSum {
            shards: Shards::new(layout, sums.iter().map(|sum| sum.range()).collect()),
            sums: sums.into_iter().map(Mutex::new).collect(),
            totals: Mutex::new(totals),
            scratch: ScratchStack::default(),
            measure,
        };
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

    /// Adds checked updates of the round that began at `base`, [`MOST_AT_ONCE`] in one pass. Their slots are
    /// free when the call returns, also with an error.
    ///
    /// # Errors
    /// [`AggregationError`]. A variant says when nothing has changed. After any other error the sum is
    /// incomplete.
    ///
    /// # Cancel safety
    /// Not cancel-safe: afterwards the sum is incomplete. The slots are free as soon as the running jobs have
    /// noticed, within the work on one leaf each.
    pub async fn absorb(
        &mut self,
        updates: Vec<StagedUpdate>,
        base: &Payload,
    ) -> Result<(), AggregationError> {
        self.begin(&updates, base)?;
        let last = self.all_but_last(updates, base).await?;
        if !last.updates.is_empty() {
            self.pass(last, None).await?;
        }
        Ok(())
    }

    /// Adds the last updates and makes the model: the mean of everything added, with held-out tensors as in
    /// `base`, and with the step of `server` taken on the mean. The sum is empty afterwards and keeps its
    /// memory. The last pass does all of that at once. The call first waits for a buffer, see
    /// [`PayloadPool::take`].
    ///
    /// # Errors
    /// As [`Self::absorb`], and [`AggregationError::Empty`]. The state of `server` is as before.
    ///
    /// # Cancel safety
    /// As [`Self::absorb`]; the buffer comes back as slots do. Without updates, nothing happens while the
    /// call waits for a buffer.
    pub async fn finish(
        &mut self,
        updates: Vec<StagedUpdate>,
        base: &Payload,
        server: Option<&mut ServerOptimiser>,
    ) -> Result<Payload, AggregationError> {
        if self.complete && updates.is_empty() && self.total() == 0 {
            return Err(AggregationError::Empty);
        }
        self.begin(&updates, base)?;
        let draft = self.payloads.take().await;
        let step = match &server {
            Some(server) => Some(server.begin(self.sum.shards.elements()).await),
            None => None,
        };
        let last = self.all_but_last(updates, base).await?;
        let model = self.pass(last, Some((base, draft, step.as_ref()))).await?;
        if let (Some(server), Some(step)) = (server, step) {
            server.finish(step);
        }
        // A pass with a draft ends with a model.
        model.ok_or(AggregationError::Incomplete)
    }

    /// Makes the sum empty and complete, whatever happened before. The memory is kept.
    ///
    /// # Errors
    /// [`AggregationError::Pool`] when the pool is gone; the sum stays incomplete then.
    ///
    /// # Cancel safety
    /// Not cancel-safe: afterwards the sum is incomplete. Call it again.
    pub async fn clear(&mut self) -> Result<(), AggregationError> {
        self.complete = false;
        let call = PoolCall::new(&self.pool);
        let clear = |index: usize| {
            let (sum, token) = (Arc::clone(&self.sum), call.token());
            move || {
                let mut shard = lock(&sum.sums[index]);
                token.go_on()?;
                shard.clear();
                Ok(())
            }
        };
        call.each_shard(self.sum.shards.count(), clear).await?;
        self.forget();
        self.complete = true;
        Ok(())
    }

    /// Sum of the full weights added so far, see [`Self::full`].
    fn total(&self) -> u64 {
        lock(&self.sum.totals).total()
    }

    /// Empties what stands beside the shards.
    fn forget(&mut self) {
        lock(&self.sum.totals).clear();
        (self.residual, self.around) = (0, None);
    }

    /// Refuses what cannot be added, before anything has changed. Then the sum is incomplete until every
    /// update is in it.
    fn begin(&mut self, updates: &[StagedUpdate], base: &Payload) -> Result<(), AggregationError> {
        if !self.complete {
            return Err(AggregationError::Incomplete);
        }
        let expected = self.sum.shards.layout().byte_len();
        let alike = updates.iter().all(|update| update.slot.payload_len() == expected as u64);
        if !alike || base.len() != expected {
            return Err(AggregationError::Length);
        }
        if self.around.is_some_and(|first| first != base.root()) {
            return Err(AggregationError::Base);
        }
        let full = updates.iter().map(|update| u64::from(self.full(update.weight).value()));
        let total = self.total() + full.sum::<u64>();
        if total > self.most_total {
            return Err(AbsorbError::TotalWeight(total).into());
        }
        self.complete = updates.is_empty();
        Ok(())
    }

    /// What an update adds to the divisor: its weight, 1, or its weight times a power of two.
    fn full(&self, weight: Weight) -> Weight {
        match self.stream {
            Stream::WeightedMean => weight,
            Stream::Mean => Weight::ONE,
            Stream::Clipped(clip) => clip.full(weight),
        }
    }

    /// Adds all updates but the last [`MOST_AT_ONCE`] or fewer, and returns those with their shares.
    async fn all_but_last(
        &mut self,
        mut updates: Vec<StagedUpdate>,
        base: &Payload,
    ) -> Result<Batch, AggregationError> {
        while updates.len() > MOST_AT_ONCE {
            let rest = updates.split_off(MOST_AT_ONCE);
            let batch = self.weigh(updates, base).await?;
            self.pass(batch, None).await?;
            (self.complete, updates) = (false, rest);
        }
        self.weigh(updates, base).await
    }

    /// The factor of each update's values. It follows from the weight, and for clipped updates from the
    /// distance too.
    async fn weigh(&mut self, updates: Vec<StagedUpdate>, base: &Payload) -> Result<Batch, AggregationError> {
        let weighted = |update: StagedUpdate| {
            let full = self.full(update.weight);
            WeightedUpdate { update, full, share: full.value() }
        };
        let batch = Batch { updates: updates.into_iter().map(weighted).collect() };
        match self.stream {
            Stream::Clipped(clip) if !batch.updates.is_empty() => self.clip(clip, batch, base).await,
            _ => Ok(batch),
        }
    }

    /// Measures the updates' distances from `base`, and lowers the shares of distant updates.
    async fn clip(&mut self, clip: Clip, batch: Batch, base: &Payload) -> Result<Batch, AggregationError> {
        if self.around.is_none() {
            let (checked, layout) = (base.clone(), Arc::clone(self.sum.shards.layout()));
            let mut checker = PayloadChecker::new(layout, self.range);
            if let Err(fault) = self.pool.run(move || checker.update(checked.as_slice())).await? {
                self.complete = true;
                return Err(AggregationError::UnfitBase(fault));
            }
            self.around = Some(base.root());
        }
        let call = PoolCall::new(&self.pool);
        let pass = Arc::new(DistancePass { batch, base: base.clone(), call: call.token() });
        let work = |index: usize| {
            let (sum, pass) = (Arc::clone(&self.sum), Arc::clone(&pass));
            move || sum.measure(&pass, index)
        };
        let shards = self.sum.measure.iter().map(|measure| measure.shards().len()).sum();
        let answers = call.each_shard(shards, work).await;
        // Every job has dropped its share of the pass before it answered.
        let (Some(DistancePass { mut batch, .. }), Some(measure)) =
            (Arc::into_inner(pass), &self.sum.measure)
        else {
            return Err(AggregationError::Incomplete);
        };
        let shards = match answers {
            Ok(shards) => shards,
            Err(error) => {
                free(&self.pool, batch.into_updates()).await?;
                return Err(error);
            }
        };
        let mut partials = vec![Vec::new(); batch.updates.len()];
        for parts in shards {
            partials.iter_mut().zip(parts).for_each(|(all, part)| all.push(part));
        }
        for (weighted, partials) in batch.updates.iter_mut().zip(partials) {
            let products = measure.merge(partials);
            let distance = products.first().map_or(0.0, |products| products.norm_squared(0));
            weighted.share = clip.weight(weighted.update.weight, distance).map_or(0, Weight::value);
        }
        Ok(batch)
    }

    /// Adds `batch` in one pass over every shard. With a base model and a draft, the same pass makes the
    /// model.
    async fn pass(
        &mut self,
        batch: Batch,
        last: Option<(&Payload, Draft, Option<&RoundStep>)>,
    ) -> Result<Option<Payload>, AggregationError> {
        self.complete = false;
        let full: u64 = batch.updates.iter().map(|weighted| u64::from(weighted.full.value())).sum();
        let shares: u64 = batch.updates.iter().map(|weighted| u64::from(weighted.share)).sum();
        let (total, residual) = (self.total() + full, self.residual + (full - shares));
        let last = last.map(|(base, draft, step)| LastPass {
            base: base.clone(),
            step: step.cloned(),
            parts: self.sum.shards.split(draft),
            total,
            residual,
        });
        let call = PoolCall::new(&self.pool);
        let pass = Arc::new(Pass { batch, last, call: call.token() });
        let work = |index: usize| {
            let (sum, pass) = (Arc::clone(&self.sum), Arc::clone(&pass));
            move || sum.work(&pass, index)
        };
        let leaves = call.each_shard(self.sum.shards.count(), work).await;
        // Every job has dropped its share of the pass before it answered.
        let Some(Pass { batch, last, .. }) = Arc::into_inner(pass) else {
            return Err(AggregationError::Incomplete);
        };
        free(&self.pool, batch.into_updates()).await?;
        let leaves = leaves?;
        self.residual = residual;
        let model = last.map(|LastPass { parts, .. }| {
            self.forget();
            self.sum.shards.join(parts, leaves)
        });
        self.complete = true;
        Ok(model)
    }
}

/// Elements under one leaf of the chunk tree.
const LEAF: usize = limits::LEAF_BYTES / 4;
/// Shards for each thread of the pool.
const SHARDS_A_THREAD: usize = 4;
/// Most whole leaves in a shard.
const MOST_LEAVES: usize = fl_sys::sha256::sixteen::LANES;

#[cfg(test)]
mod tests;
