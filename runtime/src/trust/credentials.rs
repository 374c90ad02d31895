//! A role's own key and certificate, in `cert/`.
//!
//! | file | aggregator | collaborator `one` |
//! |---|---|---|
//! | key (PKCS #8, Ed25519, mode 0600) | `aggregator.key` | `col_one.key` |
//! | request (PKCS #10), for the owner | `aggregator.csr` | `col_one.csr` |
//! | certificate, from the owner | `aggregator.crt` | `col_one.crt` |
//! | the federation CA's certificate | `ca.crt` | `ca.crt` |
//!
//! A role that starts without a key makes one and writes a request for a certificate. The key never leaves
//! the folder. Where there is a folder `cert/private`, the key lies there: an enclave seals that folder and
//! nothing else of `cert/`. `fl-host pki request` calls [`request`], for hosts without an enclave.

mod error;
mod key_files;

use std::path::{Path, PathBuf};

use fl_engine::{Digest, Name};
use ring::{hmac, signature::Ed25519KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroize as _;

use super::{
    Authority, AuthorityError, Fingerprint, FlooredClock, Identity, PeerError, Role, Validity,
    authority::{one_certificate, validity},
};
use crate::files::Files;
use key_files::{fingerprint, is_there, read, read_key};

pub use error::CredentialsError;
pub use key_files::{KeyFiles, key_fingerprint, refuse_misspelt, request};

/// A request for a certificate, ready to be sent to the federation's owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRequest {
    /// Fingerprint of the key. The owner's program shows the same one.
    pub fingerprint: Fingerprint,
    /// The request's file.
    pub path: PathBuf,
    /// Whether this call made the key.
    pub made_key: bool,
}

/// A role's key and certificate with the CA's certificate: checked that the three belong together.
pub struct Credentials {
    identity: Identity,
    fingerprint: Fingerprint,
    validity: Validity,
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
    authority: Authority,
}

/// What a certificate says that was issued for a given key by a given CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitting {
    /// Who the certificate is for.
    pub identity: Identity,
    /// Fingerprint of its key.
    pub fingerprint: Fingerprint,
    /// When it is valid.
    pub validity: Validity,
    certificate: CertificateDer<'static>,
}

impl Credentials {
    /// Loads the credentials of a role that starts. Without a certificate it makes the role's request.
    ///
    /// An aggregator's `name` may be left out: the certificate says the name.
    ///
    /// # Errors
    /// [`CredentialsError::Waiting`] with the request while there is no certificate; otherwise the first
    /// check that failed.
    pub fn load_or_request(
        files: &Files,
        cert: &Path,
        role: Role,
        name: Option<&Name>,
        clock: &FlooredClock,
    ) -> Result<Self, CredentialsError> {
        Self::load_or_request_under(files, cert, &cert.join("ca.crt"), role, name, clock)
    }

    /// As [`Self::load_or_request`], with the CA's certificate in the file `ca`: an image has it in another
    /// place.
    ///
    /// # Errors
    /// As [`Self::load_or_request`].
    pub fn load_or_request_under(
        files: &Files,
        cert: &Path,
        ca: &Path,
        role: Role,
        name: Option<&Name>,
        clock: &FlooredClock,
    ) -> Result<Self, CredentialsError> {
        let at = KeyFiles::of(files, cert, role, name)?;
        if !is_there(files, &at.certificate)? {
            return Err(CredentialsError::Waiting(request(files, cert, role, name)?));
        }
        if !is_there(files, &at.key)? {
            return Err(CredentialsError::KeyMissing { certificate: at.certificate, key: at.key });
        }
        let key = read_key(files, &at.key)?;
        let authority =
            Authority::from_pem(&read(files, ca)?).map_err(|e| CredentialsError::Ca(ca.to_owned(), e))?;
        let fitting =
            check_certificate(files, &at.certificate, fingerprint(&key), &authority, role, name, clock)?;
        let Fitting { identity, fingerprint, validity, certificate } = fitting;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Ok(Self { identity, fingerprint, validity, certificate, key, authority })
    }

    /// Checks that the plan belongs to this federation and names this CA.
    ///
    /// # Errors
    /// [`CredentialsError::OtherFederation`], [`CredentialsError::Plan`].
    pub fn check_plan(&self, federation: &Name, ca: Option<Digest>) -> Result<(), CredentialsError> {
        if *federation != self.identity.federation {
            let certificate = self.identity.federation.clone();
            return Err(CredentialsError::OtherFederation { plan: federation.clone(), certificate });
        }
        Ok(self.authority.check_plan(ca)?)
    }

    /// Who the certificate is for.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Fingerprint of the key.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// When the certificate is valid.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// A secret that every process with this role's key derives alike, for the resets of links that an
    /// earlier process left open. The secret does not reveal the key.
    #[must_use]
    pub fn reset_secret(&self) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.key.secret_pkcs8_der());
        let secret = hmac::sign(&key, b"fl/1 stateless reset");
        secret.as_ref().first_chunk().copied().unwrap_or_default()
    }

    /// The certificate, for tests.
    #[cfg(test)]
    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Signs `message` with the certificate's key (Ed25519). TLS signs with the key too: each message begins
    /// with words of its own, so that no signature means two things.
    pub(super) fn sign(&self, message: &[u8]) -> Option<[u8; 64]> {
        let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(self.key.secret_pkcs8_der()).ok()?;
        key.sign(message).as_ref().try_into().ok()
    }

    /// The federation CA.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(super) fn for_tls(&self) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        (self.certificate.clone(), PrivateKeyDer::Pkcs8(self.key.clone_key()))
    }

    #[cfg(test)]
    pub(super) fn of_parts(
        certificate: CertificateDer<'static>,
        key: &rcgen::KeyPair,
        authority: Authority,
    ) -> Self {
        Self {
            identity: Identity::of(&certificate).unwrap(),
            fingerprint: fingerprint(key),
            validity: validity(&certificate).unwrap(),
            certificate,
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
            authority,
        }
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("identity", &self.identity)
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// Checks whether a certificate file, installed or not, matches a key with this fingerprint and the CA.
/// Writes nothing.
///
/// # Errors
/// The error that [`Credentials::load_or_request`] returns when this certificate is installed.
pub fn check_certificate(
    files: &Files,
    file: &Path,
    ours: Fingerprint,
    authority: &Authority,
    role: Role,
    name: Option<&Name>,
    clock: &FlooredClock,
) -> Result<Fitting, CredentialsError> {
    let unreadable = |what: String| CredentialsError::Certificate(file.to_owned(), what);
    let certificate = one_certificate(&read(files, file)?).map_err(unreadable)?;
    let theirs = Fingerprint::of(&certificate).map_err(|e| unreadable(format!("is {e}")))?;
    if theirs != ours {
        return Err(CredentialsError::OtherKey { certificate: file.to_owned(), theirs, ours });
    }
    let now = clock.at_least(authority.validity().not_before).now();
    let identity = authority
        .check(&certificate, role, now)
        .map_err(|error| CredentialsError::Refused(file.to_owned(), error))?;
    if let Some(needed) = name.filter(|name| **name != identity.name) {
        let (certificate, needed) = (file.to_owned(), needed.clone());
        return Err(CredentialsError::OtherName { certificate, needed, found: identity });
    }
    let validity = validity(&certificate).map_err(|e| unreadable(format!("is {e}")))?;
    Ok(Fitting { identity, fingerprint: ours, validity, certificate })
}

#[cfg(test)]
mod tests;
