//! Buffers for payloads of one layout, used again and again.
//!
//! Fresh memory of a model's size costs more than the arithmetic on it, because the system clears and maps
//! each page. So a buffer goes back to its [`Buffers`] when the last clone of its payload is dropped. Taking
//! a buffer never waits: a collaborator's model, update and next model may live at once. The aggregator
//! bounds how many payloads live, with a [`PayloadPool`](super::PayloadPool).

use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use fl_engine::tensor::Layout;
use tokio::sync::OwnedSemaphorePermit;

/// A free list of buffers from dropped payloads. Clones share the list.
#[derive(Clone, Debug)]
pub(crate) struct Buffers {
    home: Arc<Home>,
}

#[derive(Debug)]
struct Home {
    layout: Arc<Layout>,
    most_idle: usize,
    /// Buffers that nobody holds, each of the layout's length; at most `most_idle`.
    idle: Mutex<Vec<BytesMut>>,
}

impl Buffers {
    /// A collaborator's list, which keeps one buffer for later: a model is replaced by the next while no
    /// update lives.
    pub(crate) fn new(layout: Arc<Layout>) -> Self {
        Self::keeping(layout, 1)
    }

    /// A list that keeps at most `most_idle` buffers for later.
    pub(super) fn keeping(layout: Arc<Layout>, most_idle: usize) -> Self {
        Self { home: Arc::new(Home { layout, most_idle, idle: Mutex::default() }) }
    }

    /// A buffer from the list, or fresh memory when the list is empty. The buffer holds what an older payload
    /// left in it. `permit` is given back after the buffer.
    pub(super) fn lend(&self, permit: Option<OwnedSemaphorePermit>) -> Lent {
        let reused = self.home.idle().pop();
        let buffer = reused.unwrap_or_else(|| BytesMut::zeroed(self.home.layout.byte_len()));
        Lent { buffer, parts: Vec::new(), home: Arc::clone(&self.home), permit }
    }

    pub(super) fn layout(&self) -> &Arc<Layout> {
        &self.home.layout
    }
}

impl Home {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<BytesMut>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer that goes back to its list when it is dropped, and after it the permit.
#[derive(Debug)]
pub(super) struct Lent {
    pub(super) buffer: BytesMut,
    /// Parts that were cut off the buffer's start, in order.
    pub(super) parts: Vec<Mutex<BytesMut>>,
    home: Arc<Home>,
    #[expect(dead_code, reason = "held for its drop")]
    permit: Option<OwnedSemaphorePermit>,
}

impl Lent {
    pub(super) fn layout(&self) -> &Arc<Layout> {
        &self.home.layout
    }

    /// Cuts the buffer after each of `lengths` bytes.
    pub(super) fn split(&mut self, lengths: impl Iterator<Item = usize>) {
        self.parts.extend(lengths.map(|len| Mutex::new(self.buffer.split_to(len))));
    }

    /// Puts the parts back. Nothing is copied.
    pub(super) fn join(&mut self) {
        let mut whole = BytesMut::new();
        for part in self.parts.drain(..) {
            whole.unsplit(part.into_inner().unwrap_or_else(PoisonError::into_inner));
        }
        whole.unsplit(std::mem::take(&mut self.buffer));
        self.buffer = whole;
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.join();
        let buffer = std::mem::take(&mut self.buffer);
        let mut idle = self.home.idle();
        // A buffer that lost a part is too short for another payload.
        if buffer.len() == self.home.layout.byte_len() && idle.len() < self.home.most_idle {
            idle.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::payload::{
        Buffers, Payload,
        tests::{layout, state},
    };

    #[test]
    fn buffer_comes_back_with_the_last_clone_and_one_is_kept() {
        let buffers = Buffers::new(layout());
        let encode = |first| buffers.take().encode(&state(first)).unwrap();
        let model = encode(1.0);
        assert_eq!(model, Payload::from_state(&state(1.0)));
        let (place, sending) = (model.as_slice().as_ptr(), model.bytes());
        drop(model);
        let update = encode(2.0);
        assert_ne!(update.as_slice().as_ptr(), place, "the model is still sent");
        drop(sending);
        let next = encode(3.0);
        assert_eq!((next.as_slice().as_ptr(), &next), (place, &Payload::from_state(&state(3.0))));
        drop((update, next));
        assert_eq!(buffers.home.idle().len(), 1);
    }
}
