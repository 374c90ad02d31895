//! What travels on a link: envelopes on the control stream, headers in front of payloads.
//!
//! Sessions on both sides encode and decode with it. Every bound of what a peer says is checked here; what a
//! message means is decided elsewhere.

mod envelope;
mod error;
mod evidence;
mod message;
mod payload;

pub use envelope::{Kind, decode, encode};
pub use error::WireError;
pub use evidence::{AttachedQuote, Claims, EXPORTER_LABEL, Evidence, EvidenceError, Held, LinkTerms, Side};
pub use message::{
    AskSums, Assigned, Cancelled, Columns, Counted, Failed, Granted, Hello, Leaving, LeftOut, Message, Newer,
    NewerFile, Received, RefusedUpdate, Rejection, Resumed, RoundDone, SiteSums, Statistics, Verdict,
    Welcome, cut_text,
};
pub use payload::PayloadHeader;

/// The protocol's versions that this build speaks, least and greatest.
pub const VERSIONS: (u16, u16) = (1, 1);

/// Features that this build has, one bit each; [`Hello`] tells them.
pub const FEATURES: u64 = FEATURE_STATISTICS | FEATURE_EVIDENCE;

/// Bit 0: a site's sums, and the statistics of all sites (`standardise: federated`).
pub const FEATURE_STATISTICS: u64 = 1;

/// Bit 1: evidence in Hello and Welcome, [`Rejection::Evidence`], and rosters and collateral that the
/// aggregator hands on.
pub const FEATURE_EVIDENCE: u64 = 2;
