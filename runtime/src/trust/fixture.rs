//! A federation's CA for tests, which issues what the owner's tool never would.

use std::{path::PathBuf, time::Duration};

use fl_engine::{
    Digest,
    plan::roster::{Accepted, Member, RosterDraft, UnixSeconds},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    PKCS_ED25519, SanType, SigningKey as _, date_time_ymd,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::pki_types::CertificateDer;

use super::{Authority, Credentials, Fingerprint, FlooredClock, Role};
use crate::{files::Files, system::System};

pub(crate) fn clock(now: UnixSeconds) -> FlooredClock {
    FlooredClock::new(move || now)
}

pub(crate) fn files() -> Files {
    System::real().files
}

/// A fresh folder of this test run.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("fl-trust-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

pub(crate) struct TestCa {
    federation: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// What a certificate is to say.
pub(crate) struct Leaf<'a> {
    role: Role,
    name: String,
    uris: Option<Vec<String>>,
    usage: bool,
    valid: (UnixSeconds, UnixSeconds),
    key: Option<&'a KeyPair>,
}

impl<'a> Leaf<'a> {
    fn new(role: Role, name: &str) -> Self {
        let valid = (UnixSeconds(NOW.0 - DAY), UnixSeconds(NOW.0 + DAY));
        Self { role, name: name.to_owned(), uris: None, usage: true, valid, key: None }
    }

    pub(crate) fn collaborator(name: &str) -> Self {
        Self::new(Role::Collaborator, name)
    }

    pub(crate) fn aggregator(name: &str) -> Self {
        Self::new(Role::Aggregator, name)
    }

    /// These instead of the identity.
    pub(crate) fn uris(mut self, uris: &[&str]) -> Self {
        self.uris = Some(uris.iter().map(|&uri| uri.to_owned()).collect());
        self
    }

    pub(crate) fn no_usage(mut self) -> Self {
        self.usage = false;
        self
    }

    pub(crate) fn valid(mut self, from: UnixSeconds, until: UnixSeconds) -> Self {
        self.valid = (from, until);
        self
    }

    /// For this key instead of a new one.
    pub(crate) fn key(mut self, key: &'a KeyPair) -> Self {
        self.key = Some(key);
        self
    }
}

fn set_validity(params: &mut CertificateParams, from: UnixSeconds, until: UnixSeconds) {
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(from.0);
    params.not_after = epoch + Duration::from_secs(until.0);
}

impl TestCa {
    /// Two of one federation differ in their key alone.
    pub(crate) fn new(federation: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.distinguished_name.push(DnType::CommonName, format!("CA of {federation}"));
        set_validity(&mut params, UnixSeconds(NOW.0 - 30 * DAY), UnixSeconds(NOW.0 + 365 * DAY));
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        Self { federation: federation.to_owned(), issuer }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub(crate) fn authority(&self) -> Authority {
        Authority::from_pem(self.pem().as_bytes()).unwrap()
    }

    pub(crate) fn issuer(&self) -> &CertifiedIssuer<'static, KeyPair> {
        &self.issuer
    }

    fn certificate(&self, leaf: &Leaf<'_>, key: &KeyPair) -> rcgen::Certificate {
        let own = format!("fl://{}/{}/{}", self.federation, leaf.role, leaf.name);
        let uris = leaf.uris.clone().unwrap_or_else(|| vec![own]);
        let mut params = CertificateParams::default();
        params.subject_alt_names =
            uris.into_iter().map(|uri| SanType::URI(uri.as_str().try_into().unwrap())).collect();
        if leaf.usage {
            params.extended_key_usages = vec![match leaf.role {
                Role::Aggregator => ExtendedKeyUsagePurpose::ServerAuth,
                Role::Collaborator => ExtendedKeyUsagePurpose::ClientAuth,
            }];
        }
        let mut serial = [0; 8];
        SystemRandom::new().fill(&mut serial).unwrap();
        serial[0] &= 0x7f;
        params.serial_number = Some(serial.to_vec().into());
        set_validity(&mut params, leaf.valid.0, leaf.valid.1);
        params.signed_by(key, &self.issuer).unwrap()
    }

    /// The certificate and, for a leaf without one, its new key.
    pub(crate) fn issue(&self, leaf: Leaf<'_>) -> (CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let certificate = self.certificate(&leaf, leaf.key.unwrap_or(&key));
        (certificate.der().clone(), key)
    }

    pub(crate) fn issue_pem(&self, leaf: Leaf<'_>) -> String {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        self.certificate(&leaf, leaf.key.unwrap_or(&key)).pem()
    }

    /// Credentials with this certificate, whatever it says, that trust `trusted`.
    pub(crate) fn credentials(&self, leaf: Leaf<'_>, trusted: &Self) -> Credentials {
        let (certificate, key) = self.issue(leaf);
        Credentials::of_parts(certificate, &key, trusted.authority())
    }

    /// A signed roster: name, certificate, reason of revocation.
    pub(crate) fn roster(&self, serial: u64, lines: &[(&str, &CertificateDer<'_>, Option<&str>)]) -> String {
        let not_after = UnixSeconds(NOW.0 + 100 * DAY);
        let federation = self.federation.parse().unwrap();
        let mut draft = RosterDraft::new(federation, self.authority().digest(), not_after);
        draft.serial = serial;
        draft.members = lines
            .iter()
            .map(|(name, certificate, revoked)| Member {
                name: name.parse().unwrap(),
                key: Fingerprint::of(certificate).unwrap().0,
                revoked: revoked.map(str::to_owned),
            })
            .collect();
        draft.seal(|bytes| self.sign(bytes)).unwrap()
    }

    /// An empty signed roster that says what it is told.
    pub(crate) fn roster_of(
        &self,
        federation: &str,
        serial: u64,
        not_after: UnixSeconds,
        ca: Option<Digest>,
    ) -> String {
        let ca = ca.unwrap_or_else(|| self.authority().digest());
        let mut draft = RosterDraft::new(federation.parse().unwrap(), ca, not_after);
        draft.serial = serial;
        draft.seal(|bytes| self.sign(bytes)).unwrap()
    }

    /// A signed roster without members that accepts these enclaves.
    pub(crate) fn roster_accepting(&self, serial: u64, accepted: Accepted) -> String {
        self.roster_listing(serial, accepted, Vec::new())
    }

    /// The same with lines of aggregators.
    pub(crate) fn roster_listing(&self, serial: u64, accepted: Accepted, aggregators: Vec<Member>) -> String {
        let not_after = UnixSeconds(NOW.0 + 100 * DAY);
        let federation = self.federation.parse().unwrap();
        let mut draft = RosterDraft::new(federation, self.authority().digest(), not_after);
        (draft.serial, draft.attestation, draft.aggregators) = (serial, Some(accepted), aggregators);
        draft.seal(|bytes| self.sign(bytes)).unwrap()
    }

    fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.issuer.key().sign(bytes).unwrap().try_into().unwrap()
    }
}

/// 2027-01-15T08:00:00Z.
pub(crate) const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
pub(crate) const DAY: u64 = 86_400;
