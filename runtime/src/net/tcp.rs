//! Links over TCP: TLS 1.3 with certificates on both sides, and several streams on one connection. For sites
//! whose firewall lets no UDP through.
//!
//! [`frame`] and [`mux`] decide and do no I/O. A [`driver`] moves bytes between them, TLS and the socket.

pub(super) mod connection;
mod driver;
pub(super) mod end;
pub(super) mod endpoint;
mod frame;
mod handshake;
mod mux;
