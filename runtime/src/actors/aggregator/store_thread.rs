//! The store's thread: writes models and facts beside the next round, in order.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    thread,
    time::Instant,
};

use bytes::Bytes;
use fl_engine::{
    Digest, RoundNo,
    round::{AggregatedMetric, RoundFacts},
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::coordinator::{Aggregator, News};
use crate::{
    actors::mailbox::Mailbox,
    exit::{Exit, Failure},
    payload::Payload,
    pool::words,
    store::Store,
};

/// What is to be written.
pub(crate) enum Job {
    /// A finished round with its model, and the state of the server's step where it has one; durable when it is
    /// written.
    Round { facts: Box<RoundFacts>, model: Payload, state: Option<Bytes> },
    /// What the closing round measured on the final model.
    Final { metrics: Vec<AggregatedMetric>, model: Payload },
    /// All rounds are run: what the plan releases at the end.
    Release { model: Payload },
    /// All rounds are run, and members are sent the best model: read it for them.
    ReadBest,
    /// The best model so far.
    Best { round: RoundNo, root: Digest, value: f64, metrics: Vec<AggregatedMetric>, model: Payload },
}

/// The thread; it ends, all written, when the sender of jobs is dropped.
pub(crate) struct Keeper {
    pub(crate) jobs: mpsc::UnboundedSender<Job>,
    ended: oneshot::Receiver<Result<Option<PathBuf>, Failure>>,
}

/// Starts the thread. `aggregator` hears of each durable round, and of a failure.
///
/// Jobs are not bounded here: the round engine has at most [`fl_engine::limits::STORES_UNDER_WAY`] rounds under way.
pub(crate) fn start(store: Store, aggregator: Mailbox<Aggregator>) -> std::io::Result<Keeper> {
    let (jobs, todo) = mpsc::unbounded_channel();
    let (end, ended) = oneshot::channel();
    let here = Handle::current();
    thread::Builder::new().name("store".to_owned()).spawn(move || {
        // The aggregator is gone only when the process ends.
        let tell = |news| {
            let _ = here.block_on(aggregator.deliver(news));
        };
        let worked = catch_unwind(AssertUnwindSafe(|| work(store, todo, &tell)));
        let worked = worked.unwrap_or_else(|panic| {
            let failure =
                Failure::new(Exit::Failed, format!("internal error: the store: {}", words(&*panic)));
            tell(News::NotStored(failure.clone()));
            Err(failure)
        });
        // The run's task may have stopped waiting.
        let _ = end.send(worked);
    })?;
    Ok(Keeper { jobs, ended })
}

impl Keeper {
    /// Waits until everything is written, without a thread: the store's may be waiting for room in the aggregator's
    /// mailbox, which only this one makes. Answers with the released file that the run ends with.
    ///
    /// # Errors
    /// The first thing that could not be written, which the aggregator may not have heard of any more.
    pub(crate) async fn join(self) -> Result<Option<PathBuf>, Failure> {
        drop(self.jobs);
        // It always answers before it ends.
        self.ended.await.unwrap_or(Ok(None))
    }
}

fn work(
    mut store: Store,
    mut todo: mpsc::UnboundedReceiver<Job>,
    tell: &dyn Fn(News),
) -> Result<Option<PathBuf>, Failure> {
    let (mut kept, mut released) = (Ok(()), None);
    while let Some(job) = todo.blocking_recv() {
        let started = Instant::now();
        let done = match &job {
            Job::ReadBest => store.best_model().map(|best| {
                let payload =
                    |(round, root, bytes): (_, _, Vec<u8>)| (round, Payload::with_root(bytes.into(), root));
                tell(News::BestRead(best.map(payload)));
            }),
            Job::Round { facts, model, state } => store.put_round(facts, model.as_slice(), state.as_deref()),
            Job::Best { round, root, value, metrics, model } => {
                store.put_best(*round, *root, *value, metrics, model.as_slice())
            }
            Job::Final { metrics, model } => {
                store.put_final(model.root(), metrics, model.as_slice()).map(drop)
            }
            Job::Release { model } => {
                store.release_at_the_end(model.root(), model.as_slice()).map(|file| released = file)
            }
        };
        let done = done.and_then(|()| {
            let Job::Round { facts, model, .. } = &job else { return Ok(()) };
            // Nobody waits for the release.
            tell(News::Stored { round: facts.round, took: started.elapsed() });
            store.release_round(facts.round, facts.root, Some(&facts.metrics), model.as_slice())
        });
        if let Err(error) = done {
            let failure = Failure::of(Exit::File, &error).maybe_hint(error.hint());
            kept = kept.and(Err(failure.clone()));
            tell(News::NotStored(failure));
        }
    }
    kept.map(|()| released)
}
