//! The collaborator's side: a [`coordinator`] and what runs the plan's tasks ([`task_runner`]), which
//! [`start`] assembles, and the [`dialler`], which connects. `roles` calls it.
//!
//! The parts know each other's [`messages`] and nothing else of each other.

mod coordinator;
mod dialler;
mod messages;
mod model_receiver;
mod part;
mod refused_value;
mod task_runner;

use std::sync::Arc;

use fl_engine::{
    Digest,
    plan::{Plan, Standardise},
    tensor::Layout,
};
use tokio::sync::{mpsc, oneshot, watch};

use self::{
    coordinator::{Coordinator, CoordinatorParts, SiteStatistics},
    task_runner::TaskRunner,
};
use super::mailbox::{self, Mailbox};
use crate::{exit::Failure, payload::Buffers, pool::Pool, system::Clock};

pub(crate) use self::{
    coordinator::CollaboratorOutcome,
    dialler::{Dialler, destination::Destination},
    messages::{AboutData, CollaboratorMessage, SiteWork},
    part::Part,
};

/// A run of a collaborator that is not connected yet.
pub(crate) struct Running {
    /// The coordinator's mailbox.
    pub(crate) mailbox: Mailbox<CollaboratorMessage>,
    /// Root of the model that the collaborator holds.
    pub(crate) held: watch::Receiver<Option<Digest>>,
    /// The statistics of all sites, once they are known; for a plan that asks for them.
    pub(crate) statistics: Option<watch::Receiver<Option<Arc<Standardise>>>>,
    /// How the run ended, once.
    pub(crate) outcome: oneshot::Receiver<Result<CollaboratorOutcome, Failure>>,
}

/// Starts the coordinator on this thread, and what runs its tasks. Updates are encoded into `buffers`.
/// `about` is told to every aggregator that welcomes this site.
///
/// # Panics
/// Outside an actix system.
pub(crate) fn start(
    clock: Clock,
    plan: Arc<Plan>,
    work: SiteWork,
    about: AboutData,
    layout: Arc<Layout>,
    buffers: Buffers,
    pool: Pool,
) -> Running {
    let (ended, outcome) = oneshot::channel();
    let (holds, held) = watch::channel(None);
    let (tasks, jobs) = mpsc::channel(MAILBOX);
    let (told, statistics) = watch::channel(None);
    let statistics = plan.data.federated.map(|_| statistics);
    let (runner, sums, prepare) = match work {
        SiteWork::Ready(runner) => (Some(*runner), None, None),
        SiteWork::Later { sums, prepare } => (None, Some(sums), Some(prepare)),
    };
    let site = SiteStatistics::new(sums, told);
    let watch = (clock.clone(), plan.training_rounds());
    let parts = CoordinatorParts {
        plan,
        layout: Arc::clone(&layout),
        about,
        clock,
        tasks,
        held: holds,
        site,
        outcome: ended,
    };
    let mailbox = mailbox::open(Coordinator::new(parts), MAILBOX);
    // The mailbox is empty.
    let _ = mailbox.tell(CollaboratorMessage::Look);
    tokio::spawn(TaskRunner::new(runner, prepare, layout, buffers, pool, mailbox.clone(), watch).run(jobs));
    Running { mailbox, held, statistics, outcome }
}

/// Messages that wait for the coordinator, and jobs that wait for the task runner.
const MAILBOX: usize = 256;
