//! What anybody on the network can answer to a client's first datagram, without any certificate: the keys of
//! an Initial follow from the Initial itself (RFC 9001, section 5.2).

use std::net::UdpSocket;

use rustls::{
    crypto::ring,
    quic::{Suite, Version},
    {Side, SupportedCipherSuite},
};

/// Waits for a datagram at `socket`, and answers an Initial with a packet that closes the connection with
/// this TLS alert. True when an answer was sent.
///
/// # Errors
/// The socket's, also when nothing comes in its time.
pub fn forge_close(socket: &UdpSocket, alert: u8) -> std::io::Result<bool> {
    let mut datagram = [0; 65_536];
    let (length, peer) = socket.recv_from(&mut datagram)?;
    let Some(close) = closing(&datagram[..length], alert) else { return Ok(false) };
    socket.send_to(&close, peer)?;
    Ok(true)
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
