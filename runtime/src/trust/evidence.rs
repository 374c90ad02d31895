//! Evidence: what proves which program a peer runs. Today the quote of an SGX enclave.
//!
//! ```text
//! file ─ Collateral::parse ─▶ Collateral ─ TrustedCollateral::check ─▶ TrustedCollateral
//!                                                                             │ verify(quote, now)
//!                                                                             ▼
//!                                            Verified: measurement, status, advisories, good until
//! ```
//!
//! The verifier asks nobody: Intel's statements come in a file, and the time from the caller. It says what a
//! quote proves, and leaves policy to others. Two things it always refuses: what Intel has revoked, and what
//! runs in debug mode. `fl-host attest` calls it.

mod chain;
mod collateral;
mod der;
mod pck;
mod quote;
mod refusal;
mod status;
mod tcb;
#[cfg(test)]
mod tests;
mod verified;
mod verify;

pub use chain::{ChainError, Holder, Root};
pub use collateral::{Collateral, CollateralError, Statement};
pub use pck::{Processor, ProcessorError};
pub use quote::{Quote, QuoteError, Report};
pub use refusal::{NotVerified, Signed};
pub use status::{StatusError, TcbStatus};
pub use verified::{Enclave, Measured, Verified};
pub use verify::{TrustedCollateral, claimed_processor};
