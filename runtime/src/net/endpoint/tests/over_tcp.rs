//! What only TCP has: byte streams that end or fall silent, and bytes that are no link at all.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::Notify,
};

use super::*;

/// Carries bytes between clients and `server` until the flag is set; afterwards it swallows them.
async fn swallowing_path(server: SocketAddr, swallows: Arc<AtomicBool>) -> SocketAddr {
    let near = TcpListener::bind((TCP.loopback, 0)).await.unwrap();
    let addr = near.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = near.accept().await {
            let (mut client_in, mut client_out) = client.into_split();
            let (mut server_in, mut server_out) = TcpStream::connect(server).await.unwrap().into_split();
            let (up, down) = (Arc::clone(&swallows), Arc::clone(&swallows));
            tokio::spawn(async move { carry(&mut client_in, &mut server_out, &up).await });
            tokio::spawn(async move { carry(&mut server_in, &mut client_out, &down).await });
        }
    });
    addr
}

async fn carry(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    swallows: &AtomicBool,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(len @ 1..) = from.read(&mut buffer).await {
        if !swallows.load(Ordering::Relaxed) && to.write_all(&buffer[..len]).await.is_err() {
            return;
        }
    }
    if swallows.load(Ordering::Relaxed) {
        // The end is swallowed too.
        std::future::pending::<()>().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn link_that_falls_silent_is_dead_after_fifteen_seconds_at_both_ends() {
    let authority = Authority::new();
    let (server, addr) = TCP.server(&authority, NetLimits::server());
    let client = TCP.client(&authority);
    let swallows = Arc::new(AtomicBool::new(false));
    let path = swallowing_path(addr, Arc::clone(&swallows)).await;
    let (there, here) = linked_at(&server, &client, path).await;
    // A link without a word from its users lives, because its ends ask each other.
    let alive = tokio::time::sleep(Duration::from_secs(3));
    tokio::select! {
        why = there.handle().closed() => panic!("{why}"),
        why = here.handle().closed() => panic!("{why}"),
        () = alive => {}
    }
    swallows.store(true, Ordering::Relaxed);
    let dead = async { tokio::join!(there.handle().closed(), here.handle().closed()) };
    assert!(timeout(Duration::from_secs(12), here.handle().closed()).await.is_err(), "too early");
    let dead = timeout(Duration::from_secs(8), dead).await;
    assert_eq!(dead, Ok((LinkError::TimedOut, LinkError::TimedOut)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_stream_leaves_room_for_another_one() {
    let authority = Authority::new();
    let (server, _) = TCP.server(&authority, NetLimits::server());
    let client = TCP.client(&authority);
    let (there, here) = linked(&server, &client).await;
    let mut unread = there.handle().open_uni().await.unwrap();
    fill(&mut unread).await;
    let _unread_here = here.handle().accept_uni().await.unwrap();
    timeout(Duration::from_secs(10), upload_without_grant(&there, &here, 1_000_001)).await.unwrap();
}

async fn upload_without_grant(there: &Link, here: &Link, len: usize) {
    let sending = async {
        let mut out = there.handle().open_uni().await.unwrap();
        out.write_chunks(&mut [Bytes::from(vec![3; len])]).await.unwrap();
        out.finish().unwrap();
        out.delivered().await.unwrap();
    };
    let receiving = async {
        let mut stream = here.handle().accept_uni().await.unwrap();
        let mut got = 0;
        while let Some(piece) = stream.read(1 << 20).await.unwrap() {
            got += piece.len();
        }
        got
    };
    assert_eq!(tokio::join!(sending, receiving).1, len);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_link_end_the_handshake() {
    let authority = Authority::new();
    let (server, addr) = TCP.server(&authority, NetLimits::server());
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 3000], &[22, 3, 1, 0xff, 0xff, 1, 0, 0], b""] {
        let mut stranger = TcpStream::connect(addr).await.unwrap();
        stranger.write_all(bytes).await.unwrap();
        stranger.shutdown().await.unwrap();
        let admitted = server.accept().await.unwrap().admit();
        let refused = timeout(Duration::from_secs(5), admitted).await.unwrap().unwrap_err();
        assert!(matches!(refused, LinkError::Handshake(_) | LinkError::Transport(_)), "{refused:?}");
        let mut answer = Vec::new();
        let _ = timeout(Duration::from_secs(5), stranger.read_to_end(&mut answer)).await.unwrap();
        assert!(answer.len() < 100, "{} bytes for a stranger", answer.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn end_of_the_connection_without_a_close_ends_the_link_at_once() {
    let authority = Authority::new();
    let (server, addr) = TCP.server(&authority, NetLimits::server());
    let client = TCP.client(&authority);
    let near = TcpListener::bind((TCP.loopback, 0)).await.unwrap();
    let path = near.local_addr().unwrap();
    let relay = tokio::spawn(async move {
        let (mut near, mut far) = (near.accept().await.unwrap().0, TcpStream::connect(addr).await.unwrap());
        tokio::io::copy_bidirectional(&mut near, &mut far).await
    });
    let (there, here) = linked_at(&server, &client, path).await;
    relay.abort();
    for handle in [there.handle(), here.handle()] {
        let why = timeout(Duration::from_secs(3), handle.closed()).await.unwrap();
        assert!(matches!(why, LinkError::Transport(_)), "{why:?}");
    }
}

/// Carries what the client sends in small pieces with pauses, 320 kB a second, from a small buffer.
async fn slow_line(server: SocketAddr) -> SocketAddr {
    let near = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    near.set_recv_buffer_size(32 << 10).unwrap();
    near.bind(&SocketAddr::new(TCP.loopback, 0).into()).unwrap();
    near.listen(1).unwrap();
    near.set_nonblocking(true).unwrap();
    let near = TcpListener::from_std(near.into()).unwrap();
    let addr = near.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut client_in, mut client_out) = near.accept().await.unwrap().0.into_split();
        let (mut server_in, mut server_out) = TcpStream::connect(server).await.unwrap().into_split();
        tokio::spawn(async move { tokio::io::copy(&mut server_in, &mut client_out).await });
        let mut piece = [0; 16 << 10];
        while let Ok(len @ 1..) = client_in.read(&mut piece).await {
            server_out.write_all(&piece[..len]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    addr
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_waits_for_little_of_an_upload_on_a_slow_line() {
    let authority = Authority::new();
    let (server, addr) = TCP.server(&authority, NetLimits::server());
    let client = TCP.client(&authority);
    let (mut there, mut here) = linked_at(&server, &client, slow_line(addr).await).await;
    here.handle().grant(8 << 20);
    let (sending, receiving) = (there.handle().clone(), here.handle().clone());
    let upload = tokio::spawn(async move {
        let mut out = sending.open_uni().await.unwrap();
        out.write_chunks(&mut [Bytes::from(vec![3; 16 << 20])]).await
    });
    let reading = tokio::spawn(async move {
        let mut stream = receiving.accept_uni().await.unwrap();
        while let Ok(Some(_)) = stream.read(1 << 20).await {}
    });
    // The system takes what it takes.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let started = std::time::Instant::now();
    there.send_envelope(b"now").await.unwrap();
    timeout(Duration::from_secs(60), here.recv_envelope()).await.unwrap().unwrap();
    // Without a bound the system holds more than two megabytes, which take eight seconds.
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    upload.abort();
    reading.abort();
}

/// Carries bytes both ways until it is notified. Then it reads nothing more, and is gone a second later.
async fn deserting_path(server: SocketAddr, deserts: Arc<Notify>) -> SocketAddr {
    let near = TcpListener::bind((TCP.loopback, 0)).await.unwrap();
    let addr = near.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut near, mut far) = (near.accept().await.unwrap().0, TcpStream::connect(server).await.unwrap());
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
            () = deserts.notified() => {}
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    });
    addr
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn link_whose_close_cannot_be_sent_ends_with_its_connection() {
    let authority = Authority::new();
    let (server, addr) = TCP.server(&authority, NetLimits::server());
    let client = TCP.client(&authority);
    let deserts = Arc::new(Notify::new());
    let path = deserting_path(addr, Arc::clone(&deserts)).await;
    let (there, here) = linked_at(&server, &client, path).await;
    here.handle().grant(64 << 20);
    let (sending, receiving) = (there.handle().clone(), here.handle().clone());
    let upload = tokio::spawn(async move {
        let mut out = sending.open_uni().await.unwrap();
        out.write_chunks(&mut [Bytes::from(vec![3; 64 << 20])]).await
    });
    let reading = tokio::spawn(async move {
        let mut stream = receiving.accept_uni().await.unwrap();
        stream.read(1).await.unwrap();
        deserts.notify_one();
        std::future::pending::<()>().await;
    });
    // The upload has filled the path before the close, which waits behind it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    there.handle().close(1, "enough");
    let ended = timeout(Duration::from_secs(5), client.wait_idle()).await;
    assert!(ended.is_ok(), "the link's task goes on without a peer");
    upload.abort();
    reading.abort();
}

const TCP: Over = Over { carrier: Carrier::Tcp, loopback: IpAddr::V4(Ipv4Addr::LOCALHOST) };
