//! The store's thread: writes models and facts beside the next round, in order.

use std::{thread, time::Instant};

use fl_engine::{
    Digest, RoundNo,
    round::{AggregatedMetric, RoundFacts},
};
use tokio::{runtime::Handle, sync::mpsc};

use super::{
    aggregator::{Aggregator, News},
    mailbox::Mailbox,
};
use crate::{payload::Payload, store::Store};

/// What is to be written.
pub(crate) enum Job {
    /// A finished round with its model; durable when it is written.
    Round { facts: Box<RoundFacts>, model: Payload },
    /// What the closing round measured on the final model.
    Final { metrics: Vec<AggregatedMetric>, model: Payload },
    /// The best model so far.
    Best { round: RoundNo, root: Digest, value: f64, metrics: Vec<AggregatedMetric>, model: Payload },
}

/// The thread; it ends, all written, when the sender of jobs is dropped.
pub(crate) struct Keeper {
    pub(crate) jobs: mpsc::UnboundedSender<Job>,
    thread: thread::JoinHandle<()>,
}

/// Starts the thread. `aggregator` hears of each durable round, and of a failure.
///
/// Jobs are not bounded here: the round engine has at most [`fl_engine::limits::STORES_UNDER_WAY`] rounds under way.
pub(crate) fn start(store: Store, aggregator: Mailbox<Aggregator>) -> std::io::Result<Keeper> {
    let (jobs, todo) = mpsc::unbounded_channel();
    let here = Handle::current();
    let thread = thread::Builder::new().name("store".to_owned()).spawn(move || {
        work(store, todo, &|news| here.block_on(aggregator.deliver(news)).is_ok());
    })?;
    Ok(Keeper { jobs, thread })
}

impl Keeper {
    /// Waits until everything is written.
    pub(crate) fn join(self) {
        drop(self.jobs);
        if self.thread.join().is_err() {
            tracing::error!("the store's thread failed");
        }
    }
}

fn work(mut store: Store, mut todo: mpsc::UnboundedReceiver<Job>, tell: &dyn Fn(News) -> bool) {
    while let Some(job) = todo.blocking_recv() {
        let started = Instant::now();
        let done = match &job {
            Job::Round { facts, model } => store.put_round(facts, model.as_slice()),
            Job::Best { round, root, value, metrics, model } => {
                store.put_best(*round, *root, *value, metrics, model.as_slice())
            }
            Job::Final { metrics, model } => {
                store.put_final(model.root(), metrics, model.as_slice()).map(drop)
            }
        };
        let news = match (done, job) {
            (Ok(()), Job::Round { facts, .. }) => {
                News::Stored { round: facts.round, took: started.elapsed() }
            }
            (Ok(()), Job::Best { .. } | Job::Final { .. }) => continue,
            (Err(error), _) => News::NotStored(error),
        };
        if !tell(news) {
            return;
        }
    }
}
