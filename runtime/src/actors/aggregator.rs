//! The aggregator's side. [`start`] assembles it: a [`coordinator`] with a [`session`] for each link, a task
//! that aggregates ([`aggregation_task`]) and a thread for the store ([`store_thread`]). `roles` calls it.
//!
//! The parts know each other's [`messages`] and nothing else of each other.

mod acceptor;
mod aggregation_task;
mod coordinator;
mod log_ration;
mod messages;
mod outcome;
mod peers;
mod round_report;
mod session;
mod store_thread;
mod upload;
mod wait_log;
mod window;

use std::sync::{Arc, atomic::AtomicU64};

use fl_engine::{
    ByteCount, Digest, Name,
    aggregate::Method,
    plan::{EndsEarly, Plan},
    round::{RoundEngine, Start},
    tensor::Layout,
    wire::FEATURE_STATISTICS,
};
use tokio::sync::{mpsc, oneshot, watch};

use self::{
    coordinator::{Coordinator, CoordinatorParts, Workers},
    upload::Intake,
};
use super::{
    attestation::Attestation,
    greeting::{Greeter, RunStatus, UNWELCOMED},
    mailbox::{self, Mailbox},
};
use crate::{
    aggregation::{Aggregation, server_step::ServerOptimiser},
    exit::{Exit, Failure},
    memory::SlotStore,
    net::places::Places,
    payload::PayloadPool,
    pool::Pool,
    store::{Resume, Store},
    system::System,
    trust::Admission,
};

pub(crate) use self::{
    acceptor::accept, messages::AggregatorMessage, outcome::AggregatorOutcome, store_thread::StoreThread,
};

/// What a run of the aggregator is made from. Everything was checked.
pub(crate) struct Parts {
    /// Clock and threads.
    pub(crate) system: System,
    pub(crate) plan: Arc<Plan>,
    pub(crate) plan_hash: Digest,
    pub(crate) layout: Arc<Layout>,
    pub(crate) method: Method,
    pub(crate) pool: Pool,
    pub(crate) slots: SlotStore,
    pub(crate) store: Store,
    /// What `store` goes on from.
    pub(crate) resume: Resume,
    /// Everybody on the roster.
    pub(crate) members: Vec<Name>,
    /// Who may take part.
    pub(crate) admission: Arc<dyn Admission>,
    /// What this side shows, and the judge of what collaborators show.
    pub(crate) attestation: Arc<Attestation>,
    /// A random number that tells this process from earlier ones.
    pub(crate) incarnation: u64,
    /// Random bytes that the engine draws from.
    pub(crate) secret: [u8; 32],
    /// Whether closed rounds are printed as JSON too.
    pub(crate) json: bool,
}

/// A run of the aggregator.
pub(crate) struct Running {
    /// The coordinator's mailbox.
    pub(crate) mailbox: Mailbox<AggregatorMessage>,
    /// Checks collaborators that connect.
    pub(crate) greeter: Arc<Greeter>,
    /// How the run ended, once.
    pub(crate) outcome: oneshot::Receiver<Result<AggregatorOutcome, Failure>>,
    /// The store's thread. It ends after the run, when everything is written.
    pub(crate) store: StoreThread,
    /// Why an earlier process has ended the rounds before the plan's last one.
    pub(crate) early: Option<EndsEarly>,
}

/// Starts the coordinator on this thread, the aggregation task and the store's thread.
///
/// # Errors
/// When the state of the server's step does not fit the plan, or no thread can be started.
///
/// # Panics
/// Outside an actix system.
pub(crate) async fn start(parts: Parts) -> Result<Running, Failure> {
    let Parts { system, plan, plan_hash, layout, method, pool, slots, store, resume, .. } = parts;
    let Resume { round, payload, root, state, best, best_round, measured, statistics, .. } = resume;
    let payloads = PayloadPool::new(Arc::clone(&layout));
    let mut draft = payloads.take().await;
    draft.as_mut_slice().copy_from_slice(&payload);
    drop(payload);
    // The store has checked length and root: hashing a large model again would only delay the start.
    let base = draft.finish_with(root);
    let optimiser = match plan.aggregation().and_then(|aggregation| aggregation.server) {
        Some(server) => {
            let optimiser = ServerOptimiser::new(server, Arc::clone(&layout), plan.exact, state.as_deref());
            Some(optimiser.await.map_err(|e| Failure::of(Exit::Plan, &e))?)
        }
        None => None,
    };
    drop(state);
    let aggregation = Aggregation::new(pool, payloads, plan.exact, method, optimiser);
    let engine = Start {
        incarnation: parts.incarnation,
        round,
        base: root,
        members: parts.members,
        secret: parts.secret,
        best,
        best_round,
        measured,
        layout_bytes: ByteCount(layout.byte_len() as u64),
        plan_hash,
        statistics,
    };
    let engine = RoundEngine::new(Arc::clone(&plan), engine);
    let early = engine.early();
    let (status, watched) = watch::channel(RunStatus { round: engine.round(), over: false, links: 0 });
    let (aggregation_sender, aggregation_jobs) = mpsc::unbounded_channel();
    let (storing, store_jobs) = mpsc::unbounded_channel();
    let (ended, outcome) = oneshot::channel();
    let greeter = Arc::new(Greeter {
        federation: plan.federation.clone(),
        plan: plan_hash,
        needs: if plan.data.federated.is_some() { FEATURE_STATISTICS } else { 0 },
        incarnation: parts.incarnation,
        admission: Arc::clone(&parts.admission),
        attestation: Arc::clone(&parts.attestation),
        status: watched,
        unwelcomed: Places::new(UNWELCOMED.0, UNWELCOMED.1),
        refused: AtomicU64::new(0),
        handed_on: Default::default(),
    });
    let coordinator = Coordinator::new(CoordinatorParts {
        clock: system.clock.clone(),
        engine,
        base,
        intake: Arc::new(Intake::new(slots.clone(), layout, plan.exact)),
        plan,
        workers: Workers { aggregation: aggregation_sender, store: storing },
        admission: parts.admission,
        attestation: parts.attestation,
        status,
        json: parts.json,
        outcome: ended,
    });
    let mailbox = mailbox::open(coordinator, MAILBOX);
    let store = store_thread::start(&system, store, store_jobs, mailbox.clone())
        .map_err(|e| Failure::of(Exit::Failed, &e))?;
    aggregation_task::start(system.clock, aggregation, aggregation_jobs, slots, mailbox.clone());
    // The mailbox is empty.
    let _ = mailbox.tell(AggregatorMessage::Start);
    Ok(Running { mailbox, greeter, outcome, store, early })
}

/// Messages that wait for the coordinator. Senders wait when it is full.
const MAILBOX: usize = 1024;

#[cfg(test)]
mod tests;
