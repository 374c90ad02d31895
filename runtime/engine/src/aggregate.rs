//! How updates become a model.
//!
//! An update is checked while it arrives ([`PayloadChecker`]). A plan's rule is one of three [`Method`]s:
//!
//! - [`Stream`]: updates are absorbed whole into an [`ExactMean`], which is finalised once. The sum does not
//!   depend on the order of arrival, on batches or on the number of threads.
//! - [`ColumnRule`]: each element of the model is a function of that element of all updates. A [`Combiner`]
//!   reads the updates once.
//! - [`ScoreRule`]: the rule chooses updates by the distances between all of them; an exact mean or a column
//!   rule combines the chosen updates. A [`Measure`] reads all updates for their dot products, a [`Combiner`]
//!   reads the chosen updates again.
//!
//! Column rules and score rules take updates in roster order, so the order of arrival does not matter to them
//! either. A [`ServerStep`] may follow any rule. For every rule and on every machine, the same updates give
//! the same bits: no multiplication is fused with an addition, and sums in floating point have an order that
//! depends on the layout alone.
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
mod range;
mod score;
mod scratch;
mod server;
mod spans;
mod whole;

pub use block::{Block, ColumnRule, Order, Pair};
pub use check::{PayloadChecker, PayloadFault};
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
pub use range::{OutsideRange, outside_range};
pub use score::{Chosen, ScoreRule, Then};
pub use scratch::Scratch;
pub use server::{ServerStep, StateRuns, state_layout};
pub use whole::{combine, combine_payloads};
