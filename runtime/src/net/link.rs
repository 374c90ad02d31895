//! A link: what sessions see of a connection, over QUIC, over TCP or inside one process.
//!
//! A link is a control stream (length-prefixed envelopes, both ways) and uni streams in both directions.
//! Sessions split it: a reader task owns the [`ControlReceiver`], a writer task owns the [`ControlSender`],
//! and tasks that move payloads share the [`LinkHandle`]. Nothing here looks inside an envelope.

use std::{net::SocketAddr, sync::Arc};

use bytes::{Bytes, BytesMut};
use fl_engine::limits;
use rustls::pki_types::CertificateDer;

use super::{
    LinkError, RecvStream, SendStream, local,
    open_links::OpenLink,
    quic::{parting, transport::IDLE_WINDOW},
    tcp::end as tcp,
};

/// A connection to one authenticated peer.
#[derive(Debug)]
pub struct Link {
    sender: ControlSender,
    receiver: ControlReceiver,
    handle: LinkHandle,
}

impl Link {
    pub(crate) fn new(control: (SendStream, RecvStream), handle: LinkHandle) -> Self {
        control.0.set_priority(1);
        let sender = ControlSender { stream: control.0, cut: false };
        let receiver = ControlReceiver { stream: control.1, held: BytesMut::new() };
        Self { sender, receiver, handle }
    }

    /// Two connected links inside this process: the dialling side's and the accepting side's. Each is shown
    /// the other's certificates.
    #[must_use]
    pub fn pair(
        dialler: Vec<CertificateDer<'static>>,
        acceptor: Vec<CertificateDer<'static>>,
    ) -> (Self, Self) {
        let link = |(end, send, recv): local::NewEnd| {
            Self::new((SendStream::local(send), RecvStream::local(recv)), LinkHandle::local(end))
        };
        let (a, b) = local::ends(dialler, acceptor);
        (link(a), link(b))
    }

    /// The three parts, for tasks of their own.
    #[must_use]
    pub fn split(self) -> (ControlSender, ControlReceiver, LinkHandle) {
        (self.sender, self.receiver, self.handle)
    }

    /// The control stream as it is, and the shared part: for tests that send what is no envelope.
    #[doc(hidden)]
    #[must_use]
    pub fn into_streams(self) -> (SendStream, RecvStream, LinkHandle) {
        (self.sender.stream, self.receiver.stream, self.handle)
    }

    /// The shared part: uni streams, identity, close.
    #[must_use]
    pub fn handle(&self) -> &LinkHandle {
        &self.handle
    }

    /// See [`ControlSender::send_envelope`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn send_envelope(&mut self, envelope: &[u8]) -> Result<(), LinkError> {
        self.sender.send_envelope(envelope).await
    }

    /// See [`ControlReceiver::recv_envelope`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn recv_envelope(&mut self) -> Result<Bytes, LinkError> {
        self.receiver.recv_envelope().await
    }
}

/// The writing half of the control stream.
#[derive(Debug)]
pub struct ControlSender {
    stream: SendStream,
    cut: bool,
}

impl ControlSender {
    /// Sends one envelope of at most [`limits::ENVELOPE_BYTES`].
    ///
    /// # Errors
    /// [`LinkError::TooLarge`] before anything is sent, [`LinkError::Interrupted`] after a cancelled send,
    /// else what broke the link.
    ///
    /// # Cancel safety
    /// A cancelled send may leave half an envelope behind, so every later send answers
    /// [`LinkError::Interrupted`]: close the link.
    pub async fn send_envelope(&mut self, envelope: &[u8]) -> Result<(), LinkError> {
        let framed = frame(envelope, limits::ENVELOPE_BYTES)?;
        if std::mem::replace(&mut self.cut, true) {
            return Err(LinkError::Interrupted);
        }
        self.stream.write_chunks(&mut [framed]).await?;
        self.cut = false;
        Ok(())
    }

    /// Ends the control stream and waits until the peer holds every envelope.
    ///
    /// # Errors
    /// What broke the link.
    ///
    /// # Cancel safety
    /// Cancel-safe, but the stream stays finished.
    pub async fn finish(mut self) -> Result<(), LinkError> {
        self.stream.finish()?;
        self.stream.delivered().await
    }
}

/// The reading half of the control stream.
#[derive(Debug)]
pub struct ControlReceiver {
    stream: RecvStream,
    held: BytesMut,
}

impl ControlReceiver {
    /// The next envelope. The announced length is checked before any memory is reserved for it.
    ///
    /// # Errors
    /// [`LinkError::Ended`] when the peer finished its control stream, [`LinkError::TooLarge`] for a length
    /// over [`limits::ENVELOPE_BYTES`], else what broke the link.
    ///
    /// # Cancel safety
    /// Cancel-safe: a part of an envelope is kept for the next call.
    pub async fn recv_envelope(&mut self) -> Result<Bytes, LinkError> {
        loop {
            let missing = match self.announced(limits::ENVELOPE_BYTES)? {
                Some(len) if self.held.len() >= PREFIX + len => {
                    let mut framed = self.held.split_to(PREFIX + len);
                    return Ok(framed.split_off(PREFIX).freeze());
                }
                Some(len) => PREFIX + len - self.held.len(),
                None => PREFIX - self.held.len(),
            };
            let Some(chunk) = self.stream.read(missing).await? else { return Err(LinkError::Ended) };
            self.held.extend_from_slice(&chunk);
        }
    }

    fn announced(&self, limit: usize) -> Result<Option<usize>, LinkError> {
        let Some(prefix) = self.held.first_chunk::<PREFIX>() else { return Ok(None) };
        announced(*prefix, limit).map(Some)
    }
}

/// The part of a link that tasks share: uni streams, identity, close. Clones are cheap.
#[derive(Clone, Debug)]
pub struct LinkHandle {
    inner: Handle,
}

#[derive(Clone, Debug)]
enum Handle {
    Quic {
        connection: quinn::Connection,
        certificates: Arc<[CertificateDer<'static>]>,
        most_window: u64,
        /// The place that the link counts for at the side that accepted it.
        _open: Option<Arc<OpenLink>>,
    },
    Tcp(Arc<tcp::End>),
    Local(Arc<local::End>),
}

impl LinkHandle {
    pub(in crate::net) fn quic(
        connection: quinn::Connection,
        most_window: u64,
        open: Option<OpenLink>,
    ) -> Self {
        let certificates = connection
            .peer_identity()
            .and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok())
            .map_or_else(|| Arc::from([]), |chain| Arc::from(*chain));
        Self { inner: Handle::Quic { connection, certificates, most_window, _open: open.map(Arc::new) } }
    }

    pub(crate) fn tcp(end: Arc<tcp::End>) -> Self {
        Self { inner: Handle::Tcp(end) }
    }

    pub(crate) fn local(end: Arc<local::End>) -> Self {
        Self { inner: Handle::Local(end) }
    }

    /// Opens a uni stream; waits while the peer's bound on open streams is reached.
    ///
    /// # Errors
    /// What broke the link.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn open_uni(&self) -> Result<SendStream, LinkError> {
        match &self.inner {
            Handle::Quic { connection, .. } => Ok(SendStream::quic(connection.open_uni().await?)),
            Handle::Tcp(end) => end.open_uni().await.map(SendStream::tcp),
            Handle::Local(end) => end.open_uni().await.map(SendStream::local),
        }
    }

    /// The next uni stream that the peer opened.
    ///
    /// # Errors
    /// What broke the link.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn accept_uni(&self) -> Result<RecvStream, LinkError> {
        match &self.inner {
            Handle::Quic { connection, .. } => Ok(RecvStream::quic(connection.accept_uni().await?)),
            Handle::Tcp(end) => end.accept_uni().await.map(RecvStream::tcp),
            Handle::Local(end) => end.accept_uni().await.map(RecvStream::local),
        }
    }

    /// Lets the peer have up to `bytes` unread bytes in flight, over all streams of this link. Raise the
    /// window for a granted upload, and lower it afterwards. It stays between the idle window and the link's
    /// own bound. Without effect on a local link.
    pub fn grant(&self, bytes: u64) {
        match &self.inner {
            Handle::Quic { connection, most_window, .. } => {
                let window = bytes.clamp(IDLE_WINDOW.min(*most_window), *most_window);
                connection.set_receive_window(quinn::VarInt::from_u64(window).unwrap_or(quinn::VarInt::MAX));
            }
            Handle::Tcp(end) => end.grant(bytes),
            Handle::Local(_) => {}
        }
    }

    /// Closes the link at once: data in flight is lost on both sides. The peer receives `code` and `reason`.
    pub fn close(&self, code: u32, reason: &str) {
        match &self.inner {
            Handle::Quic { connection, .. } => {
                parting::part(connection);
                connection.close(code.into(), reason.as_bytes());
            }
            Handle::Tcp(end) => end.close(code, reason),
            Handle::Local(end) => end.close(code, reason),
        }
    }

    /// Waits for the end of the link and says why it ended.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn closed(&self) -> LinkError {
        match &self.inner {
            Handle::Quic { connection, .. } => connection.closed().await.into(),
            Handle::Tcp(end) => end.closed().await,
            Handle::Local(end) => end.closed().await,
        }
    }

    /// The peer's certificate chain, its own certificate first. Empty only for local links that were made
    /// without one.
    #[must_use]
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        match &self.inner {
            Handle::Quic { certificates, .. } => certificates,
            Handle::Tcp(end) => end.peer_certificates(),
            Handle::Local(end) => end.peer_certificates(),
        }
    }

    /// Fills `out` with bytes that both ends of this link can make and nobody else (RFC 5705, RFC 8446
    /// section 7.5). The bytes differ for each link, `label` and `context`.
    ///
    /// # Errors
    /// On a local link, which has no keys, and for an empty `out` or one over 8,160 bytes.
    pub fn export_keying_material(
        &self,
        out: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), LinkError> {
        match &self.inner {
            Handle::Quic { connection, .. } => connection
                .export_keying_material(out, label, context)
                .map_err(|_| LinkError::Transport("the link exports no such key".to_owned())),
            Handle::Tcp(end) => end.export(out, label, context),
            Handle::Local(_) => Err(LinkError::Transport("a link inside one process has no keys".to_owned())),
        }
    }

    /// Largest datagram that the path is known to carry now, bytes of UDP payload; `None` for other links
    /// than QUIC.
    #[must_use]
    pub fn path_mtu(&self) -> Option<u16> {
        match &self.inner {
            Handle::Quic { connection, .. } => Some(connection.stats().path.current_mtu),
            Handle::Tcp(_) | Handle::Local(_) => None,
        }
    }

    /// Where the peer's bytes come from; `None` on a local link.
    #[must_use]
    pub fn remote_address(&self) -> Option<SocketAddr> {
        match &self.inner {
            Handle::Quic { connection, .. } => Some(connection.remote_address()),
            Handle::Tcp(end) => Some(end.remote_address()),
            Handle::Local(_) => None,
        }
    }
}

/// Reads the first bytes of the control stream, from the side that dialled.
pub(crate) async fn expect_mark(control: &mut RecvStream) -> Result<(), LinkError> {
    let mut mark = Vec::with_capacity(MARK.len());
    while mark.len() < MARK.len() {
        let piece = control.read(MARK.len() - mark.len()).await?.ok_or(LinkError::Ended)?;
        mark.extend_from_slice(&piece);
    }
    if mark == MARK { Ok(()) } else { Err(LinkError::WrongProtocol) }
}

/// `body` behind its u32 little-endian length.
pub(crate) fn frame(body: &[u8], limit: usize) -> Result<Bytes, LinkError> {
    let too_large = LinkError::TooLarge { bytes: body.len() as u64, limit: limit as u64 };
    let Some(len) = u32::try_from(body.len()).ok().filter(|_| body.len() <= limit) else {
        return Err(too_large);
    };
    let mut framed = BytesMut::with_capacity(PREFIX + body.len());
    framed.extend_from_slice(&len.to_le_bytes());
    framed.extend_from_slice(body);
    Ok(framed.freeze())
}

/// Length from a prefix, refused when over `limit`.
pub(crate) fn announced(prefix: [u8; PREFIX], limit: usize) -> Result<usize, LinkError> {
    let bytes = u32::from_le_bytes(prefix);
    match usize::try_from(bytes) {
        Ok(len) if len <= limit => Ok(len),
        _ => Err(LinkError::TooLarge { bytes: bytes.into(), limit: limit as u64 }),
    }
}

/// First bytes of a control stream, from the side that dialled.
pub(crate) const MARK: [u8; 4] = *b"fl/1";
/// Bytes of an envelope's length prefix (u32, little-endian).
const PREFIX: usize = 4;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn pair() -> (Link, Link) {
        Link::pair(Vec::new(), Vec::new())
    }

    #[tokio::test]
    async fn envelopes_arrive_whole_and_in_order() {
        let (mut a, mut b) = pair();
        a.send_envelope(b"").await.unwrap();
        a.send_envelope(&vec![7; limits::ENVELOPE_BYTES]).await.unwrap();
        assert_eq!(b.recv_envelope().await.unwrap(), Bytes::new());
        assert_eq!(b.recv_envelope().await.unwrap(), vec![7; limits::ENVELOPE_BYTES]);
    }

    #[tokio::test]
    async fn oversized_envelope_is_refused_on_both_sides() {
        let (mut a, mut b) = pair();
        let big = vec![0; limits::ENVELOPE_BYTES + 1];
        assert!(matches!(a.send_envelope(&big).await, Err(LinkError::TooLarge { .. })));
        let prefix = Bytes::copy_from_slice(&u32::MAX.to_le_bytes());
        a.sender.stream.write_chunks(&mut [prefix]).await.unwrap();
        let refused = LinkError::TooLarge { bytes: u32::MAX.into(), limit: limits::ENVELOPE_BYTES as u64 };
        assert_eq!(b.recv_envelope().await, Err(refused));
    }

    #[tokio::test]
    async fn cancelled_receive_loses_nothing() {
        let (mut a, mut b) = pair();
        let framed = frame(b"hello", 64).unwrap();
        a.sender.stream.write_chunks(&mut [framed.slice(..6)]).await.unwrap();
        let cut = tokio::time::timeout(Duration::from_millis(20), b.recv_envelope()).await;
        assert!(cut.is_err(), "an incomplete envelope came out");
        a.sender.stream.write_chunks(&mut [framed.slice(6..)]).await.unwrap();
        assert_eq!(b.recv_envelope().await.unwrap(), &b"hello"[..]);
    }

    #[tokio::test]
    async fn cancelled_send_blocks_every_later_send() {
        let (mut a, _b) = pair();
        let body = vec![0; limits::ENVELOPE_BYTES];
        loop {
            let sent = tokio::time::timeout(Duration::from_millis(20), a.send_envelope(&body)).await;
            if sent.is_err() {
                break;
            }
        }
        assert_eq!(a.send_envelope(b"x").await, Err(LinkError::Interrupted));
    }
}
