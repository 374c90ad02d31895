//! What only UDP has: kinds of sockets, and the sizes of datagrams.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kinds_of_sockets_understand_each_other() {
    let [auto, batched, plain] =
        [SocketKind::Auto, SocketKind::Portable, SocketKind::PortablePlain].map(Over::v4);
    for (server, client) in [(batched, auto), (auto, batched), (batched, plain), (plain, batched)] {
        exchange(server, client, 1_000_001).await;
    }
}

#[tokio::test]
async fn auto_is_native_unless_the_system_refuses() {
    let authority = Authority::new();
    for over in [Over::v4(SocketKind::Auto), Over::v6(SocketKind::Auto)] {
        if over.is_absent() {
            continue;
        }
        let bind = SocketAddr::new(over.loopback, 0);
        let native = Endpoint::server(authority.server(), bind, SocketKind::Native, NetLimits::server());
        let (auto, _) = over.server(&authority, NetLimits::server());
        if refusing::is_here() {
            assert!(matches!(native, Err(EndpointError::Bind(..))), "nothing was refused: {native:?}");
            assert_eq!(auto.carrier(), Carrier::Quic(SocketKind::Portable));
        } else {
            assert_eq!(native.unwrap().carrier(), Carrier::Quic(SocketKind::Native));
            assert_eq!(auto.carrier(), Carrier::Quic(SocketKind::Native));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jumbo_datagrams_are_found_by_probing_and_kept() {
    for kind in [SocketKind::Portable, SocketKind::PortablePlain] {
        let limits = NetLimits { mtu: 8952, ..NetLimits::server() };
        let authority = Authority::new();
        let over = Over::v4(kind);
        let (server, _) = over.server(&authority, limits.clone());
        let client = over.client_by(authority.client(&authority).0, limits);
        let (there, here) = linked(&server, &client).await;
        assert!(there.handle().path_mtu().unwrap() <= 8952);
        let found = async {
            for link in [&here, &there] {
                while link.handle().path_mtu().unwrap() < 8000 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        };
        timeout(Duration::from_secs(10), found).await.unwrap();
        upload(&there, &here, 20_000_001).await;
        assert!(there.handle().path_mtu().unwrap() >= 8000, "{kind:?}");
    }
}
