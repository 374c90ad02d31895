//! A call that jobs of the CPU pool work on, one job for each shard of the model.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use super::AggregationError;
use crate::pool::Pool;

/// One call of an aggregation. Dropping the value cancels the call's jobs.
#[derive(Debug)]
pub(super) struct PoolCall {
    pool: Pool,
    token: CallToken,
}

/// Tells a job whether its call goes on.
///
/// A job checks it while it holds the lock of what it changes, which orders the job against later calls: a
/// job that gets the lock after its call was given up changes nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct CallToken {
    cancelled: Arc<AtomicBool>,
}

impl PoolCall {
    pub(super) fn new(pool: &Pool) -> Self {
        Self { pool: pool.clone(), token: CallToken::default() }
    }

    pub(super) fn token(&self) -> CallToken {
        self.token.clone()
    }

    /// Runs `job(index)` for each of `shards` on the pool. Returns the answers in order of the shards, when
    /// every job has ended.
    ///
    /// # Errors
    /// The error of the first job that failed by itself. That failure cancels the call, and then other jobs
    /// fail with [`AggregationError::Incomplete`].
    ///
    /// # Cancel safety
    /// Cancel-safe; the jobs run on until they see that the call is cancelled.
    pub(super) async fn each_shard<T, J>(
        &self,
        shards: usize,
        job: impl Fn(usize) -> J,
    ) -> Result<Vec<T>, AggregationError>
    where
        T: Send + 'static,
        J: FnOnce() -> Result<T, AggregationError> + Send + 'static,
    {
        let jobs: Vec<_> = (0..shards).map(|index| self.pool.run(job(index))).collect();
        let (mut answers, mut failed) = (Vec::with_capacity(shards), None);
        for job in jobs {
            match job.await.map_err(AggregationError::from).flatten() {
                Ok(answer) => answers.push(answer),
                Err(error) => {
                    self.token.cancel();
                    if matches!(failed, None | Some(AggregationError::Incomplete)) {
                        failed = Some(error);
                    }
                }
            }
        }
        failed.map_or(Ok(answers), Err)
    }
}

impl Drop for PoolCall {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

impl CallToken {
    /// # Errors
    /// [`AggregationError::Incomplete`] when the call was dropped or has failed elsewhere.
    pub(super) fn go_on(&self) -> Result<(), AggregationError> {
        if self.cancelled.load(Ordering::Relaxed) { Err(AggregationError::Incomplete) } else { Ok(()) }
    }

    fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

/// Memory that jobs work in. A job takes one piece and puts it back, so there is at most one piece for each
/// thread of the pool. Each piece is kept for later calls.
#[derive(Debug, Default)]
pub(super) struct ScratchStack<T>(Mutex<Vec<T>>);

impl<T: Default> ScratchStack<T> {
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let mut scratch = lock(&self.0).pop().unwrap_or_default();
        let done = work(&mut scratch);
        lock(&self.0).push(scratch);
        done
    }
}

/// Locks what jobs share. A poisoned lock needs no handling: the job that panicked has failed its call, and
/// after a failed call only `clear` is possible.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
