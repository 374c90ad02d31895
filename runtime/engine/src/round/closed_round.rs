//! A round that takes nothing in any more, and what it says of itself.

use std::collections::BTreeMap;

use super::{
    AggregatedMetric, LeftOutFact, RoundFacts, RoundSummary, WhyClosed, open::OpenRound, refusal_notes::Notes,
};
use crate::{Digest, Millis, Name};

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
    pub(super) fn facts(
        &self,
        notes: &Notes,
        plan: Digest,
        root: Digest,
        left_out: &BTreeMap<Name, LeftOutFact>,
    ) -> RoundFacts {
        let contributions = self.round.contributions();
        let mut left_out: Vec<LeftOutFact> =
            contributions.iter().filter_map(|c| left_out.get(&c.collaborator).cloned()).collect();
        left_out.sort_by(|a, b| a.collaborator.cmp(&b.collaborator));
        left_out.dedup();
        RoundFacts {
            round: self.round.stamp.round,
            incarnation: self.round.stamp.incarnation,
            plan,
            base: self.round.stamp.base,
            root,
            contributions,
            refused: notes.facts(),
            metrics: self.metrics.clone(),
            left_out,
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
