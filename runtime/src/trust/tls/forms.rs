//! Certificates in every wrong form that was thought of, at both roles, over real QUIC and real TCP on
//! loopback.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, PKCS_ED25519, SanType, date_time_ymd,
};
use rustls::{
    client::ResolvesClientCert,
    pki_types::PrivatePkcs8KeyDer,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::*;
use crate::{
    net::{Carrier, Endpoint, NetLimits, SocketKind},
    trust::fixture::{Leaf, NOW, TestCa, clock},
};

/// A certificate, and the key that its holder has.
type Shown = (Vec<CertificateDer<'static>>, KeyPair);

/// What is wrong, and the certificate that is so.
type Form = (&'static str, Shown);

fn good(role: Role) -> CertificateParams {
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (date_time_ymd(2026, 12, 20), date_time_ymd(2027, 12, 1));
    params.extended_key_usages = vec![usage(role)];
    params.subject_alt_names = vec![uri(&format!("fl://w/{role}/one"))];
    params
}

fn usage(role: Role) -> ExtendedKeyUsagePurpose {
    match role {
        Role::Aggregator => ExtendedKeyUsagePurpose::ServerAuth,
        Role::Collaborator => ExtendedKeyUsagePurpose::ClientAuth,
    }
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ED25519).unwrap()
}

/// A certificate of `ca` that differs from a good one in what `change` does.
fn changed(ca: &TestCa, role: Role, change: impl FnOnce(&mut CertificateParams)) -> Shown {
    let (mut params, key) = (good(role), key());
    change(&mut params);
    let certificate = params.signed_by(&key, ca.issuer()).unwrap();
    (vec![certificate.der().clone()], key)
}

/// A good certificate whose bytes `change` has changed.
fn bent(ca: &TestCa, role: Role, change: impl FnOnce(&mut Vec<u8>)) -> Shown {
    let (mut chain, key) = changed(ca, role, |_| {});
    let mut der = chain.remove(0).to_vec();
    change(&mut der);
    (vec![der.into()], key)
}

fn names(ca: &TestCa, role: Role) -> Vec<Form> {
    let other = if role == Role::Aggregator { Role::Collaborator } else { Role::Aggregator };
    let long = "a".repeat(65);
    let uris: Vec<(&'static str, Vec<String>)> = vec![
        ("another role", vec![format!("fl://w/{other}/one")]),
        ("another federation", vec![format!("fl://v/{role}/one")]),
        ("a federation with a suffix", vec![format!("fl://w.example/{role}/one")]),
        ("no URI", vec![]),
        ("two members", vec![format!("fl://w/{role}/one"), format!("fl://w/{role}/two")]),
        ("two roles", vec![format!("fl://w/{role}/one"), format!("fl://w/{other}/one")]),
        ("two federations", vec![format!("fl://v/{role}/one"), format!("fl://w/{role}/one")]),
        ("another scheme", vec![format!("https://w/{role}/one")]),
        ("a scheme with a suffix", vec![format!("fls://w/{role}/one")]),
        ("no authority", vec![format!("fl:w/{role}/one")]),
        ("a slash at the end", vec![format!("fl://w/{role}/one/")]),
        ("one part too many", vec![format!("fl://w/{role}/one/two")]),
        ("one part too few", vec![format!("fl://w/{role}")]),
        ("an empty name", vec![format!("fl://w/{role}/")]),
        ("an empty federation", vec![format!("fl:///{role}/one")]),
        ("an empty role", vec!["fl://w//one".to_owned()]),
        ("an upper-case name", vec![format!("fl://w/{role}/One")]),
        ("an upper-case role", vec![format!("fl://w/{}/one", role.as_str().to_uppercase())]),
        ("an unknown role", vec!["fl://w/owner/one".to_owned()]),
        ("a path", vec![format!("fl://w/{role}/../one")]),
        ("a name that is a path", vec![format!("fl://w/{role}/..")]),
        ("percent signs", vec![format!("fl://w/{role}/%6fne")]),
        ("a long name", vec![format!("fl://w/{role}/{long}")]),
        ("a query", vec![format!("fl://w/{role}/one?x")]),
        ("a fragment", vec![format!("fl://w/{role}/one#x")]),
        ("a user", vec![format!("fl://x@w/{role}/one")]),
        ("a port", vec![format!("fl://w:1/{role}/one")]),
        ("a space", vec![format!("fl://w/{role}/one ")]),
        ("a line break", vec![format!("fl://w/{role}/one\n")]),
        ("a zero byte", vec![format!("fl://w/{role}/one\0")]),
    ];
    let made = uris.into_iter().map(|(what, uris)| {
        let shown =
            changed(ca, role, |params| params.subject_alt_names = uris.iter().map(|u| uri(u)).collect());
        (what, shown)
    });
    made.collect()
}

fn others(ca: &TestCa, role: Role) -> Vec<Form> {
    let foreign = TestCa::new("w");
    let other = if role == Role::Aggregator { Role::Collaborator } else { Role::Aggregator };
    let self_signed = {
        let key = key();
        (vec![good(role).self_signed(&key).unwrap().der().clone()], key)
    };
    let over = |is_ca: IsCa| {
        let mut params = good(role);
        params.is_ca = is_ca;
        let between = CertifiedIssuer::signed_by(params, key(), ca.issuer()).unwrap();
        let key = key();
        let leaf = good(role).signed_by(&key, &between).unwrap();
        (vec![leaf.der().clone(), between.der().clone()], key)
    };
    let by_leaf = over(IsCa::NoCa);
    let by_intermediate = over(IsCa::Ca(BasicConstraints::Constrained(0)));
    let (good_chain, _) = changed(ca, role, |_| {});
    let stolen = (good_chain.clone(), key());
    let behind = {
        let (mut chain, key) = foreign_chain(&foreign, role);
        chain.extend(good_chain);
        (chain, key)
    };
    vec![
        ("expired", changed(ca, role, |p| p.not_after = date_time_ymd(2027, 1, 14))),
        ("not valid yet", changed(ca, role, |p| p.not_before = date_time_ymd(2027, 1, 16))),
        (
            "ends before it begins",
            changed(ca, role, |p| {
                (p.not_before, p.not_after) = (date_time_ymd(2027, 2, 1), date_time_ymd(2027, 1, 1));
            }),
        ),
        ("another CA", foreign_chain(&foreign, role)),
        ("another CA before a good one", behind),
        ("its own CA", self_signed),
        ("issued by a member", by_leaf),
        ("issued below the CA", by_intermediate),
        ("a CA", changed(ca, role, |p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))),
        ("no usage", changed(ca, role, |p| p.extended_key_usages.clear())),
        ("the other usage", changed(ca, role, |p| p.extended_key_usages = vec![usage(other)])),
        (
            "the usage of mail",
            changed(ca, role, |p| {
                p.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
            }),
        ),
        ("any usage", changed(ca, role, |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any])),
        (
            "a host name",
            changed(ca, role, |p| {
                p.subject_alt_names = vec![SanType::DnsName("aggregator.fl".try_into().unwrap())];
            }),
        ),
        (
            "an address",
            changed(ca, role, |p| {
                p.subject_alt_names = vec![SanType::IpAddress(std::net::Ipv4Addr::LOCALHOST.into())];
            }),
        ),
        (
            "an unknown extension that must be known",
            changed(ca, role, |p| {
                let mut extension =
                    CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 55_555, 1], vec![5, 0]);
                extension.set_criticality(true);
                p.custom_extensions = vec![extension];
            }),
        ),
        ("somebody else's key", stolen),
        ("a changed signature", bent(ca, role, |der| *der.last_mut().unwrap() ^= 1)),
        ("a changed body", bent(ca, role, |der| der[20] ^= 1)),
        ("cut short", bent(ca, role, |der| der.truncate(der.len() / 2))),
        ("one byte too many", bent(ca, role, |der| der.push(0))),
        ("empty", bent(ca, role, Vec::clear)),
        ("no DER", bent(ca, role, |der| der.fill(0xa5))),
    ]
}

/// Every form, and a good certificate as a control.
fn forms(ca: &TestCa, role: Role) -> Vec<Form> {
    let mut forms = names(ca, role);
    forms.extend(others(ca, role));
    forms.push(("nothing", changed(ca, role, |_| {})));
    forms
}

fn foreign_chain(foreign: &TestCa, role: Role) -> Shown {
    changed(foreign, role, |_| {})
}

/// Shows one certificate to everybody.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl Shows {
    fn new((chain, key): Shown) -> Arc<Self> {
        let der = PrivatePkcs8KeyDer::from(key.serialize_der());
        let key = provider().key_provider.load_private_key(der.into()).unwrap();
        Arc::new(Self(Arc::new(CertifiedKey::new(chain, key))))
    }
}

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Shows {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[tokio::test]
async fn collaborator_with_a_certificate_of_any_wrong_form_is_refused() {
    for carrier in CARRIERS {
        collaborators_are_refused(carrier).await;
    }
}

async fn collaborators_are_refused(carrier: Carrier) {
    let ca = TestCa::new("w");
    let server = server_config(&ca.credentials(Leaf::aggregator("agg"), &ca), &clock(NOW)).unwrap();
    let server = Endpoint::server(server, LOOPBACK, carrier, NetLimits::server()).unwrap();
    let to = server.local_addr().unwrap();
    let believer = ca.credentials(Leaf::collaborator("one"), &ca);
    let role = Role::Collaborator;
    let forms = forms(&ca, role);
    assert!(forms.len() > 50);
    for (what, shown) in forms {
        let verifier = PeerVerifier::new(&believer, Role::Aggregator, &provider());
        let config = ClientConfig::builder_with_details(provider(), Arc::new(clock(NOW)))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Shows::new(shown));
        let client = Endpoint::client(config, LOOPBACK, carrier, NetLimits::client()).unwrap();
        let dialling = async {
            let mut link = client.connect(to, SERVER_NAME).await?;
            link.recv_envelope().await.map(drop)
        };
        let admitting = async {
            let mut link = server.accept().await.unwrap().admit().await?;
            link.send_envelope(b"welcome").await?;
            // The link lasts until the other side has read.
            Ok::<_, crate::net::LinkError>(link)
        };
        let (there, here) = tokio::join!(dialling, admitting);
        assert_eq!(
            (there.is_ok(), here.is_ok()),
            (what == "nothing", what == "nothing"),
            "{what} over {carrier}: {there:?}, {here:?}"
        );
    }
}

#[tokio::test]
async fn aggregator_with_a_certificate_of_any_wrong_form_is_refused() {
    for carrier in CARRIERS {
        aggregators_are_refused(carrier).await;
    }
}

async fn aggregators_are_refused(carrier: Carrier) {
    let ca = TestCa::new("w");
    let client = client_config(&ca.credentials(Leaf::collaborator("one"), &ca), &clock(NOW), &[]).unwrap();
    let client = Endpoint::client(client, LOOPBACK, carrier, NetLimits::client()).unwrap();
    let believer = ca.credentials(Leaf::aggregator("agg"), &ca);
    let role = Role::Aggregator;
    let forms = forms(&ca, role);
    for (what, shown) in forms {
        let verifier = PeerVerifier::new(&believer, Role::Collaborator, &provider());
        let config = ServerConfig::builder_with_details(provider(), Arc::new(clock(NOW)))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Shows::new(shown));
        let server = Endpoint::server(config, LOOPBACK, carrier, NetLimits::server()).unwrap();
        let to = server.local_addr().unwrap();
        let admitting = async { server.accept().await.unwrap().admit().await };
        let (there, here) = tokio::join!(client.connect(to, SERVER_NAME), admitting);
        assert_eq!(
            (there.is_ok(), here.is_ok()),
            (what == "nothing", what == "nothing"),
            "{what} over {carrier}: {there:?}, {here:?}"
        );
    }
}

const LOOPBACK: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
const CARRIERS: [Carrier; 2] = [Carrier::Quic(SocketKind::Auto), Carrier::Tcp];
