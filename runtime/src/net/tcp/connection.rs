//! Opens a connection of TCP to an aggregator or to a proxy. The endpoint and the tunnel through a proxy call
//! it.

use std::{io, net::SocketAddr};

use tokio::net::{TcpSocket, TcpStream};

/// A connection to `addr`. Off this machine, both sides send packets that every path carries: some tunnels
/// lose larger packets without an answer, and the system would then send the same packet again until the link
/// is dead.
///
/// # Errors
/// The system's.
///
/// # Cancel safety
/// Cancel-safe: the connection is closed.
pub(in crate::net) async fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if !addr.ip().is_loopback() {
        // A system that refuses the option has a size of its own.
        let _ = socket2::SockRef::from(&socket).set_tcp_mss(SEGMENT);
    }
    socket.connect(addr).await
}

/// Largest segment, bytes: with the headers of IPv6 and TCP, a packet of 1280 bytes, which every network of
/// IPv6 carries (RFC 8200, section 5).
const SEGMENT: u32 = 1220;
