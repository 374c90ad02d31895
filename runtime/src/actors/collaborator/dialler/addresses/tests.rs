use super::*;
use crate::net::{Endpoint, NetLimits, SocketKind, fixture::Authority};

/// A server that admits everybody.
fn serve(authority: &Authority, bind: SocketAddr, carrier: Carrier) -> SocketAddr {
    let server = Endpoint::server(authority.server(), bind, carrier, NetLimits::server()).unwrap();
    let at = server.local_addr().unwrap();
    tokio::spawn(async move {
        while let Some(incoming) = server.accept().await {
            tokio::spawn(async move {
                if let Ok(mut link) = incoming.admit().await {
                    let _ = link.recv_envelope().await;
                }
            });
        }
    });
    at
}

fn sockets(authority: &Authority, carriers: &[Carrier]) -> Arc<Sockets> {
    let config = authority.client(authority).0;
    Arc::new(Sockets::open(&config, carriers, &NetLimits::client()).unwrap())
}

fn addresses() -> Addresses {
    let host = "agg.example".to_owned();
    Addresses::new(Arc::new(Destination { host, port: 7464, server_name: None, proxy: None }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn address_that_does_not_answer_holds_up_the_next_one_for_a_moment_only() {
    let authority = Authority::new();
    for carrier in [QUIC, Carrier::Tcp] {
        let sockets = sockets(&authority, &[carrier]);
        let alive = serve(&authority, ANY, carrier);
        // Ports that are open and say nothing, and an IPv6 address where nothing is.
        let silent_udp = std::net::UdpSocket::bind(ANY).unwrap();
        let silent_tcp = std::net::TcpListener::bind(ANY).unwrap();
        let silent = match carrier {
            Carrier::Tcp => silent_tcp.local_addr().unwrap(),
            Carrier::Quic(_) => silent_udp.local_addr().unwrap(),
        };
        let found = vec![SocketAddr::from((Ipv6Addr::LOCALHOST, 9)), silent, alive];
        let mut addresses = addresses();
        let linking = addresses.first_link(found, &sockets);
        timeout(STAGGER * 6, linking).await.expect("the first address is waited for").unwrap();
        assert_eq!(addresses.last, Some((alive, carrier)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocked_udp_costs_less_than_three_seconds_and_is_not_tried_first_again() {
    let authority = Authority::new();
    let sockets = sockets(&authority, &[QUIC, Carrier::Tcp]);
    let at = serve(&authority, ANY, Carrier::Tcp);
    // It swallows every datagram.
    let _blocked = std::net::UdpSocket::bind(at).unwrap();
    let mut addresses = addresses();
    let linking = timeout(Duration::from_secs(3), addresses.first_link(vec![at], &sockets)).await;
    let (_, way) = linking.unwrap().unwrap();
    assert_eq!(way, (at, Carrier::Tcp));
    let linking = timeout(STAGGER, addresses.first_link(vec![at], &sockets)).await;
    assert_eq!(linking.expect("UDP is waited for again").unwrap().1, way);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quic_is_preferred_where_both_answer_and_tcp_replaces_it_where_it_ends() {
    let authority = Authority::new();
    let sockets = sockets(&authority, &[QUIC, Carrier::Tcp]);
    let server = Endpoint::server(authority.server(), ANY, QUIC, NetLimits::server()).unwrap();
    let at = server.local_addr().unwrap();
    serve(&authority, at, Carrier::Tcp);
    let admitting = tokio::spawn({
        let server = server.clone();
        async move { server.accept().await.unwrap().admit().await }
    });
    let mut addresses = addresses();
    let (_link, way) = addresses.first_link(vec![at], &sockets).await.unwrap();
    assert_eq!(way, (at, QUIC));
    admitting.await.unwrap().unwrap();
    // Nobody accepts over QUIC any longer.
    let linking = timeout(Duration::from_secs(3), addresses.first_link(vec![at], &sockets)).await;
    assert_eq!(linking.unwrap().unwrap().1, (at, Carrier::Tcp));
}

#[test]
fn way_of_the_last_link_goes_first_and_the_others_keep_their_order() {
    let [a, b, c] = [1, 2, 3].map(|n| (SocketAddr::from(([127, 0, 0, n], 7)), QUIC));
    assert_eq!(in_turn(vec![a, b, c], None), [a, b, c]);
    assert_eq!(in_turn(vec![a, b, c], Some(c)), [c, a, b]);
    assert_eq!(in_turn(vec![a, b], Some(c)), [a, b]);
    let tcp = (a.0, Carrier::Tcp);
    assert_eq!(in_turn(vec![a, tcp, b], Some(tcp)), [tcp, a, b]);
}

#[test]
fn reason_names_each_way_and_the_cause_of_what_answered() {
    let [a, b] = [1, 2].map(|n| (SocketAddr::from(([127, 0, 0, n], 7)), QUIC));
    let no_link = |cause, why: &str| NoLink { cause, why: why.to_owned() };
    let failures = vec![(a, no_link(Cause::Silent, "silent")), (b, no_link(Cause::Unproven, "a stranger"))];
    let all = all_failed(failures, (true, false));
    assert_eq!(all, no_link(Cause::Unproven, "127.0.0.1: silent; 127.0.0.2: a stranger"));
    let failures = || {
        let tcp = (a.0, Carrier::Tcp);
        vec![(a, no_link(Cause::Silent, "silent")), (tcp, no_link(Cause::Other, "refused"))]
    };
    assert_eq!(all_failed(failures(), (false, true)), no_link(Cause::Silent, "QUIC: silent; TCP: refused"));
    let said = all_failed(failures(), (true, true)).why;
    assert_eq!(said, "127.0.0.1 over QUIC: silent; 127.0.0.1 over TCP: refused");
    assert_eq!(
        all_failed(vec![(a, no_link(Cause::Other, "no socket"))], (false, false)),
        no_link(Cause::Other, "no socket")
    );
}

const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const QUIC: Carrier = Carrier::Quic(SocketKind::Auto);
