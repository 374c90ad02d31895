//! The task that aggregates: takes staged updates to the CPU pool, in batches, while others still arrive, and
//! makes the round's model when the engine says so.
//!
//! A pass over the sum is bound by memory bandwidth, so that two updates cost little more than one. A lone
//! update therefore waits for a second one, until its slot is needed or the round closes. It does not wait
//! for the round's last update: everybody waits for the last pass, which should be as short as possible.

use std::time::Duration;

use fl_engine::{RoundNo, aggregate::MOST_AT_ONCE};
use tokio::sync::mpsc;

use super::messages::{AggregatedRound, AggregationJob, AggregatorMessage};
use crate::{
    actors::mailbox::Mailbox,
    aggregation::{Aggregation, AggregationError, RoundModel, StagedUpdate},
    exit::{Exit, Failure},
    memory::SlotStore,
    payload::Payload,
    system::Clock,
};

/// Starts the task. It ends when the sender of its jobs is dropped.
///
/// `jobs` has no bound: each job that takes an update holds a slot, and the number of slots is bounded.
///
/// # Panics
/// Outside a tokio runtime.
pub(super) fn start(
    clock: Clock,
    aggregation: Aggregation,
    jobs: mpsc::UnboundedReceiver<AggregationJob>,
    slots: SlotStore,
    aggregator: Mailbox<AggregatorMessage>,
) {
    let task = tokio::spawn(run(clock, aggregation, jobs, slots, aggregator.clone()));
    tokio::spawn(async move {
        // A task that has panicked answers nobody: without this message the run would wait for ever.
        if let Err(error) = task.await {
            let why = format!("the aggregation task failed: {error}");
            // The aggregator is gone only when the process ends.
            let _ = aggregator.deliver(AggregatorMessage::PartFailed(why)).await;
        }
    });
}

async fn run(
    clock: Clock,
    mut aggregation: Aggregation,
    mut jobs: mpsc::UnboundedReceiver<AggregationJob>,
    slots: SlotStore,
    aggregator: Mailbox<AggregatorMessage>,
) {
    let mut absorb = Duration::ZERO;
    while let Some(first) = jobs.recv().await {
        let gathered = Gathered::from(first, &mut jobs, &slots).await;
        let started = clock.now();
        let message = match gathered.work(&mut aggregation).await {
            Ok(None) => {
                absorb += clock.since(started);
                continue;
            }
            Ok(Some((round, RoundModel { model, state, left_out }))) => {
                let absorb = std::mem::take(&mut absorb);
                let finalise = clock.since(started);
                let round = AggregatedRound { round, model, state, left_out, absorb, finalise };
                AggregatorMessage::Aggregated(round)
            }
            Err(error) => broken(&error),
        };
        if aggregator.deliver(message).await.is_err() {
            return;
        }
    }
}

/// The jobs that one pass does.
#[derive(Default)]
struct Gathered {
    updates: Vec<StagedUpdate>,
    /// The base of the updates' round.
    base: Option<Payload>,
    /// Whether the updates do not wait for the next one.
    hurries: bool,
    /// The round to finish.
    last: Option<RoundNo>,
}

impl Gathered {
    /// Gathers the jobs of one pass: all that wait, and the next job if there is only one update.
    async fn from(
        first: AggregationJob,
        jobs: &mut mpsc::UnboundedReceiver<AggregationJob>,
        slots: &SlotStore,
    ) -> Self {
        let mut gathered = Self::default();
        let mut next = Some(first);
        while let Some(job) = next.take() {
            gathered.take(job);
            if gathered.last.is_some() || gathered.updates.len() == MOST_AT_ONCE {
                break;
            }
            next = jobs.try_recv().ok();
            if next.is_none() && gathered.updates.len() == 1 && !gathered.hurries {
                next = tokio::select! {
                    biased;
                    job = jobs.recv() => job,
                    () = slots.wanted() => None,
                };
            }
        }
        gathered
    }

    fn take(&mut self, job: AggregationJob) {
        match job {
            AggregationJob::Finalise { round, base } => (self.base, self.last) = (Some(base), Some(round)),
            AggregationJob::Absorb { update, base, last_but_one } => {
                self.updates.push(update);
                (self.base, self.hurries) = (Some(base), last_but_one);
            }
        }
    }

    async fn work(
        self,
        aggregation: &mut Aggregation,
    ) -> Result<Option<(RoundNo, RoundModel)>, AggregationError> {
        let Self { updates, base, last, hurries: _ } = self;
        match (base, last) {
            (Some(base), Some(round)) => Ok(Some((round, aggregation.finish(updates, &base).await?))),
            (Some(base), None) => {
                aggregation.absorb(updates, &base).await?;
                Ok(None)
            }
            (None, _) => Ok(None),
        }
    }
}

fn broken(error: &AggregationError) -> AggregatorMessage {
    AggregatorMessage::PartFailed(format!(
        "the updates could not be combined: {}",
        Failure::of(Exit::Failed, error).error
    ))
}

#[cfg(test)]
mod tests;
