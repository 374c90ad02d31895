//! Buffers of the models that the aggregator builds.
//!
//! The aggregator builds its models in a [`PayloadPool`], which reuses their buffers (fresh memory costs more than the
//! arithmetic) and allows [`VERSIONS`] of them to live: one that is sent and stored, one that is built. Whoever keeps a
//! clone of an old model for ever stops the run, so senders to slow peers drop theirs when they are cancelled.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use fl_engine::{
    Digest,
    aggregate::LIVE_MODELS,
    tensor::{Layout, ModelState, StateError},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Payload, leaves::root_of, lock};

/// Buffers for models of one layout. Clones share them.
#[derive(Clone, Debug)]
pub struct PayloadPool {
    home: Arc<Home>,
}

#[derive(Debug)]
struct Home {
    layout: Arc<Layout>,
    free: Arc<Semaphore>,
    /// Buffers that nobody holds, each of the layout's length; at most [`VERSIONS`].
    idle: Mutex<Vec<BytesMut>>,
}

impl PayloadPool {
    /// A pool of [`VERSIONS`] buffers, which are allocated when they are first taken.
    #[must_use]
    pub fn new(layout: Arc<Layout>) -> Self {
        let free = Arc::new(Semaphore::new(VERSIONS));
        Self { home: Arc::new(Home { layout, free, idle: Mutex::default() }) }
    }

    /// Waits until fewer than [`VERSIONS`] models live, that is until the last clone of an old one and of its bytes is
    /// gone, and takes a buffer. What is in it is left from an older model.
    ///
    /// # Cancel safety
    /// Cancel-safe; a cancelled wait loses its place in the queue.
    pub async fn take(&self) -> Draft {
        let permit = Arc::clone(&self.home.free).acquire_owned().await;
        let reused = lock(&self.home.idle).pop();
        let buffer = reused.unwrap_or_else(|| BytesMut::zeroed(self.home.layout.byte_len()));
        // The semaphore is never closed: there always is a permit.
        Draft { lent: Lent { buffer, home: Arc::clone(&self.home), permit: permit.ok() } }
    }

    /// Models that could be taken at once.
    #[must_use]
    pub fn free(&self) -> usize {
        self.home.free.available_permits()
    }

    /// The layout of every model.
    #[must_use]
    pub fn layout(&self) -> &Arc<Layout> {
        &self.home.layout
    }
}

/// A buffer of the pool's. Dropping it gives the buffer back before the permit.
#[derive(Debug)]
struct Lent {
    buffer: BytesMut,
    home: Arc<Home>,
    #[expect(dead_code, reason = "held for its drop")]
    permit: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        // A buffer that lost a part is not one of the pool's any more.
        if buffer.len() == self.home.layout.byte_len() {
            lock(&self.home.idle).push(buffer);
        }
    }
}

/// A model that is being built. Dropping it gives the buffer back.
#[derive(Debug)]
pub struct Draft {
    lent: Lent,
}

impl Draft {
    /// The whole buffer, of the layout's length.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.lent.buffer
    }

    /// Makes the payload of `state`.
    ///
    /// # Errors
    /// [`StateError`] when its layout is of another length.
    pub fn encode(mut self, state: &ModelState) -> Result<Payload, StateError> {
        let layout = Arc::clone(&self.lent.home.layout);
        if state.f32.len() != layout.f32_len() {
            return Err(StateError { given: state.layout().byte_len(), expected: layout.byte_len() });
        }
        state.write_over(self.as_mut_slice())?;
        Ok(self.finish())
    }

    /// Hashes the buffer and makes it a payload.
    #[must_use]
    pub fn finish(self) -> Payload {
        let root = root_of(self.lent.home.layout.hash(), &self.lent.buffer);
        self.finish_with(root)
    }

    /// The bytes alone, for what is never sent and so needs no root.
    pub(crate) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self.lent)
    }

    /// Makes it a payload with a root that was computed beside the bytes.
    pub(crate) fn finish_with(self, root: Digest) -> Payload {
        Payload { bytes: Bytes::from_owner(self.lent), root }
    }

    /// Cuts the buffer after each of `lengths` bytes, for threads that fill the parts side by side.
    pub(crate) fn split(mut self, lengths: impl Iterator<Item = usize>) -> Parts {
        let parts = lengths.map(|len| Mutex::new(self.lent.buffer.split_to(len))).collect();
        Parts { lent: Some(self.lent), parts }
    }
}

/// A draft in parts. Dropping it, when the last thread lets go, gives the whole buffer back.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Holds what is behind the last part.
    lent: Option<Lent>,
    parts: Vec<Mutex<BytesMut>>,
}

impl Parts {
    /// Part `index`. One thread fills it.
    pub(crate) fn part(&self, index: usize) -> MutexGuard<'_, BytesMut> {
        lock(&self.parts[index])
    }

    /// The parts as one draft again; nothing is copied.
    pub(crate) fn join(mut self) -> Option<Draft> {
        self.whole().map(|lent| Draft { lent })
    }

    fn whole(&mut self) -> Option<Lent> {
        let mut lent = self.lent.take()?;
        let mut buffer = BytesMut::new();
        for part in self.parts.drain(..) {
            buffer.unsplit(part.into_inner().unwrap_or_else(PoisonError::into_inner));
        }
        buffer.unsplit(std::mem::take(&mut lent.buffer));
        lent.buffer = buffer;
        Some(lent)
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        drop(self.whole());
    }
}

/// Models that live at once at the aggregator.
pub const VERSIONS: usize = LIVE_MODELS as usize;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::payload::tests::{layout, state};

    async fn waits(pool: &PayloadPool) -> bool {
        tokio::time::timeout(Duration::from_millis(20), pool.take()).await.is_err()
    }

    #[tokio::test]
    async fn third_model_waits_for_the_last_clone_of_an_old_one_and_reuses_its_buffer() {
        let pool = PayloadPool::new(layout());
        let old = pool.take().await.encode(&state(1.0)).unwrap();
        let new = pool.take().await.encode(&state(2.0)).unwrap();
        let place = old.as_slice().as_ptr();
        let sending = old.bytes().slice(70_000..);
        drop(old);
        assert!(waits(&pool).await, "a peer is still sent the old model");
        drop(sending);
        let mut third = pool.take().await;
        assert_eq!(third.as_mut_slice().as_ptr(), place);
        assert!(waits(&pool).await);
        drop((third, new));
        assert_eq!(pool.free(), VERSIONS);
    }

    #[tokio::test]
    async fn parts_join_in_place_and_come_back_when_dropped() {
        let pool = PayloadPool::new(layout());
        let state = state(7.0);
        let mut draft = pool.take().await;
        let place = draft.as_mut_slice().as_ptr();
        let encoded = Payload::from_state(&state);
        for _ in 0..2 {
            let parts = draft.split([0, 70_000, 1].into_iter());
            parts.part(1).copy_from_slice(&encoded.as_slice()[..70_000]);
            drop(parts);
            draft = pool.take().await;
            assert_eq!(draft.as_mut_slice().as_ptr(), place);
            assert_eq!(draft.as_mut_slice().len(), layout().byte_len());
        }
        let parts = draft.split([70_000, layout().byte_len() - 70_000].into_iter());
        parts.part(1).copy_from_slice(&encoded.as_slice()[70_000..]);
        let joined = parts.join().unwrap().finish();
        assert_eq!((joined.as_slice().as_ptr(), &joined), (place, &encoded));
    }
}
