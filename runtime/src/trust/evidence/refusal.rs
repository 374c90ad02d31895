//! Why a quote or collateral is refused: words for people, a word for programs, and what to do.

use std::fmt;

use fl_engine::plan::roster::UnixSeconds;

use super::{
    chain::{ChainError, Holder},
    pck::ProcessorError,
    quote::QuoteError,
    verified::Verified,
};

/// Why a quote proves nothing. No text holds a number that identifies a machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotVerified {
    /// The bytes are not a quote that can be verified.
    #[error("the quote {0}")]
    Quote(#[from] QuoteError),
    /// A certificate is not good.
    #[error("{0} {1}")]
    Chain(Holder, ChainError),
    /// A certificate does not describe a processor.
    #[error("the processor's certificate {0}")]
    Processor(#[from] ProcessorError),
    /// A revocation list cannot be read.
    #[error("a revocation list of the collateral cannot be read")]
    Lists,
    /// A signature is wrong.
    #[error("the signature of {0} is wrong")]
    Signature(Signed),
    /// A signed text is not what is needed.
    #[error("{0} {1}")]
    Text(Signed, String),
    /// Something is not valid yet.
    #[error("{0} is not valid before {1}")]
    Early(Signed, UnixSeconds),
    /// Something is not valid any more.
    #[error("{0} expired at {1}")]
    Late(Signed, UnixSeconds),
    /// The collateral is about other processors.
    #[error("the collateral does not describe this kind of processor")]
    OtherProcessor,
    /// Two statements are about one kind of processor.
    #[error("the collateral describes one kind of processor twice")]
    ProcessorTwice,
    /// Another provisioning enclave certified the quoting enclave.
    #[error(
        "the collateral is for another provisioning enclave (PCE) than the processor's certificate names"
    )]
    OtherPce,
    /// The quoting enclave's report is about another key.
    #[error("the report of the quoting enclave is about another attestation key")]
    OtherKey,
    /// The quoting enclave is not the one that Intel describes.
    #[error("the quoting enclave is not Intel's")]
    QuotingEnclave,
    /// The quoting enclave is older than every version that Intel lists.
    #[error("the quoting enclave is older than every version that Intel lists")]
    QuotingEnclaveTooOld,
    /// The processor is below every level that Intel lists.
    #[error("the processor's microcode is older than every version that Intel lists")]
    NoLevel,
    /// Intel has revoked the level of the processor or of the quoting enclave.
    #[error("Intel has revoked this version of the processor's microcode, or of the quoting enclave")]
    Revoked,
    /// The enclave's host may read its memory. All else was verified.
    #[error("the enclave runs in debug mode: its host can read its memory")]
    Debug(Box<Verified>),
}

/// What is signed, or has a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signed {
    /// The security versions of a kind of processor.
    TcbInfo,
    /// The identity of the quoting enclave.
    QeIdentity,
    /// The report of the quoting enclave.
    QeReport,
    /// The quote.
    Quote,
    /// A revocation list.
    List,
}

impl NotVerified {
    /// One word for programs. The words stay the same in later versions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Quote(QuoteError::Kind { .. }) => "quote_kind",
            Self::Quote(QuoteError::NoCertificates(_)) => "no_certificates",
            Self::Quote(_) => "quote_form",
            Self::Chain(_, ChainError::Revoked) => "certificate_revoked",
            Self::Chain(_, ChainError::Expired(_) | ChainError::NotYet(_)) => "certificate_time",
            Self::Chain(_, ChainError::ListExpired(_)) => "collateral_expired",
            Self::Chain(_, ChainError::NoList) => "no_revocation_list",
            Self::Chain(..) => "certificate",
            Self::Processor(_) => "processor_certificate",
            Self::Lists | Self::Text(..) | Self::ProcessorTwice => "collateral_form",
            Self::Signature(_) => "signature",
            Self::Early(..) => "collateral_early",
            Self::Late(..) => "collateral_expired",
            Self::OtherProcessor => "other_processor",
            Self::OtherPce => "other_pce",
            Self::OtherKey => "other_attestation_key",
            Self::QuotingEnclave => "quoting_enclave",
            Self::QuotingEnclaveTooOld => "quoting_enclave_too_old",
            Self::NoLevel => "no_tcb_level",
            Self::Revoked => "tcb_revoked",
            Self::Debug(_) => "debug",
        }
    }

    /// What to do; `None` where nobody can do anything but distrust the quote.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Quote(error) => error.hint(),
            Self::Early(..) | Self::Chain(_, ChainError::NotYet(_)) => {
                Some("check the clock of this machine")
            }
            Self::Late(..)
            | Self::Chain(_, ChainError::ListExpired(_))
            | Self::Chain(Holder::TcbInfoSigner | Holder::QuotingEnclaveSigner, ChainError::Expired(_)) => {
                Some("fetch the collateral again: `fl-host attest show` prints how")
            }
            Self::OtherProcessor | Self::Chain(_, ChainError::NoList) => Some(
                "the collateral must describe every member's kind of processor: `fl-host attest show` prints what a quote needs",
            ),
            Self::NoLevel | Self::QuotingEnclaveTooOld | Self::Revoked => {
                Some("update the BIOS, the microcode and the SGX software of the enclave's machine")
            }
            Self::Debug(_) => {
                Some("build the enclave without debug mode: `sgx.debug = false` in its manifest")
            }
            _ => None,
        }
    }
}

impl fmt::Display for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TcbInfo => "the TCB info",
            Self::QeIdentity => "the QE identity",
            Self::QeReport => "the quoting enclave's report",
            Self::Quote => "the quote",
            Self::List => "a revocation list",
        })
    }
}
