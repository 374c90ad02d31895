//! The bytes of an SGX quote, version 3: where each part lies. Nothing here checks a signature.
//!
//! ```text
//!    0  header: version 3, key kind 2 (ECDSA P-256), TEE type 0 (SGX), vendor of the quoting enclave
//!   48  report of the enclave, 384 bytes
//!  432  length of what follows
//!  436  signature of the bytes before 432, r and s     by the attestation key
//!  500  attestation key, x and y
//!  564  report of the quoting enclave, 384 bytes       its data: SHA-256 of the key and the data below
//!  948  signature of that report, r and s              by the processor's key (PCK)
//! 1012  length of the authentication data, and the data
//!       type 5, length, certificates in PEM: processor, Intel's CA, Intel's root
//! ```
//!
//! Source: Intel SGX DCAP ECDSA Quote Library API, appendix A.

use fl_engine::limits::QUOTE_BYTES;

/// Parts of a quote. They are claims until [`super::TrustedCollateral::verify`] has checked them.
#[derive(Clone, Copy, Debug)]
pub struct Quote<'a> {
    /// What the attestation key signed: header and report.
    pub(super) signed: &'a [u8],
    /// The enclave's report.
    pub(super) report: Report<'a>,
    pub(super) signature: &'a [u8; 64],
    pub(super) attestation_key: &'a [u8; 64],
    pub(super) quoting_enclave: Report<'a>,
    pub(super) quoting_enclave_signature: &'a [u8; 64],
    pub(super) authentication: &'a [u8],
    /// Certificates in PEM, the processor's first.
    pub(super) certificates: &'a [u8],
}

/// An enclave's report: 384 bytes that the processor fills in.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a>(pub(super) &'a [u8; REPORT_BYTES]);

/// Why bytes are not a quote that can be verified. Each text follows `the quote `.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuoteError {
    /// Longer than any quote.
    #[error("has {0} bytes; at most {QUOTE_BYTES} are allowed")]
    TooLong(usize),
    /// Ends before one of its parts does.
    #[error("is cut short")]
    Short,
    /// Bytes follow its last part.
    #[error("is followed by {0} bytes that do not belong to it")]
    Trailing(usize),
    /// Of another version, or not of SGX.
    #[error("has version {version} and TEE type {tee:#x}; version 3 and type 0x0 (SGX) are needed")]
    Kind {
        /// Version of the format.
        version: u16,
        /// 0 is SGX, 0x81 is TDX.
        tee: u32,
    },
    /// The attestation key is not ECDSA P-256.
    #[error("is signed by a key of kind {0}; kind 2 (ECDSA P-256) is needed")]
    KeyKind(u16),
    /// Another quoting enclave than Intel's made it.
    #[error("comes from a quoting enclave of another vendor than Intel")]
    Vendor,
    /// It holds no certificates of the processor.
    #[error("holds no certificates of the processor (certification data of type {0}; type 5 is needed)")]
    NoCertificates(u16),
}

impl<'a> Quote<'a> {
    /// Finds the parts of `bytes`.
    ///
    /// # Errors
    /// [`QuoteError`]. Bytes after the last part are refused.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, QuoteError> {
        if bytes.len() > QUOTE_BYTES {
            return Err(QuoteError::TooLong(bytes.len()));
        }
        let mut rest = Rest(bytes);
        let (version, key_kind, tee) = (rest.u16()?, rest.u16()?, rest.u32()?);
        if version != 3 || tee != 0 {
            return Err(QuoteError::Kind { version, tee });
        }
        if key_kind != ECDSA_P256 {
            return Err(QuoteError::KeyKind(key_kind));
        }
        // Security versions of the quoting enclave and the PCE: report and certificate say more.
        rest.take(4)?;
        if rest.array()? != &INTEL {
            return Err(QuoteError::Vendor);
        }
        rest.take(USER_DATA_BYTES)?;
        let report = Report(rest.array()?);
        let length = rest.u32()?;
        let mut part = Rest(rest.take(usize::try_from(length).unwrap_or(usize::MAX))?);
        rest.end()?;

        let (signature, attestation_key) = (part.array()?, part.array()?);
        let (quoting_enclave, quoting_enclave_signature) = (Report(part.array()?), part.array()?);
        let length = part.u16()?;
        let authentication = part.take(length.into())?;
        let kind = part.u16()?;
        if kind != CERTIFICATES {
            return Err(QuoteError::NoCertificates(kind));
        }
        let length = part.u32()?;
        let certificates = part.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        part.end()?;
        let signed = bytes.get(..SIGNED_BYTES).ok_or(QuoteError::Short)?;
        Ok(Self {
            signed,
            report,
            signature,
            attestation_key,
            quoting_enclave,
            quoting_enclave_signature,
            authentication,
            certificates,
        })
    }

    /// The enclave's report.
    #[must_use]
    pub fn report(&self) -> Report<'a> {
        self.report
    }
}

impl<'a> Report<'a> {
    /// MRENCLAVE.
    #[must_use]
    pub fn mrenclave(self) -> [u8; 32] {
        self.array(64)
    }

    /// MRSIGNER.
    #[must_use]
    pub fn mrsigner(self) -> [u8; 32] {
        self.array(128)
    }

    /// ISVPRODID.
    #[must_use]
    pub fn product(self) -> u16 {
        u16::from_le_bytes(self.array(256))
    }

    /// ISVSVN.
    #[must_use]
    pub fn svn(self) -> u16 {
        u16::from_le_bytes(self.array(258))
    }

    /// What the enclave put into the report.
    #[must_use]
    pub fn data(self) -> [u8; 64] {
        self.array(320)
    }

    /// Whether the host may read the enclave's memory.
    #[must_use]
    pub fn is_debug(self) -> bool {
        self.attributes()[0] & DEBUG != 0
    }

    /// MISCSELECT.
    pub(super) fn miscellaneous(self) -> u32 {
        u32::from_le_bytes(self.array(16))
    }

    /// Flags, eight bytes, and XFRM, eight bytes.
    pub(super) fn attributes(self) -> [u8; 16] {
        self.array(48)
    }

    pub(super) fn bytes(self) -> &'a [u8] {
        self.0
    }

    fn array<const N: usize>(self, at: usize) -> [u8; N] {
        std::array::from_fn(|index| self.0[at + index])
    }
}

/// The bytes that are still to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], QuoteError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(QuoteError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], QuoteError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(QuoteError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, QuoteError> {
        self.array().map(|bytes| u16::from_le_bytes(*bytes))
    }

    fn u32(&mut self) -> Result<u32, QuoteError> {
        self.array().map(|bytes| u32::from_le_bytes(*bytes))
    }

    fn end(&self) -> Result<(), QuoteError> {
        if self.0.is_empty() { Ok(()) } else { Err(QuoteError::Trailing(self.0.len())) }
    }
}

impl QuoteError {
    /// What to do.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Kind { .. } => Some(
                "the quote must come from an SGX enclave whose manifest says `sgx.remote_attestation = \"dcap\"`",
            ),
            Self::NoCertificates(_) => Some(
                "let the quote provider of the enclave's machine reach a certificate service (PCCS), then make the quote again",
            ),
            _ => None,
        }
    }
}

/// Bytes of a report.
const REPORT_BYTES: usize = 384;
/// Header and report: what the attestation key signs.
const SIGNED_BYTES: usize = 48 + REPORT_BYTES;
const USER_DATA_BYTES: usize = 20;
/// Kind of the attestation key.
const ECDSA_P256: u16 = 2;
/// Type of certification data: certificates of the processor, in PEM.
const CERTIFICATES: u16 = 5;
/// The bit of an enclave's first flag byte that lets the host read its memory.
pub(super) const DEBUG: u8 = 2;
/// The vendor of Intel's quoting enclave.
const INTEL: [u8; 16] =
    [0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07];
