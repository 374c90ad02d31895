//! Runs a collaborator's tasks: one at a time, on the CPU pool, until they end or are cancelled.

use std::{
    cell::Cell,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use fl_engine::{
    Name,
    plan::Standardise,
    round::Stamp,
    tensor::{Layout, ModelState},
};
use fl_learn::task::{Progress, Runner, TaskError, TaskOutput, Watch};
use tokio::sync::mpsc;

use super::messages::{CollaboratorMessage, Prepare, TaskEnded, TaskJob, TaskResult};
use crate::{
    actors::mailbox::Mailbox,
    exit::{Exit, Failure},
    observe,
    payload::{Buffers, Payload},
    pool::Pool,
    system::Clock,
};

/// Runs tasks, and knows which one is running.
pub(super) struct TaskRunner {
    workplace: Arc<Mutex<Workplace>>,
    layout: Arc<Layout>,
    buffers: Buffers,
    pool: Pool,
    collaborator: Mailbox<CollaboratorMessage>,
    clock: Clock,
    /// The plan's.
    rounds: u32,
    running: Option<(Stamp, Arc<AtomicBool>)>,
    /// Whether the next task begins with a runner that remembers nothing.
    forgets: bool,
}

/// What only one task may use at a time.
struct Workplace {
    /// `None` until the data are scaled.
    runner: Option<Runner>,
    /// Where the data are scaled by the statistics of all sites.
    prepare: Option<Box<Prepare>>,
    /// An update that was encoded. Its memory is reused for the next task's base.
    spare: Option<ModelState>,
}

impl TaskRunner {
    /// Updates are encoded into `buffers`. `collaborator` is told how each task ended.
    pub(super) fn new(
        runner: Option<Runner>,
        prepare: Option<Box<Prepare>>,
        layout: Arc<Layout>,
        buffers: Buffers,
        pool: Pool,
        collaborator: Mailbox<CollaboratorMessage>,
        (clock, rounds): (Clock, u32),
    ) -> Self {
        let workplace = Arc::new(Mutex::new(Workplace { runner, prepare, spare: None }));
        Self { workplace, layout, buffers, pool, collaborator, clock, rounds, running: None, forgets: false }
    }

    /// Does jobs until their sender is dropped.
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<TaskJob>) {
        while let Some(job) = jobs.recv().await {
            match job {
                TaskJob::Run { stamp, task, base } => self.begin(stamp, task, base),
                TaskJob::Prepare(statistics) => self.prepare(statistics),
                TaskJob::Cancel(stamp) => {
                    if let Some((_, cancelled)) = self.running.take_if(|(running, _)| *running == stamp) {
                        cancelled.store(true, Ordering::Relaxed);
                    }
                }
                // A task that is being cancelled still uses the runner.
                TaskJob::Forget => self.forgets = true,
            }
        }
    }

    fn begin(&mut self, stamp: Stamp, task: Name, base: Payload) {
        let cancelled = Arc::new(AtomicBool::new(false));
        self.running = Some((stamp, Arc::clone(&cancelled)));
        let (workplace, layout, buffers) =
            (Arc::clone(&self.workplace), Arc::clone(&self.layout), self.buffers.clone());
        let (named, forgets) = (task.clone(), std::mem::take(&mut self.forgets));
        let (clock, rounds, pool) = (self.clock.clone(), self.rounds, self.pool.clone());
        let job = self.pool.run(move || {
            // A task that panicked leaves a usable runner: it marks its tuned model as invalid before it
            // trains.
            let mut workplace = workplace.lock().unwrap_or_else(PoisonError::into_inner);
            let Workplace { runner: Some(runner), spare, .. } = &mut *workplace else {
                return Err(TaskError::NoData(named));
            };
            if forgets {
                runner.forget();
            }
            let base = match spare.take() {
                Some(mut spare) => spare.read_bytes(base.as_slice()).map(|()| spare),
                None => base.to_state(&layout),
            };
            let base = base.map_err(|_| TaskError::Layout)?;
            let cancelled = || cancelled.load(Ordering::Relaxed);
            let began = Cell::new(clock.now());
            let progress = |epoch: &Progress| {
                let took = clock.since(began.replace(clock.now()));
                tracing::info!("{}", observe::epoch_line(stamp.round, rounds, &named, epoch, took));
            };
            let helpers = pool.enlist();
            let team = |work: &(dyn Fn() + Sync)| helpers.run(work);
            let watch = Watch { cancelled: &cancelled, progress: &progress, team: &team };
            let output = runner.run_watched(&named, stamp.round, base, watch)?;
            drop(helpers);
            let TaskOutput { update, samples, metrics } = output;
            let update = match update {
                Some((state, weight)) => {
                    let payload = buffers.take().encode(&state).map_err(|_| TaskError::Layout)?;
                    *spare = Some(state);
                    Some((payload, weight))
                }
                None => None,
            };
            Ok(TaskResult { samples, metrics, update })
        });
        let collaborator = self.collaborator.clone();
        tokio::spawn(async move {
            let result = job.await.unwrap_or_else(|error| Err(TaskError::Panicked(error.to_string())));
            let ended = TaskEnded { stamp, task, result };
            // The collaborator is gone only when the process ends.
            let _ = collaborator.deliver(CollaboratorMessage::TaskEnded(ended)).await;
        });
    }

    /// Reads the data again, scaled. The coordinator gives no task before it hears of the end.
    fn prepare(&mut self, statistics: Arc<Standardise>) {
        let workplace = Arc::clone(&self.workplace);
        let job = self.pool.run(move || {
            let mut workplace = workplace.lock().unwrap_or_else(PoisonError::into_inner);
            let Workplace { runner, prepare: Some(prepare), .. } = &mut *workplace else { return Ok(()) };
            // The rows that were scaled before go first: only one copy is in memory.
            *runner = None;
            *runner = Some(prepare(&statistics)?);
            Ok(())
        });
        let collaborator = self.collaborator.clone();
        tokio::spawn(async move {
            let done = job.await.unwrap_or_else(|error| Err(Failure::new(Exit::Failed, error.to_string())));
            // The collaborator is gone only when the process ends.
            let _ = collaborator.deliver(CollaboratorMessage::Prepared(done)).await;
        });
    }
}
