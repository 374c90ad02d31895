//! A collaborator's tasks: one at a time, on the CPU pool, until they end or are cancelled.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use fl_engine::{Name, Weight, plan::Metric, round::Stamp, tensor::Layout};

use super::{
    collaborator::{Collaborator, News},
    mailbox::{self, Mailbox, Role},
};
use crate::{
    payload::Payload,
    pool::Pool,
    task::{Runner, TaskError, TaskOutput},
};

/// What it is told.
pub(crate) enum Order {
    /// Whom to report to, before anything else.
    Begin(Mailbox<Collaborator>),
    /// Run this once what runs now has ended.
    Run(Work),
    /// End what runs for this stamp at its next batch.
    Cancel(Stamp),
}

/// One task.
pub(crate) struct Work {
    pub(crate) stamp: Stamp,
    pub(crate) task: Name,
    pub(crate) base: Payload,
}

/// How one ended.
pub(crate) struct Ran {
    pub(crate) stamp: Stamp,
    pub(crate) task: Name,
    pub(crate) result: Result<Done, TaskError>,
}

/// What a task gave.
pub(crate) struct Done {
    /// Rows that the metrics are over.
    pub(crate) samples: u64,
    pub(crate) metrics: Vec<(Metric, f64)>,
    /// Encoded and hashed.
    pub(crate) update: Option<(Payload, Weight)>,
}

/// The actor.
pub(crate) struct Desk {
    runner: Arc<Mutex<Runner>>,
    layout: Arc<Layout>,
    pool: Pool,
    reports_to: Option<Mailbox<Collaborator>>,
    running: Option<(Stamp, Arc<AtomicBool>)>,
}

impl Desk {
    pub(crate) fn new(runner: Runner, layout: Arc<Layout>, pool: Pool) -> Self {
        Self { runner: Arc::new(Mutex::new(runner)), layout, pool, reports_to: None, running: None }
    }
}

impl Role for Desk {
    type News = Order;

    fn on(&mut self, order: Order, _: &mut mailbox::Desk<'_, Self>) {
        match order {
            Order::Begin(collaborator) => self.reports_to = Some(collaborator),
            Order::Run(work) => self.run(work),
            Order::Cancel(stamp) => {
                if let Some((_, cancelled)) = self.running.take_if(|(running, _)| *running == stamp) {
                    cancelled.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    fn panicked(&mut self, words: &str) {
        tracing::error!("the task actor failed: {words}");
    }
}

impl Desk {
    fn run(&mut self, work: Work) {
        let Work { stamp, task, base } = work;
        let cancelled = Arc::new(AtomicBool::new(false));
        self.running = Some((stamp, Arc::clone(&cancelled)));
        let (runner, layout, named) = (Arc::clone(&self.runner), Arc::clone(&self.layout), task.clone());
        let job = self.pool.run(move || {
            let base = base.to_state(&layout).map_err(|_| TaskError::Layout)?;
            // A task that panicked leaves a runner that can go on: what it had tuned is marked as gone first.
            let mut runner = runner.lock().unwrap_or_else(PoisonError::into_inner);
            let output = runner.run(&named, stamp.round, &base, &|| cancelled.load(Ordering::Relaxed))?;
            let TaskOutput { update, samples, metrics } = output;
            let update = update.map(|(state, weight)| (Payload::from_state(&state), weight));
            Ok(Done { samples, metrics, update })
        });
        let reports_to = self.reports_to.clone();
        tokio::spawn(async move {
            let result = job.await.unwrap_or_else(|error| Err(TaskError::Panicked(error.to_string())));
            if let Some(reports_to) = reports_to {
                // The collaborator is gone only when the process ends.
                let _ = reports_to.deliver(News::Ran(Ran { stamp, task, result })).await;
            }
        });
    }
}
