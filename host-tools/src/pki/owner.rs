//! The owner's part: makes the CA, changes and signs the roster, revokes members.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use fl_engine::{
    Name,
    plan::roster::{Accepted, Measurements, Member, Roster, RosterDraft, RosterError, UnixSeconds},
};
use fl_runtime::internal::trust::{Authority, Fingerprint, FlooredClock, Identity, Role, one_certificate};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ED25519, PublicKeyData as _, SerialNumber, SigningKey as _, date_time_ymd,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use super::{
    ca_file, ca_key_file, master_roster_file, measurements, publish, read_roster, roster_file, vault,
    vault::Passphrase,
};
use crate::{
    exit::{Exit, Failure},
    files,
};

/// The settings of [`init`].
#[derive(Clone, Debug)]
pub struct Init {
    /// Years until the CA's own certificate ends.
    pub years: u32,
    /// Encrypts the CA's key with this.
    pub passphrase: Option<Passphrase>,
}

/// What [`init`] made.
#[derive(Clone, Debug)]
pub struct Initialised {
    /// The CA's public part.
    pub authority: Authority,
    /// The file of the CA's key.
    pub key_file: PathBuf,
}

/// The owner's keys and roster, with the CA's key decrypted.
pub struct Owner {
    pub(super) root: PathBuf,
    pub(super) authority: Authority,
    ca_pem: String,
    key: Zeroizing<KeyPair>,
    roster: Roster,
    now: UnixSeconds,
}

impl Default for Init {
    fn default() -> Self {
        Self { years: 10, passphrase: None }
    }
}

/// Makes the federation's CA and an empty roster in the workspace `root`.
///
/// # Errors
/// [`Exit::Trust`] when there is a CA already, [`Exit::Usage`] for a lifetime out of range, [`Exit::File`].
pub fn init(
    root: &Path,
    federation: &Name,
    settings: &Init,
    clock: &FlooredClock,
) -> Result<Initialised, Failure> {
    if !(1..=50).contains(&settings.years) {
        return Err(Failure::new(Exit::Usage, "--years must be 1 to 50"));
    }
    for held in [ca_key_file(root), ca_file(root), master_roster_file(root)] {
        if held.exists() {
            let error = format!("{} already exists", held.display());
            return Err(Failure::new(Exit::Trust, error).hint(
                "a federation has one CA. To start over, move cert/ away: all certificates of the old CA then become invalid",
            ));
        }
    }
    let now = clock.now();
    let key = KeyPair::generate_for(&PKCS_ED25519).map(Zeroizing::new).map_err(|e| failed(&e))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("CA of federation {federation}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let until = now.0 + u64::from(settings.years) * 365 * DAY;
    set_validity(&mut params, UnixSeconds(now.0.saturating_sub(SKEW)), UnixSeconds(until))?;
    let pem = params.self_signed(&*key).map_err(|e| failed(&e))?.pem();
    let authority = Authority::from_pem(pem.as_bytes()).map_err(|e| failed(&e))?;

    let key_file = ca_key_file(root);
    write_secret(&key_file, vault::lock(&key, settings.passphrase.as_ref())?.as_bytes())?;
    files::replace(&ca_file(root), pem.as_bytes())?;
    let not_after = roster_end(now, &authority);
    let roster = RosterDraft::new(federation.clone(), authority.digest(), not_after);
    save_roster(root, &key, &roster)?;
    Ok(Initialised { authority, key_file })
}

/// The federation that `plan/plan.yaml` names; `None` when there is no such file or line.
///
/// # Errors
/// [`Exit::Plan`] for a text that is not a name.
pub fn federation_of(root: &Path) -> Result<Option<Name>, Failure> {
    let Ok(plan) = read_roster(&root.join("plan/plan.yaml")) else { return Ok(None) };
    // Only this one line is read: the rest of the plan may still be wrong.
    let Some(value) = plan.lines().find_map(|line| line.strip_prefix("federation:")) else { return Ok(None) };
    let value = value.split(" #").next().unwrap_or_default().trim().trim_matches(['"', '\'']);
    value
        .parse()
        .map(Some)
        .map_err(|e| Failure::of(Exit::Plan, &e).hint("correct the key `federation` in plan/plan.yaml"))
}

/// Revokes the member `name`: of `role`, or of the one role that has the name. Returns the roster's new
/// serial.
///
/// # Errors
/// [`Exit::Trust`] when the roster has no such member; [`Exit::Usage`] when both roles have the name.
pub fn revoke(
    owner: &mut Owner,
    role: Option<Role>,
    name: &Name,
    reason: &str,
) -> Result<(Role, u64), Failure> {
    let holds = |role: &Role| {
        lines_of(&owner.roster, *role).iter().any(|line| line.name == *name && line.revoked.is_none())
    };
    let roles: Vec<Role> = [Role::Collaborator, Role::Aggregator]
        .into_iter()
        .filter(|held| role.is_none_or(|role| role == *held) && holds(held))
        .collect();
    let role = match roles[..] {
        [role] => role,
        [] => return Err(owner.unknown(role.unwrap_or(Role::Collaborator), name)),
        _ => {
            let error = format!("an aggregator and a collaborator have the name {name}");
            return Err(
                Failure::new(Exit::Usage, error).hint("give --role aggregator or --role collaborator")
            );
        }
    };
    let mut draft = owner.roster.draft();
    let lines = list_of(&mut draft, role).iter_mut();
    lines.filter(|line| line.name == *name && line.revoked.is_none()).for_each(|line| {
        line.revoked = Some(reason.to_owned());
    });
    // Everything but the reason was on the roster before.
    let serial = owner.change_roster(draft).map_err(of_reason)?;
    Ok((role, serial))
}

/// Signs the roster again, so that it stays valid. With `measurements` or `accepted`, these replace the
/// roster's. Returns its new serial.
///
/// # Errors
/// [`Exit::File`]; [`Exit::Usage`] for measurements that would not count.
pub fn sign(
    owner: &mut Owner,
    measurements: Option<Measurements>,
    accepted: Option<Accepted>,
) -> Result<u64, Failure> {
    if measurements.is_some() && accepted.is_none() {
        measurements::may_count(&owner.roster)?;
    }
    let mut draft = owner.roster.draft();
    draft.attestation = accepted.or(draft.attestation);
    draft.measurements = measurements.or(draft.measurements);
    if draft.aggregators.is_empty() {
        draft.aggregators.extend(owner.aggregator_of_before()?);
    }
    owner.change_roster(draft)
}

impl Owner {
    /// Opens the CA's key in the workspace `root`. `passphrase` is called only if the key is encrypted.
    ///
    /// # Errors
    /// [`Exit::Trust`] when the key, certificate and roster do not belong together, [`Exit::File`].
    pub fn open(
        root: &Path,
        passphrase: impl FnOnce() -> Result<Option<Passphrase>, Failure>,
        clock: &FlooredClock,
    ) -> Result<Self, Failure> {
        let key_file = ca_key_file(root);
        if !key_file.exists() {
            let error =
                format!("{} is missing: this is not the federation owner's workspace", key_file.display());
            return Err(Failure::new(Exit::Trust, error)
                .hint("run this command in the workspace where `fl-host pki init` was run, or give that folder with --workspace"));
        }
        files::refuse_exposed(&key_file)?;
        let text = files::read_secret_text(&key_file, files::PEM_BYTES)?;
        let passphrase = if vault::is_locked(&text) { passphrase()? } else { None };
        let key = vault::unlock(&text, passphrase.as_ref())?;
        let ca_pem = files::read_pem(&ca_file(root))?;
        let refused = |e| Failure::of(Exit::Trust, &e);
        let authority = Authority::from_pem(ca_pem.as_bytes()).map_err(refused)?;
        let ours = Fingerprint::of_key(&key.subject_public_key_info());
        if Fingerprint::of(authority.certificate()) != Ok(ours) {
            return Err(Failure::new(Exit::Trust, "cert/ca.crt does not belong to the key cert/ca/ca.key")
                .hint("restore the cert/ca.crt that `fl-host pki init` made from a backup"));
        }
        let roster = authority.open_roster(&read_roster(&master_roster_file(root))?).map_err(of_roster)?;
        Ok(Self { root: root.to_owned(), authority, ca_pem, key, roster, now: clock.now() })
    }

    /// The federation.
    #[must_use]
    pub fn federation(&self) -> &Name {
        self.roster.federation()
    }

    /// The CA's public part.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The roster that was signed last.
    #[must_use]
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    pub(super) fn now(&self) -> UnixSeconds {
        self.now
    }

    pub(super) fn issuer(&self) -> Result<Issuer<'_, &KeyPair>, Failure> {
        Issuer::from_ca_cert_pem(&self.ca_pem, &*self.key).map_err(|e| failed(&e))
    }

    /// The CA's signature over these bytes.
    pub(super) fn sign_bytes(&self, bytes: &[u8]) -> [u8; 64] {
        signature(&self.key, bytes)
    }

    /// Signs `draft` with the next serial and publishes it.
    pub(super) fn change_roster(&mut self, mut draft: RosterDraft) -> Result<u64, Failure> {
        draft.serial = self.roster.serial() + 1;
        draft.not_after = roster_end(self.now, &self.authority);
        let text = save_roster(&self.root, &self.key, &draft)?;
        self.roster = self.authority.open_roster(&text).map_err(of_roster)?;
        Ok(draft.serial)
    }

    /// The line of the aggregator that was approved before rosters listed aggregators.
    fn aggregator_of_before(&self) -> Result<Option<Member>, Failure> {
        let file = self.root.join("cert/issued/aggregator.crt");
        if !file.exists() {
            return Ok(None);
        }
        let refused = |what: String| Failure::new(Exit::Trust, format!("{} {what}", file.display()));
        let held = one_certificate(files::read_pem(&file)?.as_bytes()).map_err(refused)?;
        let Identity { name, .. } = Identity::of(&held).map_err(|e| refused(format!("is refused: {e}")))?;
        let key = Fingerprint::of(&held).map_err(|e| refused(format!("is refused: {e}")))?.0;
        Ok(Some(Member { name, key, revoked: None }))
    }

    pub(super) fn unknown(&self, role: Role, name: &Name) -> Failure {
        let lines = |role: Role| lines_of(&self.roster, role).iter().filter(|line| line.revoked.is_none());
        let known: Vec<&str> =
            lines(Role::Aggregator).chain(lines(Role::Collaborator)).map(|line| line.name.as_str()).collect();
        let error = format!("the roster has no {role} named {name}, or the {role} is revoked");
        let hint = match known.is_empty() {
            true => "the roster has no members yet".to_owned(),
            false => format!("the roster has: {}", known.join(", ")),
        };
        Failure::new(Exit::Trust, error).hint(hint)
    }
}

impl std::fmt::Debug for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Owner").field("root", &self.root).finish_non_exhaustive()
    }
}

fn roster_end(now: UnixSeconds, authority: &Authority) -> UnixSeconds {
    UnixSeconds(now.0 + ROSTER_DAYS * DAY).min(authority.validity().not_after)
}

fn save_roster(root: &Path, key: &KeyPair, draft: &RosterDraft) -> Result<String, Failure> {
    let text = draft.seal(|bytes| signature(key, bytes)).map_err(of_roster)?;
    let master = master_roster_file(root);
    files::make_folder_of(&master)?;
    files::replace(&master, text.as_bytes())?;
    publish(&roster_file(root), &text)?;
    Ok(text)
}

/// The failure to sign a roster with a new reason that a roster cannot hold.
pub(super) fn of_reason(failure: Failure) -> Failure {
    match failure.exit {
        Exit::Plan => Failure::new(Exit::Usage, failure.error)
            .hint("give --reason a text of 1 to 200 bytes without control characters"),
        _ => failure,
    }
}

fn signature(key: &KeyPair, bytes: &[u8]) -> [u8; 64] {
    // Ed25519 signs everything, in 64 bytes; an empty signature would be refused by every reader.
    key.sign(bytes).ok().and_then(|s| s.try_into().ok()).unwrap_or([0; 64])
}

/// The roster's lines of a role.
pub(super) fn lines_of(roster: &Roster, role: Role) -> &[Member] {
    match role {
        Role::Aggregator => roster.aggregators(),
        Role::Collaborator => roster.members(),
    }
}

pub(super) fn list_of(draft: &mut RosterDraft, role: Role) -> &mut Vec<Member> {
    match role {
        Role::Aggregator => &mut draft.aggregators,
        Role::Collaborator => &mut draft.members,
    }
}

pub(super) fn of_roster(error: RosterError) -> Failure {
    Failure::of(Exit::Plan, &error).hint(error.hint())
}

pub(super) fn set_validity(
    params: &mut CertificateParams,
    from: UnixSeconds,
    until: UnixSeconds,
) -> Result<(), Failure> {
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(from.0);
    params.not_after = epoch + Duration::from_secs(until.0);
    // RFC 5280, 4.1.2.2: unique, positive, at most 20 bytes.
    let mut serial = [0; 16];
    let filled = SystemRandom::new().fill(&mut serial);
    filled.map_err(|_| Failure::new(Exit::Failed, "the system gives no random bytes"))?;
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from(serial.to_vec()));
    Ok(())
}

/// From the first byte on, only this user can read the file and its folder.
fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    files::make_folder_of(path)?;
    let private = fs::Permissions::from_mode(0o700);
    path.parent()
        .map_or(Ok(()), |folder| fs::set_permissions(folder, private))
        .and_then(|()| files::write_secret(path, bytes))
        .map_err(|e| files::unwritten(path, &e))
}

pub(super) fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::of(Exit::Trust, error)
}

/// One day, seconds.
pub(super) const DAY: u64 = 86_400;
/// How far a site's clock may be behind the owner's.
pub(super) const SKEW: u64 = 3_600;
/// How long a signed roster is valid. Each change signs the roster again.
const ROSTER_DAYS: u64 = 365;
