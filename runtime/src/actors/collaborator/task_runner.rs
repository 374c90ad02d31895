//! A collaborator's tasks: one at a time, on the CPU pool, until they end or are cancelled.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use fl_engine::{
    Name, Weight,
    plan::Metric,
    round::Stamp,
    tensor::{Layout, ModelState},
};

use super::coordinator::{Collaborator, News};
use crate::{
    actors::mailbox::{self, Mailbox, Role},
    payload::{Buffers, Payload},
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
    workplace: Arc<Mutex<Workplace>>,
    layout: Arc<Layout>,
    buffers: Buffers,
    pool: Pool,
    reports_to: Option<Mailbox<Collaborator>>,
    running: Option<(Stamp, Arc<AtomicBool>)>,
}

/// Where tasks run, one at a time.
struct Workplace {
    runner: Runner,
    /// An update that was sent, whose memory the next task's base takes.
    spare: Option<ModelState>,
}

impl Desk {
    /// Payloads of `buffers` are the updates.
    pub(crate) fn new(runner: Runner, layout: Arc<Layout>, buffers: Buffers, pool: Pool) -> Self {
        let workplace = Arc::new(Mutex::new(Workplace { runner, spare: None }));
        Self { workplace, layout, buffers, pool, reports_to: None, running: None }
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
        let (workplace, layout, buffers) =
            (Arc::clone(&self.workplace), Arc::clone(&self.layout), self.buffers.clone());
        let named = task.clone();
        let job = self.pool.run(move || {
            // A task that panicked leaves a runner that can go on: what it had tuned is marked as gone first.
            let mut workplace = workplace.lock().unwrap_or_else(PoisonError::into_inner);
            let base = match workplace.spare.take() {
                Some(mut spare) => spare.read_bytes(base.as_slice()).map(|()| spare),
                None => base.to_state(&layout),
            };
            let base = base.map_err(|_| TaskError::Layout)?;
            let cancelled = || cancelled.load(Ordering::Relaxed);
            let output = workplace.runner.run_from(&named, stamp.round, base, &cancelled)?;
            let TaskOutput { update, samples, metrics } = output;
            let update = match update {
                Some((state, weight)) => {
                    let payload = Payload::from_state_in(&buffers, &state).map_err(|_| TaskError::Layout)?;
                    workplace.spare = Some(state);
                    Some((payload, weight))
                }
                None => None,
            };
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
