//! Moving bytes between peers.
//!
//! Everything above this module sees a [`Link`]: one control stream that carries bounded envelopes, and uni
//! streams in both directions that carry payloads. An [`Endpoint`] makes links over QUIC or over TCP;
//! [`Link::pair`] makes two that are connected inside this process, for tests and simulation. This module
//! interprets no envelope and decides nothing: sessions do.

pub mod backoff;
pub mod carrier;
pub mod endpoint;
pub mod error;
pub mod link;
mod local;
pub mod open_links;
pub mod payload;
pub(crate) mod places;
pub mod proxy;
pub mod quic;
pub mod sockets;
pub mod stream;
mod tcp;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
pub(crate) mod refusing;
#[cfg(test)]
use quic::IDLE_WINDOW;

pub use carrier::{Carrier, EndpointError, SocketKind};
pub use endpoint::{Endpoint, Incoming};
pub use error::LinkError;
pub use link::{ControlReceiver, ControlSender, Link, LinkHandle};
pub use open_links::OpenLinks;
pub use proxy::{Tunnel, fault::ProxyFault};
pub use quic::{NetLimits, ResetKey};
pub use sockets::Sockets;
pub use stream::{RecvStream, SendStream};

/// The protocol name that both ends of a TLS handshake must agree on.
pub const ALPN: &[u8] = b"fl/1";

/// Most bytes that one read of a stream returns.
pub const READ_BYTES: usize = 256 * 1024;
