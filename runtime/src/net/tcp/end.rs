//! What sessions hold of a link over TCP: the link itself, and the halves of its streams. The link closes
//! when the last of them is dropped.

use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use tokio::sync::Notify;

use super::{
    driver::Shared,
    mux::{CONTROL, CONTROL_WINDOW, Mux},
};
use crate::net::{LinkError, READ_BYTES};

/// One side of a link.
#[derive(Debug)]
pub(crate) struct End {
    shared: Arc<Shared>,
    /// Bounds of the window, bytes.
    windows: (u64, u64),
}

impl End {
    pub(super) fn new(shared: Arc<Shared>, windows: (u64, u64)) -> Arc<Self> {
        Arc::new(Self { shared, windows })
    }

    /// The halves of the control stream. Call it once.
    pub(super) fn control(self: &Arc<Self>) -> (Sender, Receiver) {
        (self.sender(CONTROL), self.receiver(CONTROL))
    }

    fn sender(self: &Arc<Self>, key: u32) -> Sender {
        Sender { end: Arc::clone(self), key, kept: false }
    }

    fn receiver(self: &Arc<Self>, number: u32) -> Receiver {
        Receiver { end: Arc::clone(self), number, ended: None }
    }

    pub(crate) async fn open_uni(self: &Arc<Self>) -> Result<Sender, LinkError> {
        self.until(&self.shared.place, Mux::open).await.map(|key| self.sender(key))
    }

    pub(crate) async fn accept_uni(self: &Arc<Self>) -> Result<Receiver, LinkError> {
        self.until(&self.shared.fresh, Mux::accept).await.map(|number| self.receiver(number))
    }

    pub(crate) async fn closed(&self) -> LinkError {
        self.until(&self.shared.closed, |mux| mux.ended().cloned()).await
    }

    /// Asks again after each notice.
    async fn until<T>(&self, notice: &Notify, mut ask: impl FnMut(&mut Mux) -> Option<T>) -> T {
        loop {
            // Made before the question: no notice in between is lost.
            let noticed = notice.notified();
            if let Some(answer) = self.shared.with(&mut ask) {
                return answer;
            }
            noticed.await;
        }
    }

    pub(crate) fn grant(&self, bytes: u64) {
        let (least, most) = self.windows;
        self.shared.with(|mux| mux.set_window(window(bytes.clamp(least.min(most), most))));
    }

    pub(crate) fn close(&self, code: u32, reason: &str) {
        self.shared.with(|mux| mux.close(code, reason));
    }

    pub(crate) fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        &self.shared.certificates
    }

    pub(crate) fn remote_address(&self) -> SocketAddr {
        self.shared.remote
    }

    pub(crate) fn export(&self, out: &mut [u8], label: &[u8], context: &[u8]) -> Result<(), LinkError> {
        let exported = self.shared.tls().export_keying_material(out, label, Some(context));
        exported.map(drop).map_err(|error| LinkError::Transport(error.to_string()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.close(0, "");
    }
}

/// The part of a link's window that uni streams share: the control stream has its own.
pub(super) fn window(bytes: u64) -> u64 {
    bytes.saturating_sub(CONTROL_WINDOW)
}

/// Sending half of a stream.
#[derive(Debug)]
pub(crate) struct Sender {
    end: Arc<End>,
    key: u32,
    /// Whether bytes that were written are still sent when the half is dropped.
    kept: bool,
}

impl Sender {
    pub(crate) async fn write(&mut self, mut piece: Bytes) -> Result<(), LinkError> {
        while !piece.is_empty() {
            self.poll(|mux, key, context| mux.poll_write(key, &mut piece, context)).await?;
        }
        Ok(())
    }

    pub(crate) fn finish(&mut self) -> Result<(), LinkError> {
        self.end.shared.with(|mux| mux.finish(self.key))?;
        self.kept = true;
        Ok(())
    }

    pub(crate) async fn delivered(&mut self) -> Result<(), LinkError> {
        self.kept = false;
        self.poll(|mux, key, context| mux.poll_delivered(key, context)).await
    }

    fn poll<T>(
        &self,
        mut ask: impl FnMut(&mut Mux, u32, &Context<'_>) -> Poll<T>,
    ) -> impl Future<Output = T> {
        poll_fn(move |context| self.end.shared.with(|mux| ask(mux, self.key, context)))
    }

    pub(crate) fn set_priority(&self, priority: i32) {
        self.end.shared.with(|mux| mux.set_priority(self.key, priority));
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.end.shared.with(|mux| mux.leave(self.key, self.kept));
    }
}

/// Receiving half of a stream.
#[derive(Debug)]
pub(crate) struct Receiver {
    end: Arc<End>,
    number: u32,
    /// How the stream has ended. The link then knows the stream no longer.
    ended: Option<Result<(), LinkError>>,
}

impl Receiver {
    pub(crate) async fn read(&mut self, most: usize) -> Result<Option<Bytes>, LinkError> {
        let mut piece = [Bytes::new()];
        let filled = self.read_at_most(&mut piece, most).await?;
        let [piece] = piece;
        Ok(filled.map(|_| piece))
    }

    pub(crate) async fn read_pieces(&mut self, into: &mut [Bytes]) -> Result<Option<usize>, LinkError> {
        self.read_at_most(into, READ_BYTES).await
    }

    async fn read_at_most(&mut self, into: &mut [Bytes], most: usize) -> Result<Option<usize>, LinkError> {
        if let Some(ended) = &self.ended {
            return ended.clone().map(|()| None);
        }
        let (shared, number) = (&self.end.shared, self.number);
        let read = poll_fn(|context| shared.with(|mux| mux.poll_read(number, into, most, context))).await;
        match &read {
            Ok(Some(_)) => {}
            Ok(None) => self.ended = Some(Ok(())),
            Err(error) => self.ended = Some(Err(error.clone())),
        }
        read
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.end.shared.with(|mux| mux.stop(self.number));
    }
}
