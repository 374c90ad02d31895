//! Evidence: what proves which program a peer runs. Today the quote of an SGX enclave.
//!
//! ```text
//! file ─ Collateral::parse ─▶ Collateral ─ TrustedCollateral::check ─▶ TrustedCollateral
//!                                                                             │ verify(quote, now)
//!                                                                             ▼
//!                                            Verified: measurement, status, advisories, good until
//!
//! Hello, Welcome ─ Appraiser::appraise ─▶ Appraised: of this link, and what plan and roster ask for
//! ```
//!
//! The verifier asks nobody: Intel's statements come in a file, and the time from the caller. It says what a
//! quote proves, and leaves policy to others. Two things it always refuses: what Intel has revoked, and what
//! runs in debug mode. [`Appraiser`] adds the policy of plan and roster. `fl-host attest` calls the verifier
//! alone.

mod appraise;
mod bound;
mod chain;
mod collateral;
mod der;
mod in_force;
mod pck;
mod quote;
mod refusal;
mod tcb;
#[cfg(test)]
mod tests;
mod verified;
mod verify;

pub use fl_engine::plan::roster::{StatusError, TcbStatus};

pub use appraise::{Appraised, Appraiser, Attested, Demand, JudgedBy, NotAppraised};
pub use bound::{Expected, NotBound};
pub use chain::{ChainError, Holder, Root};
pub use collateral::{Collateral, CollateralError, Statement};
pub use in_force::{CollateralRefused, Collaterals, InForce};
pub use pck::{Processor, ProcessorError};
pub use quote::{Quote, QuoteError, Report};
pub use refusal::{NotVerified, Signed};
pub use verified::{Enclave, Measured, Verified};
pub use verify::{TrustedCollateral, claimed_processor};
