//! The open round: whom it asked, what came, what it is waiting for.

use std::collections::{BTreeMap, BTreeSet};

use super::asked::{Accepted, Asked};
use super::metrics::Metrics;
use super::{AggregatedMetric, Contribution, Offer, Refusal, Report, Stamp};
use crate::plan::ExactRange;
use crate::{Bytes, Millis, Name, Weight, aggregate};

/// A round from its first `Assign` to its end.
#[derive(Clone, Debug)]
pub(super) struct OpenRound {
    pub(super) stamp: Stamp,
    /// Whether it only measures the final model.
    pub(super) closing: bool,
    pub(super) opened: Millis,
    pub(super) first_staged: Option<Millis>,
    asked: BTreeMap<Name, Asked>,
    /// Asked, here, and not done.
    awaited: BTreeSet<Name>,
    /// Collaborators that were asked for an update.
    contributors: usize,
    updates: u32,
    /// Weights in the sum and under way: what a grant promises fits.
    claimed: u64,
    metrics: Metrics,
}

/// What an offer is held against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) range: ExactRange,
    /// Length of the layout's payload.
    pub(super) bytes: Bytes,
}

impl OpenRound {
    pub(super) fn new(stamp: Stamp, closing: bool, opened: Millis) -> Self {
        Self {
            stamp,
            closing,
            opened,
            first_staged: None,
            asked: BTreeMap::new(),
            awaited: BTreeSet::new(),
            contributors: 0,
            updates: 0,
            claimed: 0,
            metrics: Metrics::default(),
        }
    }

    /// Asks a collaborator for the first time.
    pub(super) fn ask(&mut self, peer: &Name, tasks: &[Name], update: Option<&Name>) {
        let asked = Asked::new(tasks, update);
        self.contributors += usize::from(asked.contributes());
        self.asked.insert(peer.clone(), asked);
        self.await_unanswered(peer);
    }

    /// Asks a collaborator again that has a new link; returns the tasks that it has not answered. `None` when it was
    /// not asked before.
    pub(super) fn ask_again(&mut self, peer: &Name) -> Option<Vec<Name>> {
        let missing = self.asked.get(peer)?.missing().cloned().collect();
        self.await_unanswered(peer);
        Some(missing)
    }

    /// A link is gone: not waited for until it comes back.
    pub(super) fn link_lost(&mut self, peer: &Name) {
        self.change(peer, Asked::link_lost);
        self.awaited.remove(peer);
    }

    /// Off the roster. An update that is in the sum stays there: it was made and checked while its maker was on
    /// the roster, and the sum does not keep what it would take to subtract it.
    pub(super) fn unlisted(&mut self, peer: &Name) {
        self.link_lost(peer);
        self.change(peer, Asked::forget_coming);
    }

    /// Books an offer whose stamp is this round's.
    ///
    /// # Errors
    /// Why the update may not come.
    pub(super) fn offer(&mut self, peer: &Name, offer: Offer, bounds: Bounds) -> Result<(), Refusal> {
        let (claimed, task) = (self.claimed, offer.task.clone());
        self.change(peer, |asked| {
            if let Some(refusal) = asked.why_not(&offer.task) {
                return Err(refusal);
            }
            let own = asked.claim();
            let total = claimed - own + own.max(offer.weight.value().into());
            match bounds.check(&offer, total) {
                None => {
                    asked.grant(offer);
                    Ok(())
                }
                Some(refusal) => {
                    asked.turn_down(&refusal);
                    Err(refusal)
                }
            }
        })
        .unwrap_or(Err(Refusal::NotAssigned(task)))
    }

    /// An update whose stamp is this round's has arrived in full.
    ///
    /// # Errors
    /// Why it does not count.
    pub(super) fn stage(&mut self, peer: &Name, offer: &Offer, now: Millis) -> Result<Accepted, Refusal> {
        let not_asked = || Err(Refusal::NotAssigned(offer.task.clone()));
        let accepted = self.change(peer, |asked| asked.stage(offer)).unwrap_or_else(not_asked)?;
        self.updates += 1;
        self.first_staged.get_or_insert(now);
        Ok(accepted)
    }

    /// A granted update failed on its way.
    pub(super) fn dropped(&mut self, peer: &Name, offer: &Offer, refusal: &Refusal) {
        self.change(peer, |asked| asked.drop_coming(offer, refusal));
    }

    /// Takes metrics that answer a task of this round, the first time that they come.
    pub(super) fn report(&mut self, peer: &Name, report: &Report) {
        if self.change(peer, |asked| asked.report(&report.task)) == Some(true) {
            self.metrics.add(peer, report);
        }
    }

    /// A task failed at the collaborator.
    pub(super) fn fail(&mut self, peer: &Name, task: &Name) {
        self.change(peer, |asked| asked.fail(task));
    }

    pub(super) fn updates(&self) -> u32 {
        self.updates
    }

    /// Collaborators that were asked for an update, here or gone.
    pub(super) fn contributors(&self) -> usize {
        self.contributors
    }

    /// Whether everybody asked has answered or is gone.
    pub(super) fn awaits_nobody(&self) -> bool {
        self.awaited.is_empty()
    }

    pub(super) fn was_asked(&self, peer: &Name) -> bool {
        self.asked.contains_key(peer)
    }

    pub(super) fn has_answered(&self, peer: &Name) -> bool {
        self.asked.get(peer).is_some_and(Asked::has_answered)
    }

    /// Everybody asked, by name.
    pub(super) fn asked(&self) -> impl Iterator<Item = &Name> {
        self.asked.keys()
    }

    /// Who has neither answered nor had an update counted or refused, by name.
    pub(super) fn missing(&self) -> Vec<Name> {
        self.asked.iter().filter(|(_, a)| a.is_missing()).map(|(n, _)| n.clone()).collect()
    }

    /// What is in the sum, by name.
    pub(super) fn contributions(&self) -> Vec<Contribution> {
        self.asked.iter().filter_map(|(name, asked)| asked.contribution(name)).collect()
    }

    pub(super) fn metrics(&self) -> Vec<AggregatedMetric> {
        self.metrics.means()
    }

    /// Changes one collaborator's state and what follows from it.
    fn change<T>(&mut self, peer: &Name, change: impl FnOnce(&mut Asked) -> T) -> Option<T> {
        let asked = self.asked.get_mut(peer)?;
        let before = asked.claim();
        let result = change(asked);
        self.claimed = self.claimed - before + asked.claim();
        if asked.has_answered() {
            self.awaited.remove(peer);
        }
        Some(result)
    }

    fn await_unanswered(&mut self, peer: &Name) {
        if !self.has_answered(peer) {
            self.awaited.insert(peer.clone());
        }
    }
}

impl Bounds {
    /// Why an offer that would raise the round's weights to `total` may not come.
    fn check(&self, offer: &Offer, total: u64) -> Option<Refusal> {
        if !self.allows(offer.weight) {
            return Some(Refusal::Weight(offer.weight.value().into()));
        }
        if offer.bytes != self.bytes {
            return Some(Refusal::Length { given: offer.bytes, expected: self.bytes });
        }
        (total > aggregate::most_total(self.range)).then_some(Refusal::TotalWeight)
    }

    fn allows(&self, weight: Weight) -> bool {
        u64::from(weight.value()) < 1 << self.range.weight_bits
    }
}
