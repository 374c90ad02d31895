//! The aggregation's desk: takes staged updates and sums them on the CPU pool, in batches, while others still arrive.

use std::time::{Duration, Instant};

use fl_engine::{RoundNo, Weight};
use tokio::sync::mpsc;

use super::{
    aggregator::{Aggregator, News},
    mailbox::Mailbox,
};
use crate::{
    memory::StagedSlot,
    payload::Payload,
    summing::{AT_ONCE, SumError, Summing},
};

/// What is to be done, in order.
pub(crate) enum Job {
    /// Add an update.
    Absorb(StagedSlot, Weight),
    /// Make the round's model of everything that was added since the last one.
    Finalise { round: RoundNo, base: Payload },
}

/// A round's model, and how long it took.
pub(crate) struct Summed {
    pub(crate) round: RoundNo,
    pub(crate) model: Payload,
    /// Adding updates before the last pass, over the whole round.
    pub(crate) absorb: Duration,
    /// The last pass: what was left to add, the means, the root.
    pub(crate) finalise: Duration,
}

/// Works until the sender of jobs is gone, or a job fails.
///
/// Jobs are not bounded here: each holds a slot, and of those there are only so many.
pub(crate) async fn run(
    mut summing: Summing,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    aggregator: Mailbox<Aggregator>,
) {
    let mut absorb = Duration::ZERO;
    while let Some(first) = jobs.recv().await {
        // Whatever waits already is added in the same pass.
        let (batch, last) = gather(first, &mut jobs);
        let started = Instant::now();
        let news = match last {
            None => match summing.absorb(batch).await {
                Ok(()) => {
                    absorb += started.elapsed();
                    continue;
                }
                Err(error) => broken(&error),
            },
            Some((round, base)) => match summing.absorb_and_finalise(batch, &base).await {
                Ok(model) => {
                    let absorb = std::mem::take(&mut absorb);
                    News::Summed(Summed { round, model, absorb, finalise: started.elapsed() })
                }
                Err(error) => broken(&error),
            },
        };
        if aggregator.deliver(news).await.is_err() {
            return;
        }
    }
}

/// What one pass takes in, from the jobs that wait: updates, and the order to finish the round.
fn gather(first: Job, jobs: &mut mpsc::UnboundedReceiver<Job>) -> (Batch, Option<(RoundNo, Payload)>) {
    let mut batch = Batch::with_capacity(AT_ONCE);
    let mut next = Some(first);
    while let Some(job) = next.take() {
        match job {
            Job::Finalise { round, base } => return (batch, Some((round, base))),
            Job::Absorb(slot, weight) => batch.push((slot, weight)),
        }
        if batch.len() < AT_ONCE {
            next = jobs.try_recv().ok();
        }
    }
    (batch, None)
}

fn broken(error: &SumError) -> News {
    News::Broken(format!("the updates could not be summed: {error}"))
}

type Batch = Vec<(StagedSlot, Weight)>;
