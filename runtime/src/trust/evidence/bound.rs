//! Whether evidence belongs to the peer with a certificate, and to the link that it came over.

use fl_engine::{
    Digest,
    wire::{Evidence, EvidenceError, LinkTerms},
};
use ring::signature::{ED25519, UnparsedPublicKey};
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::trust::Fingerprint;

/// Why evidence does not belong to the link that it came over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotBound {
    /// The bytes are not evidence.
    #[error("the evidence {0}")]
    Form(#[from] EvidenceError),
    /// Of the other role.
    #[error("the evidence is of another role than the peer's certificate")]
    OtherRole,
    /// Of another certificate.
    #[error("the evidence is of another certificate than the peer's")]
    OtherCertificate,
    /// Of another plan or federation.
    #[error("the evidence is of another plan or another federation")]
    OtherPlan,
    /// The certificate's key did not sign the claims.
    #[error("the key of the peer's certificate has not signed the evidence")]
    NotVouched,
    /// The run key did not sign this link.
    #[error("the evidence was made for another link")]
    OtherLink,
}

/// What both sides of a link have to agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// SHA-256 of the CA's certificate.
    pub ca: Digest,
    /// The plan's hash.
    pub plan: Digest,
}

/// Checks that `evidence` is of the peer with this certificate, and was made for this link. Whether the
/// certificate's key has signed the claims is left to [`is_vouched`].
pub(super) fn check(
    evidence: &Evidence,
    certificate: &CertificateDer<'_>,
    link: &LinkTerms,
    expected: Expected,
) -> Result<(), NotBound> {
    let Evidence { claims, link: signed, .. } = evidence;
    if claims.side != link.side {
        return Err(NotBound::OtherRole);
    }
    let key = Fingerprint::of(certificate).map_err(|_| NotBound::OtherCertificate)?;
    if claims.certificate_key != key.0 {
        return Err(NotBound::OtherCertificate);
    }
    if (claims.ca, claims.plan) != (expected.ca, expected.plan) {
        return Err(NotBound::OtherPlan);
    }
    let run_key = UnparsedPublicKey::new(&ED25519, claims.run_key);
    run_key.verify(&link.bytes(), signed).map_err(|_| NotBound::OtherLink)
}

/// Whether the key of `certificate` has signed the claims.
pub(super) fn is_vouched(evidence: &Evidence, certificate: &CertificateDer<'_>) -> Result<(), NotBound> {
    let Evidence { claims, vouched, .. } = evidence;
    EndEntityCert::try_from(certificate)
        .and_then(|own| own.verify_signature(webpki::ring::ED25519, &claims.vouched_bytes(), vouched))
        .map_err(|_| NotBound::NotVouched)
}
