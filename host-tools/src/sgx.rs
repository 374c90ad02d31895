//! Enclaves, from a manifest's template to a signature, without SGX, Gramine's tools or Python.
//!
//! ```text
//! X.manifest.template ── template ── manifest ──> X.manifest.sgx ─┬─ measure ──> MRENCLAVE
//!        │ plan, role (roles)           │ trusted_files           │               │
//!        └ size: threads, memory        └ trusted files' hashes   └ libpal.so     ├─ sigstruct ──> X.sig
//!                                                           (elf)     key ────┘
//! ```
//!
//! [`roles`] renders the templates of this project's two roles. [`record`] keeps the inputs of a measurement,
//! and [`explain`] shows why two measurements differ. The numbers that change from one version of Gramine to
//! the next are in [`gramine_version`].

pub mod elf;
pub mod explain;
pub mod gramine_version;
pub mod key;
pub mod manifest;
pub mod record;
pub mod roles;
pub mod size;
pub mod template;
pub mod trusted_files;

mod der;
mod document;
mod measure;
mod prime;
mod schema;
mod sigstruct;

use std::path::Path;

use fl_engine::Digest;

pub use der::DerError;
pub use document::TEXT_BYTES;
pub use key::{KeyError, SigningKey};
pub use manifest::{Attributes, Manifest, Trusted};
pub use measure::measure;
pub use sigstruct::{Date, LENGTH as SIGSTRUCT_BYTES, Sigstruct, SigstructError};

use crate::{
    exit::{Exit, Failure},
    files,
};
use elf::Image;
use gramine_version::Gramine;

/// An enclave's measurement, and the inputs that are not in its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeasuredEnclave {
    /// MRENCLAVE.
    pub measurement: Digest,
    /// How it is built and signed.
    pub attributes: Attributes,
    /// SHA-256 of `libpal.so`.
    pub libpal: Digest,
}

/// Measures the enclave of a manifest's exact text and the bytes of Gramine's `libpal.so`. `what` names the
/// manifest in errors.
///
/// # Errors
/// [`Exit::Failed`] with place and reason.
pub fn measure_bytes(
    manifest: &str,
    what: &str,
    libpal: &[u8],
    gramine: &Gramine,
) -> Result<MeasuredEnclave, Failure> {
    let attributes = Manifest::parse(manifest, what, gramine)?.attributes().map_err(|mut failure| {
        failure.error = format!("{what}: {}", failure.error);
        failure
    })?;
    let pal = Image::parse(libpal).map_err(|e| {
        Failure::new(Exit::Failed, format!("cannot use this libpal.so: {e}"))
            .hint("give the file sgx/libpal.so of the Gramine installation with --libpal")
    })?;
    let measurement = measure(manifest, &attributes, &pal, gramine)?;
    Ok(MeasuredEnclave { measurement, attributes, libpal: Digest::of(libpal) })
}

/// Measures the enclave of two files. Returns the manifest's text, too.
///
/// # Errors
/// [`Exit::File`], and as [`measure_bytes`].
pub fn measure_files(
    manifest: &Path,
    libpal: &Path,
    gramine: &Gramine,
) -> Result<(String, MeasuredEnclave), Failure> {
    let text = files::read_text(manifest, TEXT_BYTES)?;
    let pal = files::read(libpal, elf::FILE_BYTES)?;
    let measured = measure_bytes(&text, &manifest.display().to_string(), &pal, gramine)?;
    Ok((text, measured))
}

/// Reads a signature file and checks it.
///
/// # Errors
/// [`Exit::File`]; [`Exit::Trust`] with place and reason.
pub fn load_sigstruct(path: &Path) -> Result<Sigstruct, Failure> {
    // A longer file is refused by its length, and not read.
    let bytes = files::read(path, 64 << 10)?;
    Sigstruct::parse(&bytes)
        .map_err(|e| Failure::new(Exit::Trust, format!("{} is not a valid signature: {e}", path.display())))
}

/// Renders a template and hashes its trusted files: the text of `X.manifest.sgx`. `what` names the template
/// in errors.
///
/// # Errors
/// [`Exit::Failed`] with place and reason; [`Exit::File`] for a trusted file that is not there.
pub fn make_manifest(
    template: &str,
    what: &str,
    variables: &template::Variables,
    files: &dyn trusted_files::Files,
    gramine: &Gramine,
) -> Result<Manifest, Failure> {
    let rendered = template::render(template, what, variables)?;
    let mut manifest = Manifest::parse(&rendered, &format!("{what}, after filling it in"), gramine)?;
    schema::check(manifest.table(), what)?;
    manifest.hash_files(files, variables.libos().as_deref())?;
    // A manifest that cannot be measured is refused here, and not later on the machine that signs.
    manifest.attributes().map_err(|mut failure| {
        failure.error = format!("{what}: {}", failure.error);
        failure
    })?;
    Ok(manifest)
}

#[cfg(test)]
pub(crate) mod tests;
