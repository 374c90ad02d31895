//! Links over QUIC: TLS 1.3 both ways, bounded windows, and a UDP socket that also works where socket options and
//! control messages are refused.

pub mod endpoint;
pub(super) mod parting;
pub mod portable;
pub mod transport;

pub use endpoint::{Endpoint, EndpointError, Incoming, SocketKind};
pub use transport::{IDLE_WINDOW, LINK_STATE, NetLimits};
