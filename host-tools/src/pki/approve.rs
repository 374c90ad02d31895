//! The owner approves a request: issues a certificate for its key, and puts the member on the roster.

use std::path::{Path, PathBuf};

use fl_engine::{
    Name,
    plan::roster::{Measurements, Member, UnixSeconds},
    printable::unprintable,
};
use fl_runtime::internal::trust::{Fingerprint, Identity, Role, one_certificate, public_key, validity};
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SanType, SubjectPublicKeyInfo,
};

use super::{
    issued_file, measurements,
    owner::{DAY, Owner, SKEW, failed, lines_of, list_of, set_validity},
};
use crate::{
    exit::{Exit, Failure},
    files,
};

/// The owner's decisions.
#[derive(Clone, Debug)]
pub struct Approval {
    /// The role; `None` for the request's.
    pub role: Option<Role>,
    /// The name; `None` for the request's.
    pub name: Option<Name>,
    /// Allow another role or name than the request's, and give a member that is on the roster another name.
    pub rename: bool,
    /// The key's fingerprint as the site read it to the owner, in full or in its short form.
    pub fingerprint: Option<String>,
    /// Reassign the name: the key that has it is revoked.
    pub replace: bool,
    /// Days until the certificate ends.
    pub days: u32,
    /// The measurements of the image's enclaves. A roster without measurements gets these; a roster with
    /// other measurements refuses them.
    pub measurements: Option<Measurements>,
}

/// A certificate that was issued.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The member that it names.
    pub identity: Identity,
    /// The fingerprint of its key.
    pub fingerprint: Fingerprint,
    /// The last second of its validity.
    pub not_after: UnixSeconds,
    /// The owner's copy, to be sent to the site.
    pub file: PathBuf,
    /// The roster's serial.
    pub serial: u64,
    /// What the request asks for, where it says so.
    pub asked_as: Option<String>,
}

/// A request that was read. Its signature holds, so its sender has the key.
#[derive(Debug)]
pub struct Request {
    /// The fingerprint of the key.
    pub fingerprint: Fingerprint,
    /// What the request states about its sender, unchecked.
    pub stated: Option<String>,
    /// The role and the name that it asks for, if it states them as `fl-host pki request` does.
    pub role: Option<Role>,
    /// See `role`.
    pub name: Option<Name>,
    pub(super) params: CertificateSigningRequestParams,
}

/// Reads a request and shows what it asks for. Nothing is signed.
///
/// # Errors
/// [`Exit::Trust`] when the request, its signature or its key is not valid; [`Exit::File`].
pub fn look(request: &Path) -> Result<Request, Failure> {
    let params = read_request(request)?;
    let key = &params.public_key;
    if PublicKeyData::algorithm(key) != &PKCS_ED25519 {
        return Err(Failure::new(Exit::Trust, "the request's key is not Ed25519")
            .hint("ask the site for a request that `fl-host pki request` made, or that fl-runtime wrote at its first start"));
    }
    let fingerprint = Fingerprint::of_key(&key.subject_public_key_info());
    let stated = params.params.distinguished_name.get(&DnType::CommonName).and_then(text_of);
    if let Some(c) = stated.as_deref().and_then(unprintable) {
        let error = format!("the request's name contains the control character {}", c.escape_unicode());
        return Err(Failure::new(Exit::Trust, error)
            .hint("do not approve this request: ask the site for one that `fl-host pki request` made"));
    }
    // `collaborator one`, `aggregator`, `aggregator NAME`.
    let words: Vec<&str> = stated.as_deref().unwrap_or_default().split(' ').collect();
    let (role, name) = match words[..] {
        [role] => (role.parse().ok(), None),
        [role, name] => (role.parse().ok(), name.parse().ok()),
        _ => (None, None),
    };
    Ok(Request { fingerprint, name: name.filter(|_| role.is_some()), role, stated, params })
}

/// Issues a certificate for the key in `request`, and puts the member on the roster.
///
/// # Errors
/// [`Exit::Trust`] when the request or its signature is invalid, the fingerprint differs, it asks for another
/// role or name, the name or the key is taken, or the measurements differ from the roster's; [`Exit::Usage`]
/// when nobody says the role or the name; [`Exit::File`].
pub fn approve(owner: &mut Owner, request: &Path, approval: &Approval) -> Result<Issued, Failure> {
    let asked = look(request)?;
    let fingerprint = asked.fingerprint;
    if let Some(told) = approval.fingerprint.as_ref().filter(|told| !fingerprint.is(told)) {
        let error = format!("the request is for the key with fingerprint {fingerprint}, not {told}");
        return Err(Failure::new(Exit::Trust, error)
            .hint("the request may have been replaced on the way: ask the site to send it again and to read the fingerprint again"));
    }
    let (role, name) = decided(&asked, approval)?;
    if approval.measurements.is_some() {
        measurements::may_count(owner.roster())?;
    }
    let measured = match (approval.measurements, owner.roster().measurements()) {
        (Some(given), Some(held)) => measurements::same(held, &given).map(|()| None)?,
        (given, _) => given,
    };
    let admitted = admitted(owner, role, &name, approval, fingerprint)?;
    let (pem, identity, not_after) =
        certificate(owner, role, &name, approval.days, &asked.params.public_key)?;
    let before = admitted.as_ref().and_then(|admitted| admitted.before.clone());
    let serial = if admitted.is_some() || measured.is_some() {
        let mut draft = owner.roster().draft();
        if let Some(Admitted { lines, .. }) = admitted {
            *list_of(&mut draft, role) = lines;
        }
        draft.measurements = measured.or(draft.measurements);
        owner.change_roster(draft)?
    } else {
        owner.roster().serial()
    };
    let file = keep(owner, &identity, &pem)?;
    if let Some(before) = before {
        // The certificate of the name that the key had: no roster admits it any more.
        let _ = std::fs::remove_file(issued_file(&owner.root, role, &before));
    }
    Ok(Issued { identity, fingerprint, not_after, file, serial, asked_as: asked.stated })
}

/// The role and the name of the certificate: the owner's, or the request's where the owner says nothing.
fn decided(asked: &Request, approval: &Approval) -> Result<(Role, Name), Failure> {
    let role = approval.role.or(asked.role).ok_or_else(|| {
        Failure::new(Exit::Usage, "the request does not say for which role it is")
            .hint("give --role aggregator or --role collaborator")
    })?;
    let name = approval.name.clone().or_else(|| asked.name.clone().filter(|_| asked.role == Some(role)));
    let name = match (name, role) {
        (Some(name), _) => name,
        (None, Role::Aggregator) => role.as_str().parse().map_err(|e| failed(&e))?,
        (None, Role::Collaborator) => {
            return Err(Failure::new(Exit::Usage, "a collaborator needs a name")
                .hint("give the collaborator's name with -n NAME"));
        }
    };
    let other_role = asked.role.is_some_and(|asked| asked != role);
    let other_name = asked.name.as_ref().is_some_and(|asked| *asked != name);
    if (other_role || other_name) && !approval.rename {
        let stated = asked.stated.as_deref().unwrap_or_default();
        return Err(Failure::new(Exit::Trust, format!("the request is for {stated}, not for {role} {name}")).hint(
            "leave --role and -n out to approve what the site asks for. To issue the certificate for another role or name, add --rename",
        ));
    }
    Ok((role, name))
}

/// Issues a new certificate for the key that `name` has now. No other file changes.
///
/// # Errors
/// [`Exit::Trust`] when no certificate was issued for the name, or it is not on the roster any more.
pub fn renew(owner: &Owner, role: Role, name: &Name, days: u32) -> Result<Issued, Failure> {
    let file = issued_file(&owner.root, role, name);
    if !file.exists() {
        return Err(Failure::new(Exit::Trust, format!("no certificate was ever issued to {role} {name}"))
            .hint("`fl-host pki list` shows all certificates; `fl-host pki approve` issues a member's first certificate"));
    }
    let held = one_certificate(files::read_pem(&file)?.as_bytes())
        .map_err(|e| Failure::new(Exit::Trust, format!("{} {e}", file.display())))?;
    let identity = Identity::of(&held).map_err(|e| failed(&e))?;
    if identity.name != *name {
        let error = format!("the {role}'s certificate was issued to {}, not to {name}", identity.name);
        return Err(Failure::new(Exit::Trust, error).hint("`fl-host pki list` shows all certificates"));
    }
    let fingerprint = Fingerprint::of(&held).map_err(|e| failed(&e))?;
    let lines = lines_of(owner.roster(), role);
    let listed = |line: &Member| line.name == *name && line.revoked.is_none() && line.key == fingerprint.0;
    // A roster of before may list no aggregator.
    if !(lines.iter().any(listed) || role == Role::Aggregator && lines.is_empty()) {
        return Err(owner.unknown(role, name));
    }
    let spki = public_key(&held).map_err(|e| failed(&e))?;
    let key = SubjectPublicKeyInfo::from_der(&spki).map_err(|e| failed(&e))?;
    let (pem, identity, not_after) = certificate(owner, role, name, days, &key)?;
    let file = keep(owner, &identity, &pem)?;
    Ok(Issued { identity, fingerprint, not_after, file, serial: owner.roster().serial(), asked_as: None })
}

/// Reads a request. This checks the request's signature, so the sender has the key.
pub(super) fn read_request(request: &Path) -> Result<CertificateSigningRequestParams, Failure> {
    let text = files::read_pem(request)?;
    CertificateSigningRequestParams::from_pem(&text).map_err(|e| {
        Failure::new(Exit::Trust, format!("{} is not a certificate request: {e}", request.display()))
            .hint("ask the site for the .csr file that `fl-host pki request` made, or that fl-runtime wrote at its first start")
    })
}

/// What an approval makes of the roster's lines of a role.
struct Admitted {
    lines: Vec<Member>,
    /// The name that the key had, if it gets another one.
    before: Option<Name>,
}

/// The roster's lines of the role after the approval; `None` when they do not change.
fn admitted(
    owner: &Owner,
    role: Role,
    name: &Name,
    approval: &Approval,
    fingerprint: Fingerprint,
) -> Result<Option<Admitted>, Failure> {
    let refused = |error: String, hint: &str| Err(Failure::new(Exit::Trust, error).hint(hint));
    let another = "ask the site to make a new key: the site moves its old .key and .csr away, and runs `fl-host pki request` again";
    let roster = owner.roster();
    for held in [Role::Collaborator, Role::Aggregator] {
        let line = lines_of(roster, held).iter().find(|line| line.key == fingerprint.0);
        match line {
            Some(Member { name: holder, revoked: Some(why), .. }) => {
                return refused(
                    format!("this key belonged to {held} {holder} and is revoked: {why}"),
                    another,
                );
            }
            Some(line) if held != role => {
                return refused(format!("this key is on the roster as {held} {}", line.name), another);
            }
            Some(line) if line.name == *name => return Ok(None),
            Some(line) if !approval.rename => {
                let hint =
                    format!("to give the member the name {name} in place of {}, add --rename", line.name);
                return refused(format!("this key is on the roster as {held} {}", line.name), &hint);
            }
            _ => {}
        }
    }
    let mut lines = lines_of(roster, role).to_vec();
    if let Some(line) = lines.iter_mut().find(|line| line.name == *name && line.revoked.is_none()) {
        if !approval.replace {
            return refused(
                format!("{role} {name} is on the roster with another key, {}", Fingerprint(line.key)),
                "choose another name with -n; or, if the site made a new key, add --replace, which revokes the old key",
            );
        }
        line.revoked = Some("replaced by another key".to_owned());
    }
    // A federation has one aggregator at a time.
    if role == Role::Aggregator
        && let Some(line) = lines.iter_mut().find(|line| line.revoked.is_none() && line.key != fingerprint.0)
    {
        if !approval.replace {
            return refused(
                format!(
                    "the roster has the aggregator {} with another key, {}",
                    line.name,
                    Fingerprint(line.key)
                ),
                "if the new key takes its place, add --replace, which revokes the old key",
            );
        }
        line.revoked = Some("replaced by another key".to_owned());
    }
    if let Some(line) = lines.iter_mut().find(|line| line.key == fingerprint.0) {
        let before = Some(std::mem::replace(&mut line.name, name.clone()));
        return Ok(Some(Admitted { lines, before }));
    }
    lines.push(Member { name: name.clone(), key: fingerprint.0, revoked: None });
    Ok(Some(Admitted { lines, before: None }))
}

/// A certificate in PEM, the member that it names, and the last second of its validity.
fn certificate(
    owner: &Owner,
    role: Role,
    name: &Name,
    days: u32,
    key: &impl PublicKeyData,
) -> Result<(String, Identity, UnixSeconds), Failure> {
    if !(1..=3650).contains(&days) {
        return Err(Failure::new(Exit::Usage, "--days must be 1 to 3650"));
    }
    let identity = Identity { federation: owner.federation().clone(), role, name: name.clone() };
    let ca = owner.authority.validity();
    let now = owner.now();
    let not_before = UnixSeconds(now.0.saturating_sub(SKEW)).max(ca.not_before);
    let not_after = UnixSeconds(now.0 + u64::from(days) * DAY).min(ca.not_after);
    if not_after <= now {
        return Err(Failure::new(
            Exit::Trust,
            format!("the CA's own certificate expired on {}", ca.not_after),
        )
        .hint("the federation needs a new CA: move cert/ away and run `fl-host pki init`"));
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("{role} {name}"));
    let uri = identity.to_string();
    params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().map_err(|e| failed(&e))?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![match role {
        Role::Aggregator => ExtendedKeyUsagePurpose::ServerAuth,
        Role::Collaborator => ExtendedKeyUsagePurpose::ClientAuth,
    }];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, not_before, not_after)?;
    let made = params.signed_by(key, &owner.issuer()?).map_err(|e| failed(&e))?;
    debug_assert_eq!(validity(made.der()).map(|v| v.not_after), Ok(not_after));
    // A certificate that a site would refuse is not issued.
    owner.authority.check(made.der(), role, now).map_err(|e| failed(&e))?;
    Ok((made.pem(), identity, not_after))
}

fn keep(owner: &Owner, identity: &Identity, pem: &str) -> Result<PathBuf, Failure> {
    let file = issued_file(&owner.root, identity.role, &identity.name);
    files::make_folder_of(&file)?;
    files::replace(&file, pem.as_bytes())?;
    Ok(file)
}

fn text_of(value: &DnValue) -> Option<String> {
    match value {
        DnValue::Utf8String(text) => Some(text.clone()),
        DnValue::PrintableString(text) => Some(text.as_str().to_owned()),
        _ => None,
    }
}
