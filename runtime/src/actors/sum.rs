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
    /// Take everything out again that was added since the last finished round.
    Clear,
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
        let Gathered { clear, batch, last } = gather(first, &mut jobs);
        let started = Instant::now();
        if clear && let Err(error) = summing.clear().await {
            if aggregator.deliver(broken(&error)).await.is_err() {
                return;
            }
            continue;
        }
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

/// What one pass takes in.
struct Gathered {
    /// Whether the sum is emptied first.
    clear: bool,
    batch: Batch,
    /// The order to finish the round.
    last: Option<(RoundNo, Payload)>,
}

/// The jobs of one pass, from those that wait.
fn gather(first: Job, jobs: &mut mpsc::UnboundedReceiver<Job>) -> Gathered {
    let mut gathered = Gathered { clear: false, batch: Batch::with_capacity(AT_ONCE), last: None };
    let mut next = Some(first);
    while let Some(job) = next.take() {
        match job {
            Job::Finalise { round, base } => {
                gathered.last = Some((round, base));
                break;
            }
            Job::Absorb(slot, weight) => gathered.batch.push((slot, weight)),
            Job::Clear => {
                gathered.clear = true;
                gathered.batch.clear();
            }
        }
        if gathered.batch.len() < AT_ONCE {
            next = jobs.try_recv().ok();
        }
    }
    gathered
}

fn broken(error: &SumError) -> News {
    News::Broken(format!("the updates could not be summed: {error}"))
}

type Batch = Vec<(StagedSlot, Weight)>;
