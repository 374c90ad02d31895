//! Buffers with a bound on how many payloads live at once.

use std::sync::Arc;

use fl_engine::{aggregate::LIVE_MODELS, tensor::Layout};
use tokio::sync::Semaphore;

use super::{Buffers, Draft};

/// Buffers for the models that the aggregator builds, and for the states of its server's step. Clones share
/// them.
///
/// At most [`Self::MOST_LIVE`] payloads live: one that is sent and stored, and one that is built. A task that
/// keeps a clone of an old model for ever stops the run. So a task that sends a model to a slow peer drops
/// its clone when it is cancelled.
#[derive(Clone, Debug)]
pub struct PayloadPool {
    buffers: Buffers,
    free: Arc<Semaphore>,
}

impl PayloadPool {
    /// Payloads of one pool that may live at once.
    pub const MOST_LIVE: usize = LIVE_MODELS as usize;

    /// A pool for payloads of `layout`. Each buffer is allocated when it is first taken.
    #[must_use]
    pub fn new(layout: Arc<Layout>) -> Self {
        let free = Arc::new(Semaphore::new(Self::MOST_LIVE));
        Self { buffers: Buffers::keeping(layout, Self::MOST_LIVE), free }
    }

    /// Waits until fewer than [`Self::MOST_LIVE`] payloads live, that is until the last clone of an old
    /// payload and of its bytes is dropped, and takes a buffer. The buffer holds what an older payload left
    /// in it.
    ///
    /// # Cancel safety
    /// Cancel-safe. A cancelled wait loses its place in the queue.
    pub async fn take(&self) -> Draft {
        // The semaphore is never closed, so there always is a permit.
        let permit = Arc::clone(&self.free).acquire_owned().await.ok();
        Draft { lent: self.buffers.lend(permit) }
    }

    /// Buffers that can be taken without waiting.
    #[must_use]
    pub fn free(&self) -> usize {
        self.free.available_permits()
    }

    /// The layout of every payload.
    #[must_use]
    pub fn layout(&self) -> &Arc<Layout> {
        self.buffers.layout()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::payload::{
        Payload,
        tests::{layout, state},
    };

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
        assert_eq!(pool.free(), PayloadPool::MOST_LIVE);
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
        let joined = parts.join().finish();
        assert_eq!((joined.as_slice().as_ptr(), &joined), (place, &encoded));
    }
}
