//! How updates become a model.
//!
//! An update is checked while it arrives ([`PayloadChecker`]). A plan's rule is one of three [`Method`]s:
//!
//! - [`Stream`]: absorbed whole into an [`ExactMean`] and finalised once. The sum does not depend on arrival
//!   order, batching or the number of threads.
//! - [`ColumnRule`]: each element is a function of that element of all updates. A [`Combiner`] reads them
//!   once.
//! - [`ScoreRule`]: a choice by the distances between all updates, then an exact mean or a column rule over
//!   the chosen. A [`Measure`] reads the updates for their dot products, a [`Combiner`] reads the chosen
//!   again.
//!
//! The last two take updates in roster order, so they too depend on no arrival order. A [`ServerStep`] may
//! follow any of them. Whatever the rule and the machine, the same updates give the same bits: nothing here
//! is contracted to a fused multiplication, and what is summed in floating point is summed in an order that
//! the layout alone decides.
//!
//! Users' crates add rules by implementing [`ColumnRule`] or [`ScoreRule`]; [`combine`] runs any method in a
//! test.

mod block;
mod check;
mod clip;
mod columns;
mod combiner;
mod deltas;
mod error;
mod exact;
mod footprint;
mod geometric;
mod kernel;
mod krum;
mod mean;
mod method;
mod network;
mod products;
mod score;
mod scratch;
mod server;
mod spans;
mod whole;

pub use block::{Block, ColumnRule, Order, Pair};
pub use check::{Fault, PayloadChecker};
pub use clip::Clip;
pub use columns::{Median, NearMedian, TrimmedMean, WeightedMedian};
pub use combiner::Combiner;
pub use deltas::ELEMENTS_A_STEP;
pub use error::RuleError;
pub use exact::{Bins, MOST_AT_ONCE, Weighted, share_bits};
pub use footprint::{Footprint, LIVE_MODELS, OVERHEAD_BYTES, PEER_BYTES, Term, footprint, send_window};
pub use geometric::GeometricMedian;
pub use krum::{Bulyan, Krum, MultiKrum};
pub use mean::{AbsorbError, ELEMENTS_A_PASS, ExactMean, Shard, keep_base, most_total, terms_of};
pub use method::{Method, Stream, method};
pub use products::{Measure, Partial, Products};
pub use score::{Chosen, ScoreRule, Then};
pub use scratch::Scratch;
pub use server::{ServerStep, StateRuns, state_layout};
pub use whole::{combine, combine_payloads};
