//! The round engine: what happened goes in, what to do comes out.
//!
//! The aggregator actor feeds it [`Event`]s with the time and carries out the [`Effect`]s in their order; tests
//! do the same with virtual time. It decides when a round opens and closes, whom it asks, what counts, what
//! is refused and why, and when training is over. It never sees a payload, only slots.

mod effect;
mod event;
mod facts;
mod refusal;

pub use effect::{Effect, Reason, RoundSummary, WhyClosed};
pub use event::{Event, Offer, Report, SlotId, Stamp};
pub use facts::{AggregatedMetric, Contribution, Refused, RoundFacts};
pub use refusal::Refusal;
