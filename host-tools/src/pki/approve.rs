//! The owner approves a request: issues a certificate for its key, and puts the collaborator on the roster.

use std::path::{Path, PathBuf};

use fl_engine::{
    Name,
    plan::roster::{Measurements, Member, UnixSeconds},
};
use fl_runtime::internal::trust::{Fingerprint, Identity, Role, one_certificate, public_key, validity};
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SanType, SubjectPublicKeyInfo,
};

use super::{
    PEM_BYTES, issued_file, measurements,
    owner::{DAY, Owner, SKEW, failed, set_validity},
};
use crate::{
    exit::{Exit, Failure},
    files,
};

/// The owner's decisions.
#[derive(Clone, Debug)]
pub struct Approval {
    /// The role. What the request states does not count.
    pub role: Role,
    /// The name. What the request states does not count.
    pub name: Name,
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
    /// The name that the request states: a note without effect.
    pub asked_as: Option<String>,
}

/// Issues a certificate for the key in `request`, and puts a collaborator on the roster.
///
/// # Errors
/// [`Exit::Trust`] when the request or its signature is invalid, the fingerprint differs, the name or the key
/// is taken, or the measurements differ from the roster's; [`Exit::File`].
pub fn approve(owner: &mut Owner, request: &Path, approval: &Approval) -> Result<Issued, Failure> {
    let asked = read_request(request)?;
    let key = &asked.public_key;
    if PublicKeyData::algorithm(key) != &PKCS_ED25519 {
        return Err(Failure::new(Exit::Trust, "the request's key is not Ed25519")
            .hint("ask the site for a request that `fl-host pki request` made, or that fl-runtime wrote at its first start"));
    }
    let fingerprint = Fingerprint::of_key(&key.subject_public_key_info());
    if let Some(told) = approval.fingerprint.as_ref().filter(|told| !fingerprint.is(told)) {
        let error = format!("the request is for the key with fingerprint {fingerprint}, not {told}");
        return Err(Failure::new(Exit::Trust, error)
            .hint("the request may have been replaced on the way: ask the site to send it again and to read the fingerprint again"));
    }
    let measured = match (approval.measurements, owner.roster().measurements()) {
        (Some(given), Some(held)) => measurements::same(held, &given).map(|()| None)?,
        (given, _) => given,
    };
    let members = admitted(owner, approval, fingerprint)?;
    let Approval { role, name, days, .. } = approval;
    let (pem, identity, not_after) = certificate(owner, *role, name, *days, key)?;
    let serial = if members.is_some() || measured.is_some() {
        let mut draft = owner.roster().draft();
        draft.members = members.unwrap_or(draft.members);
        draft.measurements = measured.or(draft.measurements);
        owner.change_roster(draft)?
    } else {
        owner.roster().serial()
    };
    let file = keep(owner, &identity, &pem)?;
    let common_name = asked.params.distinguished_name.get(&DnType::CommonName);
    let asked_as =
        common_name.and_then(text_of).map(|name| name.chars().filter(|c| !c.is_control()).collect());
    Ok(Issued { identity, fingerprint, not_after, file, serial, asked_as })
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
    let held = one_certificate(files::read_text(&file, PEM_BYTES)?.as_bytes())
        .map_err(|e| Failure::new(Exit::Trust, format!("{} {e}", file.display())))?;
    let identity = Identity::of(&held).map_err(|e| failed(&e))?;
    if identity.name != *name {
        let error = format!("the {role}'s certificate was issued to {}, not to {name}", identity.name);
        return Err(Failure::new(Exit::Trust, error).hint("`fl-host pki list` shows all certificates"));
    }
    let fingerprint = Fingerprint::of(&held).map_err(|e| failed(&e))?;
    let listed = owner.roster().by_name(name).is_some_and(|line| line.key == fingerprint.0);
    if role == Role::Collaborator && !listed {
        return Err(owner.unknown(name));
    }
    let spki = public_key(&held).map_err(|e| failed(&e))?;
    let key = SubjectPublicKeyInfo::from_der(&spki).map_err(|e| failed(&e))?;
    let (pem, identity, not_after) = certificate(owner, role, name, days, &key)?;
    let file = keep(owner, &identity, &pem)?;
    Ok(Issued { identity, fingerprint, not_after, file, serial: owner.roster().serial(), asked_as: None })
}

/// Reads a request. This checks the request's signature, so the sender has the key.
pub(super) fn read_request(request: &Path) -> Result<CertificateSigningRequestParams, Failure> {
    let text = files::read_text(request, PEM_BYTES)?;
    CertificateSigningRequestParams::from_pem(&text).map_err(|e| {
        Failure::new(Exit::Trust, format!("{} is not a certificate request: {e}", request.display()))
            .hint("ask the site for the .csr file that `fl-host pki request` made, or that fl-runtime wrote at its first start")
    })
}

/// The roster's members after the approval; `None` when they do not change.
fn admitted(
    owner: &Owner,
    approval: &Approval,
    fingerprint: Fingerprint,
) -> Result<Option<Vec<Member>>, Failure> {
    let Approval { role, name, replace, .. } = approval;
    let refused = |error: String, hint: &str| Err(Failure::new(Exit::Trust, error).hint(hint));
    let another = "ask the site to make a new key: the site moves its old .key and .csr away, and runs `fl-host pki request` again";
    match owner.roster().by_key(&fingerprint.0) {
        Some(Member { name: holder, revoked: Some(why), .. }) => {
            return refused(format!("this key belonged to {holder} and is revoked: {why}"), another);
        }
        Some(line) if *role == Role::Aggregator || line.name != *name => {
            return refused(format!("this key is on the roster as collaborator {}", line.name), another);
        }
        Some(_) => return Ok(None),
        None if *role == Role::Aggregator => return Ok(None),
        None => {}
    }
    let mut members = owner.roster().members().to_vec();
    if let Some(line) = members.iter_mut().find(|m| m.name == *name && m.revoked.is_none()) {
        if !replace {
            return refused(
                format!("{name} is on the roster with another key, {}", Fingerprint(line.key)),
                "choose another name with -n; or, if the site made a new key, add --replace, which revokes the old key",
            );
        }
        line.revoked = Some("replaced by another key".to_owned());
    }
    members.push(Member { name: name.clone(), key: fingerprint.0, revoked: None });
    Ok(Some(members))
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
