//! Why a link or one of its streams failed. Every function of `net` returns this error. Text from a peer is
//! cleaned of control characters first.

use std::net::SocketAddr;

use fl_engine::printable::one_line;
use quinn_proto::TransportErrorCode;

use super::proxy::fault::ProxyFault;
use crate::trust::handshake::{refused_here, refused_there};

/// Failure of a link, of one stream, or of opening either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The peer closed the link.
    #[error("the peer closed the link with code {code}{}", after_colon(reason))]
    Closed {
        /// The peer's close code.
        code: u32,
        /// The peer's reason, cut to a bounded length and without control characters.
        reason: String,
    },
    /// This side closed the link.
    #[error("this side closed the link")]
    ClosedHere,
    /// The peer sent nothing for the idle timeout, or not in the time that was allowed.
    #[error("the peer did not answer in time")]
    TimedOut,
    /// This side ended the TLS handshake.
    #[error("the TLS handshake failed: {0}")]
    Handshake(String),
    /// The peer ended the TLS handshake with this alert. Before the peer's certificate has verified, anybody
    /// can have sent the alert.
    #[error("the TLS handshake failed: {}", refused_there(*.0))]
    Alert(u8),
    /// A newer link needed the place of this one, which had not come far.
    #[error("a newer link needed the place of this one")]
    GaveWay,
    /// The peer has no place for another link now.
    #[error("the peer has no free place for another link")]
    Busy,
    /// Any other failure of the transport.
    #[error("the connection failed: {0}")]
    Transport(String),
    /// The sender dropped the stream before finishing it.
    #[error("the sender gave the stream up before its end")]
    Abandoned,
    /// The receiver no longer wants the stream.
    #[error("the other side stopped receiving")]
    Refused,
    /// The stream ended inside an envelope or a header.
    #[error("the stream ended too early")]
    Ended,
    /// An envelope or header is longer than its bound.
    #[error("the peer announced {bytes} bytes, but may send at most {limit}")]
    TooLarge {
        /// Announced length, bytes.
        bytes: u64,
        /// The bound, bytes.
        limit: u64,
    },
    /// An earlier send was cancelled in the middle of an envelope, so the control stream is unusable.
    #[error("an earlier message was cut short on this side")]
    Interrupted,
    /// The control stream did not begin with this protocol's mark.
    #[error("the peer does not speak fl/1")]
    WrongProtocol,
    /// The proxy made no connection to the peer. Anybody on the way to the proxy can have caused this.
    #[error("the proxy {proxy} {fault}")]
    Proxy {
        /// Host and port of the proxy.
        proxy: String,
        /// What the proxy did.
        fault: ProxyFault,
    },
    /// The address cannot be dialled.
    #[error("cannot connect to {0}: {1}")]
    Dial(SocketAddr, String),
}

fn after_colon(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

impl LinkError {
    /// A peer's close, safe to log.
    pub(crate) fn closed(code: u64, reason: &[u8]) -> Self {
        let reason = String::from_utf8_lossy(&reason[..reason.len().min(REASON_BYTES)]);
        let reason = one_line(&reason).into_owned();
        Self::Closed { code: u32::try_from(code).unwrap_or(u32::MAX), reason }
    }
}

impl From<quinn::ConnectionError> for LinkError {
    fn from(error: quinn::ConnectionError) -> Self {
        use quinn::ConnectionError as E;
        // RFC 9001, 4.8: a TLS alert is transport error 0x100 + alert.
        let is_tls = |code: u64| (0x100..0x200).contains(&code);
        match error {
            E::ApplicationClosed(close) => Self::closed(close.error_code.into_inner(), &close.reason),
            E::ConnectionClosed(close) if is_tls(close.error_code.into()) => {
                Self::Alert(u64::from(close.error_code) as u8)
            }
            E::ConnectionClosed(close) if close.error_code == TransportErrorCode::CONNECTION_REFUSED => {
                Self::Busy
            }
            E::TransportError(error) if is_tls(error.code.into()) => {
                Self::Handshake(refused_here(&error.reason))
            }
            E::LocallyClosed => Self::ClosedHere,
            E::TimedOut => Self::TimedOut,
            other => Self::Transport(other.to_string()),
        }
    }
}

impl From<quinn::ReadError> for LinkError {
    fn from(error: quinn::ReadError) -> Self {
        match error {
            quinn::ReadError::ConnectionLost(lost) => lost.into(),
            quinn::ReadError::Reset(_) => Self::Abandoned,
            other => Self::Transport(other.to_string()),
        }
    }
}

impl From<quinn::WriteError> for LinkError {
    fn from(error: quinn::WriteError) -> Self {
        match error {
            quinn::WriteError::ConnectionLost(lost) => lost.into(),
            quinn::WriteError::Stopped(_) => Self::Refused,
            other => Self::Transport(other.to_string()),
        }
    }
}

/// Longest close reason that is kept from a peer, bytes.
const REASON_BYTES: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_reason_is_cut_and_cleaned() {
        let LinkError::Closed { code, reason } = LinkError::closed(u64::MAX >> 2, &[b'\n'; 500]) else {
            panic!("not a close")
        };
        assert_eq!((code, reason), (u32::MAX, "\\u{a}".repeat(REASON_BYTES)));
        assert_eq!(LinkError::closed(0, b"").to_string(), "the peer closed the link with code 0");
        assert_eq!(LinkError::closed(5, b"off").to_string(), "the peer closed the link with code 5: off");
    }
}
