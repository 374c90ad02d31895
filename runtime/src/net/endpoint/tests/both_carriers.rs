//! What the carriers of one side share: the bound of open links, and the name that a load balancer reads.

use std::sync::{Arc, Mutex};

use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::*;

/// Notes the names that clients send.
#[derive(Debug)]
struct Noting {
    inner: Arc<dyn ResolvesServerCert>,
    names: Arc<Mutex<Vec<Option<String>>>>,
}

impl ResolvesServerCert for Noting {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.names.lock().unwrap().push(hello.server_name().map(str::to_owned));
        self.inner.resolve(hello)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn name_for_a_load_balancer_is_sent_where_it_is_set() {
    let authority = Authority::new();
    for over in BOTH {
        let names = Arc::new(Mutex::new(Vec::new()));
        let mut config = authority.server();
        let inner = Arc::clone(&config.cert_resolver);
        config.cert_resolver = Arc::new(Noting { inner, names: Arc::clone(&names) });
        let bind = SocketAddr::new(over.loopback, 0);
        let server = Endpoint::server(config, bind, over.carrier, NetLimits::server()).unwrap();
        for enable_sni in [true, false] {
            let mut config = authority.client(&authority).0;
            config.enable_sni = enable_sni;
            linked(&server, &over.client_by(config, NetLimits::client())).await;
        }
        assert_eq!(*names.lock().unwrap(), [Some(SERVER_NAME.to_owned()), None], "{}", over.carrier);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_over_both_carriers_count_together() {
    let authority = Authority::new();
    let limits = NetLimits { links: 2, ..NetLimits::server() };
    let servers = BOTH.map(|over| over.server(&authority, limits.clone()).0);
    let clients = BOTH.map(|over| over.client(&authority));
    let mut held = Vec::new();
    for (server, client) in servers.iter().zip(&clients) {
        held.push(linked(server, client).await);
    }
    for (server, client) in servers.iter().zip(&clients) {
        let turning_away = tokio::spawn({
            let server = server.clone();
            async move { server.accept().await.is_some() }
        });
        let over = server.carrier();
        let refused = client.connect(server.local_addr().unwrap(), SERVER_NAME).await.map(drop);
        assert_eq!(refused, Err(LinkError::Busy), "{over}");
        turning_away.abort();
    }
    // A link that has ended leaves its place to one over the other carrier.
    for (server, client) in [(&servers[1], &clients[1]), (&servers[0], &clients[0])] {
        let (there, here) = held.remove(0);
        there.handle().close(0, "enough");
        here.handle().closed().await;
        drop((there, here));
        let admitting = tokio::spawn({
            let server = server.clone();
            async move { server.accept().await.unwrap().admit().await.unwrap() }
        });
        let dialling = async {
            loop {
                match client.connect(server.local_addr().unwrap(), SERVER_NAME).await {
                    // The task of the link may not have ended yet.
                    Err(LinkError::Busy) => tokio::time::sleep(Duration::from_millis(50)).await,
                    link => break link.unwrap(),
                }
            }
        };
        let there = timeout(Duration::from_secs(3), dialling).await.unwrap();
        held.push((there, admitting.await.unwrap()));
    }
}

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const BOTH: [Over; 2] = [
    Over { carrier: Carrier::Quic(SocketKind::Auto), loopback: V4 },
    Over { carrier: Carrier::Tcp, loopback: V4 },
];
