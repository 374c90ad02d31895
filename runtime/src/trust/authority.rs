//! The federation CA's certificate, `cert/ca.crt`: what every site knows of the CA. Its key stays with the
//! owner.

use std::fmt;

use fl_engine::{
    Digest, Name,
    plan::roster::{Roster, RosterError, UnixSeconds},
};
use rustls::pki_types::{CertificateDer, UnixTime, pem::PemObject};
use webpki::{EndEntityCert, Error as WebpkiError};

use super::identity::{Fingerprint, Identity, IdentityError, Role};

/// The federation CA's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    der: CertificateDer<'static>,
    validity: Validity,
}

/// The first and the last second in which a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First second.
    pub not_before: UnixSeconds,
    /// Last second.
    pub not_after: UnixSeconds,
}

/// Why a file is not the CA's certificate that is needed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// Not one PEM certificate.
    #[error("CA certificate {0}")]
    Pem(String),
    /// The certificate is not a CA's.
    #[error("not a CA certificate: the certificate is not allowed to sign other certificates")]
    NotCa,
    /// Not an Ed25519 key.
    #[error("the CA's key is not an Ed25519 key")]
    KeyKind,
    /// The plan names another CA.
    #[error("the plan names the CA {plan}, but cert/ca.crt is {file}")]
    OtherThanPlan {
        /// The plan's `ca`.
        plan: Digest,
        /// SHA-256 of the file's certificate.
        file: Digest,
    },
    /// The plan names no CA.
    #[error("the plan names no CA")]
    PlanNamesNone,
}

/// Why a certificate is refused. `Debug` prints the same text as `Display`, because rustls shows errors of
/// other crates with `Debug`.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// Another CA issued the certificate, or it is forged.
    #[error("certificate was issued by another CA than this federation's")]
    OtherCa,
    /// Its last second is over.
    #[error("certificate expired at {0}")]
    Expired(UnixSeconds),
    /// Its first second is still to come.
    #[error("certificate is not valid before {0}: check the clock")]
    NotYet(UnixSeconds),
    /// It lacks the role's key usage.
    #[error("certificate's key usage does not allow the role {0}")]
    WrongUsage(Role),
    /// Its URI names another role.
    #[error("certificate is for the role {found}, but {needed} is needed")]
    WrongRole {
        /// The role that is needed.
        needed: Role,
        /// The certificate's.
        found: Role,
    },
    /// Its URI names another federation.
    #[error("certificate belongs to the federation {found}, but {needed} is needed")]
    OtherFederation {
        /// The federation that is needed.
        needed: Name,
        /// The certificate's.
        found: Name,
    },
    /// It does not name one member of a federation.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// This site's roster lists other aggregators.
    #[error("key {0} is not on this site's roster (plan/cols.yaml)")]
    Unlisted(Fingerprint),
    /// This site's roster revokes the key.
    #[error("key is revoked by this site's roster (plan/cols.yaml): {0}")]
    Revoked(String),
    /// Anything else that X.509 forbids.
    #[error("certificate cannot be used: {0}")]
    Unusable(String),
}

impl Authority {
    /// Reads `cert/ca.crt`.
    ///
    /// # Errors
    /// [`AuthorityError`] unless it is the PEM of exactly one CA certificate with an Ed25519 key.
    pub fn from_pem(pem: &[u8]) -> Result<Self, AuthorityError> {
        let der = one_certificate(pem).map_err(AuthorityError::Pem)?;
        let unreadable = |e: IdentityError| AuthorityError::Pem(e.to_string());
        let validity = validity(&der).map_err(unreadable)?;
        let certificate = EndEntityCert::try_from(&der).map_err(|_| AuthorityError::NotCa)?;
        let within = unix_time(validity.not_before);
        let used_as_peer =
            certificate.verify_for_usage(&[], &[], &[], within, Role::Aggregator.usage(), None, None);
        if !matches!(used_as_peer.map(drop), Err(WebpkiError::CaUsedAsEndEntity)) {
            return Err(AuthorityError::NotCa);
        }
        if !certificate.subject_public_key_info().starts_with(&ED25519) {
            return Err(AuthorityError::KeyKind);
        }
        Ok(Self { der, validity })
    }

    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// SHA-256 of the certificate's DER: the plan's `ca`.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.der)
    }

    /// When the CA's own certificate is valid.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Checks that this is the CA that the plan names.
    ///
    /// # Errors
    /// [`AuthorityError::OtherThanPlan`], [`AuthorityError::PlanNamesNone`].
    pub fn check_plan(&self, plan: Option<Digest>) -> Result<(), AuthorityError> {
        match (plan, self.digest()) {
            (None, _) => Err(AuthorityError::PlanNamesNone),
            (Some(plan), file) if plan != file => Err(AuthorityError::OtherThanPlan { plan, file }),
            _ => Ok(()),
        }
    }

    /// Checks that this CA issued `certificate` for `role` and that it is valid at `now`. Intermediate
    /// certificates are not used.
    ///
    /// # Errors
    /// [`PeerError`].
    pub fn check(
        &self,
        certificate: &CertificateDer<'_>,
        role: Role,
        now: UnixSeconds,
    ) -> Result<Identity, PeerError> {
        if now > self.validity.not_after {
            return Err(PeerError::Expired(self.validity.not_after));
        }
        let unusable = |e: WebpkiError| PeerError::Unusable(e.to_string());
        let anchor = webpki::anchor_from_trusted_cert(&self.der).map_err(unusable)?;
        let parsed = EndEntityCert::try_from(certificate).map_err(unusable)?;
        let signatures = [webpki::ring::ED25519];
        let usage = role.usage();
        let anchors = [anchor];
        let chain = parsed.verify_for_usage(&signatures, &anchors, &[], unix_time(now), usage, None, None);
        chain.map(drop).map_err(|error| match error {
            WebpkiError::CertExpired { not_after, .. } => {
                PeerError::Expired(UnixSeconds(not_after.as_secs()))
            }
            WebpkiError::CertNotValidYet { not_before, .. } => {
                PeerError::NotYet(UnixSeconds(not_before.as_secs()))
            }
            WebpkiError::UnknownIssuer
            | WebpkiError::InvalidSignatureForPublicKey
            | WebpkiError::UnsupportedSignatureAlgorithmContext(_)
            | WebpkiError::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => PeerError::OtherCa,
            WebpkiError::RequiredEkuNotFoundContext(_) | WebpkiError::EmptyEkuExtension => {
                PeerError::WrongUsage(role)
            }
            other => PeerError::Unusable(other.to_string()),
        })?;
        let identity = Identity::of(certificate)?;
        if identity.role != role {
            return Err(PeerError::WrongRole { needed: role, found: identity.role });
        }
        Ok(identity)
    }

    /// Reads a roster that this CA signed.
    ///
    /// # Errors
    /// [`RosterError`].
    pub fn open_roster(&self, text: &str) -> Result<Roster, RosterError> {
        Roster::open(text, |bytes, signature| self.has_signed(bytes, signature))
    }

    /// Whether this CA has made the signature (Ed25519) over these bytes.
    #[must_use]
    pub fn has_signed(&self, bytes: &[u8], signature: &[u8; 64]) -> bool {
        EndEntityCert::try_from(&self.der)
            .is_ok_and(|ca| ca.verify_signature(webpki::ring::ED25519, bytes, signature).is_ok())
    }
}

/// When `certificate` is valid.
///
/// # Errors
/// [`IdentityError::Unreadable`].
pub fn validity(certificate: &CertificateDer<'_>) -> Result<Validity, IdentityError> {
    let unreadable = |e: WebpkiError| IdentityError::Unreadable(e.to_string());
    let certificate = EndEntityCert::try_from(certificate).map_err(unreadable)?;
    // The parser states the validity only in its errors, so this asks for the first and for the last moment
    // of time.
    let at = |seconds| {
        let time = unix_time(UnixSeconds(seconds));
        let usage = Role::Aggregator.usage();
        certificate.verify_for_usage(&[], &[], &[], time, usage, None, None).map(drop)
    };
    let not_after = match at(u64::MAX) {
        Err(WebpkiError::CertExpired { not_after, .. }) => not_after.as_secs(),
        Err(error) => return Err(unreadable(error)),
        Ok(()) => u64::MAX,
    };
    let not_before = match at(0) {
        Err(WebpkiError::CertNotValidYet { not_before, .. }) => not_before.as_secs(),
        _ => 0,
    };
    Ok(Validity { not_before: UnixSeconds(not_before), not_after: UnixSeconds(not_after) })
}

/// SubjectPublicKeyInfo of `certificate`, DER.
///
/// # Errors
/// [`IdentityError::Unreadable`].
pub fn public_key(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, IdentityError> {
    let unreadable = |e: WebpkiError| IdentityError::Unreadable(e.to_string());
    let certificate = EndEntityCert::try_from(certificate).map_err(unreadable)?;
    Ok(certificate.subject_public_key_info().to_vec())
}

/// The certificate of a PEM text that holds exactly one.
///
/// # Errors
/// What is wrong with the text, in words that follow the file's name.
pub fn one_certificate(pem: &[u8]) -> Result<CertificateDer<'static>, String> {
    // The beginning of every certificate's DER.
    if pem.starts_with(&[0x30, 0x82]) {
        return Err("is a certificate in binary form (DER), but PEM is needed: convert it with `openssl x509 -inform der -in FILE -out NEW`".to_owned());
    }
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let mut found = found.map_err(|_| "is not PEM, or was cut short".to_owned())?;
    match (found.len(), found.pop()) {
        (1, Some(one)) => Ok(one),
        (0, _) => Err("contains no certificate".to_owned()),
        (n, _) => Err(format!("contains {n} certificates; exactly one is needed")),
    }
}

fn unix_time(seconds: UnixSeconds) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds.0))
}

impl AuthorityError {
    /// What to do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::OtherThanPlan { .. } => {
                "ask the federation's owner for the plan and for the ca.crt that the plan names"
            }
            Self::PlanNamesNone => {
                "make the CA with `fl-host pki init`, then run `fl-host plan initialize` again"
            }
            _ => "copy cert/ca.crt again from the federation's owner",
        }
    }
}

impl fmt::Debug for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The first bytes of every Ed25519 SubjectPublicKeyInfo (RFC 8410, section 4).
const ED25519: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::fixture::{DAY, Leaf, NOW, TestCa};

    #[test]
    fn certificate_is_good_for_its_ca_role_and_time_alone() {
        let (ca, other) = (TestCa::new("w"), TestCa::new("w"));
        let authority = ca.authority();
        let check = |leaf: Leaf<'_>, role| authority.check(&ca.issue(leaf).0, role, NOW);
        let one = check(Leaf::collaborator("one"), Role::Collaborator).unwrap();
        assert_eq!(one.to_string(), "fl://w/collaborator/one");
        check(Leaf::aggregator("agg"), Role::Aggregator).unwrap();

        let foreign = other.issue(Leaf::collaborator("one")).0;
        assert_eq!(authority.check(&foreign, Role::Collaborator, NOW), Err(PeerError::OtherCa));
        assert_eq!(
            check(Leaf::collaborator("one"), Role::Aggregator),
            Err(PeerError::WrongUsage(Role::Aggregator))
        );
        assert_eq!(
            check(Leaf::collaborator("one").no_usage(), Role::Collaborator),
            Err(PeerError::WrongUsage(Role::Collaborator))
        );
        let disguised = Leaf::aggregator("one").uris(&["fl://w/collaborator/one"]);
        assert_eq!(
            check(disguised, Role::Aggregator),
            Err(PeerError::WrongRole { needed: Role::Aggregator, found: Role::Collaborator })
        );
        let (old, early) = (UnixSeconds(NOW.0 - DAY), UnixSeconds(NOW.0 + DAY));
        let expired = Leaf::collaborator("one").valid(UnixSeconds(NOW.0 - 2 * DAY), old);
        assert_eq!(check(expired, Role::Collaborator), Err(PeerError::Expired(old)));
        let future = Leaf::collaborator("one").valid(early, UnixSeconds(NOW.0 + 2 * DAY));
        assert_eq!(check(future, Role::Collaborator), Err(PeerError::NotYet(early)));
        let end = ca.authority().validity().not_after;
        let leaf = ca.issue(Leaf::collaborator("one").valid(NOW, UnixSeconds(end.0 + 9 * DAY))).0;
        let after = UnixSeconds(end.0 + 1);
        assert_eq!(authority.check(&leaf, Role::Collaborator, after), Err(PeerError::Expired(end)));
    }

    #[test]
    fn leaf_is_no_ca_and_a_ca_no_peer() {
        let ca = TestCa::new("w");
        let leaf = ca.issue_pem(Leaf::collaborator("one"));
        assert_eq!(Authority::from_pem(leaf.as_bytes()), Err(AuthorityError::NotCa));
        let twice = ca.pem().repeat(2);
        assert!(matches!(Authority::from_pem(twice.as_bytes()), Err(AuthorityError::Pem(_))));
        assert!(matches!(Authority::from_pem(b""), Err(AuthorityError::Pem(_))));
        let authority = ca.authority();
        let own = authority.certificate().clone();
        assert!(matches!(authority.check(&own, Role::Aggregator, NOW), Err(PeerError::Unusable(_))));
    }

    #[test]
    fn plan_and_file_name_the_same_ca() {
        let authority = TestCa::new("w").authority();
        assert_eq!(authority.check_plan(Some(authority.digest())), Ok(()));
        assert_eq!(authority.check_plan(None), Err(AuthorityError::PlanNamesNone));
        let plan = Digest::of(b"other");
        let refused = authority.check_plan(Some(plan)).unwrap_err();
        assert_eq!(refused, AuthorityError::OtherThanPlan { plan, file: authority.digest() });
    }
}
