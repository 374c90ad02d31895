//! Each certificate that must not pass, over real QUIC and real TCP on loopback, as both ends see it.

use std::net::{Ipv4Addr, SocketAddr};

use super::*;
use crate::{
    net::{Carrier, Endpoint, Link, LinkError, NetLimits, SocketKind},
    trust::{
        Refused,
        admission::admit,
        fixture::{DAY, Leaf, NOW, TestCa, clock},
    },
};

/// What the collaborator got (its link, once the aggregator's first envelope is there), and the aggregator.
type Ends = (Result<Link, LinkError>, Result<Link, LinkError>);

async fn meet(aggregator: &Credentials, collaborator: &Credentials, now: UnixSeconds) -> Ends {
    meet_listed(aggregator, collaborator, now, &[]).await
}

/// As [`meet`], where the collaborator's roster lists these aggregators. Both ends see the same over each
/// carrier.
async fn meet_listed(
    aggregator: &Credentials,
    collaborator: &Credentials,
    now: UnixSeconds,
    listed: &[Member],
) -> Ends {
    let [quic, tcp] = CARRIERS.map(|carrier| async move {
        let server = server_config(aggregator, &clock(now)).unwrap();
        let client = client_config(collaborator, &clock(now), listed).unwrap();
        meet_over(carrier, server, client).await
    });
    let (quic, tcp) = (quic.await, tcp.await);
    let errors = |(there, here): &Ends| (there.as_ref().err().cloned(), here.as_ref().err().cloned());
    assert_eq!(errors(&quic), errors(&tcp));
    quic
}

async fn meet_over(carrier: Carrier, server: ServerConfig, client: ClientConfig) -> Ends {
    let server = Endpoint::server(server, LOOPBACK, carrier, NetLimits::server()).unwrap();
    let client = Endpoint::client(client, LOOPBACK, carrier, NetLimits::client()).unwrap();
    let addr = server.local_addr().unwrap();
    let dialling = async {
        let mut link = client.connect(addr, SERVER_NAME).await?;
        link.recv_envelope().await?;
        Ok(link)
    };
    let admitting = async {
        let mut link = server.accept().await.unwrap().admit().await?;
        link.send_envelope(b"welcome").await?;
        Ok(link)
    };
    tokio::join!(dialling, admitting)
}

fn words(end: Result<Link, LinkError>) -> String {
    match end {
        Err(LinkError::Handshake(words)) => words,
        Err(LinkError::Alert(alert)) => crate::trust::handshake::refused_there(alert),
        other => panic!("not refused in the handshake: {other:?}"),
    }
}

/// A good aggregator meets this collaborator: what the aggregator says of it, and what the collaborator
/// hears.
async fn collaborator_refused(leaf: Leaf<'_>, issuer: Option<&TestCa>) -> (String, String) {
    let ca = TestCa::new("w");
    let aggregator = ca.credentials(Leaf::aggregator("agg"), &ca);
    let collaborator = issuer.unwrap_or(&ca).credentials(leaf, &ca);
    let (there, here) = meet(&aggregator, &collaborator, NOW).await;
    (words(here), words(there))
}

/// A good collaborator meets this aggregator: what the collaborator says of it.
async fn aggregator_refused(leaf: Leaf<'_>, issuer: Option<&TestCa>) -> String {
    let ca = TestCa::new("w");
    let aggregator = issuer.unwrap_or(&ca).credentials(leaf, &ca);
    let collaborator = ca.credentials(Leaf::collaborator("one"), &ca);
    let (there, here) = meet(&aggregator, &collaborator, NOW).await;
    assert!(here.is_err());
    words(there)
}

#[tokio::test]
async fn members_of_one_federation_meet() {
    let ca = TestCa::new("w");
    let aggregator = ca.credentials(Leaf::aggregator("agg"), &ca);
    let (one, key) = ca.issue(Leaf::collaborator("one"));
    let collaborator = Credentials::of_parts(one.clone(), &key, ca.authority());
    let (there, here) = meet(&aggregator, &collaborator, NOW).await;
    let (there, here) = (there.unwrap(), here.unwrap());
    let text = ca.roster(1, &[("one", &one, None)]);
    let roster = ca.authority().open_roster(&text).unwrap();
    let admitted = admit(here.handle().peer_certificates(), &roster, NOW).unwrap();
    assert_eq!(admitted.name().as_str(), "one");
    let seen = crate::trust::Identity::of(&there.handle().peer_certificates()[0]).unwrap();
    assert_eq!(seen.to_string(), "fl://w/aggregator/agg");
}

#[tokio::test]
async fn name_for_a_load_balancer_changes_nothing_of_the_check() {
    let (ca, other) = (TestCa::new("w"), TestCa::new("w"));
    let good = ca.credentials(Leaf::aggregator("agg"), &ca);
    let foreign = other.credentials(Leaf::aggregator("agg"), &ca);
    let collaborator = ca.credentials(Leaf::collaborator("one"), &ca);
    for carrier in CARRIERS {
        for (aggregator, is_taken) in [(&good, true), (&foreign, false)] {
            let server = server_config(aggregator, &clock(NOW)).unwrap();
            let mut client = client_config(&collaborator, &clock(NOW), &[]).unwrap();
            client.enable_sni = true;
            let (there, _) = meet_over(carrier, server, client).await;
            assert_eq!(there.is_ok(), is_taken, "{there:?}");
        }
    }
}

#[tokio::test]
async fn certificates_of_another_ca_are_refused() {
    let other = TestCa::new("w");
    let (here, there) = collaborator_refused(Leaf::collaborator("one"), Some(&other)).await;
    assert_eq!(here, "the peer's certificate was issued by another CA than this federation's");
    assert_eq!(there, "this side's certificate was issued by another CA than that of the peer's federation");
    let said = aggregator_refused(Leaf::aggregator("agg"), Some(&other)).await;
    assert_eq!(said, "the peer's certificate was issued by another CA than this federation's");
}

#[tokio::test]
async fn expired_and_early_certificates_are_refused() {
    let past = || (UnixSeconds(NOW.0 - 2 * DAY), UnixSeconds(NOW.0 - DAY));
    let (here, there) = collaborator_refused(Leaf::collaborator("one").valid(past().0, past().1), None).await;
    assert!(here.starts_with("the peer's certificate expired"), "{here}");
    assert!(there.starts_with("this side's certificate is expired"), "{there}");
    let early = Leaf::collaborator("one").valid(UnixSeconds(NOW.0 + DAY), UnixSeconds(NOW.0 + 2 * DAY));
    let (here, there) = collaborator_refused(early, None).await;
    assert!(here.starts_with("the peer's certificate not valid yet"), "{here}");
    assert!(there.contains("not valid yet by the peer's clock"), "{there}");
    let said = aggregator_refused(Leaf::aggregator("agg").valid(past().0, past().1), None).await;
    assert!(said.starts_with("the peer's certificate expired"), "{said}");
}

#[tokio::test]
async fn roles_cannot_be_exchanged() {
    let (here, there) = collaborator_refused(Leaf::aggregator("agg"), None).await;
    assert_eq!(here, "the peer's certificate has the key usage of another role");
    assert_eq!(there, "this side's certificate has the key usage of another role");
    let said = aggregator_refused(Leaf::collaborator("one"), None).await;
    assert_eq!(said, "the peer's certificate has the key usage of another role");
    // The right key usage under a wrong name.
    let disguised = Leaf::collaborator("one").uris(&["fl://w/aggregator/agg"]);
    let (here, there) = collaborator_refused(disguised, None).await;
    assert_eq!(here, "the peer's certificate is for the role aggregator, but collaborator is needed");
    assert!(there.contains("names another federation, another role"), "{there}");
    // A certificate without key usage permits nothing.
    let said = aggregator_refused(Leaf::aggregator("agg").no_usage(), None).await;
    assert_eq!(said, "the peer's certificate has the key usage of another role");
}

#[tokio::test]
async fn other_federations_of_the_same_ca_are_refused() {
    let ca = TestCa::new("w");
    let aggregator = ca.credentials(Leaf::aggregator("agg"), &ca);
    let elsewhere = Leaf::collaborator("one").uris(&["fl://v/collaborator/one"]);
    let collaborator = ca.credentials(elsewhere, &ca);
    let (there, here) = meet(&aggregator, &collaborator, NOW).await;
    // The collaborator looks first: to it, the aggregator is of another federation.
    assert_eq!(words(there), "the peer's certificate belongs to the federation w, but v is needed");
    assert!(words(here).contains("names another federation, another role"));
}

#[tokio::test]
async fn aggregator_refuses_other_federations_by_itself() {
    let ca = TestCa::new("w");
    let provider = provider();
    let verifier =
        PeerVerifier::new(&ca.credentials(Leaf::aggregator("agg"), &ca), Role::Collaborator, &provider);
    let certificate = ca.issue(Leaf::collaborator("one").uris(&["fl://v/collaborator/one"])).0;
    let refused = verifier.verify_client_cert(&certificate, &[], unix_time(NOW)).unwrap_err();
    assert!(
        refused.to_string().contains("certificate belongs to the federation v, but w is needed"),
        "{refused}"
    );
}

#[tokio::test]
async fn collaborator_without_a_certificate_is_refused() {
    let ca = TestCa::new("w");
    let aggregator = ca.credentials(Leaf::aggregator("agg"), &ca);
    let collaborator = ca.credentials(Leaf::collaborator("one"), &ca);
    let provider = provider();
    let verifier = Arc::new(PeerVerifier::new(&collaborator, Role::Aggregator, &provider));
    let nameless = ClientConfig::builder_with_details(provider, Arc::new(clock(NOW)))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    for carrier in CARRIERS {
        let server = server_config(&aggregator, &clock(NOW)).unwrap();
        let (there, here) = meet_over(carrier, server, nameless.clone()).await;
        assert_eq!(there.unwrap_err(), LinkError::Alert(116));
        assert!(here.is_err());
    }
}

#[tokio::test]
async fn revoked_and_unlisted_collaborators_pass_the_handshake_and_no_further() {
    let ca = TestCa::new("w");
    let aggregator = ca.credentials(Leaf::aggregator("agg"), &ca);
    let (one, key) = ca.issue(Leaf::collaborator("one"));
    let collaborator = Credentials::of_parts(one.clone(), &key, ca.authority());
    let (_there, here) = meet(&aggregator, &collaborator, NOW).await;
    let here = here.unwrap();
    let refused = |text: &str| {
        let roster = ca.authority().open_roster(text).unwrap();
        admit(here.handle().peer_certificates(), &roster, NOW).unwrap_err()
    };
    let name: Name = "one".parse().unwrap();
    let revoked = ca.roster(2, &[("one", &one, Some("laptop stolen"))]);
    assert_eq!(refused(&revoked), Refused::Revoked { name: name.clone(), why: "laptop stolen".into() });
    assert_eq!(refused(&ca.roster(1, &[])), Refused::Unlisted(name));
}

#[tokio::test]
async fn clock_turned_back_brings_no_certificate_to_life() {
    let ca = TestCa::new("w");
    let aggregator = ca.credentials(Leaf::aggregator("agg"), &ca);
    // It ended before the CA began: only a clock before the CA's own beginning finds it good.
    let long_ago = UnixSeconds(NOW.0 - 40 * DAY);
    let old = Leaf::collaborator("one").valid(UnixSeconds(NOW.0 - 50 * DAY), UnixSeconds(NOW.0 - 35 * DAY));
    let collaborator = ca.credentials(old, &ca);
    let config = server_config(&aggregator, &clock(long_ago)).unwrap();
    assert_eq!(config.time_provider.current_time(), Some(unix_time(ca.authority().validity().not_before)));
    for carrier in CARRIERS {
        let client = client_config(&collaborator, &clock(NOW), &[]).unwrap();
        let (_there, here) = meet_over(carrier, config.clone(), client).await;
        assert!(words(here).starts_with("the peer's certificate expired"));
    }
}

#[tokio::test]
async fn collaborator_with_a_roster_meets_the_aggregators_that_it_lists_and_no_others() {
    let ca = TestCa::new("w");
    let aggregator = ca.credentials(Leaf::aggregator("agg"), &ca);
    let collaborator = ca.credentials(Leaf::collaborator("one"), &ca);
    let line = |key, revoked: Option<&str>| Member {
        name: "agg".parse().unwrap(),
        key,
        revoked: revoked.map(str::to_owned),
    };
    let own = aggregator.fingerprint().0;
    let other = line(fl_engine::Digest([7; 32]), None);
    let (there, here) = meet_listed(&aggregator, &collaborator, NOW, &[other.clone(), line(own, None)]).await;
    assert!(there.is_ok() && here.is_ok());
    for (listed, said) in [
        (
            vec![other.clone()],
            format!("key {} is not on this site's roster (plan/cols.yaml)", aggregator.fingerprint()),
        ),
        (
            vec![other, line(own, Some("stolen"))],
            "key is revoked by this site's roster (plan/cols.yaml): stolen".to_owned(),
        ),
    ] {
        let (there, here) = meet_listed(&aggregator, &collaborator, NOW, &listed).await;
        assert!(here.is_err());
        assert_eq!(words(there), format!("the peer's {said}"));
    }
}

#[test]
fn nothing_is_resumed_or_early() {
    let ca = TestCa::new("w");
    let server = server_config(&ca.credentials(Leaf::aggregator("agg"), &ca), &clock(NOW)).unwrap();
    assert_eq!((server.send_tls13_tickets, server.max_early_data_size), (0, 0));
    assert!(!server.session_storage.can_cache() && !server.ticketer.enabled());
    let client = client_config(&ca.credentials(Leaf::collaborator("one"), &ca), &clock(NOW), &[]).unwrap();
    assert!(!client.enable_early_data && !client.enable_sni);
}

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const CARRIERS: [Carrier; 2] = [Carrier::Quic(SocketKind::Auto), Carrier::Tcp];
