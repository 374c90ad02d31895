//! Makes a round's model of the round's updates, on the threads of the CPU pool.
//!
//! The arithmetic is the engine's ([`fl_engine::aggregate`]); this module runs it. [`Aggregation`] serves
//! every rule of a plan in one of two ways: [`streaming`] adds each update to a sum when the update arrives,
//! and [`buffered`] keeps all updates until the round closes. Either way the server's step ([`server_step`])
//! follows in the last pass. The aggregation task of the aggregator is the only caller.

pub mod buffered;
mod error;
#[cfg(test)]
pub(crate) mod fixture;
mod pool_call;
pub mod server_step;
mod shards;
pub mod streaming;
mod update;

use bytes::Bytes;
use fl_engine::{Name, aggregate::Method, plan::ExactRange};

use self::{
    buffered::{BufferedAggregation, BufferedRule},
    server_step::ServerOptimiser,
    streaming::StreamingAggregation,
};
pub use self::{error::AggregationError, update::StagedUpdate};
use crate::{
    payload::{Payload, PayloadPool},
    pool::Pool,
};

/// A round's model, with what a record of the round needs.
#[derive(Debug)]
pub struct RoundModel {
    /// The model.
    pub model: Payload,
    /// The state of the server's step after this round, where the plan's step has a state.
    pub state: Option<Bytes>,
    /// Names of the collaborators whose updates the rule left out.
    pub left_out: Vec<Name>,
}

/// A plan's rule and server step, with the updates of one round.
///
/// A call that fails half-way, or is dropped while it holds updates, loses these updates. Later calls then
/// fail until [`Self::clear`], so that no model is made of a part of a round's updates.
#[derive(Debug)]
pub struct Aggregation {
    way: Way,
    server: Option<ServerOptimiser>,
}

#[derive(Debug)]
enum Way {
    Streaming(StreamingAggregation),
    Buffered(BufferedAggregation),
}

impl Aggregation {
    /// An aggregation without updates. Models and updates are of the layout of `payloads`.
    #[must_use]
    pub fn new(
        pool: Pool,
        payloads: PayloadPool,
        exact: ExactRange,
        method: Method,
        server: Option<ServerOptimiser>,
    ) -> Self {
        let buffered =
            |rule, pool, payloads| Way::Buffered(BufferedAggregation::new(rule, pool, payloads, exact));
        let way = match method {
            Method::Stream(stream) => {
                Way::Streaming(StreamingAggregation::new(stream, pool, payloads, exact))
            }
            Method::Columns(rule) => buffered(BufferedRule::Columns(rule), pool, payloads),
            Method::Scored(rule) => buffered(BufferedRule::Scored(rule), pool, payloads),
        };
        Self { way, server }
    }

    /// Takes checked updates of the round that began at `base`. A streaming rule adds them now and frees
    /// their slots; a buffered rule keeps them.
    ///
    /// # Errors
    /// [`AggregationError`]. The slots are free then.
    ///
    /// # Cancel safety
    /// Not cancel-safe: see [`Self`].
    pub async fn absorb(
        &mut self,
        updates: Vec<StagedUpdate>,
        base: &Payload,
    ) -> Result<(), AggregationError> {
        match &mut self.way {
            Way::Streaming(streaming) => streaming.absorb(updates, base).await,
            Way::Buffered(buffered) => buffered.absorb(updates),
        }
    }

    /// Takes the last updates and makes the round's model, with the server's step taken. Every slot is free
    /// when the call returns, also with an error. The call first waits for the buffer of a model, and of a
    /// state.
    ///
    /// # Errors
    /// [`AggregationError`]. The state of the server's step is as before.
    ///
    /// # Cancel safety
    /// As [`Self::absorb`].
    pub async fn finish(
        &mut self,
        last: Vec<StagedUpdate>,
        base: &Payload,
    ) -> Result<RoundModel, AggregationError> {
        let server = self.server.as_mut();
        let (model, left_out) = match &mut self.way {
            Way::Streaming(streaming) => (streaming.finish(last, base, server).await?, Vec::new()),
            Way::Buffered(buffered) => buffered.finish(last, base, server).await?,
        };
        Ok(RoundModel { model, state: self.state(), left_out })
    }

    /// Forgets every update of the round, whatever happened before. The state of the server's step stays that
    /// of the newest model.
    ///
    /// # Errors
    /// [`AggregationError::Pool`] when the pool is gone.
    ///
    /// # Cancel safety
    /// As [`Self::absorb`].
    pub async fn clear(&mut self) -> Result<(), AggregationError> {
        match &mut self.way {
            Way::Streaming(streaming) => streaming.clear().await,
            Way::Buffered(buffered) => buffered.clear().await,
        }
    }

    /// The state of the server's step after the newest model, where the step has a state.
    #[must_use]
    pub fn state(&self) -> Option<Bytes> {
        self.server.as_ref().and_then(ServerOptimiser::state)
    }
}

#[cfg(test)]
mod tests;
