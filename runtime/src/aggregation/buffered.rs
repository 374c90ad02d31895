//! Rules that need every update of a round at once, worked on by the CPU pool.
//!
//! A [`Combining`] keeps the round's staged updates until the round closes. Then they are put in order of their
//! collaborators' names, and threads share the model by shards: each goes through its shard in runs of 64 KiB, reads the
//! same run of every update from memory or from its spill file, and hands it to the engine. A rule that measures
//! distances goes through all of them twice: for the products, of which it chooses, and to combine what was chosen.
//! Shards follow from the layout alone, and what they find is put together in their order; so arrival, thread count, and
//! where an update lay change no bit of the result. Nothing is allocated per run.
//!
//! ```text
//!  Combining ──▶ Round (updates, base) ──▶ one job a shard ──▶ products ──▶ choice
//!   names, slots      freed with the             │                            │
//!                     last job                   ◀────────────────────────────┘
//!                                          one job a shard ──▶ leaves ──▶ root, Payload
//! ```

mod scratch;
mod shards;

use std::sync::Arc;

use fl_engine::{
    Digest, Name, Weight,
    aggregate::{ColumnRule, Combiner, RuleError, ScoreRule},
    plan::ExactRange,
    tensor::root_over,
};

use crate::{
    aggregation::{
        pool_call::{Call, CancelOnDrop},
        server_step::Step,
        update::StagedUpdate,
    },
    memory::MemoryError,
    payload::{Draft, Payload, PayloadPool},
    pool::{Pool, PoolError},
};
use shards::{Ground, Second};

/// A rule over all updates of a round.
#[derive(Clone, Debug)]
pub enum WholeRule {
    /// Element by element.
    Columns(Arc<dyn ColumnRule>),
    /// By distances first.
    Scored(Arc<dyn ScoreRule>),
}

/// Why updates were not combined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CombineError {
    /// An update or the base has another length than the layout's. Nothing has changed.
    #[error("payload of another length than the layout's")]
    Length,
    /// There are no updates. Nothing has changed.
    #[error("a model of no updates")]
    Empty,
    /// The rule or the server's step has no answer.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// An update could not be read back: its spill file was changed, or the disk failed.
    #[error("the update of {name} cannot be read back")]
    Update {
        /// Whose.
        name: Name,
        /// Which slot and chunk.
        source: MemoryError,
    },
    /// A job panicked.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// An earlier call failed or was dropped half-way: only [`Combining::clear`] goes on from here.
    #[error("the round's updates are incomplete; clear them and add every update of the round again")]
    Incomplete,
}

/// A model, and whose updates had no part in it.
#[derive(Debug)]
pub struct Combined {
    /// The model.
    pub model: Payload,
    /// Whom the rule left out, by name.
    pub left_out: Vec<Name>,
}

/// The updates of a round, and the rule that makes them a model.
///
/// A [`Self::combine`] that fails or is dropped gives every slot back, and what is kept afterwards would not be the
/// round's updates: every later call but [`Self::clear`] then answers [`CombineError::Incomplete`].
#[derive(Debug)]
pub struct Combining {
    pool: Pool,
    payloads: PayloadPool,
    rule: WholeRule,
    exact: ExactRange,
    ground: Arc<Ground>,
    kept: Vec<StagedUpdate>,
    complete: bool,
}

/// What both passes read; dropped with the last job, which frees the slots.
#[derive(Debug)]
struct Round {
    /// In order of their names.
    updates: Vec<StagedUpdate>,
    weights: Vec<Weight>,
    base: Payload,
    call: Call,
}

impl Combining {
    /// No updates yet, of the layout of `payloads`. Threads' buffers are taken when they are first needed, and kept:
    /// for each thread [`fl_engine::aggregate::Scratch::most`], and a chunk of each spilled update.
    #[must_use]
    pub fn new(pool: Pool, payloads: PayloadPool, rule: WholeRule, exact: ExactRange) -> Self {
        let ground = Arc::new(Ground::new(Arc::clone(payloads.layout())));
        Self { pool, payloads, rule, exact, ground, kept: Vec::new(), complete: true }
    }

    /// Updates kept so far.
    #[must_use]
    pub fn updates(&self) -> usize {
        self.kept.len()
    }

    /// Elements of the f32 segment in each shard.
    #[must_use]
    pub fn shards(&self) -> &[std::ops::Range<usize>] {
        self.ground.shards()
    }

    /// Keeps checked updates until the round closes. No two are of one collaborator.
    ///
    /// # Errors
    /// [`CombineError::Length`], [`CombineError::Incomplete`]; the updates given are freed then, those before are kept.
    pub fn keep(&mut self, updates: Vec<StagedUpdate>) -> Result<(), CombineError> {
        if !self.complete {
            return Err(CombineError::Incomplete);
        }
        let expected = self.ground.layout().byte_len() as u64;
        if updates.iter().any(|update| update.slot.payload_len() != expected) {
            return Err(CombineError::Length);
        }
        self.kept.extend(updates);
        Ok(())
    }

    /// Makes the round's model of everything kept: held-out tensors as in `base`, integers by their declared rule over
    /// the updates that had a part in it, then `step` where there is one. The slots are free when it returns, whatever
    /// it returns. Waits first for a buffer, see [`PayloadPool::take`].
    ///
    /// # Errors
    /// [`CombineError`].
    ///
    /// # Cancel safety
    /// Nothing happens while it waits for a buffer. Afterwards the updates are lost; slots and buffers come back as soon
    /// as the jobs under way have noticed, within a run's work each.
    pub async fn combine(&mut self, base: &Payload, step: Option<&Step>) -> Result<Combined, CombineError> {
        if !self.complete {
            return Err(CombineError::Incomplete);
        }
        if base.len() != self.ground.layout().byte_len() {
            return Err(CombineError::Length);
        }
        if self.kept.is_empty() {
            return Err(CombineError::Empty);
        }
        let draft = self.payloads.take().await;
        self.complete = false;
        let mut updates = std::mem::take(&mut self.kept);
        updates.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let weights = updates.iter().map(|update| update.weight).collect();
        let call = Call::default();
        let _cancel = CancelOnDrop(call.clone());
        let round = Arc::new(Round { updates, weights, base: base.clone(), call });
        let combined = self.passes(&round, draft, step).await;
        self.free(round).await?;
        let combined = combined?;
        self.complete = true;
        Ok(combined)
    }

    /// Frees every update kept, whatever happened before.
    ///
    /// # Errors
    /// [`CombineError::Pool`] when the pool is gone.
    ///
    /// # Cancel safety
    /// The slots come back in any case.
    pub async fn clear(&mut self) -> Result<(), CombineError> {
        self.complete = true;
        let kept = std::mem::take(&mut self.kept);
        self.free(kept).await
    }

    async fn passes(
        &self,
        round: &Arc<Round>,
        draft: Draft,
        step: Option<&Step>,
    ) -> Result<Combined, CombineError> {
        let layout = self.ground.layout();
        let combiner = match &self.rule {
            WholeRule::Columns(rule) => {
                Combiner::columns(Arc::clone(layout), self.exact, rule, &round.weights)?
            }
            WholeRule::Scored(rule) => self.choose(round, rule).await?,
        };
        let mut chosen = vec![false; round.updates.len()];
        combiner.inputs().iter().for_each(|index| chosen[*index] = true);
        let left_out = round.updates.iter().zip(chosen).filter(|(_, chosen)| !chosen);
        let left_out = left_out.map(|(update, _)| update.name.clone()).collect();

        let parts = draft.split(self.ground.runs().iter().map(std::ops::Range::len));
        let second = Arc::new(Second { round: Arc::clone(round), combiner, parts, step: step.cloned() });
        let work = |index: usize| {
            let (ground, second) = (Arc::clone(&self.ground), Arc::clone(&second));
            move || ground.combine(&second, index)
        };
        let leaves: Vec<Vec<Digest>> = self.all(round, work).await?;
        // Every job has let go of it before it answered.
        let Some(Second { parts, .. }) = Arc::into_inner(second) else {
            return Err(CombineError::Incomplete);
        };
        let root = root_over(layout.hash(), leaves.into_iter().flatten(), layout.byte_len() as u64);
        // Nobody has taken a part away.
        let draft = parts.join().ok_or(CombineError::Incomplete)?;
        Ok(Combined { model: draft.finish_with(root), left_out })
    }

    /// The first pass and the choice, which may take its time too.
    async fn choose(&self, round: &Arc<Round>, rule: &Arc<dyn ScoreRule>) -> Result<Combiner, CombineError> {
        let layout = Arc::clone(self.ground.layout());
        let measure = Arc::new(self.ground.measure(rule.scope(), round.updates.len()));
        let work = |index: usize| {
            let (ground, round, measure) =
                (Arc::clone(&self.ground), Arc::clone(round), Arc::clone(&measure));
            move || ground.measure_shard(&round, &measure, index)
        };
        let partials = self.all(round, work).await?;
        let (rule, round, exact) = (Arc::clone(rule), Arc::clone(round), self.exact);
        let choosing = self.pool.run(move || {
            let products = measure.merge(partials.into_iter().flatten());
            Combiner::scored(layout, exact, rule.as_ref(), &products, &round.weights)
        });
        Ok(choosing.await??)
    }

    /// One job a shard; their answers in order of the shards, see [`Call::answers`].
    async fn all<T, W>(&self, round: &Round, work: impl Fn(usize) -> W) -> Result<Vec<T>, CombineError>
    where
        T: Send + 'static,
        W: FnOnce() -> Result<T, CombineError> + Send + 'static,
    {
        let jobs: Vec<_> = (0..self.ground.shards().len()).map(|index| self.pool.run(work(index))).collect();
        round.call.answers(jobs, |error| matches!(error, CombineError::Incomplete)).await
    }

    /// Drops on the pool: deleting spill files takes its time, which is not the caller's thread's.
    async fn free<T: Send + 'static>(&self, updates: T) -> Result<(), CombineError> {
        Ok(self.pool.run(move || drop(updates)).await?)
    }
}

#[cfg(test)]
mod tests;
