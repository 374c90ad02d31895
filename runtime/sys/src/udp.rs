//! Sends and receives UDP datagrams, many or one in a system call, for sockets without segmentation offload.
//! The portable QUIC socket uses this module.
//!
//! All calls are made by number, through the entry that [`syscall`] chose. This also avoids musl's `sendmmsg`
//! and `recvmmsg`, which are loops over single messages. The calls never wait. They pass no control message
//! and no timeout, because a library OS refuses both. They allocate nothing: a call takes at most [`BATCH`]
//! datagrams, in arrays on the stack.

use std::{
    io::{self, IoSliceMut},
    mem::{self, offset_of, size_of},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

use libc::{iovec, mmsghdr, sockaddr_in, sockaddr_in6};

use crate::syscall;

/// One received datagram. Its bytes are at the start of the buffer with the same index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The sender.
    pub from: SocketAddr,
    /// Length in bytes; a datagram may be empty.
    pub len: usize,
}

/// Sends `contents` to `destination` as datagrams of `segment_size` bytes, of which the last one may be
/// shorter. Returns how many of them the kernel took, counted from the first. If the number is smaller than
/// that of all datagrams, the next one failed; sending the rest returns the reason.
///
/// # Errors
/// The reason why the first datagram was not sent; `WouldBlock` when there is no room. `InvalidInput` for
/// segments of 0 bytes.
pub fn send_batch(
    fd: BorrowedFd<'_>,
    destination: SocketAddr,
    contents: &[u8],
    segment_size: usize,
) -> io::Result<usize> {
    if segment_size == 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let (mut name, name_len) = named(destination);
    let name = ptr::from_mut(&mut name).cast();
    let mut pieces = [NO_PIECE; BATCH];
    let mut messages = no_messages();
    let mut count = 0;
    for ((segment, piece), message) in contents.chunks(segment_size).zip(&mut pieces).zip(&mut messages) {
        // The kernel reads a piece that is sent, and never writes to the piece.
        *piece = iovec { iov_base: segment.as_ptr().cast_mut().cast(), iov_len: segment.len() };
        message.msg_hdr.msg_name = name;
        message.msg_hdr.msg_namelen = name_len;
        message.msg_hdr.msg_iov = piece;
        message.msg_hdr.msg_iovlen = 1;
        count += 1;
    }
    if count == 0 {
        return Ok(0);
    }
    // SAFETY: `messages` holds `count` headers or more. Each points to one address and one piece, which live
    // on this stack frame, and the piece into `contents`, which is borrowed for the whole call. The kernel
    // writes nothing but `msg_len` of the headers.
    unsafe {
        syscall::call(
            libc::SYS_sendmmsg,
            [
                fd.as_raw_fd() as usize,
                messages.as_mut_ptr().expose_provenance(),
                count,
                (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as usize,
                0,
                0,
            ],
        )
    }
}

/// Receives up to as many datagrams as there are places in both `buffers` and `datagrams`, one a buffer, and
/// returns how many places were filled. A place is `None` when its datagram has to be dropped: the datagram
/// was longer than its buffer, or the sender's address is not an internet address.
///
/// # Errors
/// `WouldBlock` when nothing has arrived, else the error of the system.
pub fn recv_batch(
    fd: BorrowedFd<'_>,
    buffers: &mut [IoSliceMut<'_>],
    datagrams: &mut [Option<Datagram>],
) -> io::Result<usize> {
    let mut names = [NO_NAME; BATCH];
    let mut pieces = [NO_PIECE; BATCH];
    let mut messages = no_messages();
    let count = buffers.len().min(datagrams.len()).min(BATCH);
    if count == 0 {
        return Ok(0);
    }
    for (((buffer, piece), name), message) in
        buffers.iter_mut().zip(&mut pieces).zip(&mut names).zip(&mut messages)
    {
        *piece = iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        message.msg_hdr.msg_name = ptr::from_mut(name).cast();
        message.msg_hdr.msg_namelen = V6_LEN;
        message.msg_hdr.msg_iov = piece;
        message.msg_hdr.msg_iovlen = 1;
    }
    // SAFETY: `messages` holds `count` headers or more, and `buffers` too, so each of the first `count` was
    // set above. A header points to one name and one piece, which live on this stack frame, and the piece to
    // a buffer that is borrowed mutably for the whole call. The kernel writes no more to a name or a buffer
    // than the lengths given. A null timeout means none.
    let received = unsafe {
        syscall::call(
            libc::SYS_recvmmsg,
            [
                fd.as_raw_fd() as usize,
                messages.as_mut_ptr().expose_provenance(),
                count,
                libc::MSG_DONTWAIT as usize,
                0,
                0,
            ],
        )
    }?;
    for ((message, name), datagram) in messages.iter().zip(&names).zip(datagrams.iter_mut()).take(received) {
        let is_whole = message.msg_hdr.msg_flags & libc::MSG_TRUNC == 0;
        let from = if is_whole { address(name, message.msg_hdr.msg_namelen) } else { None };
        *datagram = from.map(|from| Datagram { from, len: message.msg_len as usize });
    }
    Ok(received)
}

/// Sends `contents` to `destination` as one datagram, and returns its length.
///
/// # Errors
/// `WouldBlock` when there is no room, else the error of the system.
pub fn send_one(fd: BorrowedFd<'_>, destination: SocketAddr, contents: &[u8]) -> io::Result<usize> {
    let (name, name_len) = named(destination);
    // SAFETY: the kernel reads `contents` and the name, each no further than the length given, and writes
    // nothing. Both are borrowed or live for the whole call.
    unsafe {
        syscall::call(
            libc::SYS_sendto,
            [
                fd.as_raw_fd() as usize,
                contents.as_ptr().expose_provenance(),
                contents.len(),
                (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as usize,
                ptr::from_ref(&name).expose_provenance(),
                name_len as usize,
            ],
        )
    }
}

/// Receives one datagram into `buffer`. `None` when the datagram has to be dropped: the sender's address is
/// not an internet address, or the datagram was longer than the buffer.
///
/// # Errors
/// `WouldBlock` when nothing has arrived, else what the system says.
pub fn recv_one(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<Datagram>> {
    let mut name = NO_NAME;
    let mut name_len = V6_LEN;
    // SAFETY: `buffer` is borrowed mutably for the whole call; the name and its length live on this stack
    // frame. The kernel writes no more to the buffer and the name than the lengths given. Every bit pattern
    // is a value of both.
    let received = unsafe {
        syscall::call(
            libc::SYS_recvfrom,
            [
                fd.as_raw_fd() as usize,
                buffer.as_mut_ptr().expose_provenance(),
                buffer.len(),
                // With MSG_TRUNC the answer is the length of the whole datagram.
                (libc::MSG_DONTWAIT | libc::MSG_TRUNC) as usize,
                ptr::from_mut(&mut name).expose_provenance(),
                ptr::from_mut(&mut name_len).expose_provenance(),
            ],
        )
    }?;
    let from = if received <= buffer.len() { address(&name, name_len) } else { None };
    Ok(from.map(|from| Datagram { from, len: received }))
}

/// An address in the kernel's form. Both kinds fit into the larger one.
fn named(address: SocketAddr) -> (sockaddr_in6, libc::socklen_t) {
    match address {
        SocketAddr::V4(address) => {
            let name = sockaddr_in6 {
                sin6_family: libc::AF_INET as libc::sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: u32::from_ne_bytes(address.ip().octets()),
                ..NO_NAME
            };
            (name, V4_LEN)
        }
        SocketAddr::V6(address) => {
            let name = sockaddr_in6 {
                sin6_port: address.port().to_be(),
                sin6_flowinfo: address.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                sin6_scope_id: address.scope_id(),
                ..NO_NAME
            };
            (name, V6_LEN)
        }
    }
}

/// The address that the kernel wrote.
fn address(name: &sockaddr_in6, len: libc::socklen_t) -> Option<SocketAddr> {
    let port = u16::from_be(name.sin6_port);
    match (i32::from(name.sin6_family), len) {
        (libc::AF_INET, V4_LEN) => {
            let ip = Ipv4Addr::from(name.sin6_flowinfo.to_ne_bytes());
            Some(SocketAddrV4::new(ip, port).into())
        }
        (libc::AF_INET6, V6_LEN) => {
            let ip = name.sin6_addr.s6_addr.into();
            Some(SocketAddrV6::new(ip, port, name.sin6_flowinfo, name.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// Empty headers. musl's headers have private padding, so they cannot be written as literals.
fn no_messages() -> [mmsghdr; BATCH] {
    // SAFETY: integers and raw pointers, for which zero is a value: no name, no piece, no control message.
    unsafe { mem::zeroed() }
}

/// The largest number of datagrams of one call. The caller repeats the call for more.
pub const BATCH: usize = 32;

const NO_PIECE: iovec = iovec { iov_base: ptr::null_mut(), iov_len: 0 };
const NO_NAME: sockaddr_in6 = sockaddr_in6 {
    sin6_family: libc::AF_INET6 as libc::sa_family_t,
    sin6_port: 0,
    sin6_flowinfo: 0,
    sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
    sin6_scope_id: 0,
};
const V4_LEN: libc::socklen_t = size_of::<sockaddr_in>() as libc::socklen_t;
const V6_LEN: libc::socklen_t = size_of::<sockaddr_in6>() as libc::socklen_t;

// `named` and `address` hold an IPv4 name in the IPv6 structure: family and port are at the same place in
// both, and the address is where the flow label is.
const _: () = assert!(
    offset_of!(sockaddr_in, sin_family) == offset_of!(sockaddr_in6, sin6_family)
        && offset_of!(sockaddr_in, sin_port) == offset_of!(sockaddr_in6, sin6_port)
        && offset_of!(sockaddr_in, sin_addr) == offset_of!(sockaddr_in6, sin6_flowinfo)
        && V4_LEN < V6_LEN
);

#[cfg(test)]
mod tests;
