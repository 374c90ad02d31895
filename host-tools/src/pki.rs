//! The federation's keys and certificates: what its owner and its sites do with `fl-host pki`.
//!
//! | file | whose | what |
//! |---|---|---|
//! | `cert/ca/ca.key` | owner, secret | the CA's key, under a passphrase if wished ([`vault`]) |
//! | `cert/issued/*.crt` | owner | every certificate issued last for a name |
//! | `cert/issued/cols.yaml` | owner | the roster's master copy |
//! | `cert/ca.crt` | everybody | the CA's certificate; the plan carries its hash |
//! | `plan/cols.yaml` | everybody | the roster: published by the owner, rewritten in place at a site |
//! | `cert/aggregator.*`, `cert/col_NAME.*` | a site | its key, request and certificate ([`fl_runtime::internal::trust::credentials`]) |
//!
//! ```text
//! owner                                   site
//! init    CA, empty roster
//!                                         request   key, cert/col_one.csr, fingerprint
//!         <───────────── col_one.csr ──────────────
//! approve cert/issued/col_one.crt, roster line, the same fingerprint
//!         ───── col_one.crt, ca.crt, cols.yaml ───>
//!                                         import    checks that all of it fits
//! ```
//!
//! Whom a certificate names is the approver's word; of a request only the key is taken. The CA's key is not needed where
//! the aggregator runs, and should not be there: [`list()`] warns when it is.

mod approve;
mod list;
mod measurements;
mod owner;
mod site;
pub mod vault;

use std::path::{Path, PathBuf};

use fl_engine::{Name, limits};
use fl_runtime::internal::trust::{CredentialsError, Role};

pub use approve::{Approval, Issued, approve, renew};
pub use list::{Listed, Row, list};
pub use measurements::measurements;
pub use owner::{Init, Initialised, Owner, federation_of, init, revoke, sign};
pub use site::{Imported, import, request};

use crate::{
    exit::{Exit, Failure},
    files,
};

/// Longest key, request or certificate that is read, bytes.
const PEM_BYTES: usize = 64 << 10;

/// `cert/ca.crt` of the workspace `root`.
fn ca_file(root: &Path) -> PathBuf {
    files::shown(root).join("cert/ca.crt")
}

/// `cert/ca/ca.key`.
fn ca_key_file(root: &Path) -> PathBuf {
    files::shown(root).join("cert/ca/ca.key")
}

/// `cert/issued`.
fn issued_folder(root: &Path) -> PathBuf {
    files::shown(root).join("cert/issued")
}

/// The owner's copy of a certificate; named as the site's.
fn issued_file(root: &Path, role: Role, name: &Name) -> PathBuf {
    issued_folder(root).join(match role {
        Role::Aggregator => "aggregator.crt".to_owned(),
        Role::Collaborator => format!("col_{name}.crt"),
    })
}

/// The published roster.
fn roster_file(root: &Path) -> PathBuf {
    files::shown(root).join("plan/cols.yaml")
}

/// The owner's roster, replaced whole.
fn master_roster_file(root: &Path) -> PathBuf {
    issued_folder(root).join("cols.yaml")
}

/// Rewrites a published roster in place: it may be a bind mount of one file, which a rename would break. Readers tell a
/// torn one by its signature.
fn publish(path: &Path, text: &str) -> Result<(), Failure> {
    files::make_folder_of(path)?;
    std::fs::write(path, text).map_err(|e| files::unwritten(path, &e))
}

fn read_roster(path: &Path) -> Result<String, Failure> {
    files::read_text(path, limits::PLAN_FILE_BYTES)
}

/// A failure out of a role's own files.
fn of_credentials(error: &CredentialsError) -> Failure {
    let exit = match error {
        CredentialsError::Read(..) | CredentialsError::Write(..) => Exit::File,
        CredentialsError::Nameless => Exit::Usage,
        _ => Exit::Trust,
    };
    Failure::of(exit, error).hint(error.hint())
}

#[cfg(test)]
mod tests;
