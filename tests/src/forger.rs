//! What anybody on the network can answer to a client's first bytes, without any certificate. Over QUIC, the
//! keys of an Initial follow from the Initial itself (RFC 9001, section 5.2). Over TCP, the first records of
//! TLS are plain.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use rustls::{
    Side, SupportedCipherSuite,
    crypto::ring,
    quic::{Suite, Version},
};

/// A port on loopback that answers as an aggregator's port would, without any key.
pub struct Forger {
    port: Port,
    /// Longest wait for a client.
    within: Duration,
}

enum Port {
    Udp(UdpSocket),
    Tcp(TcpListener),
}

impl Forger {
    /// Listens on a UDP port, or with `tcp` on a TCP port.
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub fn listen(port: u16, tcp: bool, within: Duration) -> io::Result<Self> {
        let here = (Ipv4Addr::LOCALHOST, port);
        let port = if tcp {
            let listener = TcpListener::bind(here)?;
            listener.set_nonblocking(true)?;
            Port::Tcp(listener)
        } else {
            let socket = UdpSocket::bind(here)?;
            socket.set_read_timeout(Some(within))?;
            Port::Udp(socket)
        };
        Ok(Self { port, within })
    }

    /// Waits for a client, and ends its handshake with this TLS alert. True when an answer was sent.
    ///
    /// # Errors
    /// The socket's, also when no client comes in time.
    pub fn forge_close(&self, alert: u8) -> io::Result<bool> {
        match &self.port {
            Port::Udp(socket) => {
                let mut datagram = [0; 65_536];
                let (length, peer) = socket.recv_from(&mut datagram)?;
                let Some(close) = closing(&datagram[..length], alert) else { return Ok(false) };
                socket.send_to(&close, peer)?;
            }
            Port::Tcp(listener) => {
                let until = Instant::now() + self.within;
                let mut client = loop {
                    match listener.accept() {
                        Ok((client, _)) => break client,
                        Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                        Err(error) if Instant::now() > until => return Err(error),
                        Err(_) => thread::sleep(Duration::from_millis(10)),
                    }
                };
                client.set_nonblocking(false)?;
                client.set_read_timeout(Some(self.within))?;
                // A fatal alert in a record of TLS.
                client.write_all(&[21, 3, 3, 0, 2, 2, alert])?;
                // The system takes back what was written if the connection ends with unread bytes.
                let _ = client.read_to_end(&mut Vec::new());
            }
        }
        Ok(true)
    }
}

/// The closing packet for an Initial of version 1.
fn closing(initial: &[u8], alert: u8) -> Option<Vec<u8>> {
    if initial.first()? & 0xf0 != 0xc0 {
        return None;
    }
    let (destination, rest) = connection_id(initial.get(5..)?)?;
    let (source, _) = connection_id(rest)?;
    let keys = suite()?.keys(destination, Side::Server, Version::V1);
    // CONNECTION_CLOSE (RFC 9000, section 19.19): the alert as an error of CRYPTO frames, and no reason.
    let mut payload = vec![0x1c, 0x41, alert, 0x06, 0];
    payload.resize(PAYLOAD, 0);
    // A long header with a packet number of one byte, no token, and the length in two bytes.
    let mut packet = vec![0xc0, 0, 0, 0, 1, u8::try_from(source.len()).ok()?];
    packet.extend(source);
    packet.extend([8, 1, 2, 3, 4, 5, 6, 7, 8, 0]);
    let number_and_payload = 1 + PAYLOAD + keys.local.packet.tag_len();
    packet.extend((0x4000 | u16::try_from(number_and_payload).ok()?).to_be_bytes());
    let at = packet.len();
    packet.push(0);
    let tag = keys.local.packet.encrypt_in_place(0, &packet, &mut payload).ok()?;
    packet.extend(payload);
    packet.extend(tag.as_ref());
    let sample = packet.get(at + 4..at + 4 + keys.local.header.sample_len())?.to_vec();
    let (head, tail) = packet.split_at_mut(at);
    keys.local.header.encrypt_in_place(&sample, head.first_mut()?, &mut tail[..1]).ok()?;
    Some(packet)
}

/// A connection identifier behind its length, and what follows.
fn connection_id(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

fn suite() -> Option<Suite> {
    match ring::cipher_suite::TLS13_AES_128_GCM_SHA256 {
        SupportedCipherSuite::Tls13(suite) => suite.quic_suite(),
        #[allow(unreachable_patterns, reason = "another variant exists with TLS 1.2")]
        _ => None,
    }
}

/// Bytes of the frame and its padding.
const PAYLOAD: usize = 64;
