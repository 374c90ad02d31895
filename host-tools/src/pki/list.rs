//! `fl-host pki list`: the members, when their certificates expire, and what needs the owner's attention.

use std::{collections::BTreeSet, fs, path::Path};

use fl_engine::{
    Name,
    plan::roster::{Accepted, Measurements, Member, Resumption, UnixSeconds},
};
use fl_runtime::internal::trust::{
    Authority, Fingerprint, FlooredClock, Identity, IdentityError, Role, one_certificate, validity,
};

use super::{
    ca_file, ca_key_file, issued_folder, master_roster_file,
    owner::{DAY, of_roster},
    read_roster, roster_file,
};
use crate::{
    exit::{Exit, Failure},
    files,
};

/// A member with a certificate, or on the roster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The name.
    pub name: Name,
    /// The role.
    pub role: Role,
    /// The key.
    pub fingerprint: Fingerprint,
    /// Days until the certificate expires; negative after that; `None` when this folder has no certificate
    /// for the key.
    pub days: Option<i64>,
    /// Why the key is revoked.
    pub revoked: Option<String>,
}

/// What [`list()`] found.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The federation.
    pub federation: Name,
    /// SHA-256 of the CA certificate.
    pub ca: fl_engine::Digest,
    /// Days until the CA's certificate ends.
    pub ca_days: i64,
    /// The roster's serial.
    pub serial: u64,
    /// Days until the roster ends.
    pub roster_days: i64,
    /// The measurements of enclaves on the roster.
    pub measurements: Option<Measurements>,
    /// The enclaves and platforms of the roster's section `attestation`.
    pub attestation: Option<Accepted>,
    /// The owner's last order to take the run back.
    pub resume: Option<Resumption>,
    /// Aggregators first, then the roster's order.
    pub rows: Vec<Row>,
    /// What needs attention.
    pub warnings: Vec<String>,
}

/// Reads the CA's certificate, the roster and the certificates issued; needs no key.
///
/// # Errors
/// [`Exit::File`], [`Exit::Trust`], [`Exit::Plan`].
pub fn list(root: &Path, clock: &FlooredClock) -> Result<Listed, Failure> {
    let pem = files::read_pem(&ca_file(root))
        .map_err(|f| f.hint("the owner makes ca.crt with `fl-host pki init`; a site installs it with `fl-host pki import --ca`"))?;
    let authority =
        Authority::from_pem(pem.as_bytes()).map_err(|e| Failure::of(Exit::Trust, &e).hint(e.hint()))?;
    // The owner has a master copy; a site has only the published roster.
    let published = read_roster(&roster_file(root));
    let master = master_roster_file(root);
    let text = if master.exists() { read_roster(&master)? } else { published.clone()? };
    let roster = authority.open_roster(&text).map_err(of_roster)?;
    let now = clock.now();
    let issued = issued(root, now)?;
    let line = |role: Role, member: &Member| Row {
        name: member.name.clone(),
        role,
        fingerprint: Fingerprint(member.key),
        days: issued.iter().find(|row| row.fingerprint.0 == member.key).and_then(|row| row.days),
        revoked: member.revoked.clone(),
    };
    let mut rows: Vec<Row> =
        roster.aggregators().iter().map(|member| line(Role::Aggregator, member)).collect();
    // Approved before rosters listed aggregators.
    let unlisted = |row: &&Row| row.role == Role::Aggregator && roster.aggregators().is_empty();
    rows.extend(issued.iter().filter(unlisted).cloned());
    let old_aggregator = rows.iter().any(|row| unlisted(&row));
    rows.extend(roster.members().iter().map(|member| line(Role::Collaborator, member)));
    let (ca_days, roster_days) = (days(authority.validity().not_after, now), days(roster.not_after(), now));

    let mut warnings = Vec::new();
    let is_of_an_aggregator = |key: &&str| root.join(key).exists();
    if ca_key_file(root).exists()
        && ["cert/aggregator.key", "cert/private/aggregator.key"].iter().any(is_of_an_aggregator)
    {
        warnings.push(
            "the CA's key is on the same machine as an aggregator's key: an intruder there could admit anybody; keep \
             cert/ca/ on the owner's machine only"
                .to_owned(),
        );
    }
    if old_aggregator {
        warnings.push(
            "the roster does not list the aggregator's key, so the key cannot be revoked: `fl-host pki sign` puts it on the roster"
                .to_owned(),
        );
    }
    if published.as_ref() != Ok(&text) {
        warnings.push(
            "plan/cols.yaml differs from the roster that was signed last: `fl-host pki sign` writes it again"
                .to_owned(),
        );
    }
    let mut ends = |what: String, days: i64, remedy: &str| match days {
        d if d < 0 => warnings.push(format!("{what} expired {} days ago: {remedy}", -d)),
        d if d < SOON_DAYS => warnings.push(format!("{what} expires in {d} days: {remedy}")),
        _ => {}
    };
    ends(
        "the CA's certificate".into(),
        ca_days,
        "the federation needs a new CA: move cert/ away, and run `fl-host pki init`",
    );
    ends("the roster".into(), roster_days, "`fl-host pki sign` extends it");
    for Row { name, role, days, .. } in rows.iter().filter(|row| row.revoked.is_none()) {
        if let Some(days) = days {
            let of = if *role == Role::Aggregator { "--role aggregator " } else { "" };
            let remedy = format!("`fl-host pki renew {of}-n {name}`");
            ends(format!("the certificate of {role} {name}"), *days, &remedy);
        }
    }
    Ok(Listed {
        federation: roster.federation().clone(),
        ca: authority.digest(),
        ca_days,
        serial: roster.serial(),
        roster_days,
        measurements: roster.measurements().copied(),
        attestation: roster.attestation().cloned(),
        resume: roster.resume().cloned(),
        rows,
        warnings,
    })
}

/// Who a certificate's file is for, its key and its last second; `None` for a request.
///
/// # Errors
/// [`Exit::Trust`] for a file that is neither; [`Exit::File`].
pub fn shown_certificate(path: &Path) -> Result<Option<(Identity, Fingerprint, UnixSeconds)>, Failure> {
    let pem = files::read_pem(path)?;
    if pem.contains("CERTIFICATE REQUEST-----") {
        return Ok(None);
    }
    let bad = |what: String| Failure::new(Exit::Trust, format!("{} {what}", path.display()));
    let certificate = one_certificate(pem.as_bytes()).map_err(|what| {
        bad(what).hint("give a site's request, a .csr file, or a certificate that `fl-host pki approve` made")
    })?;
    let refused = |e: IdentityError| bad(format!("is refused: {e}"));
    let identity = Identity::of(&certificate).map_err(refused)?;
    let fingerprint = Fingerprint::of(&certificate).map_err(refused)?;
    Ok(Some((identity, fingerprint, validity(&certificate).map_err(refused)?.not_after)))
}

/// The certificates in `cert/issued`; at a site there are none.
fn issued(root: &Path, now: UnixSeconds) -> Result<Vec<Row>, Failure> {
    let folder = issued_folder(root);
    let Ok(entries) = fs::read_dir(&folder) else { return Ok(Vec::new()) };
    let files: BTreeSet<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let certificates = files.into_iter().filter(|path| path.extension().is_some_and(|e| e == "crt"));
    certificates
        .map(|path| {
            let (Identity { role, name, .. }, fingerprint, until) =
                shown_certificate(&path)?.ok_or_else(|| {
                    Failure::new(Exit::Trust, format!("{} is a request, not a certificate", path.display()))
                })?;
            Ok(Row { name, role, fingerprint, days: Some(days(until, now)), revoked: None })
        })
        .collect()
}

/// Days from `now` to `until`, negative if `until` is past. A part of a day counts as a whole day.
fn days(until: UnixSeconds, now: UnixSeconds) -> i64 {
    let whole = |seconds: u64| i64::try_from(seconds.div_ceil(DAY)).unwrap_or(i64::MAX);
    if until >= now { whole(until.0 - now.0) } else { -whole(now.0 - until.0) }
}

/// Certificates and rosters that expire sooner get a warning.
const SOON_DAYS: i64 = 30;
