//! The real system calls, on both loopbacks.

use std::{
    env,
    net::{Ipv6Addr, UdpSocket},
    os::fd::AsFd,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use super::*;
use crate::syscall::stand_in;

/// The loopback addresses of this machine; IPv6 may be absent. Every test begins here, so in the child that
/// [`every_test_here_passes_over_the_entry_of_gramine`] starts, every thread that makes a call is armed.
fn loopbacks() -> Vec<SocketAddr> {
    if env::var_os(MARK).is_some() {
        stand_in::arm_and_use().unwrap();
    }
    let all = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), SocketAddr::from((Ipv6Addr::LOCALHOST, 0))];
    all.into_iter().filter(|address| UdpSocket::bind(address).is_ok()).collect()
}

#[test]
fn every_test_here_passes_over_the_entry_of_gramine() {
    let mut child = Command::new(env::current_exe().unwrap());
    let child =
        child.args(["udp::tests::", "--skip", THIS, "--test-threads=1"]).env(MARK, "1").output().unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{said}\n{}", String::from_utf8_lossy(&child.stderr));
    assert!(!said.contains(" 0 passed"), "{said}");
}

#[test]
fn every_call_takes_the_entry_that_is_in_use() {
    let ((here, from), (there, to)) = pair(loopbacks()[0]);
    let in_child = env::var_os(MARK).is_some();
    let mut memory = [0; 8];
    let calls: [&mut dyn FnMut() -> usize; 4] = [
        &mut || send_batch(here.as_fd(), to, b"ab", 2).unwrap(),
        &mut || recv_batch(there.as_fd(), &mut [IoSliceMut::new(&mut memory)], &mut [None]).unwrap(),
        &mut || send_one(here.as_fd(), to, b"c").unwrap(),
        &mut || recv_one(there.as_fd(), &mut [0; 8]).unwrap().map_or(0, |it| usize::from(it.from == from)),
    ];
    for call in calls {
        let before = stand_in::calls();
        assert_eq!(call(), 1);
        // The child has no other thread that calls. Here a jump would find no entry.
        assert!(!in_child || stand_in::calls() - before == 1);
    }
}

#[test]
fn single_datagrams_arrive_whole_with_their_sender_and_too_long_ones_are_dropped() {
    for loopback in loopbacks() {
        let ((here, from), (there, to)) = pair(loopback);
        for contents in [&b"12345678"[..], b"123456789", b"", b"1"] {
            assert_eq!(send_one(here.as_fd(), to, contents).unwrap(), contents.len());
        }
        let mut buffer = [0; 8];
        let mut next = || recv_one(there.as_fd(), &mut buffer).map(|it| it.map(|it| (it.from, it.len)));
        assert_eq!(next().unwrap(), Some((from, 8)));
        assert_eq!(next().unwrap(), None);
        assert_eq!(next().unwrap(), Some((from, 0)));
        assert_eq!(next().unwrap(), Some((from, 1)));
        assert_eq!(next().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(buffer[..2], *b"12");
    }
}

/// Two bound sockets and their addresses.
fn pair(loopback: SocketAddr) -> ((UdpSocket, SocketAddr), (UdpSocket, SocketAddr)) {
    let bound = || {
        let socket = UdpSocket::bind(loopback).unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    };
    (bound(), bound())
}

/// Receives into buffers of `size` bytes until `count` places are filled; a dropped datagram is `None`.
fn receive(socket: &UdpSocket, count: usize, size: usize) -> Vec<Option<(SocketAddr, Vec<u8>)>> {
    let give_up = Instant::now() + Duration::from_secs(5);
    let mut taken = Vec::new();
    while taken.len() < count {
        let mut memory = vec![vec![0xEE; size]; BATCH];
        let mut buffers: Vec<_> = memory.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
        let mut datagrams = [None; BATCH];
        match recv_batch(socket.as_fd(), &mut buffers, &mut datagrams) {
            Ok(filled) => taken.extend(
                datagrams[..filled]
                    .iter()
                    .zip(&memory)
                    .map(|(datagram, bytes)| datagram.map(|it| (it.from, bytes[..it.len].to_vec()))),
            ),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < give_up => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("{} of {count} received: {error}", taken.len()),
        }
    }
    taken
}

#[test]
fn segments_arrive_in_order_with_their_sender_and_a_shorter_last_one() {
    for loopback in loopbacks() {
        let ((here, from), (there, to)) = pair(loopback);
        let contents: Vec<u8> = (0..9 * 1200 + 7).map(|n| (n / 5) as u8).collect();
        assert_eq!(send_batch(here.as_fd(), to, &contents, 1200).unwrap(), 10);
        let sent: Vec<_> = contents.chunks(1200).map(|segment| Some((from, segment.to_vec()))).collect();
        assert_eq!(receive(&there, 10, 1500), sent, "{loopback}");
    }
}

#[test]
fn more_than_a_batch_is_taken_in_several_calls() {
    for loopback in loopbacks() {
        let ((here, _), (there, to)) = pair(loopback);
        let contents: Vec<u8> = (0..BATCH as u8 + 3).collect();
        assert_eq!(send_batch(here.as_fd(), to, &contents, 1).unwrap(), BATCH);
        assert_eq!(send_batch(here.as_fd(), to, &contents[BATCH..], 1).unwrap(), 3);
        let held: Vec<u8> =
            receive(&there, BATCH + 3, 8).into_iter().flat_map(|one| one.unwrap().1).collect();
        assert_eq!(held, contents);
    }
}

#[test]
fn longest_datagram_goes_through_whole() {
    for loopback in loopbacks() {
        let ((here, from), (there, to)) = pair(loopback);
        let contents = vec![7; 65_507];
        assert_eq!(send_batch(here.as_fd(), to, &contents, contents.len()).unwrap(), 1);
        assert_eq!(receive(&there, 1, 65_536), [Some((from, contents))]);
    }
}

#[test]
fn datagram_that_fills_its_buffer_is_whole_and_a_longer_one_is_dropped() {
    for loopback in loopbacks() {
        let ((here, from), (there, to)) = pair(loopback);
        for contents in [&b"12345678"[..], b"123456789", b"1234567"] {
            send_batch(here.as_fd(), to, contents, 100).unwrap();
        }
        let expected = [Some((from, b"12345678".to_vec())), None, Some((from, b"1234567".to_vec()))];
        assert_eq!(receive(&there, 3, 8), expected);
    }
}

#[test]
fn empty_datagram_is_received_as_one() {
    for loopback in loopbacks() {
        let ((here, from), (there, to)) = pair(loopback);
        here.send_to(b"", to).unwrap();
        assert_eq!(receive(&there, 1, 8), [Some((from, Vec::new()))]);
    }
}

#[test]
fn no_more_is_received_than_there_are_places() {
    for loopback in loopbacks() {
        let ((here, from), (there, to)) = pair(loopback);
        send_batch(here.as_fd(), to, b"abc", 1).unwrap();
        let (mut first, mut second) = ([0; 4], [0; 4]);
        let mut buffers = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        let mut datagrams = [None; 1];
        let filled = recv_batch(there.as_fd(), &mut buffers, &mut datagrams).unwrap();
        assert_eq!((filled, datagrams), (1, [Some(Datagram { from, len: 1 })]));
        assert_eq!((first, second), ([b'a', 0, 0, 0], [0; 4]));
        assert_eq!(receive(&there, 2, 8).len(), 2);
    }
}

#[test]
fn nothing_to_do_calls_nothing() {
    let ((here, _), (_, to)) = pair(loopbacks()[0]);
    assert_eq!(send_batch(here.as_fd(), to, b"", 1200).unwrap(), 0);
    assert_eq!(send_batch(here.as_fd(), to, b"x", 0).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!(recv_batch(here.as_fd(), &mut [], &mut [None]).unwrap(), 0);
}

#[test]
fn silence_is_would_block_and_not_a_wait() {
    let ((here, _), _) = pair(loopbacks()[0]);
    let mut memory = [0; 8];
    let error = recv_batch(here.as_fd(), &mut [IoSliceMut::new(&mut memory)], &mut [None]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn refusal_of_the_first_datagram_is_its_error() {
    let ((here, _), (_, to)) = pair(loopbacks()[0]);
    let long = vec![0; 2 * 65_508];
    let error = send_batch(here.as_fd(), to, &long, 65_508).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
    let file = std::fs::File::open("/dev/null").unwrap();
    let error = send_batch(file.as_fd(), to, b"x", 1).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOTSOCK));
    let error = send_one(here.as_fd(), to, &long[..65_508]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
    let error = recv_one(file.as_fd(), &mut []).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOTSOCK));
}

const THIS: &str = "udp::tests::every_test_here_passes_over_the_entry_of_gramine";
/// Set in the child.
const MARK: &str = "FL_SYS_STAND_IN";
