//! Moving bytes between peers.
//!
//! Everything above this module sees a [`Link`]: one control stream that carries bounded envelopes, and uni
//! streams in both directions that carry payloads. An [`Endpoint`] makes links over QUIC; [`Link::pair`]
//! makes two that are connected inside this process, for tests and simulation. This module interprets no
//! envelope and decides nothing: sessions do.

pub mod backoff;
pub mod error;
pub mod link;
mod local;
pub mod payload;
pub(crate) mod places;
pub mod quic;
pub mod stream;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
pub(crate) mod refusing;

pub use error::LinkError;
pub use link::{ControlReceiver, ControlSender, Link, LinkHandle};
pub use quic::{Endpoint, EndpointError, Incoming, NetLimits, ResetKey, SocketKind, Sockets};
pub use stream::{RecvStream, SendStream};

/// The protocol name that both ends of a TLS handshake must agree on.
pub const ALPN: &[u8] = b"fl/1";

/// Most bytes that one read of a stream returns.
pub const READ_BYTES: usize = 256 * 1024;
