//! Real links on loopback, over TCP and over QUIC with every kind of socket. `refusing.rs` runs them a second
//! time where socket options are refused; there [`SocketKind::Auto`] is the portable socket.

mod both_carriers;
mod over_tcp;
mod over_udp;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::*;
use crate::net::{
    IDLE_WINDOW, SendStream, SocketKind,
    fixture::{Authority, SERVER_NAME},
    payload::{self, Progress},
    refusing,
};

/// What a test runs over.
#[derive(Clone, Copy)]
struct Over {
    carrier: Carrier,
    loopback: IpAddr,
}

impl Over {
    fn v4(carrier: impl Into<Carrier>) -> Self {
        Self { carrier: carrier.into(), loopback: IpAddr::V4(Ipv4Addr::LOCALHOST) }
    }

    fn v6(carrier: impl Into<Carrier>) -> Self {
        Self { carrier: carrier.into(), loopback: IpAddr::V6(Ipv6Addr::LOCALHOST) }
    }

    fn is_tcp(self) -> bool {
        self.carrier == Carrier::Tcp
    }

    /// A machine may have no IPv6.
    fn is_absent(self) -> bool {
        self.loopback.is_ipv6() && std::net::UdpSocket::bind((self.loopback, 0)).is_err()
    }

    fn server(self, authority: &Authority, limits: NetLimits) -> (Endpoint, SocketAddr) {
        let bind = SocketAddr::new(self.loopback, 0);
        let endpoint = Endpoint::server(authority.server(), bind, self.carrier, limits).unwrap();
        let addr = endpoint.local_addr().unwrap();
        (endpoint, addr)
    }

    fn client(self, authority: &Authority) -> Endpoint {
        self.client_by(authority.client(authority).0, NetLimits::client())
    }

    fn client_by(self, config: rustls::ClientConfig, limits: NetLimits) -> Endpoint {
        Endpoint::client(config, SocketAddr::new(self.loopback, 0), self.carrier, limits).unwrap()
    }
}

macro_rules! over_every_carrier {
    ($($name:ident)*) => { over_every_carrier! { @modules [$($name)*] } };
    (@modules $names:tt) => {
        over_every_carrier! { @module tcp Over::v4(Carrier::Tcp), $names }
        over_every_carrier! { @module tcp_v6 Over::v6(Carrier::Tcp), $names }
        over_every_carrier! { @module auto Over::v4(SocketKind::Auto), $names }
        over_every_carrier! { @module auto_v6 Over::v6(SocketKind::Auto), $names }
        over_every_carrier! { @module batched Over::v4(SocketKind::Portable), $names }
        over_every_carrier! { @module batched_v6 Over::v6(SocketKind::Portable), $names }
        over_every_carrier! { @module plain Over::v4(SocketKind::PortablePlain), $names }
        over_every_carrier! { @module plain_v6 Over::v6(SocketKind::PortablePlain), $names }
    };
    (@module $module:ident $over:expr, [$($name:ident)*]) => {
        mod $module {
            #[allow(unused_imports, reason = "each module takes one of the two")]
            use super::{Carrier, Over, SocketKind};
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let over: Over = $over;
                    if !over.is_absent() {
                        super::$name(over).await;
                    }
                }
            )*
        }
    };
}

over_every_carrier! {
    envelopes_and_payloads_are_carried
    peer_certificate_is_the_one_it_dialled_with
    stranger_is_refused
    handshakes_over_the_cap_are_refused
    unfinished_handshakes_of_one_socket_keep_nobody_out
    next_process_of_a_key_resets_the_links_of_the_one_before
    loaded_server_asks_for_proof_of_address_and_then_admits
    ungranted_peer_cannot_push_more_than_the_idle_window
    dropped_upload_is_abandoned_not_finished
    delivery_that_is_given_up_takes_the_rest_back
    close_is_heard_in_the_middle_of_a_payload
    close_of_the_endpoint_is_heard_by_every_peer
    keys_are_exported_alike_at_both_ends
    message_overtakes_an_upload
    streams_over_the_bound_wait
    stopped_stream_is_refused_at_the_sender
    path_that_drops_large_datagrams_is_left_with_small_ones
}

async fn linked(server: &Endpoint, client: &Endpoint) -> (Link, Link) {
    linked_at(server, client, server.local_addr().unwrap()).await
}

async fn linked_at(server: &Endpoint, client: &Endpoint, addr: SocketAddr) -> (Link, Link) {
    let admitting = async { server.accept().await.unwrap().admit().await };
    let (there, here) = tokio::join!(client.connect(addr, SERVER_NAME), admitting);
    (there.unwrap(), here.unwrap())
}

/// Envelopes both ways, an upload of `len` bytes, and a close.
async fn exchange(over_server: Over, over_client: Over, len: usize) {
    let authority = Authority::new();
    let (server, _) = over_server.server(&authority, NetLimits::server());
    let client = over_client.client(&authority);
    let (mut there, mut here) = linked(&server, &client).await;
    there.send_envelope(b"hello").await.unwrap();
    assert_eq!(here.recv_envelope().await.unwrap(), &b"hello"[..]);
    here.send_envelope(b"welcome").await.unwrap();
    assert_eq!(there.recv_envelope().await.unwrap(), &b"welcome"[..]);
    upload(&there, &here, len).await;
    here.handle().close(3, "done");
    assert_eq!(there.handle().closed().await, LinkError::Closed { code: 3, reason: "done".into() });
}

async fn upload(there: &Link, here: &Link, len: usize) {
    let body: Bytes = (0..len).map(|n| (n / 7) as u8).collect::<Vec<_>>().into();
    here.handle().grant(8 << 20);
    let mut sent = body.clone();
    let sending = async {
        let mut out = there.handle().open_uni().await.unwrap();
        payload::send_payload(&mut out, b"update", std::slice::from_mut(&mut sent)).await.unwrap();
        out.delivered().await.unwrap();
    };
    let receiving = async {
        let mut stream = here.handle().accept_uni().await.unwrap();
        assert_eq!(payload::recv_header(&mut stream, PROGRESS.window).await.unwrap(), &b"update"[..]);
        let mut held = Vec::with_capacity(len);
        let took = payload::recv_payload(&mut stream, len as u64, PROGRESS, |piece| {
            held.extend_from_slice(piece);
            Ok::<_, ()>(())
        });
        took.await.unwrap();
        held
    };
    let ((), held) = tokio::join!(sending, receiving);
    assert!(body == held, "the upload changed on its way");
}

/// Writes for a while to a stream that nobody reads. Returns how many bytes were taken, in whole pieces.
async fn fill(out: &mut SendStream) -> usize {
    let piece = Bytes::from(vec![1; 64 << 10]);
    let mut taken = 0;
    let push = async {
        loop {
            out.write_chunks(&mut [piece.clone()]).await.unwrap();
            taken += piece.len();
        }
    };
    let _: Result<(), _> = timeout(Duration::from_millis(300), push).await;
    taken
}

async fn envelopes_and_payloads_are_carried(over: Over) {
    exchange(over, over, 5_000_001).await;
}

/// Carries datagrams between one client and `server`, but none over `longest` bytes.
async fn narrow_path(over: Over, server: SocketAddr, longest: usize) -> SocketAddr {
    let near = UdpSocket::bind((over.loopback, 0)).await.unwrap();
    let far = UdpSocket::bind((over.loopback, 0)).await.unwrap();
    let addr = near.local_addr().unwrap();
    tokio::spawn(async move {
        let mut client = None;
        let (mut up, mut down) = (vec![0; 2048], vec![0; 2048]);
        loop {
            tokio::select! {
                Ok((len, from)) = near.recv_from(&mut up) => {
                    client = Some(from);
                    if len <= longest {
                        let _ = far.send_to(&up[..len], server).await;
                    }
                }
                Ok(len) = far.recv(&mut down) => {
                    if let (Some(client), true) = (client, len <= longest) {
                        let _ = near.send_to(&down[..len], client).await;
                    }
                }
                else => break,
            }
        }
    });
    addr
}

async fn path_that_drops_large_datagrams_is_left_with_small_ones(over: Over) {
    if over.is_tcp() {
        // The system finds the size of TCP's segments.
        return;
    }
    let authority = Authority::new();
    let (server, addr) = over.server(&authority, NetLimits::server());
    let client = over.client(&authority);
    let narrow = narrow_path(over, addr, 1300).await;
    let (there, here) = linked_at(&server, &client, narrow).await;
    assert_eq!(there.handle().path_mtu(), Some(1452));
    timeout(Duration::from_secs(20), upload(&there, &here, 200_001)).await.unwrap();
    assert_eq!(there.handle().path_mtu(), Some(1200));
}

async fn peer_certificate_is_the_one_it_dialled_with(over: Over) {
    let authority = Authority::new();
    let (server, _) = over.server(&authority, NetLimits::server());
    let (config, certificate) = authority.client(&authority);
    let client = over.client_by(config, NetLimits::client());
    let (there, here) = linked(&server, &client).await;
    assert_eq!(here.handle().peer_certificates(), [certificate]);
    assert_eq!(there.handle().peer_certificates().len(), 1);
}

async fn stranger_is_refused(over: Over) {
    let (authority, other) = (Authority::new(), Authority::new());
    let (server, addr) = over.server(&authority, NetLimits::server());
    let config = authority.client(&other).0;
    let stranger = over.client_by(config, NetLimits::client());
    let dialling = async {
        match stranger.connect(addr, SERVER_NAME).await {
            Ok(mut link) => link.recv_envelope().await.map(|_| ()),
            Err(error) => Err(error),
        }
    };
    let admitting = async { server.accept().await.unwrap().admit().await.map(|_| ()) };
    let (there, here) = tokio::join!(dialling, admitting);
    assert!(matches!(there, Err(LinkError::Alert(_))), "{there:?}");
    assert!(matches!(here, Err(LinkError::Handshake(_))), "{here:?}");
}

async fn handshakes_over_the_cap_are_refused(over: Over) {
    let authority = Authority::new();
    let limits = NetLimits { handshakes: 1, ..NetLimits::server() };
    let (server, addr) = over.server(&authority, limits);
    let client = over.client(&authority);
    let first = tokio::spawn({
        let client = client.clone();
        async move { client.connect(addr, SERVER_NAME).await }
    });
    let held = server.accept().await.unwrap();
    let turning_away = tokio::spawn({
        let server = server.clone();
        async move { server.accept().await.is_some() }
    });
    let second = client.connect(addr, SERVER_NAME).await;
    assert_eq!(second.unwrap_err(), LinkError::Busy);
    let link = held.admit().await.unwrap();
    first.await.unwrap().unwrap();
    drop(link);
    turning_away.abort();
}

async fn unfinished_handshakes_of_one_socket_keep_nobody_out(over: Over) {
    let authority = Authority::new();
    // Nobody is asked to prove an address: the flood below could not.
    let limits = NetLimits { handshakes: 32, retry_from: 1000, ..NetLimits::server() };
    let (server, addr) = over.server(&authority, limits);
    let accepting = tokio::spawn({
        let server = server.clone();
        async move {
            while let Some(incoming) = server.accept().await {
                tokio::spawn(async move {
                    if let Ok(mut link) = incoming.admit().await {
                        let _ = link.recv_envelope().await;
                    }
                });
            }
        }
    });
    if over.is_tcp() {
        // A hundred connections that say nothing.
        let mut silent = Vec::new();
        for _ in 0..100 {
            silent.push(TcpStream::connect(addr).await.unwrap());
        }
        let honest = over.client(&authority);
        let link = async {
            loop {
                match honest.connect(addr, SERVER_NAME).await {
                    // The oldest give way once they have had their time.
                    Err(LinkError::Busy | LinkError::Transport(_)) => {
                        tokio::time::sleep(Duration::from_millis(50)).await
                    }
                    link => break link,
                }
            }
        };
        timeout(Duration::from_secs(3), link).await.unwrap().unwrap();
        accepting.abort();
        return;
    }
    // First datagrams of a hundred connections, which go on nowhere.
    let flooding = over.client(&authority);
    let trap = UdpSocket::bind(SocketAddr::new(over.loopback, 0)).await.unwrap();
    let trap_address = trap.local_addr().unwrap();
    let flood = UdpSocket::bind(SocketAddr::new(over.loopback, 0)).await.unwrap();
    let mut first = vec![0; 2000];
    for _ in 0..100 {
        let dialling = tokio::spawn({
            let flooding = flooding.clone();
            async move { flooding.connect(trap_address, SERVER_NAME).await.map(drop) }
        });
        let (length, _) = trap.recv_from(&mut first).await.unwrap();
        dialling.abort();
        flood.send_to(&first[..length], addr).await.unwrap();
    }
    let honest = over.client(&authority);
    let link = timeout(Duration::from_secs(3), honest.connect(addr, SERVER_NAME)).await;
    link.unwrap().unwrap();
    accepting.abort();
}

async fn next_process_of_a_key_resets_the_links_of_the_one_before(over: Over) {
    let authority = Authority::new();
    let key = ResetKey::from_secret(&[7; 32]);
    let open = |bind: SocketAddr| {
        Endpoint::server_with(authority.server(), bind, over.carrier, NetLimits::server(), Some(&key))
            .unwrap()
    };
    // A runtime of its own: with it the first server vanishes as a process does that is killed.
    let first_runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (tell, told) = tokio::sync::oneshot::channel();
    first_runtime.spawn({
        let first = {
            let _inside = first_runtime.enter();
            open(SocketAddr::new(over.loopback, 0))
        };
        async move {
            tell.send(first.local_addr().unwrap()).unwrap();
            let link = first.accept().await.unwrap().admit().await.unwrap();
            std::future::pending::<()>().await;
            drop(link);
        }
    });
    let addr = told.await.unwrap();
    let client = over.client(&authority);
    let mut link = client.connect(addr, SERVER_NAME).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    first_runtime.shutdown_background();
    let _second = loop {
        // The port is free once the first runtime has dropped its tasks.
        let bound =
            Endpoint::server_with(authority.server(), addr, over.carrier, NetLimits::server(), Some(&key));
        match bound {
            Ok(second) => break second,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    // Well within the idle timeout of 15 s: the first keep-alive packet is answered.
    let lost = timeout(Duration::from_secs(3), link.recv_envelope()).await.unwrap().unwrap_err();
    let ways = if over.is_tcp() { &["reset by peer", ENDED][..] } else { &["reset by peer"] };
    assert!(ways.iter().any(|way| lost == LinkError::Transport((*way).to_owned())), "{lost:?}");
}

async fn loaded_server_asks_for_proof_of_address_and_then_admits(over: Over) {
    let authority = Authority::new();
    let limits = NetLimits { retry_from: 0, ..NetLimits::server() };
    let (server, _) = over.server(&authority, limits);
    let client = over.client(&authority);
    let (mut there, mut here) = linked(&server, &client).await;
    there.send_envelope(b"hello").await.unwrap();
    assert_eq!(here.recv_envelope().await.unwrap(), &b"hello"[..]);
}

async fn ungranted_peer_cannot_push_more_than_the_idle_window(over: Over) {
    let authority = Authority::new();
    let (server, _) = over.server(&authority, NetLimits::server());
    let client = over.client(&authority);
    let (there, here) = linked(&server, &client).await;
    let mut out = there.handle().open_uni().await.unwrap();
    // quinn takes as many bytes from the caller as the send window has. The peer holds the acknowledged ones.
    let pushed = fill(&mut out).await;
    assert!(pushed as u64 <= IDLE_WINDOW, "{pushed} bytes were taken without a grant");
    here.handle().grant(4 << 20);
    out.write_chunks(&mut [Bytes::from(vec![0; 2 << 20])]).await.unwrap();
}

async fn close_is_heard_in_the_middle_of_a_payload(over: Over) {
    let authority = Authority::new();
    let (server, _) = over.server(&authority, NetLimits::server());
    let client = over.client(&authority);
    for _ in 0..8 {
        let (there, here) = linked(&server, &client).await;
        let mut out = here.handle().open_uni().await.unwrap();
        // Far more than may be in flight at the start of a link.
        out.write_chunks(&mut [Bytes::from(vec![7; 2 << 20])]).await.unwrap();
        here.handle().close(5, "off the roster");
        let heard = tokio::time::timeout(Duration::from_secs(5), there.handle().closed()).await;
        assert_eq!(heard, Ok(LinkError::Closed { code: 5, reason: "off the roster".into() }));
    }
}

async fn dropped_upload_is_abandoned_not_finished(over: Over) {
    let authority = Authority::new();
    let (server, _) = over.server(&authority, NetLimits::server());
    let client = over.client(&authority);
    let (there, here) = linked(&server, &client).await;
    let mut out = there.handle().open_uni().await.unwrap();
    out.write_chunks(&mut [Bytes::from_static(b"half")]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(out);
    let mut stream = here.handle().accept_uni().await.unwrap();
    let end = loop {
        match stream.read(64).await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert_eq!(end, Err(LinkError::Abandoned));
}

async fn delivery_that_is_given_up_takes_the_rest_back(over: Over) {
    let authority = Authority::new();
    let (server, _) = over.server(&authority, NetLimits::server());
    let client = over.client(&authority);
    let (there, here) = linked(&server, &client).await;
    for _ in 0..10 {
        let mut out = here.handle().open_uni().await.unwrap();
        // Less than the reader's window: written and finished at once, and not sent yet.
        payload::send_payload(&mut out, b"a model", &mut [vec![1; 6 << 20].into()]).await.unwrap();
        let sent = timeout(Duration::ZERO, out.delivered()).await.is_ok();
        drop(out);
        let mut stream = there.handle().accept_uni().await.unwrap();
        let end = loop {
            match stream.read(1 << 20).await {
                Ok(Some(_)) => {}
                other => break other,
            }
        };
        match end {
            // This thread had to wait for a processor: everything was sent before it gave the stream up.
            Ok(None) => {}
            other => return assert!(!sent && other == Err(LinkError::Abandoned), "{other:?}"),
        }
    }
    panic!("nothing was taken back");
}

async fn close_of_the_endpoint_is_heard_by_every_peer(over: Over) {
    let authority = Authority::new();
    let (server, _) = over.server(&authority, NetLimits::server());
    let client = over.client(&authority);
    let mut links = Vec::new();
    for _ in 0..3 {
        links.push(linked(&server, &client).await);
    }
    server.close(0, "the aggregator ends");
    timeout(Duration::from_secs(5), server.wait_idle()).await.unwrap();
    for (there, here) in links {
        let why = LinkError::Closed { code: 0, reason: "the aggregator ends".into() };
        assert_eq!(timeout(Duration::from_secs(5), there.handle().closed()).await, Ok(why));
        assert_eq!(here.handle().closed().await, LinkError::ClosedHere);
    }
    assert!(server.accept().await.is_none());
}

async fn keys_are_exported_alike_at_both_ends(over: Over) {
    let authority = Authority::new();
    let (server, _) = over.server(&authority, NetLimits::server());
    let client = over.client(&authority);
    let mut seen = Vec::new();
    for _ in 0..2 {
        let (there, here) = linked(&server, &client).await;
        for (label, context) in
            [("EXPORTER-fl", "round 1"), ("EXPORTER-fl", "round 2"), ("EXPORTER-x", "round 1")]
        {
            let export = |link: &Link| {
                let mut out = [0; 32];
                link.handle().export_keying_material(&mut out, label.as_bytes(), context.as_bytes()).unwrap();
                out
            };
            let key = export(&there);
            assert_eq!(key, export(&here));
            assert!(!seen.contains(&key), "{label} {context}");
            seen.push(key);
        }
        assert!(there.handle().export_keying_material(&mut [], b"EXPORTER-fl", b"").is_err());
    }
}

async fn message_overtakes_an_upload(over: Over) {
    let authority = Authority::new();
    let (server, _) = over.server(&authority, NetLimits::server());
    let client = over.client(&authority);
    let (mut there, mut here) = linked(&server, &client).await;
    here.handle().grant(4 << 20);
    let mut out = there.handle().open_uni().await.unwrap();
    // Nobody reads the upload: it fills what may be under way.
    fill(&mut out).await;
    if over.is_tcp() {
        // QUIC's streams share one window: an unread upload holds up a message.
        there.send_envelope(b"hello").await.unwrap();
        let heard = timeout(Duration::from_secs(5), here.recv_envelope()).await.unwrap();
        assert_eq!(heard.unwrap(), &b"hello"[..]);
    }
    // Bytes in one direction do not hold up the other one.
    here.send_envelope(b"cancel").await.unwrap();
    let heard = timeout(Duration::from_secs(5), there.recv_envelope()).await.unwrap();
    assert_eq!(heard.unwrap(), &b"cancel"[..]);
}

async fn streams_over_the_bound_wait(over: Over) {
    let authority = Authority::new();
    let (server, _) = over.server(&authority, NetLimits::server());
    let client = over.client(&authority);
    let (there, here) = linked(&server, &client).await;
    let mut streams = Vec::new();
    for n in 0..NetLimits::server().uni_streams {
        let mut stream = there.handle().open_uni().await.unwrap();
        stream.write_chunks(&mut [Bytes::from(vec![n as u8])]).await.unwrap();
        streams.push(stream);
    }
    let fifth = there.handle().clone();
    let mut fifth = tokio::spawn(async move { fifth.open_uni().await.map(drop) });
    assert!(timeout(Duration::from_millis(200), &mut fifth).await.is_err(), "a fifth stream was opened");
    // A stream that was read to its end makes room.
    streams[0].finish().unwrap();
    let mut first = here.handle().accept_uni().await.unwrap();
    while first.read(64).await.unwrap().is_some() {}
    timeout(Duration::from_secs(5), fifth).await.unwrap().unwrap().unwrap();
}

async fn stopped_stream_is_refused_at_the_sender(over: Over) {
    let authority = Authority::new();
    let (server, _) = over.server(&authority, NetLimits::server());
    let client = over.client(&authority);
    let (there, here) = linked(&server, &client).await;
    for _ in 0..10 {
        let mut out = there.handle().open_uni().await.unwrap();
        out.write_chunks(&mut [Bytes::from_static(b"unwanted")]).await.unwrap();
        drop(here.handle().accept_uni().await.unwrap());
        let piece = Bytes::from(vec![0; 4096]);
        let refused = async {
            loop {
                if let Err(error) = out.write_chunks(&mut [piece.clone()]).await {
                    break error;
                }
                tokio::task::yield_now().await;
            }
        };
        assert_eq!(timeout(Duration::from_secs(5), refused).await, Ok(LinkError::Refused));
    }
}

const PROGRESS: Progress = Progress { window: Duration::from_secs(20), bytes: 1 };
/// A TCP connection that ended without a close of the link.
const ENDED: &str = "the peer ended the connection without a reason";
