//! The UDP port: dials or accepts links. The acceptor and the collaborator's dialler call it. A peer is
//! accepted if the TLS configuration accepts it; nothing else is decided here.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use fl_sys::syscall::{self, Entry};
use quinn::{
    AsyncUdpSocket, EndpointConfig, Runtime, TokioRuntime, VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use tokio::time::timeout;

use super::{
    portable::PortableSocket,
    resets::ResetKey,
    transport::{HANDSHAKES_OF_A_SOCKET, HANDSHAKES_OF_AN_ADDRESS, NetLimits},
};
use crate::net::{
    LinkError, RecvStream, SendStream,
    carrier::{EndpointError, SocketKind},
    link::{self, Link, LinkHandle, MARK},
    open_links::OpenLink,
    places::{Place, Places, network},
};

/// A UDP port that dials and, as a server, accepts links. Clones share the port.
#[derive(Clone, Debug)]
pub(crate) struct QuicEndpoint {
    inner: quinn::Endpoint,
    limits: NetLimits,
    handshakes: Handshakes,
    kind: SocketKind,
}

impl QuicEndpoint {
    /// Opens a port that accepts links. With a key, peers of an earlier process of the same key learn from
    /// their next datagram that their links are gone ([`ResetKey`]).
    ///
    /// # Errors
    /// When the port cannot be bound or `config` does not fit QUIC.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn server_with(
        config: rustls::ServerConfig,
        bind: SocketAddr,
        kind: SocketKind,
        limits: NetLimits,
        resets: Option<&ResetKey>,
    ) -> Result<Self, EndpointError> {
        let crypto = QuicServerConfig::try_from(config).map_err(|_| EndpointError::Tls)?;
        let mut server = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        // quinn silently drops handshakes beyond its own bound. Twice our bound leaves room to refuse with an
        // answer.
        server
            .max_incoming(limits.handshakes.saturating_mul(2))
            .incoming_buffer_size(64 << 10)
            .incoming_buffer_size_total(4 << 20);
        let (socket, kind) =
            open(bind, kind, &limits).map_err(|error| EndpointError::Bind("UDP", bind, error))?;
        server.transport_config(limits.transport(true, kind.is_portable()));
        Self::over(socket, kind, Some(server), limits, resets)
            .map_err(|error| EndpointError::Bind("UDP", bind, error))
    }

    /// Opens a port that dials.
    ///
    /// # Errors
    /// When the port cannot be bound or `config` does not fit QUIC.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn client(
        config: rustls::ClientConfig,
        bind: SocketAddr,
        kind: SocketKind,
        limits: NetLimits,
    ) -> Result<Self, EndpointError> {
        let (socket, kind) =
            open(bind, kind, &limits).map_err(|error| EndpointError::Bind("UDP", bind, error))?;
        let mut endpoint = Self::over(socket, kind, None, limits, None)
            .map_err(|error| EndpointError::Bind("UDP", bind, error))?;
        let client = endpoint.client_config(config)?;
        endpoint.inner.set_default_client_config(client);
        Ok(endpoint)
    }

    fn client_config(&self, config: rustls::ClientConfig) -> Result<quinn::ClientConfig, EndpointError> {
        let crypto = QuicClientConfig::try_from(config).map_err(|_| EndpointError::Tls)?;
        let mut client = quinn::ClientConfig::new(Arc::new(crypto));
        client.transport_config(self.limits.transport(false, self.kind.is_portable()));
        Ok(client)
    }

    fn over(
        socket: Arc<dyn AsyncUdpSocket>,
        kind: SocketKind,
        server: Option<quinn::ServerConfig>,
        limits: NetLimits,
        resets: Option<&ResetKey>,
    ) -> io::Result<Self> {
        let mut config = resets.map_or_else(EndpointConfig::default, ResetKey::endpoint_config);
        let datagram = limits.mtu.clamp(1472, MOST_DATAGRAM);
        config.max_udp_payload_size(datagram).map_err(io::Error::other)?;
        let inner =
            quinn::Endpoint::new_with_abstract_socket(config, server, socket, Arc::new(TokioRuntime))?;
        let handshakes = Handshakes {
            by_socket: Places::new(limits.handshakes, HANDSHAKES_OF_A_SOCKET),
            by_address: Places::new(limits.handshakes, HANDSHAKES_OF_AN_ADDRESS),
        };
        Ok(Self { inner, limits, handshakes, kind })
    }

    /// Dials `addr` and opens the control stream. `server_name` must match the certificate as the TLS
    /// configuration sees it.
    ///
    /// TLS 1.3 lets this succeed although the server refuses our certificate; the refusal comes as the error
    /// of the first [`Link::recv_envelope`].
    ///
    /// # Errors
    /// When nobody answers, the handshake fails or takes longer than allowed.
    ///
    /// # Cancel safety
    /// Cancel-safe: the half-open link is closed.
    pub(crate) async fn connect(&self, addr: SocketAddr, server_name: &str) -> Result<Link, LinkError> {
        let dial = |error: quinn::ConnectError| LinkError::Dial(addr, error.to_string());
        self.dial(self.inner.connect(addr, server_name).map_err(dial)?).await
    }

    /// Dials with another TLS configuration than [`Self::client`] was given. So one port carries the links of
    /// many collaborators in a simulation.
    ///
    /// # Errors
    /// As [`Self::connect`]; [`LinkError::Dial`] also for a configuration that does not fit QUIC.
    ///
    /// # Cancel safety
    /// As there.
    pub(crate) async fn connect_as(
        &self,
        config: rustls::ClientConfig,
        addr: SocketAddr,
        server_name: &str,
    ) -> Result<Link, LinkError> {
        let dial = |error: &dyn std::error::Error| LinkError::Dial(addr, error.to_string());
        let client = self.client_config(config).map_err(|e| dial(&e))?;
        self.dial(self.inner.connect_with(client, addr, server_name).map_err(|e| dial(&e))?).await
    }

    async fn dial(&self, connecting: quinn::Connecting) -> Result<Link, LinkError> {
        let most_window = self.limits.most_window;
        let dialling = async move {
            let connection = connecting.await?;
            let (send, recv) = connection.open_bi().await?;
            let mut send = SendStream::quic(send);
            send.write_chunks(&mut [Bytes::from_static(&MARK)]).await?;
            Ok(Link::new((send, RecvStream::quic(recv)), LinkHandle::quic(connection, most_window, None)))
        };
        timeout(self.limits.handshake_time, dialling).await.unwrap_or(Err(LinkError::TimedOut))
    }

    /// The next peer that dials. `None` once the endpoint is closed. A client's endpoint never returns a
    /// peer.
    ///
    /// When too many links or handshakes are open, peers are refused here, before any cryptography. When many
    /// handshakes are under way, peers must prove their address first, and old handshakes give way.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub(crate) async fn accept(&self) -> Option<QuicIncoming> {
        loop {
            let incoming = self.inner.accept().await?;
            let most = self.limits.links;
            let open = if self.inner.open_connections() < most { self.limits.open.take(most) } else { None };
            let Some(open) = open else {
                incoming.refuse();
                continue;
            };
            let held = self.handshakes.by_socket.held();
            if self.limits.is_short_of_places(held) && incoming.may_retry() {
                // `may_retry` was true: this cannot fail.
                let _ = incoming.retry();
                continue;
            }
            let peer = incoming.remote_address();
            let Some(places) = self.handshakes.take(peer) else {
                incoming.refuse();
                continue;
            };
            let (time, most_window) = (self.limits.time_beside(held), self.limits.most_window);
            return Some(QuicIncoming { inner: incoming, places, open, time, most_window });
        }
    }

    /// The bound address.
    ///
    /// # Errors
    /// When the system does not tell the address.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    /// The socket in use; never [`SocketKind::Auto`].
    pub(crate) fn socket_kind(&self) -> SocketKind {
        self.kind
    }

    /// Closes every link and stops accepting.
    pub(crate) fn close(&self, code: u32, reason: &str) {
        self.inner.close(VarInt::from_u32(code), reason.as_bytes());
    }

    /// Waits until all peers have received the close. Call it before the process ends.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub(crate) async fn wait_idle(&self) {
        self.inner.wait_idle().await;
    }
}

/// The places of handshakes that are under way.
#[derive(Clone, Debug)]
struct Handshakes {
    by_socket: Places<SocketAddr>,
    by_address: Places<IpAddr>,
}

impl Handshakes {
    fn take(&self, peer: SocketAddr) -> Option<HandshakePlaces> {
        let of_socket = self.by_socket.take(peer)?;
        Some(HandshakePlaces { of_socket, of_address: self.by_address.take(network(peer.ip()))? })
    }
}

/// The places of one handshake.
#[derive(Debug)]
struct HandshakePlaces {
    of_socket: Place<SocketAddr>,
    of_address: Place<IpAddr>,
}

impl HandshakePlaces {
    async fn lost(&mut self) {
        tokio::select! {
            () = self.of_socket.lost() => {}
            () = self.of_address.lost() => {}
        }
    }
}

/// A peer that dials and is not authenticated yet. It holds one of the endpoint's places for handshakes.
/// Dropping it refuses the peer.
#[derive(Debug)]
pub(crate) struct QuicIncoming {
    inner: quinn::Incoming,
    places: HandshakePlaces,
    open: OpenLink,
    time: Duration,
    most_window: u64,
}

impl QuicIncoming {
    /// The address that the peer claims to have.
    pub(crate) fn remote_address(&self) -> SocketAddr {
        self.inner.remote_address()
    }

    /// Shakes hands and accepts the control stream. Run it in a task of its own: a handshake may take a
    /// while.
    ///
    /// # Errors
    /// When the peer's certificate is refused, it speaks another protocol, it is too slow, or its place is
    /// needed for a newer handshake.
    ///
    /// # Cancel safety
    /// Cancel-safe: the half-open link is closed.
    pub(crate) async fn admit(self) -> Result<Link, LinkError> {
        let Self { inner, mut places, open, time, most_window } = self;
        let shaking = async move {
            let connection = inner.accept()?.await?;
            let (send, recv) = connection.accept_bi().await?;
            let mut recv = RecvStream::quic(recv);
            link::expect_mark(&mut recv).await?;
            let handle = LinkHandle::quic(connection, most_window, Some(open));
            Ok(Link::new((SendStream::quic(send), recv), handle))
        };
        tokio::select! {
            link = timeout(time, shaking) => link.unwrap_or(Err(LinkError::TimedOut)),
            () = places.lost() => Err(LinkError::GaveWay),
        }
    }
}

fn open(
    bind: SocketAddr,
    kind: SocketKind,
    limits: &NetLimits,
) -> io::Result<(Arc<dyn AsyncUdpSocket>, SocketKind)> {
    // Gramine refuses the options that the native socket needs: nothing is tried there that is known to fail.
    let is_known = kind == SocketKind::Auto && syscall::entry() == Entry::Gramine;
    if !kind.is_portable() && !is_known {
        match TokioRuntime.wrap_udp_socket(bound(bind)?) {
            Ok(socket) => return Ok((socket, SocketKind::Native)),
            Err(error) if kind == SocketKind::Native => return Err(error),
            Err(error) => {
                tracing::info!(%error, "the system refused the native UDP socket; the portable one is used")
            }
        }
    }
    let kind = if kind == SocketKind::PortablePlain { kind } else { SocketKind::Portable };
    let (may_probe, batched) = (limits.mtu > 1452, kind == SocketKind::Portable);
    Ok((PortableSocket::open(bound(bind)?, may_probe, batched)?, kind))
}

fn bound(bind: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(bind), socket2::Type::DGRAM, None)?;
    // Small buffers cost speed, not correctness: a refusal is ignored.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.bind(&bind.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Kernel buffer of the UDP socket in each direction, bytes. With less, datagrams are lost at gigabit speeds.
const SOCKET_BUFFER: usize = 4 << 20;
/// Largest datagram that is ever received, bytes.
const MOST_DATAGRAM: u16 = 65_527;
