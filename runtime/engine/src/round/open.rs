//! The open round: which collaborators it asked, which updates came, what it waits for.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    AggregatedMetric, Contribution, Offer, Refusal, Report, SlotId, Stamp,
    asked::{Accepted, Asked},
    metrics::Metrics,
    threshold::{Decision, Standing},
};
use crate::{
    ByteCount, Millis, Name, Weight, aggregate,
    plan::{ExactRange, Threshold},
};

/// A round from its first `Assign` to its end.
#[derive(Clone, Debug)]
pub(super) struct OpenRound {
    pub(super) stamp: Stamp,
    /// Whether it only measures the final model.
    pub(super) closing: bool,
    pub(super) opened: Millis,
    pub(super) first_staged: Option<Millis>,
    asked: BTreeMap<Name, Asked>,
    /// Collaborators that were asked, are connected, and have not answered.
    awaited: BTreeSet<Name>,
    /// Collaborators that were asked for an update.
    contributors: usize,
    threshold: Option<Threshold>,
    /// Updates in the sum.
    updates: u32,
    /// Whether the updates in the sum pass the threshold.
    passed: bool,
    /// Staged updates for which it is not decided yet whether they count.
    held: u32,
    /// Weights in the sum and under way. A granted update always fits.
    claimed: u64,
    metrics: Metrics,
}

/// The bounds that an offer has to keep.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) range: ExactRange,
    /// Length of the layout's payload.
    pub(super) bytes: ByteCount,
}

impl OpenRound {
    pub(super) fn new(stamp: Stamp, closing: bool, opened: Millis, threshold: Option<Threshold>) -> Self {
        Self {
            stamp,
            closing,
            opened,
            first_staged: None,
            asked: BTreeMap::new(),
            awaited: BTreeSet::new(),
            contributors: 0,
            threshold,
            updates: 0,
            passed: false,
            held: 0,
            claimed: 0,
            metrics: Metrics::default(),
        }
    }

    /// Asks a collaborator for the first time.
    pub(super) fn ask(&mut self, peer: &Name, tasks: &[Name], update: Option<&Name>) {
        let asked = Asked::new(tasks, update, self.threshold.as_ref());
        self.contributors += usize::from(asked.contributes());
        self.asked.insert(peer.clone(), asked);
        self.await_unanswered(peer);
    }

    /// Asks a collaborator again that has a new link; returns the tasks that it has not answered. `None` when
    /// it was not asked before.
    pub(super) fn ask_again(&mut self, peer: &Name) -> Option<Vec<Name>> {
        let missing = self.asked.get(peer)?.missing().cloned().collect();
        self.await_unanswered(peer);
        Some(missing)
    }

    /// A link is gone: the round does not wait for the collaborator until it joins again.
    pub(super) fn link_lost(&mut self, peer: &Name) {
        self.change(peer, Asked::link_lost);
        self.awaited.remove(peer);
    }

    /// The collaborator left the roster. An update that is in the sum stays there: it was made and checked
    /// while the collaborator was on the roster, and the sum cannot subtract it. A held update does not
    /// count: its slot and its task are returned.
    pub(super) fn unlisted(&mut self, peer: &Name) -> Option<(SlotId, Name)> {
        self.link_lost(peer);
        let held = self.change(peer, Asked::forget_coming).flatten();
        self.held -= u32::from(held.is_some());
        held
    }

    /// Takes an offer with the stamp of this round.
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

    /// An update with the stamp of this round has arrived in full. It is held until [`Self::decide`] decides.
    ///
    /// # Errors
    /// Why it does not count.
    pub(super) fn stage(
        &mut self,
        peer: &Name,
        offer: &Offer,
        slot: SlotId,
        now: Millis,
    ) -> Result<Accepted, Refusal> {
        let not_asked = || Err(Refusal::NotAssigned(offer.task.clone()));
        let accepted = self.change(peer, |asked| asked.stage(offer, slot)).unwrap_or_else(not_asked)?;
        self.held += 1;
        self.first_staged.get_or_insert(now);
        Ok(accepted)
    }

    /// Decides on a collaborator's held update. `None` when no update is held, or while its metric may still
    /// come.
    pub(super) fn decide(&mut self, peer: &Name) -> Option<Decision> {
        match self.asked.get(peer)?.held()? {
            Standing::Open => None,
            Standing::Passes => self.count(peer, true),
            Standing::Fails if self.passed => self.leave_out(peer, Refusal::BelowThreshold),
            Standing::Fails => self.count(peer, false),
        }
    }

    /// Decides on all updates that are still held, by name, when the round closes. With `enough`, no further
    /// update goes into the sum.
    pub(super) fn decide_rest(&mut self, enough: bool) -> Vec<(Name, Decision)> {
        let held = self.asked.iter().filter(|(_, asked)| asked.held().is_some());
        let held: Vec<Name> = held.map(|(peer, _)| peer.clone()).collect();
        let decide = |peer: Name| {
            let decision = match enough {
                true => self.leave_out(&peer, Refusal::Late),
                false if self.passed => self.leave_out(&peer, Refusal::BelowThreshold),
                false => self.count(&peer, false),
            };
            Some((peer, decision?))
        };
        held.into_iter().filter_map(decide).collect()
    }

    fn count(&mut self, peer: &Name, passes: bool) -> Option<Decision> {
        let (slot, weight) = self.change(peer, |asked| asked.count(passes))??;
        let instead_of = if passes && !self.passed { self.start_over() } else { Vec::new() };
        self.held -= 1;
        self.updates += 1;
        Some(Decision::Count { slot, weight, instead_of })
    }

    fn leave_out(&mut self, peer: &Name, refusal: Refusal) -> Option<Decision> {
        let (slot, task) = self.change(peer, |asked| asked.leave_out(refusal.clone()))??;
        self.held -= 1;
        Some(Decision::LeaveOut { slot, task, refusal })
    }

    /// The first update passes the threshold: the updates that were summed before do not count.
    fn start_over(&mut self) -> Vec<(Name, Name)> {
        self.passed = true;
        self.updates = 0;
        let mut left_out = Vec::new();
        for (peer, asked) in &mut self.asked {
            let before = asked.claim();
            if let Some(task) = asked.take_back() {
                self.claimed = self.claimed - before + asked.claim();
                left_out.push((peer.clone(), task));
            }
        }
        left_out
    }

    /// Updates that would be in the sum if the round closed now.
    pub(super) fn updates_if_closed(&self) -> u32 {
        self.updates + if self.passed { 0 } else { self.held }
    }

    /// Slots of the updates that are held.
    pub(super) fn held(&self) -> impl Iterator<Item = SlotId> {
        self.asked.values().filter_map(Asked::held_slot)
    }

    /// A granted update failed on its way.
    pub(super) fn dropped(&mut self, peer: &Name, offer: &Offer, refusal: &Refusal) {
        self.change(peer, |asked| asked.drop_coming(offer, refusal));
    }

    /// Takes metrics that answer a task of this round, the first time that they come.
    pub(super) fn report(&mut self, peer: &Name, report: &Report) {
        let threshold = self.threshold.take();
        if self.change(peer, |asked| asked.report(report, threshold.as_ref())) == Some(true) {
            self.metrics.add(peer, report);
        }
        self.threshold = threshold;
    }

    /// A task failed at the collaborator.
    pub(super) fn fail(&mut self, peer: &Name, task: &Name) {
        self.change(peer, |asked| asked.fail(task));
    }

    /// Updates in the sum.
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

    /// Collaborators that have neither answered nor had an update counted or refused, by name.
    pub(super) fn missing(&self) -> Vec<Name> {
        self.asked.iter().filter(|(_, a)| a.is_missing()).map(|(n, _)| n.clone()).collect()
    }

    /// The updates in the sum, by collaborator.
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
