//! The store's thread: writes models and facts in order, while the next round runs.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::messages::{AggregatorMessage, StoreJob};
use crate::{
    actors::mailbox::Mailbox,
    exit::{Exit, Failure},
    payload::Payload,
    pool::words,
    store::Store,
    system::{Clock, System},
};

/// The thread. It ends when the senders of its jobs are dropped and everything is written.
pub(crate) struct StoreThread {
    ended: oneshot::Receiver<Result<Option<PathBuf>, Failure>>,
}

/// Starts the thread. It tells `aggregator` of each durable round, and of a failure.
///
/// `jobs` has no bound: the round engine has at most [`fl_engine::limits::STORES_UNDER_WAY`] rounds under
/// way.
///
/// # Errors
/// When the system refuses a thread.
///
/// # Panics
/// Outside a tokio runtime.
pub(super) fn start(
    system: &System,
    store: Store,
    jobs: mpsc::UnboundedReceiver<StoreJob>,
    aggregator: Mailbox<AggregatorMessage>,
) -> std::io::Result<StoreThread> {
    let (end, ended) = oneshot::channel();
    let here = Handle::current();
    let clock = system.clock.clone();
    system.threads.start("store".to_owned(), move || {
        // The aggregator is gone only when the process ends.
        let tell = |message| {
            let _ = here.block_on(aggregator.deliver(message));
        };
        let worked = catch_unwind(AssertUnwindSafe(|| work(&clock, store, jobs, &tell)));
        let worked = worked.unwrap_or_else(|panic| {
            let failure = Failure::new(
                Exit::Failed,
                format!("internal error in the store's thread: {}", words(&*panic)),
            );
            tell(AggregatorMessage::StoreFailed(failure.clone()));
            Err(failure)
        });
        // The run's task may have stopped waiting.
        let _ = end.send(worked);
    })?;
    Ok(StoreThread { ended })
}

impl StoreThread {
    /// Waits until everything is written, and returns the file that the plan releases at the end, if there is
    /// one.
    ///
    /// The wait blocks no thread: the store's thread may be waiting for room in the coordinator's mailbox,
    /// which the caller's thread has to make.
    ///
    /// # Errors
    /// The first failure to write. The coordinator may have ended before it heard of that failure.
    pub(crate) async fn join(self) -> Result<Option<PathBuf>, Failure> {
        // The thread always answers before it ends.
        self.ended.await.unwrap_or(Ok(None))
    }
}

fn work(
    clock: &Clock,
    mut store: Store,
    mut jobs: mpsc::UnboundedReceiver<StoreJob>,
    tell: &dyn Fn(AggregatorMessage),
) -> Result<Option<PathBuf>, Failure> {
    let (mut kept, mut released) = (Ok(()), None);
    while let Some(job) = jobs.blocking_recv() {
        let started = clock.now();
        let done = match &job {
            StoreJob::ReadBest => store.best_model().map(|best| {
                let payload =
                    |(round, root, bytes): (_, _, Vec<u8>)| (round, Payload::with_root(bytes.into(), root));
                tell(AggregatorMessage::BestRead(best.map(payload)));
            }),
            StoreJob::Statistics { facts } => {
                store.put_statistics(facts).map(|()| tell(AggregatorMessage::StatisticsStored))
            }
            StoreJob::Round { facts, model, state } => {
                store.put_round(facts, model.as_slice(), state.as_deref())
            }
            StoreJob::Best { round, root, value, metrics, model } => {
                store.put_best(*round, *root, *value, metrics, model.as_slice())
            }
            StoreJob::Final { metrics, model } => {
                store.put_final(model.root(), metrics, model.as_slice()).map(drop)
            }
            StoreJob::Release { model } => {
                store.release_at_the_end(model.root(), model.as_slice()).map(|file| released = file)
            }
        };
        let done = done.and_then(|()| {
            let StoreJob::Round { facts, model, state } = &job else { return Ok(()) };
            // Nobody waits for the kept round and the release.
            tell(AggregatorMessage::Stored { round: facts.round, took: clock.since(started) });
            store.keep_round(facts, model.as_slice(), state.as_deref())?;
            store.release_round(facts.round, facts.root, Some(&facts.metrics), model.as_slice())
        });
        if let Err(error) = done {
            let failure = Failure::of(Exit::File, &error).maybe_hint(error.hint());
            kept = kept.and(Err(failure.clone()));
            tell(AggregatorMessage::StoreFailed(failure));
        }
    }
    kept.map(|()| released)
}
