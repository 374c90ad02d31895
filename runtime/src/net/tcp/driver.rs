//! The task of one link over TCP: moves bytes between the socket, TLS and the streams. The task lives as long
//! as the link, and shortly longer if the peer has to hear a close.

use std::{
    io::{self, BufRead as _, IoSlice, Write as _},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustls::{Connection, pki_types::CertificateDer};
use tokio::{
    io::{AsyncWriteExt as _, Interest},
    net::TcpStream,
    sync::{Notify, watch},
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    frame::Decoder,
    handshake::{self, ENDED},
    mux::{Bounds, Mux, Signals},
};
use crate::net::{LinkError, open_links::OpenLink};

/// A close that an endpoint asks all its links for.
pub(super) type Closing = Option<(u32, String)>;

/// What the task and the halves of a link share.
#[derive(Debug)]
pub(super) struct Shared {
    mux: Mutex<Mux>,
    tls: Mutex<Connection>,
    driver: Notify,
    pub(super) closed: Notify,
    pub(super) fresh: Notify,
    pub(super) place: Notify,
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) remote: SocketAddr,
}

impl Shared {
    /// `tls` has shaken hands.
    pub(super) fn new(tls: Connection, remote: SocketAddr, bounds: Bounds) -> Arc<Self> {
        let certificates = tls.peer_certificates().unwrap_or_default();
        Arc::new(Self {
            certificates: certificates.iter().map(|one| one.clone().into_owned()).collect(),
            mux: Mutex::new(Mux::new(bounds)),
            tls: Mutex::new(tls),
            driver: Notify::new(),
            closed: Notify::new(),
            fresh: Notify::new(),
            place: Notify::new(),
            remote,
        })
    }

    /// Does something with the streams, and wakes those who have to look again.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Mux) -> T) -> T {
        let mut mux = self.mux.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut mux);
        let Signals { driver, closed, fresh, place } = mux.take_signals();
        drop(mux);
        if driver {
            self.driver.notify_one();
        }
        if closed {
            self.closed.notify_waiters();
        }
        if fresh || closed {
            self.fresh.notify_waiters();
        }
        if place || closed {
            self.place.notify_waiters();
        }
        result
    }

    pub(super) fn tls(&self) -> MutexGuard<'_, Connection> {
        self.tls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task's own part.
pub(super) struct Driver {
    shared: Arc<Shared>,
    socket: TcpStream,
    /// The place that the link counts for at the side that accepted it.
    _open: Option<OpenLink>,
    decoder: Decoder,
    /// Small frames that go into one TLS record.
    head: Vec<u8>,
    /// Beats since the last byte came.
    silent: u32,
    /// Silent beats after which this side asks for a sign of life.
    asks_after: u32,
}

impl Driver {
    /// `open`: the place of the link, if this side has accepted it. A side that dialled asks first.
    pub(super) fn new(shared: Arc<Shared>, socket: TcpStream, open: Option<OpenLink>) -> Self {
        let asks_after = if open.is_none() { ASKING } else { KEEP_ALIVE };
        let (decoder, head) = (Decoder::default(), Vec::new());
        Self { shared, socket, _open: open, decoder, head, silent: 0, asks_after }
    }

    /// Serves the link to its end.
    pub(super) async fn run(mut self, mut closing: watch::Receiver<Closing>) {
        let mut beats = interval(BEAT);
        beats.reset();
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut endpoint_lives = true;
        // The handshake's last record may have brought the first frames.
        let mut came = self.take_in();
        loop {
            let more = match came.and_then(|()| self.turn()) {
                Ok(more) => more,
                // A close that still waits cannot be sent any more.
                Err(why) => {
                    self.shared.with(|mux| mux.end(why));
                    break;
                }
            };
            if self.shared.with(|mux| mux.is_over()) {
                break;
            }
            let interest = if more || self.shared.tls().wants_write() {
                Interest::READABLE | Interest::WRITABLE
            } else {
                Interest::READABLE
            };
            came = tokio::select! {
                ready = self.socket.ready(interest) => ready.map(drop).map_err(handshake::broken),
                () = self.shared.driver.notified() => Ok(()),
                _ = beats.tick() => self.beat(),
                asked = closing.changed(), if endpoint_lives => {
                    endpoint_lives = asked.is_ok();
                    Ok(())
                }
            };
            if let Some((code, reason)) = &*closing.borrow_and_update() {
                self.shared.with(|mux| mux.close(*code, reason));
            }
        }
        // A close that waits for this long is not heard.
        let _ = timeout(CLOSING, self.part()).await;
    }

    fn beat(&mut self) -> Result<(), LinkError> {
        self.silent += 1;
        if self.silent > IDLE {
            return Err(LinkError::TimedOut);
        }
        if self.silent >= self.asks_after {
            self.shared.with(Mux::ping);
        }
        Ok(())
    }

    /// Receives and sends what there is. Returns whether there may be more to send.
    fn turn(&mut self) -> Result<bool, LinkError> {
        let received = self.receive();
        match self.send() {
            // What the peer sent before it left says more than the failure to write.
            Err(error) => match received.and_then(|()| self.receive()) {
                Ok(()) => Err(handshake::broken(error)),
                Err(why) => Err(why),
            },
            Ok(more) => received.map(|()| more),
        }
    }

    fn receive(&mut self) -> Result<(), LinkError> {
        let mut buffer = [0; READ];
        for _ in 0..READS {
            let got = match self.socket.try_read(&mut buffer) {
                Ok(0) => return Err(LinkError::Transport(ENDED.to_owned())),
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(handshake::broken(error)),
            };
            self.silent = 0;
            let mut records = &buffer[..got];
            while !records.is_empty() {
                let read = self.shared.tls().read_tls(&mut records);
                // Nothing is read after the peer's end of TLS.
                if read.map_err(handshake::broken)? == 0 {
                    return Err(LinkError::Transport(ENDED.to_owned()));
                }
                self.take_in()?;
            }
        }
        Ok(())
    }

    /// Decrypts what TLS has read, and hands the frames to the streams.
    fn take_in(&mut self) -> Result<(), LinkError> {
        let mut tls = self.shared.tls();
        let processed = tls.process_new_packets();
        let mut reader = tls.reader();
        while let Ok(mut chunk) = reader.fill_buf() {
            let len = chunk.len();
            if len == 0 {
                break;
            }
            self.shared.with(|mux| {
                loop {
                    match self.decoder.next(&mut chunk) {
                        Ok(Some(arrived)) => {
                            if mux.receive(arrived).is_err() {
                                return;
                            }
                        }
                        Ok(None) => return,
                        Err(fault) => return mux.fault(fault),
                    }
                }
            });
            reader.consume(len);
        }
        match processed {
            Ok(_) => Ok(()),
            Err(rustls::Error::AlertReceived(alert)) => Err(LinkError::Alert(alert.into())),
            Err(error) => Err(LinkError::Transport(error.to_string())),
        }
    }

    fn send(&mut self) -> io::Result<bool> {
        let mut tls = self.shared.tls();
        for _ in 0..WRITES {
            if !handshake::send_now(&self.socket, &mut tls)? {
                return Ok(true);
            }
            for _ in 0..RECORDS {
                self.head.clear();
                let body = self.shared.with(|mux| mux.fill(&mut self.head));
                if self.head.is_empty() {
                    break;
                }
                encrypt(&mut tls, &self.head, &body)?;
            }
            if !tls.wants_write() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Tells the peer the end of TLS, and waits until the peer has left too: the system would take a close
    /// back if bytes of the peer came after it.
    async fn part(mut self) -> io::Result<()> {
        let is_alone = |why: &LinkError| matches!(why, LinkError::TimedOut | LinkError::Closed { .. });
        if self.shared.with(|mux| mux.ended().is_some_and(is_alone)) {
            return Ok(());
        }
        self.shared.tls().send_close_notify();
        while !handshake::send_now(&self.socket, &mut self.shared.tls())? {
            self.socket.writable().await?;
        }
        linger(&mut self.socket).await
    }
}

fn encrypt(tls: &mut Connection, mut head: &[u8], mut body: &[u8]) -> io::Result<()> {
    // TLS has no limit on its buffer, and stops short only to change its keys.
    while !(head.is_empty() && body.is_empty()) {
        let taken = tls.writer().write_vectored(&[IoSlice::new(head), IoSlice::new(body)])?;
        if taken == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let of_head = taken.min(head.len());
        (head, body) = (&head[of_head..], &body[taken - of_head..]);
    }
    Ok(())
}

/// Ends the sending direction, and reads until the peer ends the other one.
pub(super) async fn linger(socket: &mut TcpStream) -> io::Result<()> {
    socket.shutdown().await?;
    while !has_left(socket)? {
        socket.readable().await?;
    }
    Ok(())
}

fn has_left(socket: &TcpStream) -> io::Result<bool> {
    let mut rest = [0; 4096];
    loop {
        match socket.try_read(&mut rest) {
            Ok(0) => return Ok(true),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

/// Interval at which the task looks whether the peer lives.
const BEAT: Duration = Duration::from_secs(1);
/// Beats without a byte after which a link is dead, as over QUIC.
const IDLE: u32 = 15;
/// Silent beats after which the side that dialled asks for a sign of life.
const ASKING: u32 = 1;
/// The same for the side that accepted.
const KEEP_ALIVE: u32 = 4;
/// Bytes that one read takes from the socket. The buffer is on the stack: an idle link has none.
const READ: usize = 32 * 1024;
/// Reads before the task looks for something to send.
const READS: usize = 8;
/// TLS records that are encrypted ahead. A peer that does not read costs so many, and no more.
const RECORDS: usize = 2;
/// Writes before the task looks whether something has arrived.
const WRITES: usize = 16;
/// Longest wait for a peer to hear a close. On a slow line the last bytes are sent again after a few seconds.
const CLOSING: Duration = Duration::from_secs(10);
/// The same for a peer that has no link yet.
pub(super) const PARTING: Duration = Duration::from_secs(3);
