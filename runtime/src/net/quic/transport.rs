//! The numbers of the QUIC transport (windows, stream counts, timeouts, datagram sizes), as quinn's
//! configuration.

use std::{sync::Arc, time::Duration};

use fl_engine::aggregate::{PEER_BYTES, send_window};
use quinn::{IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

use super::parting::PartingConfig;
use crate::net::open_links::OpenLinks;

/// Bounds of one endpoint.
#[derive(Clone, Debug)]
pub struct NetLimits {
    /// Receive window of a link at its start, bytes.
    pub first_window: u64,
    /// Largest window that a grant can open, bytes.
    pub most_window: u64,
    /// Bytes sent on one link and not acknowledged yet. They share the payload's memory.
    pub send_window: u64,
    /// Uni streams that a peer may have open at once.
    pub uni_streams: u32,
    /// Most handshakes at a time (server). With more, an old one gives way.
    pub handshakes: usize,
    /// With this many handshakes at a time, a new peer must prove its address first, and has
    /// `SHORT_HANDSHAKE` only (server).
    pub retry_from: usize,
    /// Most open links at a time (server). More than there are members: a member's old link may stay open for
    /// a while.
    pub links: usize,
    /// The links that count towards `links`: those of all endpoints with a clone of these limits.
    pub open: OpenLinks,
    /// Longest time for a handshake and the first bytes of the control stream.
    pub handshake_time: Duration,
    /// Largest datagram that the site's network carries according to its operator, bytes of UDP payload.
    /// Sizes above 1452 are used by the portable socket only, after a probe has arrived.
    pub mtu: u16,
}

impl NetLimits {
    /// For an aggregator: peers begin with [`IDLE_WINDOW`] and are granted more for an upload.
    #[must_use]
    pub fn server() -> Self {
        Self {
            first_window: IDLE_WINDOW,
            most_window: GRANTED_WINDOW,
            send_window: send_window(1).0,
            uni_streams: 4,
            handshakes: 128,
            retry_from: 32,
            links: 4096,
            open: OpenLinks::default(),
            handshake_time: Duration::from_secs(10),
            mtu: INITIAL_MTU,
        }
    }

    /// These limits for a roster of `members` collaborators, which may grow by a quarter during the run. The
    /// bytes that are being sent to all of them share one bound.
    #[must_use]
    pub fn with_members(self, members: usize) -> Self {
        let send_window = send_window(members as u64).0;
        Self { links: self.links.max(members + members / 4), send_window, ..self }
    }

    /// For a collaborator: its only peer may send a model at any time, and may not run yet.
    #[must_use]
    pub fn client() -> Self {
        Self { first_window: GRANTED_WINDOW, handshake_time: Duration::from_secs(5), ..Self::server() }
    }

    /// Whether `held` handshakes at a time are so many that a new peer has to hurry.
    pub(in crate::net) fn is_short_of_places(&self, held: usize) -> bool {
        held >= self.retry_from
    }

    /// Longest time for a handshake that begins beside `held` others.
    pub(in crate::net) fn time_beside(&self, held: usize) -> Duration {
        let most = if self.is_short_of_places(held) { SHORT_HANDSHAKE } else { Duration::MAX };
        self.handshake_time.min(most)
    }

    /// quinn's configuration. `dialled`: whether the peer dialled, and so may open the control stream.
    /// `jumbo` allows datagrams over 1452 bytes.
    pub(super) fn transport(&self, dialled: bool, jumbo: bool) -> Arc<TransportConfig> {
        let var = |n: u64| VarInt::from_u64(n).unwrap_or(VarInt::MAX);
        let mtu = self.mtu.max(LEAST_MTU);
        let mut discovery = MtuDiscoveryConfig::default();
        discovery.upper_bound(if jumbo { mtu } else { mtu.min(INITIAL_MTU) });
        let mut config = TransportConfig::default();
        config
            .receive_window(var(self.first_window))
            .stream_receive_window(var(self.most_window))
            .send_window(self.send_window)
            .max_concurrent_uni_streams(self.uni_streams.into())
            .max_concurrent_bidi_streams(u32::from(dialled).into())
            .max_idle_timeout(Some(IdleTimeout::from(IDLE_TIMEOUT)))
            .keep_alive_interval(Some(if dialled { KEEP_ALIVE } else { ASKING }))
            .initial_mtu(mtu.min(INITIAL_MTU))
            .min_mtu(LEAST_MTU)
            .mtu_discovery_config(Some(discovery))
            .packet_threshold(PACKET_THRESHOLD)
            .time_threshold(TIME_THRESHOLD)
            .crypto_buffer_size(CRYPTO_BYTES)
            .congestion_controller_factory(Arc::new(PartingConfig::default()))
            .datagram_receive_buffer_size(None);
        Arc::new(config)
    }
}

/// Longest time for a handshake while many are under way.
const SHORT_HANDSHAKE: Duration = Duration::from_secs(2);
/// Handshakes at a time of one socket of a peer. An honest one dials once, and again when that failed; a
/// bench carries many members over one socket.
pub(crate) const HANDSHAKES_OF_A_SOCKET: usize = 24;
/// Handshakes at a time of one address: many members of one site may share it.
pub(crate) const HANDSHAKES_OF_AN_ADDRESS: usize = 48;
/// Unread bytes that a peer without a grant may have in flight, over all its streams: room for a burst of
/// envelopes and the header of an upload. [`fl_engine::aggregate::PEER_BYTES`] without [`LINK_STATE`].
pub const IDLE_WINDOW: u64 = PEER_BYTES.0 - LINK_STATE;
/// Memory of a link itself, bytes: quinn's connection 15 KB, its send buffer 15 KB, rustls and keys 7 KB, the
/// session 7 KB, and what the allocator loses. The bench `scale` measures it.
pub const LINK_STATE: u64 = 64 * 1024;
/// Default upper bound of a granted window.
const GRANTED_WINDOW: u64 = 8 << 20;
/// A link without a packet for this long is dead, milliseconds. A round waits so long for a peer that was
/// killed.
const IDLE_TIMEOUT: VarInt = VarInt::from_u32(15_000);
/// Interval of keep-alive packets, well inside [`IDLE_TIMEOUT`].
const KEEP_ALIVE: Duration = Duration::from_secs(4);
/// Interval of the keep-alive packets of the side that dialled. The first one after a crash of the other side
/// is answered by the next process there ([`super::ResetKey`]): an idle peer loses one second at most.
const ASKING: Duration = Duration::from_secs(1);
/// A packet counts as lost when so many later ones were acknowledged. With QUIC's usual 3, a path that
/// reorders packets seems to lose them. A round of 400 KB over a path that delays each datagram by 5 to 25 ms
/// took 7.9 s; with this and [`TIME_THRESHOLD`] it takes 0.39 s. With 2 % of the datagrams lost and none
/// reordered it took 1.4 s and takes 0.9 s.
const PACKET_THRESHOLD: u32 = 128;
/// A packet counts as lost so many round trips after it was sent, once a later one was acknowledged.
const TIME_THRESHOLD: f32 = 3.0;
/// Size of the first datagrams, bytes: Ethernet carries so many under IPv6 and one or two tunnels.
const INITIAL_MTU: u16 = 1452;
/// Every QUIC path carries datagrams of this size, bytes.
const LEAST_MTU: u16 = 1200;
/// Bytes of a handshake that may arrive out of order, for each connection.
const CRYPTO_BYTES: usize = 16 * 1024;
