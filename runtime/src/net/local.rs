//! Links inside one process, for tests and simulation. They behave as QUIC links do (back-pressure, reset on
//! drop, close with a reason, loss of data in flight on close), without sockets and TLS.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use super::{LinkError, READ_BYTES};

/// One side of a new local link: its shared part, and the two halves of its control stream.
pub(crate) type NewEnd = (Arc<End>, Sender, Receiver);

/// Two connected sides, the dialling one first. Each is shown the other's certificates.
pub(crate) fn ends(
    dialler: Vec<CertificateDer<'static>>,
    acceptor: Vec<CertificateDer<'static>>,
) -> (NewEnd, NewEnd) {
    let state = Arc::new(watch::Sender::new(None));
    let (to_b, from_a) = mpsc::channel(STREAMS);
    let (to_a, from_b) = mpsc::channel(STREAMS);
    let end = |side, peer_certificates, open, accept| {
        Arc::new(End { side, state: Arc::clone(&state), peer_certificates, open, accept: Mutex::new(accept) })
    };
    let a = end(Side::Dialler, acceptor, to_b, from_b);
    let b = end(Side::Acceptor, dialler, to_a, from_a);
    let (a_send, b_recv) = stream(&a, &b);
    let (b_send, a_recv) = stream(&b, &a);
    ((a, a_send, a_recv), (b, b_send, b_recv))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Dialler,
    Acceptor,
}

type State = Option<(Side, LinkError)>;

/// One side of a local link; the link closes when its last user is dropped.
#[derive(Debug)]
pub(crate) struct End {
    side: Side,
    state: Arc<watch::Sender<State>>,
    peer_certificates: Vec<CertificateDer<'static>>,
    open: mpsc::Sender<Half>,
    accept: Mutex<mpsc::Receiver<Half>>,
}

impl End {
    pub(crate) fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        &self.peer_certificates
    }

    pub(crate) fn close(&self, code: u32, reason: &str) {
        let why = LinkError::closed(code.into(), reason.as_bytes());
        self.state.send_if_modified(|state| {
            let first = state.is_none();
            if first {
                *state = Some((self.side, why));
            }
            first
        });
    }

    pub(crate) async fn closed(&self) -> LinkError {
        let mut state = self.state.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        match state.wait_for(Option::is_some).await.ok().and_then(|state| state.clone()) {
            Some((side, why)) if side != self.side => why,
            _ => LinkError::ClosedHere,
        }
    }

    pub(crate) async fn open_uni(self: &Arc<Self>) -> Result<Sender, LinkError> {
        let (sender, half) = halves(self);
        tokio::select! {
            biased;
            why = self.closed() => Err(why),
            sent = self.open.send(half) => match sent {
                Ok(()) => Ok(sender),
                Err(_) => Err(self.closed().await),
            },
        }
    }

    pub(crate) async fn accept_uni(self: &Arc<Self>) -> Result<Receiver, LinkError> {
        let next = async { self.accept.lock().await.recv().await };
        tokio::select! {
            biased;
            why = self.closed() => Err(why),
            half = next => match half {
                Some(half) => Ok(half.receiver(self)),
                None => Err(self.closed().await),
            },
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.close(0, "");
    }
}

/// The receiving half of a new stream on its way to the other end.
#[derive(Debug)]
struct Half {
    chunks: mpsc::Receiver<Bytes>,
    finished: Arc<AtomicBool>,
    done: oneshot::Sender<()>,
}

impl Half {
    fn receiver(self, end: &Arc<End>) -> Receiver {
        let Self { chunks, finished, done } = self;
        Receiver { end: Arc::clone(end), chunks, finished, done: Some(done), held: Bytes::new() }
    }
}

fn halves(end: &Arc<End>) -> (Sender, Half) {
    let (chunks, rx) = mpsc::channel(CHUNKS);
    let (done, ack) = oneshot::channel();
    let finished = Arc::new(AtomicBool::new(false));
    let half = Half { chunks: rx, finished: Arc::clone(&finished), done };
    (Sender { end: Arc::clone(end), chunks: Some(chunks), finished, ack }, half)
}

fn stream(from: &Arc<End>, to: &Arc<End>) -> (Sender, Receiver) {
    let (sender, half) = halves(from);
    (sender, half.receiver(to))
}

/// Sending half of a local stream.
#[derive(Debug)]
pub(crate) struct Sender {
    end: Arc<End>,
    chunks: Option<mpsc::Sender<Bytes>>,
    finished: Arc<AtomicBool>,
    ack: oneshot::Receiver<()>,
}

impl Sender {
    pub(crate) async fn write(&mut self, mut bytes: Bytes) -> Result<(), LinkError> {
        let Some(chunks) = &self.chunks else {
            return Err(LinkError::Transport("stream is finished".into()));
        };
        while !bytes.is_empty() {
            let chunk = bytes.split_to(bytes.len().min(READ_BYTES));
            tokio::select! {
                biased;
                why = self.end.closed() => return Err(why),
                sent = chunks.send(chunk) => sent.map_err(|_| LinkError::Refused)?,
            }
        }
        Ok(())
    }

    pub(crate) fn finish(&mut self) -> Result<(), LinkError> {
        self.finished.store(true, Ordering::Release);
        match self.chunks.take() {
            Some(chunks) if chunks.is_closed() => Err(LinkError::Refused),
            Some(_) => Ok(()),
            None => Err(LinkError::Transport("stream is finished".into())),
        }
    }

    pub(crate) async fn delivered(&mut self) -> Result<(), LinkError> {
        tokio::select! {
            biased;
            ack = &mut self.ack => ack.map_err(|_| LinkError::Refused),
            why = self.end.closed() => Err(why),
        }
    }
}

/// Receiving half of a local stream.
#[derive(Debug)]
pub(crate) struct Receiver {
    end: Arc<End>,
    chunks: mpsc::Receiver<Bytes>,
    finished: Arc<AtomicBool>,
    done: Option<oneshot::Sender<()>>,
    held: Bytes,
}

impl Receiver {
    pub(crate) async fn read(&mut self, most: usize) -> Result<Option<Bytes>, LinkError> {
        if self.held.is_empty() {
            let next = tokio::select! {
                biased;
                why = self.end.closed() => return Err(why),
                next = self.chunks.recv() => next,
            };
            match next {
                Some(chunk) => self.held = chunk,
                None if self.finished.load(Ordering::Acquire) => {
                    if let Some(done) = self.done.take() {
                        // The sender may have stopped waiting.
                        let _ = done.send(());
                    }
                    return Ok(None);
                }
                None => return Err(LinkError::Abandoned),
            }
        }
        Ok(Some(self.held.split_to(most.min(self.held.len()))))
    }
}

/// Chunks in flight on one stream; each has at most [`READ_BYTES`].
const CHUNKS: usize = 8;
/// Uni streams that were opened but not accepted yet, per direction.
const STREAMS: usize = 16;

#[cfg(test)]
mod tests;
