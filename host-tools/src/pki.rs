//! The federation's keys and certificates: the work of its owner and its sites with `fl-host pki`.
//!
//! | file | whose | what |
//! |---|---|---|
//! | `cert/ca/ca.key` | owner, secret | the CA's key, encrypted if the owner gives a passphrase ([`vault`]) |
//! | `cert/issued/*.crt` | owner | the last certificate of each member |
//! | `cert/issued/cols.yaml` | owner | the roster's master copy |
//! | `cert/ca.crt` | everybody | the CA's certificate; the plan carries its hash |
//! | `plan/cols.yaml` | everybody | the roster: the owner publishes it, a site rewrites it in place |
//! | `cert/aggregator.*`, `cert/col_NAME.*` | a site | its key, its request and its certificate |
//!
//! ```text
//! owner                                   site
//! init    CA, empty roster
//!                                         request   key, cert/col_one.csr, fingerprint
//!         <───────────── col_one.csr ──────────────
//! approve cert/issued/col_one.crt, roster line, the same fingerprint
//!         ───── col_one.crt, ca.crt, cols.yaml ───>
//!                                         import    checks that all of these fit
//! ```
//!
//! A certificate has the role and the name that the request asks for, unless the owner says otherwise with a
//! switch. The keys of collaborators and of the aggregator are on the roster, and are replaced and revoked
//! alike. The aggregator's machine does not need the CA's key and should not have it: [`list()`] warns about
//! that.

mod approve;
mod list;
mod measurements;
mod owner;
mod resume;
mod site;
pub mod vault;

use std::path::{Path, PathBuf};

use fl_engine::{Name, limits};
use fl_runtime::internal::trust::{CredentialsError, Role};

pub use approve::{Approval, Issued, Request, approve, look, renew};
pub use list::{Listed, Row, list, shown_certificate};
pub use measurements::measurements;
pub use owner::{Init, Initialised, Owner, federation_of, init, revoke, sign};
pub use resume::{Resumed, Withdrawal, resume};
pub use site::{Imported, import, request};

use crate::{
    exit::{Exit, Failure},
    files,
};

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

/// The owner's copy of a certificate, with the same file name as at the site.
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

/// The owner's roster. Each change replaces the whole file.
fn master_roster_file(root: &Path) -> PathBuf {
    issued_folder(root).join("cols.yaml")
}

/// Rewrites a published roster in place: the file may be a bind mount, which a rename would break. A reader
/// notices a half-written roster by its signature.
fn publish(path: &Path, text: &str) -> Result<(), Failure> {
    files::make_folder_of(path)?;
    std::fs::write(path, text).map_err(|e| files::unwritten(path, &e))
}

fn read_roster(path: &Path) -> Result<String, Failure> {
    files::read_text(path, limits::PLAN_FILE_BYTES)
}

/// A failure with the key, request or certificate of a role.
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
