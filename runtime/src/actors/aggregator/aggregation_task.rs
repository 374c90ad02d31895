//! The aggregation's desk: takes staged updates to the CPU pool, in batches, while others still arrive, and makes the
//! round's model when the engine says so.
//!
//! An update that is alone waits for a second one: a pass over the sum is bound by the memory that the sum takes, and
//! costs for two little more than for one. It waits no longer than until its slot is wanted, or the round closes; and not
//! for the round's last, so that this one alone is left for the pass that everybody waits for.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fl_engine::{Name, RoundNo};
use tokio::sync::mpsc;

use super::coordinator::{Aggregator, News};
use crate::{
    actors::mailbox::Mailbox,
    aggregation::{AggregateError, Aggregation, Made, streaming::AT_ONCE, update::StagedUpdate},
    exit::{Exit, Failure},
    memory::SlotStore,
    payload::Payload,
};

/// What is to be done, in order.
pub(crate) enum Job {
    /// Take an update of the round that began at this base.
    Absorb {
        update: StagedUpdate,
        base: Payload,
        /// Whether the next one is the round's last.
        last_but_one: bool,
    },
    /// Forget everything that was taken since the last finished round.
    Clear,
    /// Make the round's model of everything that was taken since the last one.
    Finalise { round: RoundNo, base: Payload },
}

/// A round's model, and how long it took.
pub(crate) struct Summed {
    pub(crate) round: RoundNo,
    pub(crate) model: Payload,
    /// State of the server's step after this round, where it has one.
    pub(crate) state: Option<Bytes>,
    /// Whom the rule left out.
    pub(crate) left_out: Vec<Name>,
    /// Taking updates before the last pass, over the whole round.
    pub(crate) absorb: Duration,
    /// The last pass: what was left to take, the model, the step, the root.
    pub(crate) finalise: Duration,
}

/// Works until the sender of jobs is gone, or a job fails.
///
/// Jobs are not bounded here: each holds a slot, and of those there are only so many.
pub(crate) async fn run(
    mut aggregation: Aggregation,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    slots: SlotStore,
    aggregator: Mailbox<Aggregator>,
) {
    let mut absorb = Duration::ZERO;
    while let Some(first) = jobs.recv().await {
        let gathered = Gathered::from(first, &mut jobs, &slots).await;
        let started = Instant::now();
        let news = match gathered.work(&mut aggregation).await {
            Ok(None) => {
                absorb += started.elapsed();
                continue;
            }
            Ok(Some((round, Made { model, state, left_out }))) => {
                let absorb = std::mem::take(&mut absorb);
                News::Summed(Summed { round, model, state, left_out, absorb, finalise: started.elapsed() })
            }
            Err(error) => broken(&error),
        };
        if aggregator.deliver(news).await.is_err() {
            return;
        }
    }
}

/// What one pass takes in.
#[derive(Default)]
struct Gathered {
    /// Whether everything before is forgotten first.
    clear: bool,
    updates: Vec<StagedUpdate>,
    /// Of the updates' round.
    base: Option<Payload>,
    /// Whether what is there is not to wait for the next update.
    hurries: bool,
    /// The round to finish.
    last: Option<RoundNo>,
}

impl Gathered {
    /// The jobs of one pass: those that wait, and for an update that is alone the next one.
    async fn from(first: Job, jobs: &mut mpsc::UnboundedReceiver<Job>, slots: &SlotStore) -> Self {
        let mut gathered = Self::default();
        let mut next = Some(first);
        while let Some(job) = next.take() {
            gathered.take(job);
            if gathered.last.is_some() || gathered.updates.len() == AT_ONCE {
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

    fn take(&mut self, job: Job) {
        match job {
            Job::Finalise { round, base } => (self.base, self.last) = (Some(base), Some(round)),
            Job::Absorb { update, base, last_but_one } => {
                self.updates.push(update);
                (self.base, self.hurries) = (Some(base), last_but_one);
            }
            Job::Clear => {
                self.clear = true;
                self.updates.clear();
            }
        }
    }

    async fn work(self, aggregation: &mut Aggregation) -> Result<Option<(RoundNo, Made)>, AggregateError> {
        let Self { clear, updates, base, last, hurries: _ } = self;
        if clear {
            aggregation.clear().await?;
        }
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

fn broken(error: &AggregateError) -> News {
    News::Broken(format!("the updates could not be combined: {}", Failure::of(Exit::Failed, error).error))
}

#[cfg(test)]
mod tests;
