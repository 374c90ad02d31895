//! Evidence about enclaves, on a machine without SGX: what a quote says, which collateral it needs, and what
//! Intel vouches for.
//!
//! ```text
//! quote ─ show ──▶ what it claims, and the lines that fetch Intel's collateral
//!                  DIR ─ fetched ─▶ one collateral file, checked
//! quote + collateral ─ examine ─▶ what Intel vouches for, by two verifiers that share no code
//! ```
//!
//! The runtime's verifier decides. [`second_opinion`] asks another one: where the two disagree, the quote is
//! refused. Quotes of Intel TDX have the second opinion alone. Nothing here opens a connection.

pub mod fetched;
pub mod second_opinion;

use std::path::Path;

use fl_engine::{
    limits::{COLLATERAL_BYTES, PLAN_FILE_BYTES, QUOTE_BYTES},
    plan::roster::{Accepted, Program, Roster, UnixSeconds},
};
use fl_runtime::internal::trust::{
    Authority, Role,
    evidence::{
        Collateral, Enclave, Measured, NotVerified, Quote, QuoteError, Root, TcbStatus, TrustedCollateral,
        Verified, claimed_processor,
    },
};

use crate::{
    exit::{Exit, Failure},
    files,
};
use second_opinion::{Opinion, TrustDomain};

/// What a quote claims; nothing of it was checked.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The enclave.
    pub enclave: Enclave,
    /// What the enclave put into its report.
    pub report_data: [u8; 64],
    /// Kind of the processor (FMSPC).
    pub processor: [u8; 6],
}

/// What two verifiers agree on.
#[derive(Clone, Debug)]
pub enum Examined {
    /// An SGX enclave: both verifiers.
    Sgx(Box<Verified>),
    /// A trust domain of Intel TDX: the second verifier alone.
    Tdx(Box<TrustDomain>),
}

/// Reads a quote.
///
/// # Errors
/// [`Exit::File`].
pub fn read_quote(path: &Path) -> Result<Vec<u8>, Failure> {
    files::read(path, QUOTE_BYTES)
}

/// Reads a file with collateral.
///
/// # Errors
/// [`Exit::File`], [`Exit::Evidence`].
pub fn read_collateral(path: &Path) -> Result<Collateral, Failure> {
    let bytes = files::read(path, COLLATERAL_BYTES)?;
    Collateral::parse(&bytes).map_err(|e| {
        Failure::new(Exit::Evidence, format!("{} {e}", path.display()))
            .hint("`fl-host attest show` prints how to fetch collateral, `fl-host attest collateral` makes the file")
            .reason("collateral_form")
    })
}

/// What the quote claims.
///
/// # Errors
/// [`Exit::Evidence`] for bytes that are not a quote of SGX with the certificates of its processor.
pub fn show(quote: &[u8]) -> Result<Shown, Failure> {
    let refused = |error: NotVerified| refused(&error);
    let report = Quote::parse(quote).map_err(|e| refused(e.into()))?.report();
    let processor = claimed_processor(quote).map_err(refused)?;
    Ok(Shown { enclave: Enclave::of(report), report_data: report.data(), processor })
}

/// Verifies a quote twice, at the time `now`.
///
/// # Errors
/// [`Exit::Evidence`] where a verifier refuses the quote, or where the two disagree.
pub fn examine(
    quote: &[u8],
    collateral: &Collateral,
    root: Root,
    now: UnixSeconds,
) -> Result<Examined, Failure> {
    if let Err(QuoteError::Kind { tee: TDX, .. }) = Quote::parse(quote) {
        return second_opinion::trust_domain(quote, collateral, root, now).map(Box::new).map(Examined::Tdx);
    }
    let ours = TrustedCollateral::check(collateral, root, now).and_then(|trusted| trusted.verify(quote, now));
    let theirs = second_opinion::enclave(quote, collateral, root, now);
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => agreed(ours, &theirs),
        (Err(error), _) => Err(refused(&error)),
        (Ok(_), Err(why)) => Err(disagreement(&format!("dcap-qvl refuses the quote: {why}"))),
    }
}

fn agreed(ours: Verified, theirs: &Opinion) -> Result<Examined, Failure> {
    if theirs.status != ours.status().as_str() {
        return Err(disagreement(&format!(
            "fl-host says {}, dcap-qvl says {}",
            ours.status(),
            theirs.status
        )));
    }
    let Measured::Sgx(enclave) = ours.measured() else {
        return Err(disagreement("fl-host found no SGX enclave in it"));
    };
    if (theirs.mrenclave, theirs.report_data) != (enclave.mrenclave.0, *ours.report_data()) {
        return Err(disagreement("they read different enclaves in it"));
    }
    Ok(Examined::Sgx(Box::new(ours)))
}

fn disagreement(how: &str) -> Failure {
    Failure::new(Exit::Evidence, format!("the two verifiers disagree about this quote: {how}"))
        .hint("do not trust the quote; report a defect of fl-host together with the quote and the collateral")
        .reason("disagreement")
}

/// A failure with the words of the runtime's verifier.
#[must_use]
pub fn refused(error: &NotVerified) -> Failure {
    // The text names the cause already.
    let mut failure = Failure::new(Exit::Evidence, error.to_string());
    // All that was found out before the refusal.
    if let NotVerified::Debug(verified) = error
        && let Measured::Sgx(enclave) = verified.measured()
    {
        failure.error += &format!("; MRENCLAVE {}, status {}", enclave.mrenclave, verified.status());
    }
    failure.maybe_hint(error.hint().map(str::to_owned)).reason(error.reason())
}

/// Reads a roster that the federation's CA signed.
///
/// # Errors
/// [`Exit::File`], [`Exit::Trust`].
pub fn read_roster(roster: &Path, ca: &Path) -> Result<Roster, Failure> {
    let pem = files::read_pem(ca).map_err(|f| f.hint("name the federation's ca.crt with --ca"))?;
    let authority =
        Authority::from_pem(pem.as_bytes()).map_err(|e| Failure::of(Exit::Trust, &e).hint(e.hint()))?;
    let text = files::read_text(roster, PLAN_FILE_BYTES)?;
    authority.open_roster(&text).map_err(|e| {
        Failure::new(Exit::Trust, format!("the roster {} is refused: {e}", roster.display()))
            .hint("take the roster and ca.crt again from the federation's owner")
    })
}

/// The role for which the roster accepts the enclave: `listed` is what the roster accepts.
///
/// # Errors
/// [`Exit::Plan`] for a roster without measurements; [`Exit::Evidence`] for another enclave.
pub fn role_of(enclave: &Enclave, listed: Option<&Accepted>) -> Result<Role, Failure> {
    let listed = listed.ok_or_else(|| {
        Failure::new(Exit::Plan, "the roster lists no measurements of enclaves")
            .hint("the owner adds them with `fl-host pki sign --attestation`, or with `fl-host pki approve --measurement` or `fl-host pki sign --measurement`")
    })?;
    let Enclave { mrenclave, mrsigner, product, svn, .. } = *enclave;
    let is = |listed: &[Program]| listed.iter().any(|program| program.is(mrenclave, mrsigner, product, svn));
    match (is(&listed.aggregator), is(&listed.collaborators)) {
        (true, _) => Ok(Role::Aggregator),
        (_, true) => Ok(Role::Collaborator),
        _ => {
            let error = format!(
                "the roster lists other enclaves than this one: MRENCLAVE {}, MRSIGNER {}, product {}, security version {}",
                enclave.mrenclave, enclave.mrsigner, enclave.product, enclave.svn
            );
            Err(Failure::new(Exit::Evidence, error)
                .hint("`fl-host pki list` shows what the roster lists; `fl-host sgx explain` shows why two images differ")
                .reason("other_enclave"))
        }
    }
}

/// Whether Intel asks for a change at the enclave's machine, and which.
#[must_use]
pub fn advice(status: TcbStatus) -> Option<&'static str> {
    match status {
        TcbStatus::UpToDate => None,
        TcbStatus::SwHardeningNeeded => {
            Some("the program in the enclave must work around the advisories; no change of the machine helps")
        }
        TcbStatus::ConfigurationNeeded | TcbStatus::ConfigurationAndSwHardeningNeeded => {
            Some("settings of the machine leave the advisories open, for example hyper-threading in its BIOS")
        }
        _ => Some("the machine needs newer microcode, a newer BIOS or newer SGX software"),
    }
}

/// Hexadecimal digits of a kind of processor, as Intel's addresses have them.
#[must_use]
pub fn fmspc(processor: [u8; 6]) -> String {
    processor.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// The TEE type of Intel TDX in a quote.
const TDX: u32 = 0x81;

#[cfg(test)]
mod tests;
