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

/// Tells the same of the roster that a collaborator may have been given; it needs none.
pub(super) fn tell_published(folder: &Folder, credentials: &Credentials) {
    match folder.roster() {
        Ok(None) => {}
        Ok(Some(text)) => match credentials.authority().open_roster(&text) {
            Ok(roster) => tell_measurements(roster.measurements()),
            Err(error) => tracing::warn!("plan/cols.yaml is passed over: {error}"),
        },
        Err(failure) => tracing::warn!("plan/cols.yaml is passed over: {}", failure.error),
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
