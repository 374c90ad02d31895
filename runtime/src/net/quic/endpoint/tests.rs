//! Real QUIC on loopback, over every kind of socket.

use std::{net::Ipv4Addr, process::Command, time::Duration};

use super::*;
use crate::net::{
    fixture::{Authority, SERVER_NAME},
    payload::{self, Progress},
};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const PROGRESS: Progress = Progress { window: Duration::from_secs(20), bytes: 1 };
/// Set in the child process of the refused-options test.
const CHILD: &str = "FL_NET_REFUSED_CHILD";

fn server(authority: &Authority, kind: SocketKind, limits: NetLimits) -> (Endpoint, SocketAddr) {
    let endpoint = Endpoint::server(authority.server(), LOOPBACK, kind, limits).unwrap();
    let addr = endpoint.local_addr().unwrap();
    (endpoint, addr)
}

fn client(authority: &Authority, kind: SocketKind) -> Endpoint {
    Endpoint::client(authority.client(authority).0, LOOPBACK, kind, NetLimits::client()).unwrap()
}

async fn linked(server: &Endpoint, client: &Endpoint) -> (Link, Link) {
    let addr = server.local_addr().unwrap();
    let admitting = async { server.accept().await.unwrap().admit().await };
    let (there, here) = tokio::join!(client.connect(addr, SERVER_NAME), admitting);
    (there.unwrap(), here.unwrap())
}

/// Envelopes both ways and an upload of `len` bytes.
async fn exchange(server_kind: SocketKind, client_kind: SocketKind, limits: NetLimits, len: usize) {
    let authority = Authority::new();
    let (server, _) = server(&authority, server_kind, limits);
    let client = client(&authority, client_kind);
    let (mut there, mut here) = linked(&server, &client).await;
    there.send_envelope(b"hello").await.unwrap();
    assert_eq!(here.recv_envelope().await.unwrap(), &b"hello"[..]);
    here.send_envelope(b"welcome").await.unwrap();
    assert_eq!(there.recv_envelope().await.unwrap(), &b"welcome"[..]);

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
    here.handle().close(3, "done");
    assert_eq!(there.handle().closed().await, LinkError::Closed { code: 3, reason: "done".into() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn native_sockets_carry_envelopes_and_payloads() {
    exchange(SocketKind::Native, SocketKind::Native, NetLimits::server(), 5_000_001).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn portable_sockets_carry_envelopes_and_payloads() {
    exchange(SocketKind::Portable, SocketKind::Portable, NetLimits::server(), 5_000_001).await;
    exchange(SocketKind::Portable, SocketKind::Native, NetLimits::server(), 1_000_001).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jumbo_datagrams_are_found_by_probing() {
    let limits = NetLimits { mtu: 8952, ..NetLimits::server() };
    let authority = Authority::new();
    let (server, _) = server(&authority, SocketKind::Portable, limits.clone());
    let config = authority.client(&authority).0;
    let client = Endpoint::client(config, LOOPBACK, SocketKind::Portable, limits).unwrap();
    let (there, here) = linked(&server, &client).await;
    assert!(there.handle().path_mtu().unwrap() <= 8952);
    let found = async {
        while here.handle().path_mtu().unwrap() < 8000 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), found).await.unwrap();
}

#[tokio::test]
async fn peer_certificate_is_the_one_it_dialled_with() {
    let authority = Authority::new();
    let (server, _) = server(&authority, SocketKind::Auto, NetLimits::server());
    let (config, certificate) = authority.client(&authority);
    let client = Endpoint::client(config, LOOPBACK, SocketKind::Auto, NetLimits::client()).unwrap();
    let (there, here) = linked(&server, &client).await;
    assert_eq!(here.handle().peer_certificates(), [certificate]);
    assert_eq!(there.handle().peer_certificates().len(), 1);
}

#[tokio::test]
async fn stranger_is_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (server, addr) = server(&authority, SocketKind::Auto, NetLimits::server());
    let config = authority.client(&other).0;
    let stranger = Endpoint::client(config, LOOPBACK, SocketKind::Auto, NetLimits::client()).unwrap();
    let dialling = async {
        match stranger.connect(addr, SERVER_NAME).await {
            Ok(mut link) => link.recv_envelope().await.map(|_| ()),
            Err(error) => Err(error),
        }
    };
    let admitting = async { server.accept().await.unwrap().admit().await.map(|_| ()) };
    let (there, here) = tokio::join!(dialling, admitting);
    assert!(matches!(there, Err(LinkError::Handshake(_))), "{there:?}");
    assert!(matches!(here, Err(LinkError::Handshake(_))), "{here:?}");
}

#[tokio::test]
async fn handshakes_over_the_cap_are_refused() {
    let authority = Authority::new();
    let limits = NetLimits { handshakes: 1, ..NetLimits::server() };
    let (server, addr) = server(&authority, SocketKind::Auto, limits);
    let client = client(&authority, SocketKind::Auto);
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
    assert!(matches!(second, Err(LinkError::Transport(_))), "{second:?}");
    let link = held.admit().await.unwrap();
    first.await.unwrap().unwrap();
    drop(link);
    turning_away.abort();
}

#[tokio::test]
async fn loaded_server_asks_for_proof_of_address_and_then_admits() {
    let authority = Authority::new();
    let limits = NetLimits { retry_from: 0, ..NetLimits::server() };
    let (server, _) = server(&authority, SocketKind::Auto, limits);
    let client = client(&authority, SocketKind::Auto);
    let (mut there, mut here) = linked(&server, &client).await;
    there.send_envelope(b"hello").await.unwrap();
    assert_eq!(here.recv_envelope().await.unwrap(), &b"hello"[..]);
}

#[tokio::test]
async fn ungranted_peer_cannot_push_more_than_the_idle_window() {
    let authority = Authority::new();
    let (server, _) = server(&authority, SocketKind::Auto, NetLimits::server());
    let client = client(&authority, SocketKind::Auto);
    let (there, here) = linked(&server, &client).await;
    let mut out = there.handle().open_uni().await.unwrap();
    let mut pushed = 0;
    let piece = Bytes::from(vec![0; 64 << 10]);
    // quinn takes a send window's worth from the caller; what the peer holds is what was acknowledged.
    let push = async {
        loop {
            out.write_chunks(&mut [piece.clone()]).await.unwrap();
            pushed += piece.len();
        }
    };
    let _: Result<(), _> = timeout(Duration::from_millis(300), push).await;
    assert!(pushed as u64 <= super::super::IDLE_WINDOW, "{pushed} bytes were taken without a grant");
    here.handle().grant(4 << 20);
    out.write_chunks(&mut [Bytes::from(vec![0; 2 << 20])]).await.unwrap();
}

#[tokio::test]
async fn dropped_upload_is_abandoned_not_finished() {
    let authority = Authority::new();
    let (server, _) = server(&authority, SocketKind::Auto, NetLimits::server());
    let client = client(&authority, SocketKind::Auto);
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

/// Refuses what Gramine refuses, then runs this test again in a child process under it.
#[test]
fn refused_socket_options_fall_back_to_the_portable_socket() {
    if std::env::var_os(CHILD).is_some() {
        return refused_child();
    }
    let folder = std::env::temp_dir().join(format!("fl-net-shim-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (source, library) = (folder.join("refuse.c"), folder.join("librefuse.so"));
    std::fs::write(&source, SHIM).unwrap();
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).status();
    assert!(built.unwrap().success(), "the shim does not compile");
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("net::quic::endpoint::tests::refused_socket_options_fall_back_to_the_portable_socket")
        .env("LD_PRELOAD", &library)
        .env(CHILD, "1")
        .output()
        .unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("carried over the portable socket"), "{child:?}");
}

fn refused_child() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let authority = Authority::new();
        let native = Endpoint::server(authority.server(), LOOPBACK, SocketKind::Native, NetLimits::server());
        assert!(matches!(native, Err(EndpointError::Bind(..))), "the shim refused nothing: {native:?}");
        let auto = Endpoint::server(authority.server(), LOOPBACK, SocketKind::Auto, NetLimits::server());
        assert_eq!(auto.unwrap().socket_kind(), SocketKind::Portable);
        exchange(SocketKind::Auto, SocketKind::Auto, NetLimits::server(), 2_000_001).await;
    });
    println!("carried over the portable socket");
}

const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

int setsockopt(int fd, int level, int name, const void *value, socklen_t len) {
    static int (*real)(int, int, int, const void *, socklen_t);
    int refused = level == IPPROTO_IP || level == IPPROTO_UDP || (level == IPPROTO_IPV6 && name != IPV6_V6ONLY);
    if (refused) { errno = ENOPROTOOPT; return -1; }
    if (!real) real = (int (*)(int, int, int, const void *, socklen_t))dlsym(RTLD_NEXT, "setsockopt");
    return real(fd, level, name, value, len);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    static ssize_t (*real)(int, const struct msghdr *, int);
    if (message->msg_controllen) { errno = EINVAL; return -1; }
    if (!real) real = (ssize_t (*)(int, const struct msghdr *, int))dlsym(RTLD_NEXT, "sendmsg");
    return real(fd, message, flags);
}
"#;
