//! A round that takes nothing in any more, and what it says of itself.

use super::{AggregatedMetric, RoundFacts, RoundSummary, WhyClosed, open::OpenRound, refusal_notes::Notes};
use crate::{Digest, Millis};

/// From its close until its sum is finished.
#[derive(Clone, Debug)]
pub(super) struct Closed {
    pub(super) round: OpenRound,
    pub(super) why: WhyClosed,
    pub(super) at: Millis,
    pub(super) metrics: Vec<AggregatedMetric>,
}

impl Closed {
    /// For the history; `root` is the model that it made.
    pub(super) fn facts(&self, notes: &Notes, plan: Digest, root: Digest) -> RoundFacts {
        RoundFacts {
            round: self.round.stamp.round,
            incarnation: self.round.stamp.incarnation,
            plan,
            base: self.round.stamp.base,
            root,
            contributions: self.round.contributions(),
            refused: notes.facts(),
            metrics: self.metrics.clone(),
        }
    }

    /// For logs and members.
    pub(super) fn summary(&self, notes: &Notes, finalised: Millis) -> RoundSummary {
        let weights = self.round.contributions().into_iter().map(|c| (c.collaborator, c.weight));
        RoundSummary {
            stamp: self.round.stamp,
            closing: self.round.closing,
            contributors: weights.collect(),
            refused: notes.summary(),
            missing: self.round.missing(),
            ignored: self.round.ignored().to_vec(),
            lost: self.round.lost(),
            reopened: self.round.reopened,
            metrics: self.metrics.clone(),
            why: self.why,
            opened: self.round.opened,
            first_staged: self.round.first_staged,
            closed: self.at,
            finalised,
        }
    }
}
