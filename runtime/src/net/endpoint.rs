//! A port that dials or accepts links, over QUIC or over TCP. The acceptor and the collaborator's dialler
//! call it.

use std::{io, net::SocketAddr};

use super::{
    ALPN, LinkError,
    carrier::{Carrier, EndpointError},
    link::Link,
    proxy::Tunnel,
    quic::{
        endpoint::{QuicEndpoint, QuicIncoming},
        resets::ResetKey,
        transport::NetLimits,
    },
    tcp::endpoint::{TcpEndpoint, TcpIncoming},
};

/// A port that dials and, as a server, accepts links. Clones share the port.
#[derive(Clone, Debug)]
pub struct Endpoint {
    inner: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Quic(QuicEndpoint),
    Tcp(TcpEndpoint),
}

impl Endpoint {
    /// Opens a port that accepts links. The configuration's ALPN is replaced by [`ALPN`].
    ///
    /// # Errors
    /// When the port cannot be bound or `config` does not fit QUIC.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn server(
        config: rustls::ServerConfig,
        bind: SocketAddr,
        carrier: impl Into<Carrier>,
        limits: NetLimits,
    ) -> Result<Self, EndpointError> {
        Self::server_with(config, bind, carrier, limits, None)
    }

    /// As [`Self::server`]. With a key, peers of an earlier process of the same key learn from their next
    /// datagram that their links are gone ([`ResetKey`]). The system tells peers over TCP.
    ///
    /// # Errors
    /// As [`Self::server`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn server_with(
        mut config: rustls::ServerConfig,
        bind: SocketAddr,
        carrier: impl Into<Carrier>,
        limits: NetLimits,
        resets: Option<&ResetKey>,
    ) -> Result<Self, EndpointError> {
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.max_early_data_size = 0;
        let inner = match carrier.into() {
            Carrier::Quic(kind) => Kind::Quic(QuicEndpoint::server_with(config, bind, kind, limits, resets)?),
            Carrier::Tcp => Kind::Tcp(
                TcpEndpoint::server(config, bind, limits)
                    .map_err(|error| EndpointError::Bind("TCP", bind, error))?,
            ),
        };
        Ok(Self { inner })
    }

    /// Opens a port that dials. The configuration's ALPN is replaced by [`ALPN`]. Over TCP each link
    /// has a free port of its own, and `bind` says nothing.
    ///
    /// # Errors
    /// When the port cannot be bound or `config` does not fit QUIC.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn client(
        config: rustls::ClientConfig,
        bind: SocketAddr,
        carrier: impl Into<Carrier>,
        limits: NetLimits,
    ) -> Result<Self, EndpointError> {
        let config = dialling(config);
        let inner = match carrier.into() {
            Carrier::Quic(kind) => Kind::Quic(QuicEndpoint::client(config, bind, kind, limits)?),
            Carrier::Tcp => Kind::Tcp(TcpEndpoint::client(config, limits)),
        };
        Ok(Self { inner })
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
    pub async fn connect(&self, addr: SocketAddr, server_name: &str) -> Result<Link, LinkError> {
        match &self.inner {
            Kind::Quic(endpoint) => endpoint.connect(addr, server_name).await,
            Kind::Tcp(endpoint) => endpoint.connect(addr, server_name, None).await,
        }
    }

    /// Dials through the proxy at `addr`, which connects to the tunnel's target. Names of hosts are resolved
    /// there.
    ///
    /// # Errors
    /// As [`Self::connect`]; [`LinkError::Proxy`] where the proxy makes no connection; [`LinkError::Dial`] on
    /// an endpoint over QUIC, which cannot pass a proxy.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn connect_through(
        &self,
        tunnel: &Tunnel,
        addr: SocketAddr,
        server_name: &str,
    ) -> Result<Link, LinkError> {
        match &self.inner {
            Kind::Quic(_) => Err(LinkError::Dial(addr, "QUIC cannot pass an HTTP proxy".to_owned())),
            Kind::Tcp(endpoint) => endpoint.connect(addr, server_name, Some(tunnel)).await,
        }
    }

    /// Dials with another TLS configuration than [`Self::client`] was given. So one port carries the links of
    /// many collaborators in a simulation.
    ///
    /// # Errors
    /// As [`Self::connect`]; [`LinkError::Dial`] also for a configuration that does not fit QUIC.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn connect_as(
        &self,
        config: rustls::ClientConfig,
        addr: SocketAddr,
        server_name: &str,
    ) -> Result<Link, LinkError> {
        let config = dialling(config);
        match &self.inner {
            Kind::Quic(endpoint) => endpoint.connect_as(config, addr, server_name).await,
            Kind::Tcp(endpoint) => endpoint.connect_as(config, addr, server_name).await,
        }
    }

    /// The next peer that dials. `None` once the endpoint is closed. A client's endpoint never returns a
    /// peer.
    ///
    /// When too many links or handshakes are open, peers are refused here, before any cryptography. When many
    /// handshakes are under way, old handshakes give way, and a peer over QUIC must prove its address first.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn accept(&self) -> Option<Incoming> {
        let inner = match &self.inner {
            Kind::Quic(endpoint) => IncomingKind::Quic(Box::new(endpoint.accept().await?)),
            Kind::Tcp(endpoint) => IncomingKind::Tcp(Box::new(endpoint.accept().await?)),
        };
        Some(Incoming { inner })
    }

    /// The bound address.
    ///
    /// # Errors
    /// When the system does not tell the address, or on the dialling side over TCP.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.inner {
            Kind::Quic(endpoint) => endpoint.local_addr(),
            Kind::Tcp(endpoint) => endpoint.local_addr(),
        }
    }

    /// What carries the links; the UDP socket is never `Auto`.
    #[must_use]
    pub fn carrier(&self) -> Carrier {
        match &self.inner {
            Kind::Quic(endpoint) => Carrier::Quic(endpoint.socket_kind()),
            Kind::Tcp(_) => Carrier::Tcp,
        }
    }

    /// Closes every link and stops accepting.
    pub fn close(&self, code: u32, reason: &str) {
        match &self.inner {
            Kind::Quic(endpoint) => endpoint.close(code, reason),
            Kind::Tcp(endpoint) => endpoint.close(code, reason),
        }
    }

    /// Waits until all peers have received the close. Call it before the process ends.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn wait_idle(&self) {
        match &self.inner {
            Kind::Quic(endpoint) => endpoint.wait_idle().await,
            Kind::Tcp(endpoint) => endpoint.wait_idle().await,
        }
    }
}

/// A peer that dials and is not authenticated yet. It holds one of the endpoint's places for handshakes.
/// Dropping it refuses the peer.
#[derive(Debug)]
pub struct Incoming {
    inner: IncomingKind,
}

#[derive(Debug)]
enum IncomingKind {
    Quic(Box<QuicIncoming>),
    Tcp(Box<TcpIncoming>),
}

impl Incoming {
    /// The address that the peer claims to have. Over TCP the peer has proved it.
    #[must_use]
    pub fn remote_address(&self) -> SocketAddr {
        match &self.inner {
            IncomingKind::Quic(incoming) => incoming.remote_address(),
            IncomingKind::Tcp(incoming) => incoming.remote_address(),
        }
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
    pub async fn admit(self) -> Result<Link, LinkError> {
        match self.inner {
            IncomingKind::Quic(incoming) => incoming.admit().await,
            IncomingKind::Tcp(incoming) => incoming.admit().await,
        }
    }
}

fn dialling(mut config: rustls::ClientConfig) -> rustls::ClientConfig {
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_early_data = false;
    config
}

#[cfg(test)]
mod tests;
