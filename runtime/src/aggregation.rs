//! What makes a round's model of its updates, whatever the plan's rule: a running sum, or all updates at the end; then
//! the server's step. The aggregation task gives it updates as they are staged, and tells it to finish.

pub mod buffered;
#[cfg(test)]
pub(crate) mod fixture;
mod pool_call;
pub mod server_step;
pub mod streaming;
pub mod update;

use bytes::Bytes;
use fl_engine::{Name, Weight, aggregate::Method, plan::ExactRange};

use self::{
    buffered::{CombineError, Combined, Combining, WholeRule},
    server_step::Stepping,
    streaming::{SumError, Summing},
    update::StagedUpdate,
};
use crate::{
    memory::StagedSlot,
    payload::{Payload, PayloadPool},
    pool::Pool,
};

/// Why updates were not taken, or made no model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AggregateError {
    /// Of a sum.
    #[error(transparent)]
    Sum(#[from] SumError),
    /// Of a rule over all updates.
    #[error(transparent)]
    Combine(#[from] CombineError),
}

/// A round's model, and what came with it.
#[derive(Debug)]
pub struct Made {
    /// The model.
    pub model: Payload,
    /// The state of the server's step that belongs to it, where the plan's step has one.
    pub state: Option<Bytes>,
    /// Collaborators whose updates the rule left out, by name.
    pub left_out: Vec<Name>,
}

/// A plan's rule and step at work.
///
/// After a call that failed or was dropped half-way, every later one but [`Self::clear`] fails, so that no model is ever
/// made of a part of a round's updates.
#[derive(Debug)]
pub struct Aggregation {
    way: Way,
    stepping: Option<Stepping>,
}

#[derive(Debug)]
enum Way {
    Sum(Summing),
    Whole(Combining),
}

impl Aggregation {
    /// Without an update. Models and updates are of the layout of `payloads`.
    #[must_use]
    pub fn new(
        pool: Pool,
        payloads: PayloadPool,
        exact: ExactRange,
        method: Method,
        stepping: Option<Stepping>,
    ) -> Self {
        let whole = |rule, pool, payloads| Way::Whole(Combining::new(pool, payloads, rule, exact));
        let way = match method {
            Method::Stream(stream) => Way::Sum(Summing::of(stream, pool, payloads, exact)),
            Method::Columns(rule) => whole(WholeRule::Columns(rule), pool, payloads),
            Method::Scored(rule) => whole(WholeRule::Scored(rule), pool, payloads),
        };
        Self { way, stepping }
    }

    /// Takes checked updates of the round that began at `base`: a sum adds them now and frees their slots, a rule over
    /// all of them keeps them.
    ///
    /// # Errors
    /// [`AggregateError`]; the slots are free then.
    ///
    /// # Cancel safety
    /// Not cancel-safe: see [`Self`].
    pub async fn absorb(&mut self, updates: Vec<StagedUpdate>, base: &Payload) -> Result<(), AggregateError> {
        match &mut self.way {
            Way::Sum(summing) => Ok(summing.absorb_around(summands(updates), base).await?),
            Way::Whole(combining) => Ok(combining.keep(updates)?),
        }
    }

    /// Forgets every update of the round, whatever happened before; the state of the step is that of the newest model.
    ///
    /// # Errors
    /// When the pool is gone.
    ///
    /// # Cancel safety
    /// As [`Self::absorb`].
    pub async fn clear(&mut self) -> Result<(), AggregateError> {
        match &mut self.way {
            Way::Sum(summing) => Ok(summing.clear().await?),
            Way::Whole(combining) => Ok(combining.clear().await?),
        }
    }

    /// Takes the last updates in and makes the round's model, with the step taken. Every slot is free when it returns,
    /// whatever it returns. Waits first for a model's buffer, and for a state's.
    ///
    /// # Errors
    /// [`AggregateError`]; the step's state is as before.
    ///
    /// # Cancel safety
    /// As [`Self::absorb`].
    pub async fn finish(&mut self, last: Vec<StagedUpdate>, base: &Payload) -> Result<Made, AggregateError> {
        let shards = match &self.way {
            Way::Sum(summing) => summing.shards(),
            Way::Whole(combining) => combining.shards().to_vec(),
        };
        let step = match &self.stepping {
            Some(stepping) => Some(stepping.begin(&shards).await),
            None => None,
        };
        let Combined { model, left_out } = match &mut self.way {
            Way::Sum(summing) => {
                let model = summing.absorb_and_step(summands(last), base, step.as_ref()).await?;
                Combined { model, left_out: Vec::new() }
            }
            Way::Whole(combining) => {
                combining.keep(last)?;
                combining.combine(base, step.as_ref()).await?
            }
        };
        if let (Some(stepping), Some(step)) = (&mut self.stepping, step) {
            stepping.finish(step);
        }
        Ok(Made { model, state: self.state(), left_out })
    }

    /// State of the server's step after the newest model, where the step has one.
    #[must_use]
    pub fn state(&self) -> Option<Bytes> {
        self.stepping.as_ref().and_then(Stepping::state)
    }
}

/// Updates as a sum takes them.
fn summands(updates: Vec<StagedUpdate>) -> Vec<(StagedSlot, Weight)> {
    updates.into_iter().map(|update| (update.slot, update.weight)).collect()
}
