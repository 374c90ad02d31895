//! Keys and certificates of many collaborators at once, and the roster that lists them.
//!
//! The owner's commands approve one request at a time and sign the roster anew each time, and sync every file
//! to the disk. For thousands of collaborators that would take minutes. This module holds the owner's key and
//! does the same in memory. The files are the same as those of the commands, so that the runtime's own code
//! loads and checks them.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fl_engine::{
    Name,
    plan::roster::{Member, RosterDraft, UnixSeconds},
};
use fl_host_tools::demo::Federation;
use fl_runtime::internal::{
    system::System,
    trust::{Authority, Credentials, Fingerprint, FlooredClock, Identity, Role},
};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ED25519, PublicKeyData as _, SanType, SigningKey as _, date_time_ymd,
};

use crate::Failure;

/// The collaborators of a federation, and the folder with their keys.
pub struct Enrolment {
    /// Their names, in the roster's order.
    pub names: Vec<Name>,
    cert: PathBuf,
}

impl Enrolment {
    /// Makes `count` collaborators and puts only them on the roster of the federation's aggregator.
    ///
    /// # Errors
    /// When a file cannot be read or written, or signing fails.
    pub fn make(federation: &Federation, count: usize) -> Result<Self, Failure> {
        let cert = federation.dir.join("crowd/cert");
        fs::create_dir_all(&cert)?;
        let ca_pem = fs::read_to_string(federation.owner.join("cert/ca.crt"))?;
        fs::write(cert.join("ca.crt"), &ca_pem)?;
        let authority = Authority::from_pem(ca_pem.as_bytes())?;
        let ca_key = KeyPair::from_pem(&fs::read_to_string(federation.owner.join("cert/ca/ca.key"))?)?;
        let issuer = Issuer::from_ca_cert_pem(&ca_pem, &ca_key)?;
        let roster =
            authority.open_roster(&fs::read_to_string(federation.aggregator.join("plan/cols.yaml"))?)?;
        let mut draft = roster.draft();
        draft.serial += 1;
        draft.members.clear();
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        for number in 0..count {
            let name: Name = format!("c-{number}").parse()?;
            let identity = Identity {
                federation: roster.federation().clone(),
                role: Role::Collaborator,
                name: name.clone(),
            };
            let key = KeyPair::generate_for(&PKCS_ED25519)?;
            let certificate = certificate(&identity, UnixSeconds(now))?.signed_by(&key, &issuer)?;
            fs::write(cert.join(format!("col_{name}.crt")), certificate.pem())?;
            let file = cert.join(format!("col_{name}.key"));
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
            file.write_all(key.serialize_pem().as_bytes())?;
            let key = Fingerprint::of_key(&key.subject_public_key_info()).0;
            draft.members.push(Member { name, key, revoked: None });
        }
        publish(&draft, &ca_key, &federation.aggregator.join("plan/cols.yaml"))?;
        Ok(Self { names: draft.members.into_iter().map(|member| member.name).collect(), cert })
    }

    /// The credentials of collaborator `name`, loaded and checked as the runtime does at its start.
    ///
    /// # Errors
    /// When `name` is not one of these collaborators.
    pub fn tls(&self, name: &Name) -> Result<rustls::ClientConfig, Failure> {
        let System { clock, files, .. } = System::real();
        let clock = FlooredClock::of(&clock);
        let role = Role::Collaborator;
        let credentials = Credentials::load_or_request(&files, &self.cert, role, Some(name), &clock)?;
        Ok(fl_runtime::internal::trust::client_config(&credentials, &clock, &[])?)
    }
}

fn certificate(identity: &Identity, now: UnixSeconds) -> Result<CertificateParams, Failure> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("collaborator {}", identity.name));
    params.subject_alt_names = vec![SanType::URI(identity.to_string().as_str().try_into()?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(now.0.saturating_sub(60));
    params.not_after = epoch + Duration::from_secs(now.0 + 86_400);
    Ok(params)
}

fn publish(draft: &RosterDraft, key: &KeyPair, file: &Path) -> Result<(), Failure> {
    let signature = |bytes: &[u8]| key.sign(bytes).ok().and_then(|s| s.try_into().ok()).unwrap_or([0; 64]);
    fs::write(file, draft.seal(signature)?)?;
    Ok(())
}
