//! Who this process is, and whom it believes: keys, certificates, roster, from the workspace's folder.

use fl_engine::{
    Name,
    plan::{Plan, roster::Measurements},
};

use crate::{
    exit::{Exit, Failure},
    folder::Folder,
    trust::{Clock, Credentials, CredentialsError, Role, Rosters, Serials},
};

/// This role's credentials, or the failure that tells its operator how to get them.
pub(super) fn credentials(
    folder: &Folder,
    plan: &Plan,
    role: Role,
    name: Option<&Name>,
    clock: &Clock,
) -> Result<Credentials, Failure> {
    let credentials =
        Credentials::load_or_request_under(&folder.path("cert"), &folder.ca_file(), role, name, clock)
            .map_err(|e| refused(&e))?;
    credentials.check_plan(&plan.federation, plan.ca).map_err(|e| refused(&e))?;
    Ok(credentials)
}

/// The roster of the aggregator's folder.
pub(super) fn rosters(
    folder: &Folder,
    plan: &Plan,
    credentials: &Credentials,
    clock: &Clock,
) -> Result<Rosters, Failure> {
    let authority = credentials.authority().clone();
    let file = folder.path("plan/cols.yaml");
    Rosters::open(authority, plan.federation.clone(), &file, serials(folder, credentials), clock)
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
    folder: &Folder,
    plan: &Plan,
    credentials: &Credentials,
    serials: &Serials,
    clock: &Clock,
) {
    let file = folder.path("plan/cols.yaml");
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
pub(super) fn serials(folder: &Folder, credentials: &Credentials) -> Serials {
    Serials::open(&folder.path("save/roster-serial"), credentials.authority().digest())
}

fn refused(error: &CredentialsError) -> Failure {
    let exit = match error {
        CredentialsError::Waiting(_) => Exit::WaitingForCertificate,
        _ => Exit::Trust,
    };
    Failure::of(exit, error).hint(error.hint())
}
