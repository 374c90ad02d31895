//! What a role checks of trust at its start: its key and certificate, the CA and the roster, from the
//! workspace.

use std::{io::ErrorKind, path::Path, time::Duration};

use fl_engine::{
    Name,
    plan::{
        Plan, Seal,
        roster::{Measurements, Member, Roster, UnixSeconds},
    },
};
use fl_sys::syscall::{self, Entry};

use super::workspace::Workspace;
use crate::{
    environment::NAME_VARIABLE,
    exit::{Exit, Failure},
    trust::{self, Credentials, CredentialsError, Fingerprint, FlooredClock, Role, Rosters, Serials, Term},
};

/// This role's credentials, or the failure that says how the operator gets them. `new`: whether the role may
/// make a key beside another member's certificate.
pub(super) fn credentials(
    workspace: &Workspace,
    plan: &Plan,
    role: Role,
    name: Option<&Name>,
    new: bool,
    clock: &FlooredClock,
) -> Result<Credentials, Failure> {
    let sealed = (syscall::entry() == Entry::Gramine).then_some(plan.seal);
    if !new {
        trust::refuse_misspelt(workspace.files(), &workspace.path("cert"), role, name)
            .map_err(|e| misspelt(&e, workspace.is_image()).unwrap_or_else(|| refused(&e, sealed)))?;
    }
    let credentials = Credentials::load_or_request_under(
        workspace.files(),
        &workspace.path("cert"),
        &workspace.ca_file(),
        role,
        name,
        clock,
    )
    .map_err(|e| refused(&e, sealed))?;
    credentials.check_plan(&plan.federation, plan.ca).map_err(|e| refused(&e, sealed))?;
    Ok(credentials)
}

/// The roster in the aggregator's workspace.
pub(super) fn rosters(
    workspace: &Workspace,
    plan: &Plan,
    credentials: &Credentials,
    clock: &FlooredClock,
) -> Result<Rosters, Failure> {
    let authority = credentials.authority().clone();
    let file = workspace.path("plan/cols.yaml");
    let serials = serials(workspace, credentials);
    let rosters = Rosters::open(workspace.files(), authority, plan.federation.clone(), &file, serials, clock)
        .map_err(|e| Failure::of(Exit::Trust, &e).hint(e.hint()))?;
    own_line(rosters.roster().aggregators(), credentials.fingerprint())?;
    Ok(rosters)
}

/// Checks that the roster admits this aggregator, where the roster lists aggregators.
fn own_line(listed: &[Member], key: Fingerprint) -> Result<(), Failure> {
    let error = match listed.iter().find(|line| line.key == key.0) {
        None if listed.is_empty() => return Ok(()),
        Some(Member { revoked: None, .. }) => return Ok(()),
        Some(Member { revoked: Some(why), .. }) => format!("the roster revokes this aggregator's key: {why}"),
        None => format!("the roster lists another aggregator: this aggregator's key is {key}"),
    };
    Err(Failure::new(Exit::Trust, error).hint(
        "copy the newest plan/cols.yaml from the federation's owner. The owner gives an aggregator a new key with `fl-host pki approve --replace`",
    ))
}

/// When this role's certificate and the CA's certificate end.
pub(super) fn certificate_terms(credentials: &Credentials) -> Vec<Term> {
    let identity = credentials.identity();
    let of = match identity.role {
        Role::Aggregator => "--role aggregator".to_owned(),
        Role::Collaborator => format!("-n {}", identity.name),
    };
    let own = Term {
        what: format!("the certificate of {identity}"),
        until: credentials.validity().not_after,
        cure: format!(
            "Ask the federation's owner to run `fl-host pki renew {of}`, and install the new certificate"
        ),
    };
    let ca = Term {
        what: "the certificate of the federation's CA".to_owned(),
        until: credentials.authority().validity().not_after,
        cure: "Ask the federation's owner for the next federation: all certificates end with the CA's"
            .to_owned(),
    };
    vec![own, ca]
}

/// When the roster ends.
pub(super) fn roster_term(until: UnixSeconds) -> Term {
    let cure = "Ask the federation's owner to run `fl-host pki sign`, and install the new plan/cols.yaml";
    Term { what: "the roster".to_owned(), until, cure: cure.to_owned() }
}

/// Warns of what ends soon, at once and then every day.
pub(super) async fn remind_daily(clock: FlooredClock, terms: impl Fn() -> Vec<Term> + Send) {
    loop {
        let now = clock.now();
        for warning in terms().iter().filter_map(|term| term.warning(now)) {
            tracing::warn!("{warning}");
        }
        tokio::time::sleep(DAY).await;
    }
}

/// Logs the expected enclave measurements, if the roster carries any.
pub(super) fn log_measurements(of: Option<&Measurements>) {
    if let Some(Measurements { aggregator, collaborator }) = of {
        tracing::info!("measurement that the roster expects of the aggregator: {aggregator}");
        tracing::info!("measurement that the roster expects of collaborators: {collaborator}");
    }
}

/// Reads the roster in a collaborator's workspace, where there is one, and logs its measurements. From then
/// on the collaborator refuses an aggregator that has an older roster.
pub(super) fn local_roster(
    workspace: &Workspace,
    plan: &Plan,
    credentials: &Credentials,
    serials: &Serials,
    clock: &FlooredClock,
) -> Option<Roster> {
    let file = workspace.path("plan/cols.yaml");
    match Rosters::look(workspace.files(), credentials.authority(), &plan.federation, &file, serials, clock) {
        Ok(None) => None,
        Ok(Some(roster)) => {
            tracing::info!(
                "this site has roster {}: the collaborator refuses an aggregator that has an older roster",
                roster.serial()
            );
            log_measurements(roster.measurements());
            Some(roster)
        }
        Err(error) => {
            let why = Failure::of(Exit::Trust, &error).error;
            tracing::warn!("ignoring the local roster: {why}. To mend this, {}", error.hint());
            None
        }
    }
}

/// The highest serial of a roster that this workspace has seen.
pub(super) fn serials(workspace: &Workspace, credentials: &Credentials) -> Serials {
    Serials::open(workspace.files(), &workspace.path("save/roster-serial"), credentials.authority().digest())
}

/// An image's command line takes no option, so its hint differs.
fn misspelt(error: &CredentialsError, is_image: bool) -> Option<Failure> {
    let CredentialsError::OtherMember { .. } = error else { return None };
    is_image.then(|| {
        Failure::of(Exit::Trust, error).hint(format!(
            "set {NAME_VARIABLE} to the name on the certificate. A new member needs a volume of its own at /workspace/cert"
        ))
    })
}

/// `sealed` says who can open what Gramine sealed; `None` outside of Gramine.
fn refused(error: &CredentialsError, sealed: Option<Seal>) -> Failure {
    let exit = match error {
        CredentialsError::Waiting(_) => Exit::WaitingForCertificate,
        _ => Exit::Trust,
    };
    Failure::of(exit, error).hint(error.hint()).maybe_hint(sealed.and_then(|seal| unsealable(error, seal)))
}

/// What to do about a key that this enclave cannot open: Gramine answers EACCES for a file that another key
/// encrypts.
fn unsealable(error: &CredentialsError, seal: Seal) -> Option<String> {
    let CredentialsError::Read(path, cause) = error else { return None };
    let lies_sealed = path.parent().is_some_and(|folder| folder.file_name() == Some("private".as_ref()));
    if !lies_sealed || cause.kind() != ErrorKind::PermissionDenied {
        return None;
    }
    let by = match seal {
        Seal::Signer => "an image that another key signed, or an image of a higher security version",
        _ => "another image",
    };
    let later = match seal {
        Seal::Signer => "",
        _ => {
            " With enclave.seal = mrsigner in the plan, later images of the same signing key can open a role's key."
        }
    };
    let key = path.file_name().unwrap_or_default();
    let certificate = Path::new("cert").join(Path::new(key).with_extension("crt"));
    Some(format!(
        "this key was sealed by {by}, or before a microcode update of this processor (plan: enclave.seal = {}). To use \
         this key, start the image that sealed the key. To begin with a new key, which the federation's owner has to \
         approve, move cert/private, {} and save/ away.{later}",
        seal.word(),
        certificate.display()
    ))
}

/// Time between two reminders.
const DAY: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn aggregator_that_the_roster_revokes_or_does_not_list_does_not_start() {
        let digest = |byte| fl_engine::Digest([byte; 32]);
        let line = |byte, revoked: Option<&str>| Member {
            name: "aggregator".parse().unwrap(),
            key: digest(byte),
            revoked: revoked.map(str::to_owned),
        };
        let own = |listed: &[Member]| own_line(listed, Fingerprint(digest(1)));
        own(&[]).unwrap();
        own(&[line(2, Some("replaced by another key")), line(1, None)]).unwrap();
        let revoked = own(&[line(1, Some("stolen")), line(2, None)]).unwrap_err();
        assert_eq!(
            (revoked.exit, &revoked.error[..]),
            (Exit::Trust, "the roster revokes this aggregator's key: stolen")
        );
        let other = own(&[line(2, None)]).unwrap_err();
        assert!(other.error.starts_with("the roster lists another aggregator"), "{}", other.error);
        assert!(other.hint.unwrap().contains("pki approve --replace"));
    }

    #[test]
    fn hint_for_a_key_that_another_image_sealed_says_what_to_do() {
        let error = |path: &str, kind: ErrorKind| CredentialsError::Read(path.into(), io::Error::from(kind));
        let sealed = error("cert/private/col_a.b.key", ErrorKind::PermissionDenied);
        let failure = refused(&sealed, Some(Seal::Enclave));
        assert_eq!(failure.error, "cannot read cert/private/col_a.b.key: permission denied");
        let hint = failure.hint.unwrap();
        for words in [
            "sealed by another image",
            "enclave.seal = mrenclave",
            "cert/col_a.b.crt",
            "With enclave.seal = mrsigner",
        ] {
            assert!(hint.contains(words), "{hint}");
        }
        let hint = refused(&sealed, Some(Seal::Signer)).hint.unwrap();
        assert!(hint.contains("another key signed") && hint.contains("enclave.seal = mrsigner"), "{hint}");
        // Outside of Gramine, or where nothing is sealed, or for another reason.
        for (error, seal) in [
            (sealed, None),
            (error("cert/col_a.key", ErrorKind::PermissionDenied), Some(Seal::Enclave)),
            (error("cert/private/col_a.key", ErrorKind::IsADirectory), Some(Seal::Enclave)),
        ] {
            let hint = refused(&error, seal).hint.unwrap();
            assert!(hint.starts_with("check the owner and the permissions of cert"), "{hint}");
        }
    }
}
