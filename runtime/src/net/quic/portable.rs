//! A UDP socket for quinn that sets no option and sends no control message, because a library OS refuses both.
//!
//! One datagram per call, no ECN, no segmentation offload, no choice of source address. The endpoint uses it when it
//! is asked to or when the native socket does not open.

use std::{
    fmt,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use tokio::net::UdpSocket;

/// The plain socket.
#[derive(Debug)]
pub struct PortableSocket {
    io: UdpSocket,
    may_probe: bool,
}

impl PortableSocket {
    /// Wraps a bound, non-blocking socket. With `may_probe` quinn looks for datagrams larger than its first ones; the
    /// kernel must not fragment then, which Linux does not by default.
    ///
    /// # Errors
    /// When the runtime cannot watch the socket.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O.
    pub fn new(socket: std::net::UdpSocket, may_probe: bool) -> io::Result<Self> {
        Ok(Self { io: UdpSocket::from_std(socket)?, may_probe })
    }
}

impl AsyncUdpSocket for PortableSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable { socket: self, waiting: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        match self.io.try_send_to(transmit.contents, transmit.destination) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            // To QUIC an unreachable peer or an oversized probe is a lost datagram; any error here would end every
            // link of the endpoint.
            Err(error) => {
                tracing::trace!(%error, "datagram not sent");
                Ok(())
            }
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [io::IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.io.poll_recv_ready(cx))?;
            let mut count = 0;
            let mut failed = None;
            for (buf, meta) in bufs.iter_mut().zip(meta.iter_mut()) {
                match self.io.try_recv_from(buf) {
                    Ok((len, addr)) => {
                        *meta = RecvMeta { addr, len, stride: len, ecn: None, dst_ip: None };
                        count += 1;
                    }
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
            match failed {
                _ if count > 0 => return Poll::Ready(Ok(count)),
                // An earlier send was answered by "port unreachable" or the like: no datagram, no reason to stop.
                Some(error) if !is_passing(error.kind()) => return Poll::Ready(Err(error)),
                _ => {}
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    fn may_fragment(&self) -> bool {
        !self.may_probe
    }
}

fn is_passing(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as K;
    matches!(
        kind,
        K::WouldBlock
            | K::Interrupted
            | K::ConnectionReset
            | K::ConnectionRefused
            | K::HostUnreachable
            | K::NetworkUnreachable
    )
}

type Waiting = Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>;

/// One task's wait for room in the send buffer.
struct Writable {
    socket: Arc<PortableSocket>,
    waiting: Option<Waiting>,
}

impl UdpPoller for Writable {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let waiting = this.waiting.get_or_insert_with(|| {
            let socket = Arc::clone(&this.socket);
            Box::pin(async move { socket.io.writable().await })
        });
        let result = ready!(waiting.as_mut().poll(cx));
        this.waiting = None;
        Poll::Ready(result)
    }
}

impl fmt::Debug for Writable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writable").finish_non_exhaustive()
    }
}
