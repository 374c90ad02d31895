//! A role's key, its request and its certificate as files.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use fl_engine::Name;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ED25519, PublicKeyData as _};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use zeroize::{Zeroize as _, Zeroizing};

use super::{CertificateRequest, CredentialsError, Fingerprint, Role};
use crate::files::{Files, OWNER_ONLY};

/// The paths of a role's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFiles {
    /// The secret key.
    pub key: PathBuf,
    /// The request for a certificate.
    pub request: PathBuf,
    /// The certificate.
    pub certificate: PathBuf,
}

impl KeyFiles {
    /// The paths in the folder `cert`.
    ///
    /// # Errors
    /// [`CredentialsError::Nameless`] for a collaborator without a name.
    pub fn of(files: &Files, cert: &Path, role: Role, name: Option<&Name>) -> Result<Self, CredentialsError> {
        let stem = match (role, name) {
            (Role::Aggregator, _) => "aggregator".to_owned(),
            (Role::Collaborator, Some(name)) => format!("col_{name}"),
            (Role::Collaborator, None) => return Err(CredentialsError::Nameless),
        };
        // `with_extension` would cut a name that holds a dot.
        let file = |folder: &Path, extension: &str| folder.join(format!("{stem}.{extension}"));
        let sealed = cert.join("private");
        let key = file(if files.is_folder(&sealed) { &sealed } else { cert }, "key");
        Ok(Self { key, request: file(cert, "csr"), certificate: file(cert, "crt") })
    }
}

/// Refuses to make a key for a new member in a folder that holds another member's certificate: the name may
/// be misspelt, and a new key has to be approved.
///
/// # Errors
/// [`CredentialsError::OtherMember`]; [`CredentialsError::Nameless`].
pub fn refuse_misspelt(
    files: &Files,
    cert: &Path,
    role: Role,
    name: Option<&Name>,
) -> Result<(), CredentialsError> {
    let at = KeyFiles::of(files, cert, role, name)?;
    if is_there(files, &at.key)? || is_there(files, &at.certificate)? {
        return Ok(());
    }
    // A folder that cannot be listed holds no certificate for all that is known.
    let mut stems: Vec<String> =
        files.list(cert).unwrap_or_default().iter().filter_map(|path| member(path)).collect();
    stems.sort();
    match stems.is_empty() {
        true => Ok(()),
        false => Err(CredentialsError::OtherMember { cert: cert.to_owned(), held: stems }),
    }
}

/// The option that starts the member whose certificate this file is.
fn member(path: &Path) -> Option<String> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".crt")?;
    match stem.strip_prefix("col_") {
        Some(name) => Some(format!("collaborator -n {}", name.parse::<Name>().ok()?)),
        None => (stem == "aggregator").then(|| stem.to_owned()),
    }
}

/// Makes the role's key and its request, where they are missing.
///
/// # Errors
/// [`CredentialsError`].
pub fn request(
    files: &Files,
    cert: &Path,
    role: Role,
    name: Option<&Name>,
) -> Result<CertificateRequest, CredentialsError> {
    let at = KeyFiles::of(files, cert, role, name)?;
    let made_key = !is_there(files, &at.key)?;
    let key = if made_key {
        if is_there(files, &at.certificate)? {
            return Err(CredentialsError::KeyMissing { certificate: at.certificate, key: at.key });
        }
        make_key(files, &at.key)?
    } else {
        read_key(files, &at.key)?
    };
    // The subject only informs the owner, who decides on the certificate. No other field asks for anything.
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let asker = name.map_or_else(|| role.to_string(), |name| format!("{role} {name}"));
    params.distinguished_name.push(DnType::CommonName, asker);
    let pem = params.serialize_request(&*key).and_then(|request| request.pem());
    let pem = pem.map_err(|e| CredentialsError::Key(at.key.clone(), e.to_string()))?;
    // Ed25519 is deterministic: the same key makes the same request.
    if !files.holds(&at.request, pem.as_bytes()) {
        write(files, &at.request, pem.as_bytes(), 0o644)?;
    }
    Ok(CertificateRequest { fingerprint: fingerprint(&key), path: at.request, made_key })
}

/// The fingerprint of the key in a file; `None` for a key that Gramine sealed, which only its enclave can
/// read.
///
/// # Errors
/// [`CredentialsError::Read`], [`CredentialsError::Exposed`], [`CredentialsError::Key`].
pub fn key_fingerprint(files: &Files, key: &Path) -> Result<Option<Fingerprint>, CredentialsError> {
    if read(files, key)?.starts_with(SEALED) {
        return Ok(None);
    }
    read_key(files, key).map(|key| Some(fingerprint(&key)))
}

pub(super) fn fingerprint(key: &KeyPair) -> Fingerprint {
    Fingerprint::of_key(&key.subject_public_key_info())
}

fn make_key(files: &Files, path: &Path) -> Result<Zeroizing<KeyPair>, CredentialsError> {
    let key = KeyPair::generate_for(&PKCS_ED25519)
        .map(Zeroizing::new)
        .map_err(|e| CredentialsError::Key(path.to_owned(), e.to_string()))?;
    let pem = Zeroizing::new(key.serialize_pem());
    write(files, path, pem.as_bytes(), OWNER_ONLY)?;
    Ok(key)
}

pub(super) fn read_key(files: &Files, path: &Path) -> Result<Zeroizing<KeyPair>, CredentialsError> {
    let unread = |e| CredentialsError::Read(path.to_owned(), e);
    if let Some(mode) = files.exposed(path).map_err(unread)? {
        return Err(CredentialsError::Exposed(path.to_owned(), mode));
    }
    let unusable = |what: String| CredentialsError::Key(path.to_owned(), what);
    let pem = files.read_secret(path, FILE_BYTES).map_err(unread)?;
    let mut der =
        PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|_| unusable("it is not PEM of a key".into()))?;
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519);
    der.zeroize();
    key.map(Zeroizing::new).map_err(|_| unusable("it is not an Ed25519 key in PKCS #8".into()))
}

/// Whether the file exists. An error is not the answer no: Gramine refuses access to a file that another
/// image sealed, and a new key in its place would destroy the old one.
pub(super) fn is_there(files: &Files, path: &Path) -> Result<bool, CredentialsError> {
    files.exists(path).map_err(|e| CredentialsError::Read(path.to_owned(), e))
}

pub(super) fn read(files: &Files, path: &Path) -> Result<Vec<u8>, CredentialsError> {
    files.read_at_most(path, FILE_BYTES).map_err(|e| CredentialsError::Read(path.to_owned(), e))
}

fn write(files: &Files, path: &Path, bytes: &[u8], mode: u32) -> Result<(), CredentialsError> {
    let folder = path.parent().map_or(Ok(()), |folder| files.create_folder(folder));
    folder
        .and_then(|()| files.replace(path, mode, |file| file.write_all(bytes)))
        .map_err(|e| CredentialsError::Write(path.to_owned(), e))
}

/// The first bytes of a file that Gramine encrypted.
const SEALED: &[u8] = b"GRAFS_PF";
/// Longest key or certificate, bytes.
const FILE_BYTES: usize = 64 << 10;
