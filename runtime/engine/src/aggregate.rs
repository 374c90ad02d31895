//! How updates become a model.
//!
//! An update is checked while it arrives ([`PayloadChecker`]), absorbed whole into an [`ExactMean`], and
//! finalised once. The sum does not depend on arrival order, batching or the number of threads.

mod check;
mod exact;
mod footprint;
mod mean;

pub use check::{Fault, PayloadChecker};
pub use exact::Bins;
pub use footprint::{Footprint, LIVE_MODELS, OVERHEAD, PEER_BYTES, Term, footprint};
pub use mean::{AbsorbError, ExactMean, PASS, Shard, keep_base, most_total};
