//! The TCP port: dials or accepts links. A peer is accepted if the TLS configuration accepts it; nothing else
//! is decided here.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use rustls::{
    ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection, pki_types::ServerName,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use super::{
    connection,
    driver::{Closing, Driver, PARTING, Shared, linger},
    end::{self, End},
    handshake::{self, BUSY},
    mux::Bounds,
};
use crate::net::{
    LinkError, RecvStream, SendStream,
    link::{self, Link, LinkHandle},
    open_links::OpenLink,
    places::{Place, Places, network},
    proxy::Tunnel,
    quic::transport::{HANDSHAKES_OF_AN_ADDRESS, IDLE_WINDOW, NetLimits},
};

/// A TCP port that accepts links, or the side that dials. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct TcpEndpoint {
    role: Role,
    limits: NetLimits,
    /// Tells every link to close. Each link has one receiver.
    closing: Arc<watch::Sender<Closing>>,
}

#[derive(Clone, Debug)]
enum Role {
    Dialler(Arc<ClientConfig>),
    Listener(Arc<Listener>),
}

#[derive(Debug)]
struct Listener {
    socket: TcpListener,
    config: Arc<ServerConfig>,
    handshakes: Places<IpAddr>,
    /// Places of peers that still have to read why they have no link.
    refusals: Arc<Semaphore>,
}

impl TcpEndpoint {
    /// Opens a port that accepts links.
    pub(crate) fn server(config: ServerConfig, bind: SocketAddr, limits: NetLimits) -> io::Result<Self> {
        let listener = Listener {
            socket: listening(bind)?,
            config: Arc::new(config),
            handshakes: Places::new(limits.handshakes, HANDSHAKES_OF_AN_ADDRESS),
            refusals: Arc::new(Semaphore::new(REFUSALS)),
        };
        Ok(Self::new(Role::Listener(Arc::new(listener)), limits))
    }

    /// A side that dials.
    pub(crate) fn client(config: ClientConfig, limits: NetLimits) -> Self {
        Self::new(Role::Dialler(Arc::new(config)), limits)
    }

    fn new(role: Role, limits: NetLimits) -> Self {
        Self { role, limits, closing: Arc::new(watch::Sender::new(None)) }
    }

    /// Dials `addr`, or with a tunnel the proxy at `addr`, and opens the control stream.
    pub(crate) async fn connect(
        &self,
        addr: SocketAddr,
        server_name: &str,
        tunnel: Option<&Tunnel>,
    ) -> Result<Link, LinkError> {
        match &self.role {
            Role::Dialler(config) => self.dial(Arc::clone(config), addr, server_name, tunnel).await,
            Role::Listener(_) => Err(LinkError::Dial(addr, "this side only accepts links".to_owned())),
        }
    }

    /// Dials with another TLS configuration.
    pub(crate) async fn connect_as(
        &self,
        config: ClientConfig,
        addr: SocketAddr,
        server_name: &str,
    ) -> Result<Link, LinkError> {
        self.dial(Arc::new(config), addr, server_name, None).await
    }

    async fn dial(
        &self,
        config: Arc<ClientConfig>,
        addr: SocketAddr,
        server_name: &str,
        tunnel: Option<&Tunnel>,
    ) -> Result<Link, LinkError> {
        let refused = |error: &dyn std::error::Error| LinkError::Dial(addr, error.to_string());
        let name = ServerName::try_from(server_name.to_owned()).map_err(|e| refused(&e))?;
        // The proxy has a time of its own.
        let opened = match tunnel {
            Some(tunnel) => Some(tunnel.open(addr).await?),
            None => None,
        };
        let shaking = async {
            let socket = match opened {
                Some(socket) => socket,
                None => connection::connect(addr).await.map_err(|e| refused(&e))?,
            };
            let tls = ClientConnection::new(config, name).map_err(|e| refused(&e))?;
            let mut tls = Connection::from(tls);
            tls.set_buffer_limit(None);
            prepare(&socket);
            handshake::shake(&socket, &mut tls).await?;
            let (mut send, recv, handle) = self.link(socket, tls, addr, None);
            send.write_chunks(&mut [Bytes::from_static(&link::MARK)]).await?;
            Ok(Link::new((send, recv), handle))
        };
        timeout(self.limits.handshake_time, shaking).await.unwrap_or(Err(LinkError::TimedOut))
    }

    fn link(
        &self,
        socket: TcpStream,
        tls: Connection,
        peer: SocketAddr,
        open: Option<OpenLink>,
    ) -> (SendStream, RecvStream, LinkHandle) {
        let NetLimits { first_window, most_window, send_window, uni_streams, .. } = self.limits;
        let bounds = Bounds { window: end::window(first_window), streams: uni_streams, send_window };
        let shared = Shared::new(tls, peer, bounds);
        tokio::spawn(Driver::new(Arc::clone(&shared), socket, open).run(self.closing.subscribe()));
        let end = End::new(shared, (IDLE_WINDOW, most_window));
        let (send, recv) = end.control();
        (SendStream::tcp(send), RecvStream::tcp(recv), LinkHandle::tcp(end))
    }

    /// The next peer that dials. `None` once the endpoint is closed, or where it only dials.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub(crate) async fn accept(&self) -> Option<TcpIncoming> {
        let Role::Listener(listener) = &self.role else { return None };
        let mut closing = self.closing.subscribe();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = closing.wait_for(Option::is_some) => return None,
                accepted = listener.socket.accept() => accepted,
            };
            let (socket, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // The peer may have left already. A process without free descriptors has to wait.
                    tracing::debug!("cannot accept a TCP connection: {error}");
                    sleep(AFTER_FAILURE).await;
                    continue;
                }
            };
            let time = self.limits.time_beside(listener.handshakes.held());
            let open = self.limits.open.take(self.limits.links);
            let place = open.and_then(|open| Some((open, listener.handshakes.take(network(peer.ip()))?)));
            let Some((open, place)) = place else {
                listener.turn_away(socket);
                continue;
            };
            prepare(&socket);
            let (endpoint, listener) = (self.clone(), Arc::clone(listener));
            return Some(TcpIncoming { socket, peer, place, open, time, endpoint, listener });
        }
    }

    /// The bound address.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.role {
            Role::Listener(listener) => listener.socket.local_addr(),
            Role::Dialler(_) => Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "this side only dials")),
        }
    }

    /// Closes every link and stops accepting.
    pub(crate) fn close(&self, code: u32, reason: &str) {
        self.closing.send_if_modified(|closing| {
            let is_first = closing.is_none();
            closing.get_or_insert_with(|| (code, reason.to_owned()));
            is_first
        });
    }

    /// Waits until all peers have received the close.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub(crate) async fn wait_idle(&self) {
        self.closing.closed().await;
    }
}

impl Listener {
    /// Tells a peer that there is no place.
    fn turn_away(&self, socket: TcpStream) {
        // An empty socket takes seven bytes; the peer may have left.
        let _ = socket2::SockRef::from(&socket).send(&NO_PLACE);
        self.part(socket);
    }

    /// Lets a peer read the alert that ended its handshake. What the peer has sent has to be read: a socket
    /// that is closed with unread bytes may take back what was written.
    fn part(&self, mut socket: TcpStream) {
        let Ok(place) = Arc::clone(&self.refusals).try_acquire_owned() else { return };
        tokio::spawn(async move {
            let _ = timeout(PARTING, linger(&mut socket)).await;
            drop(place);
        });
    }
}

/// A peer that dials and is not authenticated yet. It holds one of the places for handshakes.
#[derive(Debug)]
pub(crate) struct TcpIncoming {
    socket: TcpStream,
    peer: SocketAddr,
    place: Place<IpAddr>,
    open: OpenLink,
    time: Duration,
    endpoint: TcpEndpoint,
    listener: Arc<Listener>,
}

impl TcpIncoming {
    /// The peer's address.
    pub(crate) fn remote_address(&self) -> SocketAddr {
        self.peer
    }

    /// Shakes hands and accepts the control stream.
    pub(crate) async fn admit(self) -> Result<Link, LinkError> {
        let Self { socket, peer, mut place, open, time, endpoint, listener } = self;
        let shaking = async move {
            let tls = ServerConnection::new(Arc::clone(&listener.config));
            let mut tls = Connection::from(tls.map_err(handshake::refused)?);
            tls.set_buffer_limit(None);
            if let Err(why) = handshake::shake(&socket, &mut tls).await {
                listener.part(socket);
                return Err(why);
            }
            let (send, mut recv, handle) = endpoint.link(socket, tls, peer, Some(open));
            link::expect_mark(&mut recv).await?;
            Ok(Link::new((send, recv), handle))
        };
        tokio::select! {
            link = timeout(time, shaking) => link.unwrap_or(Err(LinkError::TimedOut)),
            () = place.lost() => Err(LinkError::GaveWay),
        }
    }
}

fn listening(bind: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(bind), socket2::Type::STREAM, None)?;
    // The next process of a role opens the port while the system still remembers links of the one before. A
    // system that refuses the option keeps the next process waiting.
    let _ = socket.set_reuse_address(true);
    socket.bind(&bind.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// Small frames leave at once: without the first option, a message waits for the answer to the one before.
/// The second one bounds what the system holds of an upload, because a message waits behind that. A system
/// that refuses an option costs time only.
fn prepare(socket: &TcpStream) {
    let _ = socket.set_nodelay(true);
    let _ = socket2::SockRef::from(socket).set_tcp_notsent_lowat(UNSENT);
}

/// Bytes that the system takes although it cannot send them yet: a second of a line of 1 Mbit/s. On a line of
/// 320 kB a second a message waited 14 s behind an upload without this bound, and 0.4 s with it.
const UNSENT: u32 = 128 << 10;
/// A fatal alert in a TLS record.
const NO_PLACE: [u8; 7] = [21, 3, 3, 0, 2, 2, BUSY];
/// Connections that the system accepts before this process does.
const BACKLOG: i32 = 1024;
/// Peers at a time that are told why they have no link. Others just lose their connection.
const REFUSALS: usize = 64;
/// Wait after the system could not accept a connection.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
