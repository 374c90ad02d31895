//! A UDP socket for quinn that sets no option and sends no control message, because a library OS refuses
//! both. It has no ECN, no segmentation offload by the kernel and no choice of the source address. The
//! endpoint uses it when the site file asks for it, or when the native socket does not open.
//!
//! A *batched* socket takes up to ten segments from quinn at once and gives them to the kernel in one call.
//! It receives as many datagrams in one call as quinn has buffers. A *plain* socket makes one call for each
//! datagram. A batched socket becomes plain when the kernel does not know such a call. Under Gramine each
//! call is a jump within the process ([`fl_sys::syscall`]).
//!
//! # Who owns a segment
//!
//! When `try_send` returns `WouldBlock`, quinn sends the whole transmit again later. When it returns `Ok`,
//! quinn forgets the transmit. So this socket returns `WouldBlock` only if the kernel took no segment of the
//! transmit. Once the kernel took one segment, the result is `Ok`, and the segments without room belong to
//! this socket: they wait in its own queue and are sent before all later ones. Until they are sent, every
//! `try_send` returns `WouldBlock`. Each connection can thus leave one transmit here at most. A task sends
//! the queue as soon as there is room, also when quinn sends nothing more. A segment that the kernel refuses
//! for any other reason is a lost datagram, which QUIC repairs.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use fl_sys::udp::{BATCH, Datagram, recv_batch, recv_one, send_batch, send_one};
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use tokio::{io::Interest, net::UdpSocket, runtime};

/// [`send_batch`], or what a test puts in its place.
type SendCall = fn(BorrowedFd<'_>, SocketAddr, &[u8], usize) -> io::Result<usize>;

/// The portable socket, plain or batched.
#[derive(Debug)]
pub struct PortableSocket {
    io: UdpSocket,
    may_probe: bool,
    sends: Batching,
    receives: Batching,
    send: SendCall,
    /// Whether `rest` holds anything. Read without taking the lock of `rest`.
    is_behind: AtomicBool,
    rest: Mutex<VecDeque<Rest>>,
    this: Weak<Self>,
    runtime: runtime::Handle,
}

/// Segments that quinn has forgotten and the kernel has not taken yet.
#[derive(Debug)]
struct Rest {
    destination: SocketAddr,
    contents: Vec<u8>,
    segment_size: usize,
    sent: usize,
}

impl PortableSocket {
    /// Wraps a bound, non-blocking socket. With `may_probe` quinn looks for datagrams larger than its first
    /// ones; the kernel must not fragment then, which Linux does by default. Without `batched` the socket is
    /// plain.
    ///
    /// # Errors
    /// When the runtime cannot watch the socket.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O.
    pub fn open(socket: std::net::UdpSocket, may_probe: bool, batched: bool) -> io::Result<Arc<Self>> {
        Self::over(socket, may_probe, batched, send_batch)
    }

    fn over(
        socket: std::net::UdpSocket,
        may_probe: bool,
        batched: bool,
        send: SendCall,
    ) -> io::Result<Arc<Self>> {
        let io = UdpSocket::from_std(socket)?;
        Ok(Arc::new_cyclic(|this| Self {
            io,
            may_probe,
            sends: Batching::new("sending", batched),
            receives: Batching::new("receiving", batched),
            send,
            is_behind: AtomicBool::new(false),
            rest: Mutex::default(),
            this: this.clone(),
            runtime: runtime::Handle::current(),
        }))
    }

    /// Offers segments to the kernel until it has taken all or has no room. Returns the number of bytes that
    /// are done.
    fn push(&self, destination: SocketAddr, contents: &[u8], segment_size: usize) -> usize {
        let mut done = 0;
        while done < contents.len() {
            let sent = match self.call(destination, &contents[done..], segment_size) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // To QUIC an unreachable peer or an oversized probe is a lost datagram; any error here would
                // end every link of the endpoint.
                Err(error) => {
                    tracing::trace!(%error, "a UDP packet to the peer was not sent; QUIC sends the content again");
                    1
                }
            };
            done = contents.len().min(done + sent * segment_size);
        }
        done
    }

    /// Makes one call. Returns how many segments the kernel took.
    fn call(&self, destination: SocketAddr, contents: &[u8], segment_size: usize) -> io::Result<usize> {
        // A single datagram is sent without a batch, so that a handshake never depends on batches.
        if contents.len() > segment_size && self.sends.is_on() {
            let sent = self.io.try_io(Interest::WRITABLE, || {
                (self.send)(self.io.as_fd(), destination, contents, segment_size)
            });
            if !self.sends.is_refused(&sent) {
                return sent;
            }
        }
        let first = &contents[..segment_size.min(contents.len())];
        self.io.try_io(Interest::WRITABLE, || send_one(self.io.as_fd(), destination, first)).map(|_| 1)
    }

    /// Sends what is left of earlier transmits. False when something is still left.
    fn catch_up(&self) -> bool {
        if !self.is_behind.load(Ordering::Acquire) {
            return true;
        }
        let mut queue = self.rest();
        while let Some(rest) = queue.front_mut() {
            rest.sent += self.push(rest.destination, &rest.contents[rest.sent..], rest.segment_size);
            if rest.sent < rest.contents.len() {
                return false;
            }
            queue.pop_front();
        }
        self.is_behind.store(false, Ordering::Release);
        true
    }

    /// Queues the segments for which the kernel had no room.
    fn keep(&self, destination: SocketAddr, contents: &[u8], segment_size: usize) {
        let mut queue = self.rest();
        queue.push_back(Rest { destination, contents: contents.to_vec(), segment_size, sent: 0 });
        let was_behind = self.is_behind.swap(true, Ordering::AcqRel);
        drop(queue);
        let Some(this) = self.this.upgrade().filter(|_| !was_behind) else { return };
        self.runtime.spawn(async move { while this.io.writable().await.is_ok() && !this.catch_up() {} });
    }

    fn rest(&self) -> MutexGuard<'_, VecDeque<Rest>> {
        // Every change of the queue is one step, so that a panic elsewhere leaves it whole.
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Receives several datagrams in one call.
    fn receive_batch(&self, bufs: &mut [io::IoSliceMut<'_>], metas: &mut [RecvMeta]) -> io::Result<usize> {
        let mut datagrams = [None; BATCH];
        let count = self.io.try_io(Interest::READABLE, || {
            recv_batch(self.io.as_fd(), bufs, &mut datagrams[..metas.len().min(BATCH)])
        })?;
        for (meta, datagram) in metas.iter_mut().zip(datagrams).take(count) {
            *meta = received(datagram);
        }
        Ok(count)
    }

    /// Receives each datagram in a call of its own. An error after the first datagram is not returned: if it
    /// lasts, the next call meets it again.
    fn receive_each(&self, bufs: &mut [io::IoSliceMut<'_>], metas: &mut [RecvMeta]) -> io::Result<usize> {
        let mut count = 0;
        for (buf, meta) in bufs.iter_mut().zip(metas) {
            match self.io.try_io(Interest::READABLE, || recv_one(self.io.as_fd(), buf)) {
                Ok(datagram) => *meta = received(datagram),
                Err(error) if count == 0 => return Err(error),
                Err(_) => break,
            }
            count += 1;
        }
        Ok(count)
    }
}

impl AsyncUdpSocket for PortableSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable { socket: self, waiting: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if !self.catch_up() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let contents = transmit.contents;
        let segment_size = transmit.segment_size.unwrap_or(contents.len());
        match self.push(transmit.destination, contents, segment_size) {
            done if done == contents.len() => Ok(()),
            0 => Err(io::ErrorKind::WouldBlock.into()),
            done => {
                self.keep(transmit.destination, &contents[done..], segment_size);
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
            let received = if self.receives.is_on() {
                let received = self.receive_batch(bufs, meta);
                if self.receives.is_refused(&received) {
                    continue;
                }
                received
            } else {
                self.receive_each(bufs, meta)
            };
            match received {
                // An earlier send was answered by an ICMP error, for example "port unreachable". That is not
                // a datagram, and not a reason to stop.
                Err(error) if is_passing(error.kind()) => {}
                received => return Poll::Ready(received),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    fn may_fragment(&self) -> bool {
        !self.may_probe
    }

    fn max_transmit_segments(&self) -> usize {
        if self.sends.is_on() { SEGMENTS } else { 1 }
    }
}

/// Whether one direction is batched. The first call that the kernel answers decides it.
#[derive(Debug)]
struct Batching {
    what: &'static str,
    is_on: AtomicBool,
    is_proven: AtomicBool,
}

impl Batching {
    fn new(what: &'static str, is_on: bool) -> Self {
        Self { what, is_on: AtomicBool::new(is_on), is_proven: AtomicBool::new(false) }
    }

    fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Judges the result of a batched call. True when the kernel does not know the call: the caller has to
    /// send or receive one datagram at a time.
    fn is_refused(&self, answer: &io::Result<usize>) -> bool {
        if self.is_proven.load(Ordering::Relaxed) {
            return false;
        }
        match answer {
            Err(error) if is_unknown_call(error) => {
                if self.is_on.swap(false, Ordering::Relaxed) {
                    tracing::info!(%error, "the system refuses batches of datagrams: {} one at a time from now on", self.what);
                }
                true
            }
            // tokio returns this also without a call, for a socket that it knows not to be ready.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            _ => {
                self.is_proven.store(true, Ordering::Relaxed);
                false
            }
        }
    }
}

/// ENOSYS and EOPNOTSUPP, or EINVAL.
fn is_unknown_call(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput)
}

/// A received datagram as quinn's record. quinn skips an empty one.
fn received(datagram: Option<Datagram>) -> RecvMeta {
    datagram.map_or_else(RecvMeta::default, |Datagram { from, len }| RecvMeta {
        addr: from,
        len,
        stride: len,
        ecn: None,
        dst_ip: None,
    })
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

/// Most segments of one transmit: quinn never gives more.
const SEGMENTS: usize = 10;

#[cfg(test)]
mod tests;
