//! A number of bytes that tasks share. Whoever holds memory for a peer holds a [`Permit`] for it.

use std::sync::Arc;

use fl_engine::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::MemoryError;

/// Bytes are counted in pages: the semaphore counts in `u32`, and memory comes in pages anyway.
const PAGE: u64 = 4096;

/// A byte semaphore, first come, first served. Clones share the bytes.
#[derive(Clone, Debug)]
pub struct Budget {
    pages: Arc<Semaphore>,
    total: u64,
}

impl Budget {
    /// A budget of `total`, rounded down to pages of 4 KiB.
    #[must_use]
    pub fn new(total: Bytes) -> Self {
        let pages = (total.0 / PAGE).min(u32::MAX.into());
        let permits = usize::try_from(pages).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { pages: Arc::new(Semaphore::new(permits)), total: permits as u64 * PAGE }
    }

    /// Waits until `bytes` (rounded up to pages) are free and takes them.
    ///
    /// # Errors
    /// [`MemoryError::Exceeds`] at once when the whole budget is smaller.
    ///
    /// # Cancel safety
    /// Cancel-safe; a cancelled wait loses its place in the queue.
    pub async fn acquire(&self, bytes: Bytes) -> Result<Permit, MemoryError> {
        let pages = self.pages_of(bytes)?;
        let held = Arc::clone(&self.pages).acquire_many_owned(pages).await;
        // The semaphore is never closed.
        let held = held.map_err(|_| MemoryError::Exceeds { asked: bytes, total: self.total() })?;
        Ok(Permit { held, bytes })
    }

    /// Takes `bytes` if they are free now and nobody waits for them.
    #[must_use]
    pub fn try_acquire(&self, bytes: Bytes) -> Option<Permit> {
        let pages = self.pages_of(bytes).ok()?;
        let held = Arc::clone(&self.pages).try_acquire_many_owned(pages).ok()?;
        Some(Permit { held, bytes })
    }

    /// Bytes that nobody holds.
    #[must_use]
    pub fn free(&self) -> Bytes {
        Bytes(self.pages.available_permits() as u64 * PAGE)
    }

    /// The whole budget.
    #[must_use]
    pub fn total(&self) -> Bytes {
        Bytes(self.total)
    }

    fn pages_of(&self, bytes: Bytes) -> Result<u32, MemoryError> {
        let fits = bytes.0 <= self.total;
        let pages = u32::try_from(bytes.0.div_ceil(PAGE)).ok().filter(|_| fits);
        pages.ok_or(MemoryError::Exceeds { asked: bytes, total: self.total() })
    }
}

/// Bytes taken from a [`Budget`]; dropping it gives them back.
#[derive(Debug)]
#[must_use = "dropping a permit gives its bytes back"]
pub struct Permit {
    #[expect(dead_code, reason = "held for its drop")]
    held: OwnedSemaphorePermit,
    bytes: Bytes,
}

impl Permit {
    /// The bytes that were asked for.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn full_budget_waits_and_a_dropped_permit_wakes() {
        let budget = Budget::new(Bytes(3 * PAGE + 5));
        let held = budget.acquire(Bytes(PAGE + 1)).await.unwrap();
        assert_eq!(budget.free(), Bytes(PAGE));
        assert!(budget.try_acquire(Bytes(2 * PAGE)).is_none());
        let mut waiting = Box::pin(budget.acquire(Bytes(2 * PAGE)));
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut waiting).await.is_err());
        drop(held);
        let second = waiting.await.unwrap();
        assert_eq!((second.bytes(), budget.free()), (Bytes(2 * PAGE), Bytes(PAGE)));
        drop(second);
        assert_eq!(budget.free(), budget.total());
    }

    #[tokio::test]
    async fn impossible_request_is_refused_instead_of_waiting() {
        let budget = Budget::new(Bytes(PAGE));
        assert!(matches!(budget.acquire(Bytes(PAGE + 1)).await, Err(MemoryError::Exceeds { .. })));
        assert!(budget.acquire(Bytes(u64::MAX)).await.is_err());
    }

    #[tokio::test]
    async fn more_than_four_gibibytes_are_counted() {
        let budget = Budget::new(Bytes(20 << 30));
        let held = budget.acquire(Bytes(16 << 30)).await.unwrap();
        assert_eq!(budget.free(), Bytes(4 << 30));
        drop(held);
    }
}
