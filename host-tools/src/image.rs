//! A container image from a workspace, without a container engine: `fl-host workspace dockerize`, `fl-host
//! image inspect`.
//!
//! ```text
//! workspace, programs, Gramine's folder, signing key
//!     │ inputs     read and checked
//!     │ layers     the image's files
//!     │ enclaves   manifests; for enclaves measured and signed
//!     v archive    W.tar.gz, an OCI layout, W.measurement.json
//! ```
//!
//! The same inputs give the same bytes; the date of a signature is an input. No key goes into an image.

mod archive;
mod capability;
pub mod contents;
mod enclaves;
pub mod gramine_files;
mod inputs;
pub mod inspect;
mod layers;
mod licence;
pub mod oci;
pub mod programs;
pub mod record;
pub(crate) mod tarball;

pub use archive::Archive;
pub use inputs::Request;

use crate::{exit::Failure, sgx::Date, workspace::Workspace};
use enclaves::Enclaves;
use inputs::Inputs;
use layers::Layers;

/// Makes the image of the workspace.
///
/// # Errors
/// [`Exit::Usage`](crate::exit::Exit::Usage) for an enclave without a key,
/// [`Exit::Plan`](crate::exit::Exit::Plan), [`Exit::Trust`](crate::exit::Exit::Trust) for a CA certificate
/// that is invalid or not the plan's, [`Exit::Model`](crate::exit::Exit::Model) for an initial model of
/// another plan, [`Exit::File`](crate::exit::Exit::File) for what cannot be found, read or written.
pub fn dockerize(workspace: &Workspace, request: &Request) -> Result<Archive, Failure> {
    let inputs = Inputs::read(workspace, request)?;
    let layers = Layers::of(&inputs)?;
    let enclaves = Enclaves::of(&inputs, layers)?;
    Archive::write(&inputs, enclaves)
}

/// The date in the signatures unless another is asked for: 2026-01-01. With today's, tomorrow's archive would
/// differ.
#[must_use]
pub fn default_date() -> Date {
    Date::of_unix(1_767_225_600)
}

#[cfg(test)]
mod tests;
