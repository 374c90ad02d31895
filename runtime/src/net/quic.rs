//! Links over QUIC: TLS 1.3 with certificates on both sides, bounded windows, and a UDP socket that also
//! works where the system refuses socket options and control messages.

pub(super) mod endpoint;
pub(super) mod parting;
pub mod portable;
pub mod resets;
pub mod transport;

pub use resets::ResetKey;
pub use transport::{IDLE_WINDOW, LINK_STATE, NetLimits};
