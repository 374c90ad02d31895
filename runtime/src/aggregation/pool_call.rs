//! A call that is worked on by several jobs of the CPU pool.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::pool::{PoolError, Running};

/// Whether a call is still waited for. Jobs look under the lock of what they change, which orders them against later
/// calls: one that comes late, after its call was given up, finds it cancelled and changes nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call(Arc<AtomicBool>);

impl Call {
    pub(crate) fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The jobs' answers, in their order; every job has ended by then. The first failure that is not the echo of
    /// another's is the call's, and stops the others.
    ///
    /// # Cancel safety
    /// Cancel-safe; the jobs run on until they see that the call is cancelled, see [`CancelOnDrop`].
    pub(crate) async fn answers<T, E: From<PoolError>>(
        &self,
        jobs: Vec<Running<Result<T, E>>>,
        is_echo: fn(&E) -> bool,
    ) -> Result<Vec<T>, E> {
        let (mut answers, mut failed) = (Vec::with_capacity(jobs.len()), None);
        for job in jobs {
            match job.await.map_err(E::from).flatten() {
                Ok(answer) => answers.push(answer),
                Err(error) => {
                    self.cancel();
                    if failed.as_ref().is_none_or(is_echo) {
                        failed = Some(error);
                    }
                }
            }
        }
        failed.map_or(Ok(answers), Err)
    }
}

/// Held by the call's future.
pub(crate) struct CancelOnDrop(pub(crate) Call);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
