//! Who a certificate is for: a URI in its subject alternative name, and the fingerprint of its key.

use std::{fmt, str::FromStr};

use fl_engine::{Digest, Name};
use rustls::pki_types::CertificateDer;

/// What a peer does in a federation. A certificate's key usage allows one role: an aggregator is a TLS
/// server, a collaborator a TLS client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Combines updates; TLS server.
    Aggregator,
    /// Trains on its own data; TLS client.
    Collaborator,
}

/// `fl://FEDERATION/ROLE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The federation.
    pub federation: Name,
    /// The role.
    pub role: Role,
    /// The name within the role.
    pub name: Name,
}

/// SHA-256 of a public key (SubjectPublicKeyInfo, DER). It stays the same when a certificate is renewed for
/// its key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub Digest);

/// Why a certificate or a text does not name one member of a federation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The bytes are not an X.509 version 3 certificate.
    #[error("not a readable certificate: {0}")]
    Unreadable(String),
    /// No `fl://` URI.
    #[error("certificate names no member of a federation (it has no fl:// URI)")]
    Nobody,
    /// Two or more.
    #[error("certificate names more than one member of a federation")]
    Several,
    /// The URI has another form.
    #[error("{0:?} is not fl://FEDERATION/ROLE/NAME")]
    Form(String),
    /// Not a role's name.
    #[error("{0:?} is not a role: aggregator or collaborator")]
    Role(String),
}

impl Role {
    /// The role's word in identities and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aggregator => "aggregator",
            Self::Collaborator => "collaborator",
        }
    }

    /// The key usage that a certificate of this role must state. A certificate without any key usage is
    /// refused.
    pub(super) fn usage(self) -> webpki::KeyUsage {
        webpki::KeyUsage::required(match self {
            Self::Aggregator => SERVER_AUTH,
            Self::Collaborator => CLIENT_AUTH,
        })
    }
}

impl Identity {
    /// Reads who `certificate` is for. It does not check that the certificate is valid.
    ///
    /// # Errors
    /// [`IdentityError`] unless there is exactly one `fl://` URI, in the known form.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let certificate = parse(certificate)?;
        let mut uris = certificate.valid_uri_names().filter(|uri| uri.starts_with(SCHEME));
        let uri = uris.next().ok_or(IdentityError::Nobody)?;
        if uris.next().is_some() {
            return Err(IdentityError::Several);
        }
        uri.parse()
    }
}

impl Fingerprint {
    /// The fingerprint of a SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn of_key(spki: &[u8]) -> Self {
        Self(Digest::of(spki))
    }

    /// The fingerprint of the key in `certificate`.
    ///
    /// # Errors
    /// [`IdentityError::Unreadable`].
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        Ok(Self::of_key(&parse(certificate)?.subject_public_key_info()))
    }

    /// The first 80 bits in four groups, `3f0c1-99ab2-…`: short enough to be read out on the telephone.
    #[must_use]
    pub fn grouped(&self) -> String {
        let hex = self.to_string();
        [&hex[..5], &hex[5..10], &hex[10..15], &hex[15..20]].join("-")
    }

    /// Whether `text` is this fingerprint, in full or [grouped](Self::grouped). Case and white space do not
    /// matter.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        let text: String = text.split_whitespace().collect::<String>().to_ascii_lowercase();
        text == self.to_string() || text == self.grouped()
    }
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<webpki::EndEntityCert<'a>, IdentityError> {
    webpki::EndEntityCert::try_from(certificate).map_err(|e| IdentityError::Unreadable(e.to_string()))
}

impl FromStr for Role {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let known = [Self::Aggregator, Self::Collaborator].into_iter().find(|role| role.as_str() == text);
        known.ok_or_else(|| IdentityError::Role(text.to_owned()))
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let form = || IdentityError::Form(text.chars().take(300).collect());
        let parts: Vec<&str> = text.strip_prefix(SCHEME).ok_or_else(form)?.split('/').collect();
        let [federation, role, name] = parts[..] else { return Err(form()) };
        let part = |text: &str| text.parse::<Name>().map_err(|_| form());
        Ok(Self { federation: part(federation)?, role: role.parse().map_err(|_| form())?, name: part(name)? })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}/{}", self.federation, self.role, self.name)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The beginning of every identity.
const SCHEME: &str = "fl://";
/// `id-kp-serverAuth` and `id-kp-clientAuth` (RFC 5280, 4.2.1.12), without tag and length.
const SERVER_AUTH: &[u8] = &[43, 6, 1, 5, 5, 7, 3, 1];
const CLIENT_AUTH: &[u8] = &[43, 6, 1, 5, 5, 7, 3, 2];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::fixture::{Leaf, TestCa};

    #[test]
    fn identity_and_uri_agree() {
        let identity: Identity = "fl://w-1/collaborator/one".parse().unwrap();
        assert_eq!((identity.federation.as_str(), identity.role), ("w-1", Role::Collaborator));
        assert_eq!(identity.to_string(), "fl://w-1/collaborator/one");
        for bad in [
            "w/collaborator/one",
            "FL://w/collaborator/one",
            "fl://w/collaborator",
            "fl://w/collaborator/one/more",
            "fl://w/collaborator/",
            "fl://w/Collaborator/one",
            "fl://w/owner/one",
            "fl://w/collaborator/One",
            "fl://w/collaborator/one?x",
            "fl://W/collaborator/one",
        ] {
            assert_eq!(bad.parse::<Identity>(), Err(IdentityError::Form(bad.into())));
        }
    }

    #[test]
    fn word_that_is_no_role_is_answered_with_both() {
        let error = "colaborator".parse::<Role>().unwrap_err();
        assert_eq!(error.to_string(), "\"colaborator\" is not a role: aggregator or collaborator");
    }

    #[test]
    fn certificate_names_exactly_one_member() {
        let ca = TestCa::new("w");
        let one = "fl://w/collaborator/one";
        let read = |uris: &[&str]| Identity::of(&ca.issue(Leaf::collaborator("one").uris(uris)).0);
        assert_eq!(read(&[one]).unwrap().to_string(), one);
        assert_eq!(read(&["https://example.org/one", one]).unwrap().to_string(), one);
        assert_eq!(read(&[]), Err(IdentityError::Nobody));
        assert_eq!(read(&["https://example.org/one"]), Err(IdentityError::Nobody));
        assert_eq!(read(&[one, "fl://w/collaborator/two"]), Err(IdentityError::Several));
        assert_eq!(read(&[one, one]), Err(IdentityError::Several));
        assert!(matches!(read(&["fl://w/one"]), Err(IdentityError::Form(_))));
        let cut = CertificateDer::from(vec![0x30, 0x03, 1]);
        assert!(matches!(Identity::of(&cut), Err(IdentityError::Unreadable(_))));
    }

    #[test]
    fn fingerprint_is_of_the_key_and_survives_renewal() {
        let ca = TestCa::new("w");
        let (first, key) = ca.issue(Leaf::collaborator("one"));
        let renewed = ca.issue(Leaf::collaborator("one").key(&key)).0;
        assert_ne!(first, renewed);
        let fingerprint = Fingerprint::of(&first).unwrap();
        assert_eq!(Fingerprint::of(&renewed), Ok(fingerprint));
        assert!(fingerprint.is(&fingerprint.to_string()) && fingerprint.is(&fingerprint.grouped()));
        assert!(fingerprint.is(&format!(" {}\n", fingerprint.to_string().to_uppercase())));
        assert!(!fingerprint.is("") && !fingerprint.is(&fingerprint.to_string()[..20]));
    }
}
