//! What a role checks of trust at its start: its key and certificate, the CA and the roster, from the
//! workspace.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use fl_engine::{
    Digest, Name,
    plan::{
        Plan, Seal,
        roster::{Measurements, Member, Roster, UnixSeconds},
    },
    wire::NewerFile,
};
use fl_sys::syscall::{self, Entry};

use super::workspace::Workspace;
use crate::{
    actors::attestation::Attestation,
    environment::NAME_VARIABLE,
    exit::{Exit, Failure},
    system::System,
    trust::{
        self, Credentials, CredentialsError, Fingerprint, FlooredClock, Role, RosterRefused, Rosters, RunKey,
        RunKeyError, Serials, SiteRoster, Term, WARN_DAYS, WARN_DAYS_OF_COLLATERAL,
        evidence::{Appraiser, Collaterals, Demand, Expected, Root},
    },
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
    let sources = sources(workspace, "cols.yaml");
    let serials = serials(workspace, credentials);
    let rosters =
        Rosters::open(workspace.files(), authority, plan.federation.clone(), &sources, serials, clock)
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
        warn_days: WARN_DAYS,
    };
    let ca = Term {
        what: "the certificate of the federation's CA".to_owned(),
        until: credentials.authority().validity().not_after,
        cure: "Ask the federation's owner for the next federation: all certificates end with the CA's"
            .to_owned(),
        warn_days: WARN_DAYS,
    };
    vec![own, ca]
}

/// When the roster ends.
pub(super) fn roster_term(until: UnixSeconds) -> Term {
    let cure = "Ask the federation's owner to run `fl-host pki sign`, and install the new plan/cols.yaml";
    Term { what: "the roster".to_owned(), until, cure: cure.to_owned(), warn_days: WARN_DAYS }
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

/// The roster of a collaborator's workspace, where there is one; logs its measurements. With a roster the
/// collaborator refuses an aggregator that has an older one.
pub(super) fn site_roster(
    workspace: &Workspace,
    plan: &Plan,
    credentials: &Credentials,
    serials: &Arc<Serials>,
    clock: &FlooredClock,
) -> Arc<SiteRoster> {
    let (files, authority) = (workspace.files(), credentials.authority().clone());
    let sources = sources(workspace, "cols.yaml");
    let site =
        SiteRoster::new(files, authority, plan.federation.clone(), sources, Arc::clone(serials), clock);
    look_at_roster(&site);
    if let Some(roster) = site.roster() {
        tracing::info!(
            "this site has roster {}: the collaborator refuses an aggregator that has an older roster",
            roster.serial()
        );
        log_measurements(roster.measurements());
    }
    Arc::new(site)
}

/// Reads the roster of a collaborator's workspace again, where it has changed.
pub(super) fn look_at_roster(site: &SiteRoster) {
    for error in site.look() {
        let why = Failure::of(Exit::Trust, &error).error;
        let what =
            if matches!(error, RosterRefused::Seen(..)) { UNSAVED } else { "ignoring the local roster" };
        tracing::warn!("{what}: {why}. To mend this, {}", error.hint());
    }
}

/// Takes a file that the aggregator hands on, if it is good and newer than this site's. It is kept until the
/// process ends.
pub(super) fn take_newer(site: &SiteRoster, collaterals: &Collaterals, file: NewerFile, text: Vec<u8>) {
    let refused = |why: String| tracing::warn!("what the aggregator hands on is refused: {why}");
    match file {
        NewerFile::Roster => match site.take(&text) {
            Ok(true) => {
                let serial = site.roster().map_or(0, |roster| roster.serial());
                tracing::info!("the aggregator has handed on its roster: roster {serial} is in force here");
            }
            Ok(false) => {}
            Err(error @ RosterRefused::Seen(..)) => {
                tracing::warn!("{UNSAVED}: {}", Failure::of(Exit::Trust, &error).error);
            }
            Err(error) => refused(Failure::of(Exit::Trust, &error).error),
        },
        NewerFile::Collateral => match collaterals.take(text) {
            Ok(Some(now)) => tracing::info!(
                "the aggregator has handed on Intel's collateral, good until {}",
                now.good_until()
            ),
            Ok(None) => {}
            Err(error) => refused(error.to_string()),
        },
        _ => {}
    }
}

/// Intel's collateral in the workspace, read for the first time; in force where there is any.
fn collaterals(system: &System, workspace: &Workspace, clock: &FlooredClock) -> Arc<Collaterals> {
    let root = system.quote_root.map_or(Root::INTEL, Root);
    let sources = sources(workspace, "collateral.json");
    let collaterals = Collaterals::new(workspace.files(), root, sources, clock);
    collaterals.look();
    Arc::new(collaterals)
}

/// What this process shows on every link, and the judge of the other side. In an enclave, and where the plan
/// asks for this role's quote, it gets one.
pub(super) fn attestation(
    system: &System,
    workspace: &Workspace,
    (plan, hash): (&Plan, Digest),
    credentials: &Credentials,
    roster: impl Fn() -> Option<Arc<Roster>> + Send + Sync + 'static,
    clock: &FlooredClock,
) -> Result<Arc<Attestation>, Failure> {
    let collaterals = collaterals(system, workspace, clock);
    let role = credentials.identity().role;
    let own = trust::run_key::side(role);
    let demand = Demand::of(plan.attestation, own);
    let must = demand == Demand::Required;
    let quoter = (demand != Demand::None).then_some(&*system.quoter);
    let failed = |error: RunKeyError| Failure::of(Exit::Evidence, &error).hint(QUOTE_HINT);
    let made = match RunKey::make(&system.random, credentials, hash, quoter) {
        // Without a quote the plan admits this role too.
        Err(RunKeyError::Quoter(error)) if !must => {
            tracing::warn!("{}. {QUOTE_HINT}", Failure::of(Exit::Evidence, &error).error);
            RunKey::make(&system.random, credentials, hash, None)
        }
        made => made,
    };
    let run_key = made.map_err(failed)?;
    if must && !run_key.has_quote() {
        let word = "no_quote";
        let error = format!(
            "the plan requires a quote of the {}'s enclave, and this process gets none",
            role.as_str()
        );
        return Err(Failure::new(Exit::Evidence, error).hint(QUOTE_HINT).reason(word));
    }
    let expected = Expected { ca: credentials.authority().digest(), plan: hash };
    let appraiser = Appraiser::new(own.other(), plan.attestation, expected, roster, collaterals, clock);
    if appraiser.looks_at_quotes() && appraiser.held().collateral == 0 {
        tracing::warn!(
            "the plan asks for quotes, and this side has no collateral of Intel: put collateral.json into plan/ or cert/"
        );
    }
    Ok(Attestation::new(run_key, appraiser))
}

/// When the collateral ends, where this side judges quotes by it.
pub(super) fn collateral_term(attestation: &Attestation) -> Option<Term> {
    let appraiser = attestation.appraiser();
    let until = appraiser.collaterals().in_force().filter(|_| appraiser.looks_at_quotes())?.good_until();
    let cure = "Make a new collateral.json with `fl-host attest collateral`, and put the file into plan/ or cert/. Until \
                the roster's days of grace are over, the old one is used";
    let (what, cure) = ("Intel's collateral".to_owned(), cure.to_owned());
    Some(Term { what, until, cure, warn_days: WARN_DAYS_OF_COLLATERAL })
}

/// Where a file of the owner may lie: the manual's lines for containers mount `cert` in every role.
fn sources(workspace: &Workspace, name: &str) -> Vec<PathBuf> {
    ["plan", "cert"].map(|folder| workspace.path(folder).join(name)).to_vec()
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

const QUOTE_HINT: &str = "run this role from an image for SGX, on a machine with SGX and the AESM service: the chapter attestation says how. The federation's owner decides with `attestation` in the plan";
/// Precedes the reason why a serial cannot be written.
pub(super) const UNSAVED: &str = "the new roster is in force, but its serial cannot be saved: after a restart an older roster would be accepted";
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
