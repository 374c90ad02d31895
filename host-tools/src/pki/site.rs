//! A site's part: makes a request, and installs the certificate, CA and roster that the owner sent.

use std::path::{Path, PathBuf};

use fl_engine::Name;
use fl_runtime::internal::trust::{
    self, Authority, CertificateRequest, Fingerprint, Fitting, FlooredClock, Identity, KeyFiles, Role,
    one_certificate,
};
use rcgen::PublicKeyData as _;

use super::{
    approve::read_request, ca_file, of_credentials, owner::of_roster, publish, read_roster, roster_file,
};
use crate::{
    exit::{Exit, Failure},
    files,
};

/// What [`import`] put in place.
#[derive(Debug)]
pub struct Imported {
    /// The certificate's identity, key and validity, as the runtime will read them.
    pub fitting: Fitting,
    /// The certificate's file.
    pub file: PathBuf,
    /// Serial of the roster, if one was given.
    pub serial: Option<u64>,
}

/// Makes the role's key and request in the workspace `root`: [`trust::request`]. Only with `new` it makes a
/// key beside another member's certificate.
///
/// # Errors
/// [`Exit::Usage`] for a collaborator without a name, [`Exit::Trust`], [`Exit::File`].
pub fn request(
    root: &Path,
    role: Role,
    name: Option<&Name>,
    new: bool,
) -> Result<CertificateRequest, Failure> {
    let (files, cert) = (files::of_process(), files::shown(root).join("cert"));
    let spelt = if new { Ok(()) } else { trust::refuse_misspelt(files, &cert, role, name) };
    spelt.and_then(|()| trust::request(files, &cert, role, name)).map_err(|e| of_credentials(&e))
}

/// Installs the certificate in the file `certificate` beside its key, after checking that certificate, key,
/// CA and roster fit together. `ca` and `roster` are installed too. Nothing is written unless everything
/// fits.
///
/// # Errors
/// [`Exit::Trust`] for what does not fit, [`Exit::Plan`] for a roster that is refused, [`Exit::File`].
pub fn import(
    root: &Path,
    certificate: &Path,
    ca: Option<&Path>,
    roster: Option<&Path>,
    clock: &FlooredClock,
) -> Result<Imported, Failure> {
    let held = ca_file(root);
    let source = ca.unwrap_or(&held);
    let ca_pem = files::read_pem(source).map_err(|failure| {
        failure.hint("the owner sends ca.crt together with the first certificate: give that ca.crt with --ca")
    })?;
    let authority =
        Authority::from_pem(ca_pem.as_bytes()).map_err(|e| Failure::of(Exit::Trust, &e).hint(e.hint()))?;
    if held.exists() && ca.is_some() {
        let held_pem = files::read_pem(&held)?;
        if Authority::from_pem(held_pem.as_bytes()).as_ref() != Ok(&authority) {
            let error = format!("{} is not the CA of {}", source.display(), held.display());
            return Err(Failure::new(Exit::Trust, error).hint(
                "ask the owner, for example by phone, whether the federation has a new CA; only then remove the old ca.crt",
            ));
        }
    }
    let pem = files::read_pem(certificate)?;
    let read = one_certificate(pem.as_bytes())
        .map_err(|e| Failure::new(Exit::Trust, format!("{} {e}", certificate.display())))?;
    let Identity { role, name, .. } = Identity::of(&read).map_err(|e| {
        Failure::of(Exit::Trust, &e)
            .hint("import the .crt file that the owner made with `fl-host pki approve`")
    })?;
    let cert = files::shown(root).join("cert");
    let at = KeyFiles::of(files::of_process(), &cert, role, Some(&name)).map_err(|e| of_credentials(&e))?;
    if !at.key.exists() {
        let error = format!(
            "{} is the certificate of {role} {name}, but its key {} is missing here",
            certificate.display(),
            at.key.display()
        );
        return Err(Failure::new(Exit::Trust, error)
            .hint("import the certificate on the machine that made the request: its key is only there"));
    }
    let ours = match trust::key_fingerprint(files::of_process(), &at.key).map_err(|e| of_credentials(&e))? {
        Some(fingerprint) => fingerprint,
        // Only the enclave can read its key, and it checks the certificate again. Here the request tells
        // which key it is.
        None => Fingerprint::of_key(&read_request(&at.request)?.public_key.subject_public_key_info()),
    };
    let fitting = trust::check_certificate(
        files::of_process(),
        certificate,
        ours,
        &authority,
        role,
        Some(&name),
        clock,
    )
    .map_err(|e| of_credentials(&e))?;
    let roster = roster.map(|file| new_roster(root, &authority, file)).transpose()?;

    if ca.is_some() {
        files::replace(&held, ca_pem.as_bytes())?;
    }
    files::replace(&at.certificate, pem.as_bytes())?;
    if let Some((text, _)) = &roster {
        publish(&roster_file(root), text)?;
    }
    Ok(Imported { fitting, file: at.certificate, serial: roster.map(|(_, serial)| serial) })
}

/// A roster's text and serial; refused if the site has a newer roster.
fn new_roster(root: &Path, authority: &Authority, file: &Path) -> Result<(String, u64), Failure> {
    let text = read_roster(file)?;
    let serial = authority.open_roster(&text).map_err(of_roster)?.serial();
    let held = read_roster(&roster_file(root)).ok().and_then(|text| authority.open_roster(&text).ok());
    if let Some(held) = held.map(|roster| roster.serial()).filter(|&held| held > serial) {
        let error =
            format!("{} has serial {serial}, but plan/cols.yaml has the newer serial {held}", file.display());
        return Err(Failure::new(Exit::Plan, error)
            .hint("ask the owner for the newest roster, or leave --roster out"));
    }
    Ok((text, serial))
}
