//! A role's own key and certificate, in `cert/`.
//!
//! | file | aggregator | collaborator `one` |
//! |---|---|---|
//! | key (PKCS #8, Ed25519, mode 0600) | `aggregator.key` | `col_one.key` |
//! | request (PKCS #10), for the owner | `aggregator.csr` | `col_one.csr` |
//! | certificate, from the owner | `aggregator.crt` | `col_one.crt` |
//! | the federation CA's certificate | `ca.crt` | `ca.crt` |
//!
//! A role that starts without a key makes one; the key never leaves the folder, and only the request is written beside
//! it. Where there is a folder `cert/private`, the key is in it: an enclave's is sealed, and nothing else of `cert/` is.
//! `fl-host pki request` is [`request`], for hosts without an enclave.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use fl_engine::{Digest, Name, plan::roster::UnixSeconds};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ED25519, PublicKeyData as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{
    Authority, AuthorityError, Clock, Fingerprint, Identity, PeerError, Role,
    authority::{one_certificate, validity},
};

/// What a file begins with that Gramine has encrypted.
const SEALED: &[u8] = b"GRAFS_PF";
/// Mode bits that let every user of the machine at a key.
const WORLD: u32 = 0o007;

/// Where a role's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFiles {
    /// The secret key.
    pub key: PathBuf,
    /// The request for a certificate.
    pub request: PathBuf,
    /// The certificate.
    pub certificate: PathBuf,
}

/// A request that is ready to be sent to the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Of the key; the owner is shown the same.
    pub fingerprint: Fingerprint,
    /// The request's file.
    pub path: PathBuf,
    /// Whether the key was made just now.
    pub made_key: bool,
}

/// A role's key and certificate, and the CA, found to fit together.
pub struct Credentials {
    identity: Identity,
    fingerprint: Fingerprint,
    not_after: UnixSeconds,
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
    authority: Authority,
}

/// A certificate that fits a key and the CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitting {
    /// Whom it speaks for.
    pub identity: Identity,
    /// Of the key.
    pub fingerprint: Fingerprint,
    /// Its last second.
    pub not_after: UnixSeconds,
    certificate: CertificateDer<'static>,
}

/// Why a role has no credentials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// There is a key and a request, and no certificate yet.
    #[error("waiting for a certificate: {} asks for one, key {}", .0.path.display(), .0.fingerprint)]
    Waiting(Request),
    /// A collaborator without a name.
    #[error("a collaborator needs a name")]
    Nameless,
    /// A file cannot be read.
    #[error("cannot read {0}")]
    Read(PathBuf, #[source] io::Error),
    /// A file cannot be written.
    #[error("cannot write {0}")]
    Write(PathBuf, #[source] io::Error),
    /// Every user of the machine may read or change the key.
    #[error("{0} may be read or changed by everybody on this machine")]
    WorldReadable(PathBuf),
    /// The key file is not a key.
    #[error("{0} is not a private key that can be used: {1}")]
    Key(PathBuf, String),
    /// There is a certificate without its key.
    #[error("{certificate} is there, its key {key} is not")]
    KeyMissing {
        /// The certificate's file.
        certificate: PathBuf,
        /// Where the key should be.
        key: PathBuf,
    },
    /// The certificate file is not a certificate.
    #[error("{0} {1}")]
    Certificate(PathBuf, String),
    /// The certificate is for another key.
    #[error("{0} is for another key ({1}) than the one beside it ({2})", .certificate.display(), .theirs, .ours)]
    OtherKey {
        /// The certificate's file.
        certificate: PathBuf,
        /// The certificate's key.
        theirs: Fingerprint,
        /// The key in the folder.
        ours: Fingerprint,
    },
    /// The certificate is for another name.
    #[error("{} is for {found}; the name {needed} was asked for", .certificate.display())]
    OtherName {
        /// The certificate's file.
        certificate: PathBuf,
        /// The name at start.
        needed: Name,
        /// The certificate's.
        found: Identity,
    },
    /// The CA's file.
    #[error("{0} is refused")]
    Ca(PathBuf, #[source] AuthorityError),
    /// The certificate does not pass as a peer's would not.
    #[error("{0} is refused")]
    Refused(PathBuf, #[source] PeerError),
    /// The plan is another federation's.
    #[error("the plan is of federation {plan}; the certificate is of {certificate}")]
    OtherFederation {
        /// The plan's.
        plan: Name,
        /// The certificate's.
        certificate: Name,
    },
    /// The plan is another CA's.
    #[error(transparent)]
    Plan(#[from] AuthorityError),
}

impl KeyFiles {
    /// In the folder `cert`.
    ///
    /// # Errors
    /// [`CredentialsError::Nameless`] for a collaborator without a name.
    pub fn of(cert: &Path, role: Role, name: Option<&Name>) -> Result<Self, CredentialsError> {
        let stem = match (role, name) {
            (Role::Aggregator, _) => "aggregator".to_owned(),
            (Role::Collaborator, Some(name)) => format!("col_{name}"),
            (Role::Collaborator, None) => return Err(CredentialsError::Nameless),
        };
        // Not `with_extension`: a name may hold dots.
        let file = |folder: &Path, extension: &str| folder.join(format!("{stem}.{extension}"));
        let sealed = cert.join("private");
        let key = file(if sealed.is_dir() { &sealed } else { cert }, "key");
        Ok(Self { key, request: file(cert, "csr"), certificate: file(cert, "crt") })
    }
}

/// Makes the role's key if there is none, and its request; what is there stays as it is.
///
/// # Errors
/// [`CredentialsError`].
pub fn request(cert: &Path, role: Role, name: Option<&Name>) -> Result<Request, CredentialsError> {
    let files = KeyFiles::of(cert, role, name)?;
    let made_key = !is_there(&files.key)?;
    let key = if made_key {
        if is_there(&files.certificate)? {
            return Err(CredentialsError::KeyMissing { certificate: files.certificate, key: files.key });
        }
        make_key(&files.key)?
    } else {
        read_key(&files.key)?
    };
    // The subject is a note to the owner, who decides; no other field asks for anything.
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let asker = name.map_or_else(|| role.to_string(), |name| format!("{role} {name}"));
    params.distinguished_name.push(DnType::CommonName, asker);
    let pem = params.serialize_request(&key).and_then(|request| request.pem());
    let pem = pem.map_err(|e| CredentialsError::Key(files.key.clone(), e.to_string()))?;
    // Ed25519 is deterministic: the same key asks with the same bytes.
    if fs::read(&files.request).is_ok_and(|held| held == pem.as_bytes()) {
        return Ok(Request { fingerprint: fingerprint(&key), path: files.request, made_key });
    }
    write_new(&files.request, pem.as_bytes(), 0o644)?;
    Ok(Request { fingerprint: fingerprint(&key), path: files.request, made_key })
}

impl Credentials {
    /// The credentials of a role that starts; without a certificate, its request.
    ///
    /// An aggregator's `name` may be left out: its certificate says it.
    ///
    /// # Errors
    /// [`CredentialsError::Waiting`] with the request, made if need be; otherwise what does not fit.
    pub fn load_or_request(
        cert: &Path,
        role: Role,
        name: Option<&Name>,
        clock: &Clock,
    ) -> Result<Self, CredentialsError> {
        Self::load_or_request_under(cert, &cert.join("ca.crt"), role, name, clock)
    }

    /// As [`Self::load_or_request`], with the CA's certificate in a file `ca` of its own: an image carries it.
    ///
    /// # Errors
    /// As [`Self::load_or_request`].
    pub fn load_or_request_under(
        cert: &Path,
        ca: &Path,
        role: Role,
        name: Option<&Name>,
        clock: &Clock,
    ) -> Result<Self, CredentialsError> {
        let files = KeyFiles::of(cert, role, name)?;
        if !is_there(&files.certificate)? {
            return Err(CredentialsError::Waiting(request(cert, role, name)?));
        }
        if !is_there(&files.key)? {
            return Err(CredentialsError::KeyMissing { certificate: files.certificate, key: files.key });
        }
        let key = read_key(&files.key)?;
        let authority =
            Authority::from_pem(&read(ca)?).map_err(|e| CredentialsError::Ca(ca.to_owned(), e))?;
        let fitting =
            check_certificate(&files.certificate, fingerprint(&key), &authority, role, name, clock)?;
        let Fitting { identity, fingerprint, not_after, certificate } = fitting;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Ok(Self { identity, fingerprint, not_after, certificate, key, authority })
    }

    /// Whether the plan is of this federation and names this CA.
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

    /// Whom the certificate speaks for.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Of the key.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Last second of the certificate.
    #[must_use]
    pub fn not_after(&self) -> UnixSeconds {
        self.not_after
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
        key: &KeyPair,
        authority: Authority,
    ) -> Self {
        Self {
            identity: Identity::of(&certificate).unwrap(),
            fingerprint: fingerprint(key),
            not_after: validity(&certificate).unwrap().not_after,
            certificate,
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
            authority,
        }
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

impl CredentialsError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Waiting(request) => format!(
                "send {} to the federation's owner, read {} to them, and put the certificate they send back beside it \
                 with `fl-host pki import`; then start again",
                request.path.display(),
                request.fingerprint.grouped()
            ),
            Self::Nameless => "start it as `fl-runtime collaborator -n NAME`".into(),
            Self::Read(path, _) if path.ends_with("ca.crt") => {
                "copy ca.crt from the federation's owner into this folder".into()
            }
            Self::Read(..) | Self::Write(..) => "check the folder's owner and mode".into(),
            Self::WorldReadable(key) => {
                format!(
                    "chmod 600 {}; if others may have read it, make a new one and have it approved",
                    key.display()
                )
            }
            Self::Key(key, _) => {
                format!("remove {} and start again: a new key is made, and needs approval", key.display())
            }
            Self::KeyMissing { certificate, .. } => format!(
                "put the key back, or remove {} and start again: a new key is made, and needs approval",
                certificate.display()
            ),
            Self::OtherKey { .. } => {
                "send this key's request to the federation's owner, or put back the key that was approved"
                    .into()
            }
            Self::OtherName { found, .. } => {
                format!("start it with the name {}, or have the owner approve the other", found.name)
            }
            Self::Ca(_, error) | Self::Plan(error) => error.hint().into(),
            Self::Refused(_, PeerError::Expired(_)) => {
                "ask the federation's owner for `fl-host pki renew`; the key stays".into()
            }
            Self::Refused(_, PeerError::OtherCa) => {
                "cert/ca.crt and the certificate have to come from the same federation owner".into()
            }
            Self::Certificate(..) | Self::Refused(..) => {
                "ask the federation's owner for the right certificate".into()
            }
            Self::OtherFederation { .. } => "use the plan and the certificate of one federation".into(),
        }
    }
}

/// Whether the certificate in `file`, in its place or as the owner sent it, fits a key with this fingerprint and the CA;
/// nothing is written.
///
/// # Errors
/// What [`Credentials::load_or_request`] would say if the certificate were in its place.
pub fn check_certificate(
    file: &Path,
    ours: Fingerprint,
    authority: &Authority,
    role: Role,
    name: Option<&Name>,
    clock: &Clock,
) -> Result<Fitting, CredentialsError> {
    let unreadable = |what: String| CredentialsError::Certificate(file.to_owned(), what);
    let certificate = one_certificate(&read(file)?).map_err(unreadable)?;
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
    let until = validity(&certificate).map_err(|e| unreadable(format!("is {e}")))?;
    Ok(Fitting { identity, fingerprint: ours, not_after: until.not_after, certificate })
}

/// The fingerprint of a key's file; `None` for one that Gramine sealed, which only its enclave reads.
///
/// # Errors
/// [`CredentialsError::Read`], [`CredentialsError::WorldReadable`], [`CredentialsError::Key`].
pub fn key_fingerprint(key: &Path) -> Result<Option<Fingerprint>, CredentialsError> {
    if read(key)?.starts_with(SEALED) {
        return Ok(None);
    }
    read_key(key).map(|key| Some(fingerprint(&key)))
}

fn fingerprint(key: &KeyPair) -> Fingerprint {
    Fingerprint::of_key(&key.subject_public_key_info())
}

fn make_key(path: &Path) -> Result<KeyPair, CredentialsError> {
    let key = KeyPair::generate_for(&PKCS_ED25519)
        .map_err(|e| CredentialsError::Key(path.to_owned(), e.to_string()))?;
    write_new(path, key.serialize_pem().as_bytes(), 0o600)?;
    Ok(key)
}

fn read_key(path: &Path) -> Result<KeyPair, CredentialsError> {
    let mode =
        fs::metadata(path).map_err(|e| CredentialsError::Read(path.to_owned(), e))?.permissions().mode();
    if mode & WORLD != 0 {
        return Err(CredentialsError::WorldReadable(path.to_owned()));
    }
    let unusable = |what: String| CredentialsError::Key(path.to_owned(), what);
    let pem = String::from_utf8(read(path)?).map_err(|_| unusable("it is not PEM".into()))?;
    KeyPair::from_pem(&pem).map_err(|e| unusable(e.to_string()))
}

/// Whether there is such a file. One that cannot even be looked at, as Gramine answers of what another image sealed, is not
/// missing: a new key in its place would be the end of the old one.
fn is_there(path: &Path) -> Result<bool, CredentialsError> {
    path.try_exists().map_err(|e| CredentialsError::Read(path.to_owned(), e))
}

/// At most 64 KiB: no key or certificate is longer.
fn read(path: &Path) -> Result<Vec<u8>, CredentialsError> {
    use io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(64 << 10).read_to_end(&mut bytes))
        .map_err(|e| CredentialsError::Read(path.to_owned(), e))?;
    Ok(bytes)
}

/// The file is whole or not there, and never open to more people than `mode` says.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CredentialsError> {
    let write = || -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let fresh = PathBuf::from(name);
        let _ = fs::remove_file(&fresh);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    };
    write().map_err(|e| CredentialsError::Write(path.to_owned(), e))
}

#[cfg(test)]
mod tests;
