//! Every message between the parts of the collaborator's side. The parts import this file, not each other.

use std::sync::Arc;

use fl_engine::{
    Digest, Name, Weight,
    plan::{Metric, Standardise},
    round::Stamp,
    statistics::ColumnSums,
    wire::{LeftOut, Message, Welcome},
};
use fl_learn::task::{Runner, TaskError};
use tokio::sync::mpsc;

use crate::{exit::Failure, net::LinkHandle, payload::Payload, trust::evidence::Appraised};

/// What a site says of its data.
#[derive(Clone, Debug, Default)]
pub(crate) struct AboutData {
    /// The digest of the columns of its table, where the sites compare them.
    pub(crate) columns: Option<Digest>,
    /// The samples that it leaves out.
    pub(crate) left_out: Option<LeftOut>,
}

/// What the coordinator is told.
pub(crate) enum CollaboratorMessage {
    /// A link is up: the aggregator has admitted this collaborator, and its own evidence was judged.
    LinkUp { outbox: mpsc::Sender<Vec<u8>>, handle: LinkHandle, appraised: Appraised, welcome: Welcome },
    /// The link is gone, or an attempt to connect failed.
    LinkDown { why: String },
    /// The aggregator sent a message.
    Heard(Message),
    /// A model arrived in full, and has the root that its stamp names.
    Model { stamp: Stamp, model: Payload },
    /// A task has ended.
    TaskEnded(TaskEnded),
    /// The site's data were read again, and scaled by the statistics of all sites.
    Prepared(Result<(), Failure>),
    /// It is time to offer an update again that was refused for no fault of its own.
    OfferAgain(Stamp),
    /// It is time to see what the collaborator waits for.
    Look,
    /// Another attempt to connect would fail in the same way.
    GiveUp(Failure),
    /// The operator wants to stop.
    Stop,
}

/// What a site computes with.
pub(crate) enum SiteWork {
    /// Its tasks can run.
    Ready(Box<Runner>),
    /// Its tasks can run when the statistics of all sites are known.
    Later {
        /// What the site tells of its data.
        sums: Vec<ColumnSums>,
        /// Reads the data, scaled.
        prepare: Box<Prepare>,
    },
}

/// Makes a site's runner from the statistics of all sites.
pub(crate) type Prepare = dyn Fn(&Standardise) -> Result<Runner, Failure> + Send;

/// What the task runner does, in order.
pub(crate) enum TaskJob {
    /// Run this task once the one before has ended.
    Run { stamp: Stamp, task: Name, base: Payload },
    /// Read the site's data again, scaled by these statistics.
    Prepare(Arc<Standardise>),
    /// End the task that runs for this stamp at its next batch.
    Cancel(Stamp),
    /// Forget what earlier rounds have left in the runner: the run goes back.
    Forget,
}

/// How a task ended.
pub(crate) struct TaskEnded {
    pub(crate) stamp: Stamp,
    pub(crate) task: Name,
    pub(crate) result: Result<TaskResult, TaskError>,
}

/// What a task computed.
pub(crate) struct TaskResult {
    /// Rows that the metrics are computed over.
    pub(crate) samples: u64,
    pub(crate) metrics: Vec<(Metric, f64)>,
    /// The update, encoded and hashed, with its weight.
    pub(crate) update: Option<(Payload, Weight)>,
}
