//! What `Hello` and `Welcome` carry as evidence: who runs, which key signs this link, and a quote where there
//! is one.
//!
//! ```text
//! certificate's key ── signs ──────▶ claims: role, run, CA, plan, certificate's key, run key
//! quote ────────────── holds ──────▶ SHA-256 of the claims
//! run key ──────────── signs ──────▶ this link: role, TLS exporter, both certificates' keys
//! ```
//!
//! The bytes have a fixed layout; numbers are little-endian:
//!
//! ```text
//! version 1 · kind of quote 1 · role 1 · run 8 · CA 32 · plan 32 · certificate's key 32 · run key 32
//! · signature of the certificate's key 64 · signature of the run key 64 · serial of the roster held 8
//! · issue time of the collateral held 8 · quote, to the end
//! ```
//!
//! Each text that is signed begins with words of its own, so that no signature means two things. This module
//! has no cryptography but SHA-256: the shell makes and checks signatures.

use crate::{Digest, limits::QUOTE_BYTES};

/// Which end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Side {
    /// The aggregator.
    Aggregator = 1,
    /// A collaborator.
    Collaborator = 2,
}

impl Side {
    /// The side at the other end of a link.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Aggregator => Self::Collaborator,
            Self::Collaborator => Self::Aggregator,
        }
    }
}

/// What a process says of itself for as long as it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Its role.
    pub side: Side,
    /// Number of its run, drawn anew with every run key.
    pub run: u64,
    /// SHA-256 of the CA's certificate.
    pub ca: Digest,
    /// The plan's hash.
    pub plan: Digest,
    /// SHA-256 of the public key in its certificate (SubjectPublicKeyInfo, DER).
    pub certificate_key: Digest,
    /// Ed25519 key that the process has made and never writes.
    pub run_key: [u8; 32],
}

/// One link, as the run key of one end signs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkTerms {
    /// Who signs.
    pub side: Side,
    /// Bytes that the two ends of the link can make and nobody else: [`EXPORTER_LABEL`].
    pub exporter: [u8; 32],
    /// SHA-256 of the public key in the aggregator's certificate.
    pub aggregator_key: Digest,
    /// SHA-256 of the public key in the collaborator's certificate. It has to be named: an exporter of
    /// TLS 1.3 does not cover the client's certificate (RFC 8446, section 7.1).
    pub collaborator_key: Digest,
}

/// Evidence of one end of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// What the process says of itself.
    pub claims: Claims,
    /// Signature of the certificate's key over [`Claims::vouched_bytes`].
    pub vouched: [u8; 64],
    /// Signature of the run key over [`LinkTerms::bytes`].
    pub link: [u8; 64],
    /// What the process judges the other side by. Nobody signs it: TLS protects it on the way.
    pub held: Held,
    /// What vouches for the program.
    pub quote: AttachedQuote,
}

/// The roster and the collateral that a process holds, so that the other side can hand on newer ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The roster's serial; 0 for none.
    pub roster: u64,
    /// When Intel issued the newest part of the collateral, in seconds since 1970; 0 for none.
    pub collateral: u64,
}

/// A quote by its kind. Later kinds are appended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttachedQuote {
    /// The process runs outside of an enclave, or its platform gives no quotes.
    None,
    /// Intel SGX, with the certificates of its processor.
    Sgx(Vec<u8>),
}

/// Why bytes are not evidence. Each text follows `the evidence `.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// Of a later version of this program.
    #[error("has version {0}; this program reads version 1")]
    Version(u8),
    /// A quote of a kind that this version does not know.
    #[error("holds a quote of kind {0}, which this program does not know")]
    Kind(u8),
    /// Not a role.
    #[error("names role {0}; 1 is the aggregator, 2 a collaborator")]
    Side(u8),
    /// Ends before its last part does.
    #[error("is cut short: it has {0} bytes")]
    Short(usize),
    /// A quote that is longer than any, or one where there should be none, or none where there should be one.
    #[error("holds a quote of {0} bytes, which does not fit its kind")]
    Quote(usize),
}

impl Claims {
    /// What the report data of a quote are the SHA-256 of: 158 bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        [CLAIMS, &self.fields()].concat()
    }

    /// What the certificate's key signs.
    #[must_use]
    pub fn vouched_bytes(&self) -> Vec<u8> {
        [VOUCHED, &self.fields()].concat()
    }

    /// What a quote's report holds: SHA-256 of [`Self::bytes`], then zeros.
    #[must_use]
    pub fn report_data(&self) -> [u8; 64] {
        let mut data = [0; 64];
        data[..32].copy_from_slice(&Digest::of(&self.bytes()).0);
        data
    }

    fn fields(&self) -> Vec<u8> {
        let Self { side, run, ca, plan, certificate_key, run_key } = self;
        [&[*side as u8][..], &run.to_le_bytes(), &ca.0, &plan.0, &certificate_key.0, run_key].concat()
    }
}

impl LinkTerms {
    /// What a run key signs: 116 bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let Self { side, exporter, aggregator_key, collaborator_key } = self;
        [LINK, &[*side as u8], exporter, &aggregator_key.0, &collaborator_key.0].concat()
    }
}

impl Evidence {
    /// For the field `evidence` of a message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, quote) = match &self.quote {
            AttachedQuote::None => (NO_QUOTE, &[][..]),
            AttachedQuote::Sgx(quote) => (SGX, &quote[..]),
        };
        let Self { claims, vouched, link, held: Held { roster, collateral }, .. } = self;
        let held = [roster.to_le_bytes(), collateral.to_le_bytes()].concat();
        [&[VERSION, kind][..], &claims.fields(), vouched, link, &held, quote].concat()
    }

    /// Reads the field `evidence` of a message.
    ///
    /// # Errors
    /// [`EvidenceError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, EvidenceError> {
        let mut rest = Rest { bytes, all: bytes.len() };
        let [version, kind, side] = rest.take()?;
        if version != VERSION {
            return Err(EvidenceError::Version(version));
        }
        let side = match side {
            1 => Side::Aggregator,
            2 => Side::Collaborator,
            other => return Err(EvidenceError::Side(other)),
        };
        let claims = Claims {
            side,
            run: u64::from_le_bytes(rest.take()?),
            ca: Digest(rest.take()?),
            plan: Digest(rest.take()?),
            certificate_key: Digest(rest.take()?),
            run_key: rest.take()?,
        };
        let (vouched, link) = (rest.take()?, rest.take()?);
        let (roster, collateral) = (u64::from_le_bytes(rest.take()?), u64::from_le_bytes(rest.take()?));
        let (held, quote) = (Held { roster, collateral }, rest.bytes);
        let quote = match (kind, quote.len()) {
            (NO_QUOTE, 0) => AttachedQuote::None,
            (SGX, 1..=QUOTE_BYTES) => AttachedQuote::Sgx(quote.to_vec()),
            (NO_QUOTE | SGX, length) => return Err(EvidenceError::Quote(length)),
            (other, _) => return Err(EvidenceError::Kind(other)),
        };
        Ok(Self { claims, vouched, link, held, quote })
    }
}

/// The bytes that are still to be read.
struct Rest<'a> {
    bytes: &'a [u8],
    all: usize,
}

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], EvidenceError> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or(EvidenceError::Short(self.all))?;
        self.bytes = rest;
        Ok(*taken)
    }
}

/// Label of the bytes that both ends of a link export (RFC 8446, section 7.5), with an empty context.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-fl-evidence-1";
// The first words of what is signed or hashed.
const CLAIMS: &[u8] = b"fl evidence claims 1\n";
const VOUCHED: &[u8] = b"fl evidence vouched 1\n";
const LINK: &[u8] = b"fl evidence link 1\n";
const VERSION: u8 = 1;
const NO_QUOTE: u8 = 0;
const SGX: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(quote: AttachedQuote) -> Evidence {
        let claims = Claims {
            side: Side::Collaborator,
            run: 0x0807_0605_0403_0201,
            ca: Digest([0xca; 32]),
            plan: Digest([0x91; 32]),
            certificate_key: Digest([0xce; 32]),
            run_key: [0x4e; 32],
        };
        let held = Held { roster: 5, collateral: 6 };
        Evidence { claims, vouched: [0x0f; 64], link: [0x1e; 64], held, quote }
    }

    #[test]
    fn evidence_has_its_golden_bytes_and_comes_back() {
        let none = evidence(AttachedQuote::None);
        let golden = [
            &[1, 0, 2][..],
            &[1, 2, 3, 4, 5, 6, 7, 8],
            &[0xca; 32],
            &[0x91; 32],
            &[0xce; 32],
            &[0x4e; 32],
            &[0x0f; 64],
            &[0x1e; 64],
            &[5, 0, 0, 0, 0, 0, 0, 0],
            &[6, 0, 0, 0, 0, 0, 0, 0],
        ]
        .concat();
        assert_eq!((none.encode(), golden.len()), (golden, 283));
        let sgx = evidence(AttachedQuote::Sgx(vec![3; 4600]));
        assert_eq!(sgx.encode().len(), 283 + 4600);
        for evidence in [none, sgx] {
            assert_eq!(Evidence::decode(&evidence.encode()), Ok(evidence));
        }
    }

    #[test]
    fn texts_that_are_signed_have_their_golden_digests_and_lengths() {
        let claims = evidence(AttachedQuote::None).claims;
        assert_eq!((claims.bytes().len(), claims.vouched_bytes().len()), (158, 159));
        assert_eq!(claims.report_data()[..32], Digest::of(&claims.bytes()).0);
        assert_eq!(claims.report_data()[32..], [0; 32]);
        assert_eq!(&claims.bytes()[21..], &claims.vouched_bytes()[22..]);
        let terms = LinkTerms {
            side: Side::Aggregator,
            exporter: [1; 32],
            aggregator_key: Digest([2; 32]),
            collaborator_key: Digest([3; 32]),
        };
        let bytes = [&b"fl evidence link 1\n\x01"[..], &[1; 32], &[2; 32], &[3; 32]].concat();
        assert_eq!((terms.bytes(), bytes.len()), (bytes, 116));
    }

    #[test]
    fn bytes_that_are_no_evidence_are_refused_with_the_reason() {
        let good = evidence(AttachedQuote::Sgx(vec![3; 10])).encode();
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            Evidence::decode(&bytes).unwrap_err()
        };
        assert_eq!(with(0, 2), EvidenceError::Version(2));
        assert_eq!(with(1, 9), EvidenceError::Kind(9));
        assert_eq!(with(1, 0), EvidenceError::Quote(10));
        assert_eq!(with(2, 0), EvidenceError::Side(0));
        for length in 0..283 {
            assert_eq!(Evidence::decode(&good[..length]), Err(EvidenceError::Short(length)));
        }
        assert_eq!(Evidence::decode(&good[..283]), Err(EvidenceError::Quote(0)));
        let long = evidence(AttachedQuote::Sgx(vec![3; QUOTE_BYTES + 1])).encode();
        assert_eq!(Evidence::decode(&long), Err(EvidenceError::Quote(QUOTE_BYTES + 1)));
    }
}
