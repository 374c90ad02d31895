//! Moving bytes between peers.
//!
//! Everything above this module sees a [`link::Link`]: one control stream that carries bounded envelopes, and uni
//! streams in both directions that carry payloads. QUIC implements it for the field, [`local`] for tests and
//! simulation. This module never interprets an envelope and never decides anything: sessions do.

pub mod backoff;
pub mod error;
pub mod link;
pub mod local;
pub mod payload;
pub mod quic;
pub mod stream;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
pub(crate) mod refusing;

pub use error::LinkError;
pub use link::{ControlReceiver, ControlSender, Link, LinkHandle};
pub use quic::{Endpoint, Incoming, NetLimits, SocketKind};
pub use stream::{RecvStream, SendStream};

/// The protocol name that both ends of a TLS handshake must agree on.
pub const ALPN: &[u8] = b"fl/1";
