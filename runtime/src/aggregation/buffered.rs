//! Buffered aggregation: rules that need every update of a round at once.
//!
//! A [`BufferedAggregation`] keeps the round's staged updates until the round closes. Then the updates are
//! put in order of their collaborators' names, and the threads of the pool share the model by shards. A job
//! goes through its shard in runs of 64 KiB. It reads the same run of every update, from memory or from a
//! spill file, and gives the runs to the engine. A rule that measures distances reads all updates twice: once
//! for their products, by which the rule chooses, and once to combine the chosen updates. The shards follow
//! from the layout alone, and the jobs' results are put together in order of the shards. So arrival order,
//! thread count and the place of an update (memory or disk) change no bit of the result. Nothing is allocated
//! for a run.
//!
//! ```text
//!  BufferedAggregation ──▶ Round (updates, base) ──▶ one job a shard ──▶ products ──▶ choice
//!        updates         slots are free after               │                            │
//!                          the last job                     ◀────────────────────────────┘
//!                                                    one job a shard ──▶ leaves ──▶ root, Payload
//! ```

mod pass;
mod scratch;

use std::sync::Arc;

use fl_engine::{
    Name, Weight,
    aggregate::{ColumnRule, Combiner, Measure, ScoreRule},
    plan::{ExactRange, Scope},
};

use self::pass::{CombinePass, SharedModel};
use super::{
    AggregationError,
    pool_call::{CallToken, PoolCall, ScratchStack},
    server_step::{RoundStep, ServerOptimiser},
    shards::Shards,
    update::{StagedUpdate, free},
};
use crate::{
    payload::{Draft, Payload, PayloadPool},
    pool::Pool,
};

/// A rule over all updates of a round.
#[derive(Clone, Debug)]
pub enum BufferedRule {
    /// Each element of the model is a function of that element of all updates.
    Columns(Arc<dyn ColumnRule>),
    /// The distances between the updates come first.
    Scored(Arc<dyn ScoreRule>),
}

/// The updates of a round, and the rule that makes a model of them.
///
/// A [`Self::finish`] that fails or is dropped after it began frees every slot, and updates absorbed
/// afterwards would not be all of the round's. So every later call but [`Self::clear`] fails with
/// [`AggregationError::Incomplete`].
#[derive(Debug)]
pub struct BufferedAggregation {
    pool: Pool,
    payloads: PayloadPool,
    rule: BufferedRule,
    exact: ExactRange,
    model: Arc<SharedModel>,
    kept: Vec<StagedUpdate>,
    complete: bool,
}

/// What every pass over a round reads. Dropping it frees the updates' slots.
#[derive(Debug)]
struct Round {
    /// In order of their names.
    updates: Vec<StagedUpdate>,
    weights: Vec<Weight>,
    base: Payload,
    call: CallToken,
}

impl BufferedAggregation {
    /// No updates yet, of the layout of `payloads`. The memory of a thread is taken when the thread first
    /// needs it, and kept: [`fl_engine::aggregate::Scratch::most`], and a chunk of each spilled update.
    #[must_use]
    pub fn new(rule: BufferedRule, pool: Pool, payloads: PayloadPool, exact: ExactRange) -> Self {
        let layout = Arc::clone(payloads.layout());
        let elements = Measure::new(&layout, Scope::Model, 0).shards().to_vec();
        let model =
            Arc::new(SharedModel { shards: Shards::new(layout, elements), scratch: ScratchStack::default() });
        Self { pool, payloads, rule, exact, model, kept: Vec::new(), complete: true }
    }

    /// Keeps checked updates until the round closes. No two are from one collaborator.
    ///
    /// # Errors
    /// [`AggregationError::Length`], [`AggregationError::Incomplete`]. Then the updates given are freed, and
    /// those kept before stay.
    pub fn absorb(&mut self, updates: Vec<StagedUpdate>) -> Result<(), AggregationError> {
        if !self.complete {
            return Err(AggregationError::Incomplete);
        }
        let expected = self.model.shards.layout().byte_len() as u64;
        if updates.iter().any(|update| update.slot.payload_len() != expected) {
            return Err(AggregationError::Length);
        }
        self.kept.extend(updates);
        Ok(())
    }

    /// Keeps the last updates and makes the round's model of all of them: held-out tensors as in `base`,
    /// integers by their declared rule over the updates that the rule used, then the step of `server`. Also
    /// returns the names of the collaborators whose updates the rule left out. The slots are free when the
    /// call returns, also with an error. The call first waits for a buffer, see [`PayloadPool::take`].
    ///
    /// # Errors
    /// [`AggregationError`]. The state of `server` is as before.
    ///
    /// # Cancel safety
    /// Cancel-safe while the call waits for a buffer: the updates are kept. Later the updates are lost; slots
    /// and buffers come back as soon as the running jobs have noticed, within the work on one run each.
    pub async fn finish(
        &mut self,
        last: Vec<StagedUpdate>,
        base: &Payload,
        server: Option<&mut ServerOptimiser>,
    ) -> Result<(Payload, Vec<Name>), AggregationError> {
        self.absorb(last)?;
        if base.len() != self.model.shards.layout().byte_len() {
            return Err(AggregationError::Length);
        }
        if self.kept.is_empty() {
            return Err(AggregationError::Empty);
        }
        let draft = self.payloads.take().await;
        let step = match &server {
            Some(server) => Some(server.begin(self.model.shards.elements()).await),
            None => None,
        };
        self.complete = false;
        let mut updates = std::mem::take(&mut self.kept);
        updates.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let weights = updates.iter().map(|update| update.weight).collect();
        let call = PoolCall::new(&self.pool);
        let round = Arc::new(Round { updates, weights, base: base.clone(), call: call.token() });
        let made = self.passes(&call, &round, draft, step.as_ref()).await;
        // Every job has dropped its share of the round before it answered.
        let Some(Round { updates, .. }) = Arc::into_inner(round) else {
            return Err(AggregationError::Incomplete);
        };
        free(&self.pool, updates).await?;
        let made = made?;
        if let (Some(server), Some(step)) = (server, step) {
            server.finish(step);
        }
        self.complete = true;
        Ok(made)
    }

    /// Frees every kept update, whatever happened before.
    ///
    /// # Errors
    /// [`AggregationError::Pool`] when the pool is gone.
    ///
    /// # Cancel safety
    /// The slots are freed also when the call is dropped.
    pub async fn clear(&mut self) -> Result<(), AggregationError> {
        self.complete = true;
        let kept = std::mem::take(&mut self.kept);
        Ok(free(&self.pool, kept).await?)
    }

    async fn passes(
        &self,
        call: &PoolCall,
        round: &Arc<Round>,
        draft: Draft,
        step: Option<&RoundStep>,
    ) -> Result<(Payload, Vec<Name>), AggregationError> {
        let shards = &self.model.shards;
        let combiner = match &self.rule {
            BufferedRule::Columns(rule) => {
                Combiner::columns(Arc::clone(shards.layout()), self.exact, rule, &round.weights)?
            }
            BufferedRule::Scored(rule) => self.choose(call, round, rule).await?,
        };
        let mut chosen = vec![false; round.updates.len()];
        combiner.inputs().iter().for_each(|index| chosen[*index] = true);
        let left_out = round.updates.iter().zip(chosen).filter(|(_, chosen)| !chosen);
        let left_out = left_out.map(|(update, _)| update.name.clone()).collect();

        let (round, parts, step) = (Arc::clone(round), shards.split(draft), step.cloned());
        let pass = Arc::new(CombinePass { round, combiner, parts, step });
        let work = |index: usize| {
            let (model, pass) = (Arc::clone(&self.model), Arc::clone(&pass));
            move || model.combine(&pass, index)
        };
        let leaves = call.each_shard(shards.count(), work).await?;
        // Every job has dropped its share of the pass before it answered, and with it the part that it
        // filled.
        let model = Arc::into_inner(pass).map(|pass| shards.join(pass.parts, leaves));
        Ok((model.ok_or(AggregationError::Incomplete)?, left_out))
    }

    /// The pass that measures products, and the rule's choice. The choice runs on the pool, because it can
    /// take long.
    async fn choose(
        &self,
        call: &PoolCall,
        round: &Arc<Round>,
        rule: &Arc<dyn ScoreRule>,
    ) -> Result<Combiner, AggregationError> {
        let layout = Arc::clone(self.model.shards.layout());
        let measure = Arc::new(Measure::new(&layout, rule.scope(), round.updates.len()));
        let work = |index: usize| {
            let (model, round, measure) = (Arc::clone(&self.model), Arc::clone(round), Arc::clone(&measure));
            move || model.measure(&round, &measure, index)
        };
        let partials = call.each_shard(measure.shards().len(), work).await?;
        let (rule, round, exact) = (Arc::clone(rule), Arc::clone(round), self.exact);
        let choosing = self.pool.run(move || {
            let products = measure.merge(partials);
            Combiner::scored(layout, exact, rule.as_ref(), &products, &round.weights)
        });
        Ok(choosing.await??)
    }
}

#[cfg(test)]
mod tests;
