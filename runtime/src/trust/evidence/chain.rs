//! Chains of certificates that end in Intel's root, and the revocation lists of Intel's authorities.

use std::{fmt, time::Duration};

use fl_engine::{Digest, plan::roster::UnixSeconds};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use rustls::pki_types::{CertificateDer, UnixTime, pem::PemObject as _};
use webpki::{
    CertRevocationList, EndEntityCert, Error as WebpkiError, ExpirationPolicy, KeyUsage,
    OwnedCertRevocationList, RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy,
    anchor_from_trusted_cert, ring::ECDSA_P256_SHA256,
};

use super::{der, tcb::Term};
use crate::trust::authority::validity;

/// The root of all certificates about enclaves, by the SHA-256 of its DER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root(pub Digest);

impl Root {
    /// "Intel SGX Root CA", valid from 2018-05-21 to 2049-12-31.
    pub const INTEL: Self = Self(Digest([
        0x44, 0xa0, 0x19, 0x6b, 0x2b, 0x99, 0xf8, 0x89, 0xb8, 0xe1, 0x49, 0xe9, 0x5b, 0x80, 0x7a, 0x35, 0x0e,
        0x74, 0x24, 0x96, 0x43, 0x99, 0xe8, 0x85, 0xa7, 0xcb, 0xb8, 0xcc, 0xfa, 0xb6, 0x74, 0xd3,
    ]));
}

/// Whose certificate a chain begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Holder {
    /// The processor of the quote.
    Processor,
    /// Who signed the TCB info.
    TcbInfoSigner,
    /// Who signed the identity of the quoting enclave.
    QuotingEnclaveSigner,
}

/// Why a chain is refused. Each text follows the holder's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The text is not certificates in PEM alone.
    #[error("is not in PEM, or other text stands between the certificates")]
    Pem,
    /// Too many or too few certificates.
    #[error("comes with {found} certificates; {needed} are needed")]
    Number {
        /// In the text.
        found: usize,
        /// From the holder's to the root.
        needed: usize,
    },
    /// The last certificate is not the root's.
    #[error("does not end in Intel's root certificate")]
    OtherRoot,
    /// An authority of Intel's has revoked a certificate of the chain.
    #[error("is revoked by Intel, or the authority that issued it is")]
    Revoked,
    /// A certificate's last second is over.
    #[error("or its authority's certificate expired at {0}")]
    Expired(UnixSeconds),
    /// A certificate's first second is still to come.
    #[error("or its authority's certificate is not valid before {0}")]
    NotYet(UnixSeconds),
    /// The collateral lacks the list of an authority in the chain.
    #[error("comes from an authority whose revocation list is not in the collateral")]
    NoList,
    /// A revocation list's last second is over.
    #[error("cannot be judged: its authority's revocation list expired at {0}")]
    ListExpired(UnixSeconds),
    /// A revocation list is forged, or not in the form that X.509 asks for.
    #[error("cannot be judged: a revocation list has a wrong signature")]
    ListForged,
    /// The key is not ECDSA P-256.
    #[error("has a key of another kind than ECDSA P-256")]
    KeyKind,
    /// Anything else that X.509 forbids.
    #[error("was not issued under Intel's root: {0}")]
    Untrusted(String),
}

/// Certificates from a holder's to the root's.
pub(super) struct Chain(Vec<CertificateDer<'static>>);

/// Revocation lists of Intel's authorities.
#[derive(Debug)]
pub(super) struct RevocationLists {
    lists: Vec<CertRevocationList<'static>>,
    /// Who issued each list, and when.
    pub(super) issued: Vec<(Vec<u8>, UnixSeconds)>,
    /// The time in which all of them are valid.
    pub(super) term: Term,
}

impl Chain {
    /// Reads exactly `needed` certificates, the last of them the root's.
    pub(super) fn parse(pem: &[u8], needed: usize, root: Root) -> Result<Self, ChainError> {
        let chain = certificates(pem)?;
        if chain.len() != needed {
            return Err(ChainError::Number { found: chain.len(), needed });
        }
        match chain.last() {
            Some(last) if Digest::of(last) == root.0 => Ok(Self(chain)),
            _ => Err(ChainError::OtherRoot),
        }
    }

    /// The holder's certificate, DER.
    pub(super) fn holder(&self) -> &CertificateDer<'static> {
        // There are as many as were needed, at least the root's.
        &self.0[0]
    }

    /// Checks every signature, validity and revocation list up to the root. Returns the last second in which
    /// all certificates of the chain are valid.
    pub(super) fn check(&self, lists: &RevocationLists, now: UnixSeconds) -> Result<UnixSeconds, ChainError> {
        let refused = |error: WebpkiError| ChainError::from(error);
        let [holder, between @ .., root] = &self.0[..] else {
            return Err(ChainError::Number { found: self.0.len(), needed: 2 });
        };
        let anchor = anchor_from_trusted_cert(root).map_err(refused)?;
        let lists: Vec<&CertRevocationList<'_>> = lists.lists.iter().collect();
        let revocation = RevocationOptionsBuilder::new(&lists).map_err(|_| ChainError::NoList)?;
        let revocation = revocation
            .with_depth(RevocationCheckDepth::Chain)
            .with_status_policy(UnknownStatusPolicy::Deny)
            .with_expiration_policy(ExpirationPolicy::Enforce)
            .build();
        let parsed = EndEntityCert::try_from(holder).map_err(refused)?;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(now.0));
        // Intel's certificates state no extended usage, which this usage allows.
        let usage = KeyUsage::server_auth();
        parsed
            .verify_for_usage(&[ECDSA_P256_SHA256], &[anchor], between, time, usage, Some(revocation), None)
            .map(drop)
            .map_err(refused)?;
        // The root is trusted by its digest, so webpki has not looked at its validity.
        let mut until = UnixSeconds(u64::MAX);
        for certificate in &self.0 {
            let term = validity(certificate).map_err(|e| ChainError::Untrusted(e.to_string()))?;
            until = until.min(term.not_after);
        }
        if now > until { Err(ChainError::Expired(until)) } else { Ok(until) }
    }

    /// Whether the holder's key has made the signature over `message`, with SHA-256, as r and s.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8; 64]) -> Result<bool, ChainError> {
        let holder = EndEntityCert::try_from(self.holder()).map_err(ChainError::from)?;
        let key = holder.subject_public_key_info();
        let point = key.strip_prefix(&P256).filter(|point| point.len() == 65).ok_or(ChainError::KeyKind)?;
        Ok(is_signed(point, message, signature))
    }
}

/// The certificates of a text that holds nothing else.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ChainError> {
    let text = std::str::from_utf8(pem).map_err(|_| ChainError::Pem)?;
    // Some quoting libraries end the text with a line feed, some with a zero byte too.
    let text = text.strip_suffix('\0').unwrap_or(text);
    let text = text.strip_suffix('\n').unwrap_or(text);
    let blocks = text.split_inclusive(END).map(|block| block.strip_prefix('\n').unwrap_or(block));
    let certificate = |block: &str| {
        let is_whole = block.starts_with(BEGIN) && block.ends_with(END);
        is_whole.then(|| CertificateDer::from_pem_slice(block.as_bytes()).ok()).flatten()
    };
    blocks.map(certificate).collect::<Option<_>>().ok_or(ChainError::Pem)
}

/// Whether the key `point` (0x04, x and y, P-256) has made the signature (r and s) over `message`, with
/// SHA-256.
pub(super) fn is_signed(point: &[u8], message: &[u8], signature: &[u8; 64]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
}

impl RevocationLists {
    /// Reads lists in DER. Their signatures are checked when [`Chain::check`] uses them. `None` where one of
    /// them cannot be read.
    pub(super) fn parse(lists: &[&[u8]]) -> Option<Self> {
        let mut term = Term { issued: UnixSeconds(0), until: UnixSeconds(u64::MAX) };
        let (mut found, mut issuers) = (Vec::new(), Vec::new());
        for list in lists {
            let (issuer, issued, until) = der::facts_of_list(list)?;
            issuers.push((issuer.to_vec(), issued));
            term = Term { issued: term.issued.max(issued), until: term.until.min(until) };
            found.push(CertRevocationList::from(OwnedCertRevocationList::from_der(list).ok()?));
        }
        Some(Self { lists: found, issued: issuers, term })
    }
}

impl From<WebpkiError> for ChainError {
    fn from(error: WebpkiError) -> Self {
        let seconds = |time: UnixTime| UnixSeconds(time.as_secs());
        match error {
            WebpkiError::CertRevoked => Self::Revoked,
            WebpkiError::CertExpired { not_after, .. } => Self::Expired(seconds(not_after)),
            WebpkiError::CertNotValidYet { not_before, .. } => Self::NotYet(seconds(not_before)),
            WebpkiError::UnknownRevocationStatus => Self::NoList,
            WebpkiError::CrlExpired { next_update, .. } => Self::ListExpired(seconds(next_update)),
            WebpkiError::InvalidCrlSignatureForPublicKey
            | WebpkiError::UnsupportedCrlSignatureAlgorithmContext(_)
            | WebpkiError::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_)
            | WebpkiError::IssuerNotCrlSigner => Self::ListForged,
            other => Self::Untrusted(other.to_string()),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Processor => "the processor's certificate",
            Self::TcbInfoSigner => "the certificate of the TCB info's signer",
            Self::QuotingEnclaveSigner => "the certificate of the QE identity's signer",
        })
    }
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
/// The first bytes of every SubjectPublicKeyInfo of an ECDSA key over P-256, before the point (RFC 5480).
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
