//! The TLS handshake on a TCP socket, and the socket as rustls sees it.

use std::io::{self, IoSlice, Read, Write};

use rustls::{Connection, Error};
use tokio::net::TcpStream;

use crate::{
    net::{ALPN, LinkError},
    trust::handshake::refused_here,
};

/// A socket that says "not now" where it would wait.
struct Ready<'a>(&'a TcpStream);

impl Read for Ready<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Ready<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Shakes hands, and checks that the peer speaks this protocol.
///
/// # Errors
/// Why there is no connection. The alert that tells the peer was sent.
///
/// # Cancel safety
/// Not cancel-safe: drop the socket.
pub(super) async fn shake(socket: &TcpStream, tls: &mut Connection) -> Result<(), LinkError> {
    loop {
        flush(socket, tls).await.map_err(broken)?;
        if !tls.is_handshaking() {
            let speaks = tls.alpn_protocol() == Some(ALPN);
            return if speaks { Ok(()) } else { Err(LinkError::WrongProtocol) };
        }
        socket.readable().await.map_err(broken)?;
        match tls.read_tls(&mut Ready(socket)) {
            Ok(0) => return Err(LinkError::Transport(ENDED.to_owned())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(broken(error)),
        }
        if let Err(error) = tls.process_new_packets() {
            // The error itself says more than a failed alert does.
            let _ = flush(socket, tls).await;
            return Err(refused(error));
        }
    }
}

/// Sends what TLS has for the peer.
async fn flush(socket: &TcpStream, tls: &mut Connection) -> io::Result<()> {
    while !send_now(socket, tls)? {
        socket.writable().await?;
    }
    Ok(())
}

/// Sends what TLS has for the peer, as far as the socket has room. Returns whether that was all.
pub(super) fn send_now(socket: &TcpStream, tls: &mut Connection) -> io::Result<bool> {
    while tls.wants_write() {
        match tls.write_tls(&mut Ready(socket)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// An error of TLS. rustls names the alert that the peer has sent.
pub(super) fn refused(error: Error) -> LinkError {
    match error {
        Error::AlertReceived(alert) if u8::from(alert) == BUSY => LinkError::Busy,
        Error::AlertReceived(alert) => LinkError::Alert(alert.into()),
        error => LinkError::Handshake(refused_here(&error.to_string())),
    }
}

/// An error of the socket.
pub(super) fn broken(error: io::Error) -> LinkError {
    LinkError::Transport(match error.kind() {
        io::ErrorKind::ConnectionReset => "reset by peer".to_owned(),
        io::ErrorKind::BrokenPipe => ENDED.to_owned(),
        _ => error.to_string(),
    })
}

/// The alert of a side that has no place: "user_canceled", for a reason that is no fault of the protocol
/// (RFC 8446, section 6.1).
pub(super) const BUSY: u8 = 90;
/// The connection ended and nobody said why.
pub(super) const ENDED: &str = "the peer ended the connection without a reason";
