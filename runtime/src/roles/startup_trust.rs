//! Who this process is, and whom it believes: keys, certificates, roster, from the workspace's folder.

use std::{io::ErrorKind, path::Path};

use fl_engine::{
    Name,
    plan::{Plan, Seal, roster::Measurements},
};
use fl_sys::syscall::{self, Entry};

use super::workspace::Workspace;
use crate::{
    exit::{Exit, Failure},
    trust::{Clock, Credentials, CredentialsError, Role, Rosters, Serials},
};

/// This role's credentials, or the failure that tells its operator how to get them.
pub(super) fn credentials(
    workspace: &Workspace,
    plan: &Plan,
    role: Role,
    name: Option<&Name>,
    clock: &Clock,
) -> Result<Credentials, Failure> {
    let sealed = (syscall::entry() == Entry::Gramine).then_some(plan.seal);
    let credentials =
        Credentials::load_or_request_under(&workspace.path("cert"), &workspace.ca_file(), role, name, clock)
            .map_err(|e| refused(&e, sealed))?;
    credentials.check_plan(&plan.federation, plan.ca).map_err(|e| refused(&e, sealed))?;
    Ok(credentials)
}

/// The roster of the aggregator's folder.
pub(super) fn rosters(
    workspace: &Workspace,
    plan: &Plan,
    credentials: &Credentials,
    clock: &Clock,
) -> Result<Rosters, Failure> {
    let authority = credentials.authority().clone();
    let file = workspace.path("plan/cols.yaml");
    Rosters::open(authority, plan.federation.clone(), &file, serials(workspace, credentials), clock)
        .map_err(|e| Failure::of(Exit::Trust, &e).hint(e.hint()))
}

/// Tells what enclaves have to say of themselves, if the owner has signed that.
pub(super) fn tell_measurements(of: Option<&Measurements>) {
    if let Some(Measurements { aggregator, collaborator }) = of {
        tracing::info!("the roster measures the aggregator as {aggregator}");
        tracing::info!("the roster measures collaborators as {collaborator}");
    }
}

/// Checks the roster that a collaborator may have been given, and tells the same of it; it needs none. From then on an
/// aggregator with an older one is refused.
pub(super) fn look_at_published(
    workspace: &Workspace,
    plan: &Plan,
    credentials: &Credentials,
    serials: &Serials,
    clock: &Clock,
) {
    let file = workspace.path("plan/cols.yaml");
    match Rosters::look(credentials.authority(), &plan.federation, &file, serials, clock) {
        Ok(None) => {}
        Ok(Some(roster)) => {
            tracing::info!("roster {} is here: an aggregator with an older one is refused", roster.serial());
            tell_measurements(roster.measurements());
        }
        Err(error) => {
            let said = Failure::of(Exit::Trust, &error).error;
            tracing::warn!("the roster here is passed over: {said}; {}", error.hint());
        }
    }
}

/// The highest roster serial that this folder has seen.
pub(super) fn serials(workspace: &Workspace, credentials: &Credentials) -> Serials {
    Serials::open(&workspace.path("save/roster-serial"), credentials.authority().digest())
}

/// `sealed` is to whom, where Gramine may have sealed the key.
fn refused(error: &CredentialsError, sealed: Option<Seal>) -> Failure {
    let exit = match error {
        CredentialsError::Waiting(_) => Exit::WaitingForCertificate,
        _ => Exit::Trust,
    };
    Failure::of(exit, error).hint(error.hint()).maybe_hint(sealed.and_then(|seal| unsealable(error, seal)))
}

/// What to do about a key that this enclave cannot open: Gramine answers with EACCES to what another key encrypts.
fn unsealable(error: &CredentialsError, seal: Seal) -> Option<String> {
    let CredentialsError::Read(path, cause) = error else { return None };
    let lies_sealed = path.parent().is_some_and(|folder| folder.file_name() == Some("private".as_ref()));
    if !lies_sealed || cause.kind() != ErrorKind::PermissionDenied {
        return None;
    }
    let by = match seal {
        Seal::Signer => "an image that another key signed, or of a higher security version,",
        _ => "another image",
    };
    let later = match seal {
        Seal::Signer => "",
        _ => "; with mrsigner in the plan, later images of one signing key open it",
    };
    let key = path.file_name().unwrap_or_default();
    let certificate = Path::new("cert").join(Path::new(key).with_extension("crt"));
    Some(format!(
        "{by} sealed it, or this processor before new microcode (enclave.seal of the plan is {}): start that image again; \
         or move cert/private, {} and save/ away and start again: a new key is made, and needs approval{later}",
        seal.word(),
        certificate.display()
    ))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn key_that_another_image_sealed_is_told_with_what_to_do() {
        let error = |path: &str, kind: ErrorKind| CredentialsError::Read(path.into(), io::Error::from(kind));
        let sealed = error("cert/private/col_a.b.key", ErrorKind::PermissionDenied);
        let failure = refused(&sealed, Some(Seal::Enclave));
        assert_eq!(failure.error, "cannot read cert/private/col_a.b.key: permission denied");
        let hint = failure.hint.unwrap();
        for words in
            ["another image sealed it", "seal of the plan is mrenclave", "cert/col_a.b.crt", "with mrsigner"]
        {
            assert!(hint.contains(words), "{hint}");
        }
        let hint = refused(&sealed, Some(Seal::Signer)).hint.unwrap();
        assert!(hint.contains("another key signed") && hint.contains("plan is mrsigner"), "{hint}");
        // Outside of Gramine, or where nothing is sealed, or for another reason.
        for (error, seal) in [
            (sealed, None),
            (error("cert/col_a.key", ErrorKind::PermissionDenied), Some(Seal::Enclave)),
            (error("cert/private/col_a.key", ErrorKind::IsADirectory), Some(Seal::Enclave)),
        ] {
            assert_eq!(refused(&error, seal).hint.unwrap(), "check the folder's owner and mode");
        }
    }
}
