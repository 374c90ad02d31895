//! The socket by itself, over a kernel that has little room or knows no batches.

use std::{
    future::poll_fn,
    io::IoSliceMut,
    net::{Ipv4Addr, UdpSocket as StdSocket},
    sync::atomic::AtomicUsize,
    time::Duration,
};

use tokio::time::timeout;

use super::*;

fn bound() -> StdSocket {
    let socket = StdSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// A socket that sends by `send` and is known to have room, its kernel socket, and a peer with its address.
async fn rig(send: SendCall) -> (Arc<PortableSocket>, StdSocket, UdpSocket, SocketAddr) {
    let raw = bound();
    let socket = PortableSocket::over(raw.try_clone().unwrap(), false, true, send).unwrap();
    socket.io.writable().await.unwrap();
    let peer = UdpSocket::from_std(bound()).unwrap();
    let address = peer.local_addr().unwrap();
    (socket, raw, peer, address)
}

/// `count` segments, each filled with its number from `first` on.
fn segments(first: u8, count: u8) -> Vec<u8> {
    (first..first + count).flat_map(|number| [number; SEGMENT]).collect()
}

fn send(socket: &PortableSocket, destination: SocketAddr, contents: &[u8]) -> io::Result<()> {
    let segment_size = Some(SEGMENT);
    socket.try_send(&Transmit { destination, ecn: None, contents, segment_size, src_ip: None })
}

/// The numbers of the next `count` segments.
async fn numbers(peer: &UdpSocket, count: usize) -> Vec<u8> {
    let mut numbers = Vec::new();
    let mut buffer = [0; 2 * SEGMENT];
    while numbers.len() < count {
        let received = timeout(Duration::from_secs(5), peer.recv(&mut buffer)).await;
        let len = received.unwrap_or_else(|_| panic!("only {numbers:?} of {count} arrived")).unwrap();
        assert_eq!(len, SEGMENT);
        numbers.push(buffer[0]);
    }
    numbers
}

async fn receive(socket: &PortableSocket, places: usize, size: usize) -> Vec<Vec<u8>> {
    let mut memory = vec![vec![0; size]; places];
    let mut buffers: Vec<_> = memory.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
    let mut metas = vec![RecvMeta::default(); places];
    let received = poll_fn(|cx| socket.poll_recv(cx, &mut buffers, &mut metas));
    let received = timeout(Duration::from_secs(5), received).await.unwrap().unwrap();
    metas[..received].iter().zip(memory).map(|(meta, bytes)| bytes[..meta.len].to_vec()).collect()
}

#[tokio::test]
async fn segments_without_room_go_out_first_and_once() {
    static ROOM: AtomicUsize = AtomicUsize::new(4);
    fn narrow(fd: BorrowedFd<'_>, to: SocketAddr, contents: &[u8], size: usize) -> io::Result<usize> {
        let room = ROOM.load(Ordering::SeqCst);
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let sent = send_batch(fd, to, &contents[..contents.len().min(room * size)], size)?;
        ROOM.fetch_sub(sent, Ordering::SeqCst);
        Ok(sent)
    }
    let (socket, raw, peer, address) = rig(narrow).await;
    send(&socket, address, &segments(0, 10)).unwrap();
    assert_eq!(numbers(&peer, 4).await, [0, 1, 2, 3]);
    let later = send(&socket, address, &segments(10, 3)).unwrap_err();
    assert_eq!(later.kind(), io::ErrorKind::WouldBlock, "overtook what was kept");

    ROOM.store(100, Ordering::SeqCst);
    // The runtime notices room only when the kernel reports it, which it does after any datagram has left.
    raw.send_to(b"", raw.local_addr().unwrap()).unwrap();
    assert_eq!(numbers(&peer, 6).await, [4, 5, 6, 7, 8, 9], "nobody else sends, so the socket has to");

    let mut poller = Arc::clone(&socket).create_io_poller();
    loop {
        poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.unwrap();
        match send(&socket, address, &segments(10, 3)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => break sent.unwrap(),
        }
    }
    assert_eq!(numbers(&peer, 3).await, [10, 11, 12]);
    let nothing = timeout(Duration::from_millis(50), numbers(&peer, 1)).await;
    assert!(nothing.is_err(), "sent twice: {nothing:?}");
}

#[tokio::test]
async fn nothing_overtakes_what_was_kept() {
    let (socket, _raw, peer, address) = rig(send_batch).await;
    let kept = Rest { destination: address, contents: segments(0, 4), segment_size: SEGMENT, sent: SEGMENT };
    socket.rest().push_back(kept);
    socket.is_behind.store(true, Ordering::SeqCst);
    send(&socket, address, &segments(4, 3)).unwrap();
    assert_eq!(numbers(&peer, 6).await, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn transmit_that_found_no_room_at_all_stays_with_its_sender() {
    static FULL: AtomicBool = AtomicBool::new(true);
    fn full(fd: BorrowedFd<'_>, to: SocketAddr, contents: &[u8], size: usize) -> io::Result<usize> {
        if FULL.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        send_batch(fd, to, contents, size)
    }
    let (socket, raw, peer, address) = rig(full).await;
    assert_eq!(send(&socket, address, &segments(0, 3)).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    FULL.store(false, Ordering::SeqCst);
    raw.send_to(b"", raw.local_addr().unwrap()).unwrap();
    let nothing = timeout(Duration::from_millis(50), numbers(&peer, 1)).await;
    assert!(nothing.is_err(), "quinn sends it again, so it would be sent twice");
    send(&socket, address, &segments(0, 3)).unwrap();
    assert_eq!(numbers(&peer, 3).await, [0, 1, 2]);
}

#[tokio::test]
async fn refused_batch_turns_the_socket_plain_and_loses_nothing() {
    for number in [errno::ENOSYS, errno::EOPNOTSUPP, errno::EINVAL] {
        assert!(is_unknown_call(&io::Error::from_raw_os_error(number)), "{number}");
    }
    fn refused(_: BorrowedFd<'_>, _: SocketAddr, _: &[u8], _: usize) -> io::Result<usize> {
        Err(io::Error::from_raw_os_error(errno::ENOSYS))
    }
    let (socket, _raw, peer, address) = rig(refused).await;
    assert_eq!(socket.max_transmit_segments(), SEGMENTS);
    send(&socket, address, &segments(0, 5)).unwrap();
    assert_eq!(numbers(&peer, 5).await, [0, 1, 2, 3, 4]);
    assert_eq!(socket.max_transmit_segments(), 1);
}

#[tokio::test]
async fn datagram_that_the_kernel_refuses_is_lost_alone() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    fn once(fd: BorrowedFd<'_>, to: SocketAddr, contents: &[u8], size: usize) -> io::Result<usize> {
        match CALLS.fetch_add(1, Ordering::SeqCst) {
            0 => send_batch(fd, to, &contents[..2 * size], size),
            // The call has worked before: an error concerns this datagram, whatever its number.
            1 => Err(io::Error::from_raw_os_error(errno::EINVAL)),
            _ => send_batch(fd, to, contents, size),
        }
    }
    let (socket, _raw, peer, address) = rig(once).await;
    send(&socket, address, &segments(0, 6)).unwrap();
    assert_eq!(numbers(&peer, 5).await, [0, 1, 3, 4, 5]);
    assert_eq!(socket.max_transmit_segments(), SEGMENTS);
}

#[tokio::test]
async fn datagrams_are_received_in_order_plain_and_batched() {
    for batched in [true, false] {
        let socket = PortableSocket::open(bound(), false, batched).unwrap();
        let peer = bound();
        for number in 0..40 {
            peer.send_to(&[number], socket.local_addr().unwrap()).unwrap();
        }
        let mut held = receive(&socket, 32, 8).await;
        assert_eq!(held.len(), 32, "one call takes what there are buffers for");
        held.extend(receive(&socket, 32, 8).await);
        assert_eq!(held, (0..40).map(|number| vec![number]).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn datagram_longer_than_its_buffer_reaches_quinn_as_nothing() {
    let socket = PortableSocket::open(bound(), false, true).unwrap();
    let peer = bound();
    for contents in [&b"too long"[..], b"short"] {
        peer.send_to(contents, socket.local_addr().unwrap()).unwrap();
    }
    assert_eq!(receive(&socket, 4, 5).await, [&b""[..], b"short"]);
}

const SEGMENT: usize = 100;

/// Linux's numbers.
mod errno {
    pub(super) const EINVAL: i32 = 22;
    pub(super) const ENOSYS: i32 = 38;
    pub(super) const EOPNOTSUPP: i32 = 95;
}
