//! The verifier against a forged Intel, against real quotes, and against another verifier.

mod appraise;
mod flips;
mod forged;
mod real;

use dcap_qvl::{QuoteCollateralV3, verify::QuoteVerifier};
use fl_engine::{Digest, plan::roster::UnixSeconds};

use super::{
    ChainError, Collateral, Enclave, Holder, Measured, NotVerified, ProcessorError, Quote, QuoteError, Root,
    Signed, TcbStatus, TrustedCollateral, Verified, claimed_processor,
};

/// What both verifiers get.
struct Case {
    quote: Vec<u8>,
    /// The common JSON file.
    collateral: String,
    /// DER.
    root: Vec<u8>,
    now: UnixSeconds,
}

impl Case {
    fn ours(&self) -> Result<Verified, NotVerified> {
        let collateral = Collateral::parse(self.collateral.as_bytes()).unwrap();
        let root = Root(Digest::of(&self.root));
        TrustedCollateral::check(&collateral, root, self.now)?.verify(&self.quote, self.now)
    }

    /// The other verifier's status; what it says of a quote that it refuses.
    fn theirs(&self) -> Result<String, String> {
        let collateral = serde_json::from_str(&self.collateral).map_err(|e| e.to_string())?;
        theirs(&self.quote, &collateral, &self.root, self.now)
    }
}

fn theirs(
    quote: &[u8],
    collateral: &QuoteCollateralV3,
    root: &[u8],
    now: UnixSeconds,
) -> Result<String, String> {
    let verdict = QuoteVerifier::new(root.to_vec()).verify(quote, collateral, now.0);
    verdict.map(|report| report.status).map_err(|error| format!("{error:#}"))
}
