//! Why a role has no credentials.

use std::{io, path::PathBuf};

use fl_engine::Name;

use super::{AuthorityError, CertificateRequest, Fingerprint, Identity, PeerError};

/// Why a role has no credentials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// There is a key and a request for a certificate, but no certificate yet.
    #[error("waiting for a certificate: the request is {}, for the key {}", .0.path.display(), .0.fingerprint)]
    Waiting(CertificateRequest),
    /// A collaborator without a name.
    #[error("a collaborator needs a name")]
    Nameless,
    /// The folder holds another member's certificate, and neither key nor certificate of this one.
    #[error("{} holds no key for this role and name, but a certificate for `{}`", cert.display(), held.join("`, `"))]
    OtherMember {
        /// The folder.
        cert: PathBuf,
        /// The roles and names that it has certificates for, as the command line takes them.
        held: Vec<String>,
    },
    /// A file cannot be read.
    #[error("cannot read {0}")]
    Read(PathBuf, #[source] io::Error),
    /// A file cannot be written.
    #[error("cannot write {0}")]
    Write(PathBuf, #[source] io::Error),
    /// Other users than its owner may read or change the key; the file's mode.
    #[error("other users of this machine may read or change {} (its mode is {:04o})", .0.display(), .1)]
    Exposed(PathBuf, u32),
    /// The key file holds no usable private key.
    #[error("{0} is not a usable private key: {1}")]
    Key(PathBuf, String),
    /// There is a certificate, but not its key.
    #[error("the certificate {certificate} has no key: {key} is missing")]
    KeyMissing {
        /// The certificate's file.
        certificate: PathBuf,
        /// Where the key should be.
        key: PathBuf,
    },
    /// The certificate file holds no single certificate.
    #[error("{0} {1}")]
    Certificate(PathBuf, String),
    /// The certificate is for another key.
    #[error("{} was issued for the key {theirs}, but this role's key is {ours}", .certificate.display())]
    OtherKey {
        /// The certificate's file.
        certificate: PathBuf,
        /// The certificate's key.
        theirs: Fingerprint,
        /// The key in the folder.
        ours: Fingerprint,
    },
    /// The certificate is for another name.
    #[error("{} was issued to {found}, but this process was started as {needed}", .certificate.display())]
    OtherName {
        /// The certificate's file.
        certificate: PathBuf,
        /// The name that the process was started with.
        needed: Name,
        /// The certificate's.
        found: Identity,
    },
    /// The CA's file is not usable.
    #[error("{0} is refused")]
    Ca(PathBuf, #[source] AuthorityError),
    /// The certificate fails the same checks that a peer's certificate must pass.
    #[error("{0} is refused")]
    Refused(PathBuf, #[source] PeerError),
    /// The plan belongs to another federation.
    #[error("the plan belongs to the federation {plan}, but the certificate to {certificate}")]
    OtherFederation {
        /// The plan's.
        plan: Name,
        /// The certificate's.
        certificate: Name,
    },
    /// The plan names another CA.
    #[error(transparent)]
    Plan(#[from] AuthorityError),
}

impl CredentialsError {
    /// What to do.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Waiting(request) => format!(
                "send {} to the federation's owner, and read the owner this key's fingerprint: {}. When the owner has \
                 sent the certificate, install it with `fl-host pki import` and start this role again",
                request.path.display(),
                request.fingerprint.grouped()
            ),
            Self::OtherMember { held, .. } => format!(
                "did you mean `{}`? To make a key for a new member, add --new",
                held.first().map_or("", String::as_str)
            ),
            Self::Nameless => "start with `fl-runtime collaborator -n NAME`".into(),
            Self::Read(path, _) if path.ends_with("ca.crt") => {
                format!("copy ca.crt from the federation's owner to {}", path.display())
            }
            Self::Read(path, _) | Self::Write(path, _) => {
                format!("check the owner and the permissions of {} and of its folder", path.display())
            }
            Self::Exposed(key, _) => {
                format!(
                    "run `chmod 600 {}`. If somebody else may have read the key, remove the key file: the next start makes a new key, which the federation's owner has to approve",
                    key.display()
                )
            }
            Self::Key(key, _) => {
                format!("remove {} and start again: the start makes a new key, which the federation's owner has to approve", key.display())
            }
            Self::KeyMissing { certificate, .. } => format!(
                "put the key file back, or remove {} and start again: the start makes a new key, which the federation's owner has to approve",
                certificate.display()
            ),
            Self::OtherKey { .. } => {
                "send this key's request to the federation's owner, or put back the key that the owner approved"
                    .into()
            }
            Self::OtherName { found, needed, .. } => {
                format!(
                    "start this role with the name {}, or ask the federation's owner for a certificate for the name {needed}",
                    found.name
                )
            }
            Self::Ca(_, error) | Self::Plan(error) => error.hint().into(),
            Self::Refused(_, PeerError::Expired(_)) => {
                "ask the federation's owner to run `fl-host pki renew`; the key stays the same".into()
            }
            Self::Refused(_, PeerError::OtherCa) => {
                "take cert/ca.crt and the certificate from the same federation's owner".into()
            }
            Self::Certificate(..) | Self::Refused(..) => {
                "ask the federation's owner for the right certificate".into()
            }
            Self::OtherFederation { .. } => "use a plan and a certificate of the same federation".into(),
        }
    }
}
