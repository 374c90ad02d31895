//! The round engine: what happened goes in, what to do comes out.
//!
//! The aggregator actor feeds it [`Event`]s with the time and carries out the [`Effect`]s in their order;
//! tests do the same with virtual time. It decides when a round opens and closes, whom it asks, what counts,
//! what is refused and why, and when training is over. It never sees a payload, only slots.
//!
//! ```text
//!            enough members       answered, enough, deadline       Finalised
//!  gathering ────────────▶ open (Assign) ──────────▶ summing (Finalise) ─┬─▶ gathering, RoundClosed,
//!                 too few    │  ▲   │ Stop, quorum missed,              │   Store; then Durable ─▶ Counted
//!            at the deadline └──┘   │ every update lost                  │
//!               (Reopened)          ▼                                    ▼ no round left
//!                         draining ◀──────────────────── closing round (measures the final model)
//!                            │ every store Durable
//!                            ▼
//!                         finished
//! ```
//!
//! With `standardise: federated`, a first step comes between gathering and the first round: the sites are
//! asked for sums of their data (AskSums), the statistics are stored (StoreStatistics) and told (Statistics).
//! A run that knows them from the history leaves the step out.

mod asked;
mod closed_round;
mod collecting;
mod columns;
mod effect;
mod engine;
mod event;
mod facts;
mod lost;
mod members;
mod metrics;
mod open;
mod patience;
mod refusal;
mod refusal_notes;
mod report_fault;
mod sample;
mod threshold;
mod waiting;
mod work;

pub use effect::{Effect, Reason, RoundSummary, WhyClosed};
pub use engine::{RoundEngine, Start};
pub use event::{Event, Offer, Report, SlotId, Stamp};
pub use facts::{AggregatedMetric, Contribution, LeftOutFact, RefusalFact, RoundFacts, StatisticsFacts};
pub use lost::{Lost, LostCause};
pub use refusal::Refusal;
pub use report_fault::ReportFault;
pub use waiting::Waiting;
