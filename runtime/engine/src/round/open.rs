//! The open round: which collaborators it asked, which updates came, what it waits for.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    AggregatedMetric, Contribution, Lost, Offer, Refusal, Report, ReportFault, SlotId, Stamp,
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
    /// What the deadline counts from: when it was opened, the last time.
    pub(super) since: Millis,
    /// How often it was opened again.
    pub(super) reopened: u32,
    pub(super) first_staged: Option<Millis>,
    asked: BTreeMap<Name, Asked>,
    /// Collaborators that were asked, are connected, and have not answered, without those that the round does
    /// not wait for.
    awaited: BTreeSet<Name>,
    /// Collaborators that were asked for an update.
    contributors: usize,
    /// Those among `contributors` from which no update comes any more.
    lost: usize,
    threshold: Option<Threshold>,
    /// As many updates as a round needs: so many have to pass for the threshold to apply.
    least: u32,
    /// Updates in the sum.
    updates: u32,
    /// Whether the threshold applies: only updates that pass count.
    applies: bool,
    /// Staged updates for which it is not decided yet whether they count.
    held: u32,
    /// Those among `held` that pass the threshold, or all without a threshold.
    passing: u32,
    /// Weights in the sum and under way. A granted update always fits.
    claimed: u64,
    metrics: Metrics,
    /// Reports that do not count, with their tasks.
    ignored: Vec<(Name, Name, ReportFault)>,
}

/// The bounds that an offer has to keep.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) range: ExactRange,
    /// Most rows that one collaborator may claim.
    pub(super) rows: u32,
    /// Length of the layout's payload.
    pub(super) bytes: ByteCount,
}

impl OpenRound {
    /// With a `threshold`, `least` updates have to pass for the threshold to apply.
    pub(super) fn new(
        stamp: Stamp,
        closing: bool,
        opened: Millis,
        threshold: Option<Threshold>,
        least: u32,
    ) -> Self {
        Self {
            stamp,
            closing,
            opened,
            since: opened,
            reopened: 0,
            first_staged: None,
            asked: BTreeMap::new(),
            awaited: BTreeSet::new(),
            contributors: 0,
            lost: 0,
            threshold,
            least,
            updates: 0,
            applies: false,
            held: 0,
            passing: 0,
            claimed: 0,
            metrics: Metrics::default(),
            ignored: Vec::new(),
        }
    }

    /// Asks a collaborator for the first time. `waited`: whether the round waits for its answer.
    pub(super) fn ask(&mut self, peer: &Name, tasks: &[Name], update: Option<&Name>, waited: bool) {
        let asked = Asked::new(tasks, update, self.threshold.as_ref(), waited);
        self.contributors += usize::from(asked.contributes());
        self.asked.insert(peer.clone(), asked);
        self.await_unanswered(peer);
    }

    /// Asks a collaborator again that has a new link; returns the tasks that it has not answered. `None` when
    /// it was not asked before.
    pub(super) fn ask_again(&mut self, peer: &Name) -> Option<Vec<Name>> {
        let missing = self.change(peer, Asked::ask_again)?;
        self.await_unanswered(peer);
        Some(missing)
    }

    /// Asks a collaborator again whose update was lost; returns the tasks.
    pub(super) fn retry(&mut self, peer: &Name) -> Vec<Name> {
        let tasks = self.change(peer, Asked::retry).unwrap_or_default();
        self.await_unanswered(peer);
        tasks
    }

    /// The round does not wait for this collaborator any more.
    pub(super) fn stop_waiting(&mut self, peer: &Name) {
        self.change(peer, Asked::stop_waiting);
        self.awaited.remove(peer);
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
        self.change(peer, Asked::unlisted).flatten()
    }

    /// Takes an offer with the stamp of this round. `odd`: why nothing of this collaborator counts, if so.
    ///
    /// # Errors
    /// Why the update may not come.
    pub(super) fn offer(
        &mut self,
        peer: &Name,
        offer: Offer,
        bounds: Bounds,
        odd: Option<Refusal>,
    ) -> Result<(), Refusal> {
        let (claimed, task) = (self.claimed, offer.task.clone());
        self.change(peer, |asked| {
            if let Some(refusal) = asked.why_not(&offer.task) {
                return Err(refusal);
            }
            let own = asked.claim();
            let total = claimed - own + own.max(offer.weight.value().into());
            match odd.or_else(|| bounds.check(&offer, total)) {
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
        self.first_staged.get_or_insert(now);
        Ok(accepted)
    }

    /// Decides on a collaborator's held update, and on others that were held because of it. Decides nothing
    /// while its metric may still come, or while the threshold may still apply.
    pub(super) fn decide(&mut self, peer: &Name) -> Vec<(Name, Decision)> {
        let Some(standing) = self.asked.get(peer).and_then(Asked::held) else { return Vec::new() };
        let decision = match standing {
            Standing::Open => None,
            Standing::Passes if self.threshold.is_none() || self.applies => self.count(peer),
            Standing::Passes => return self.apply_threshold(),
            Standing::Fails if self.applies => self.leave_out(peer, Refusal::BelowThreshold),
            Standing::Fails => None,
        };
        decision.into_iter().map(|decision| (peer.clone(), decision)).collect()
    }

    /// When enough of the held updates pass, the threshold applies to all that are held.
    fn apply_threshold(&mut self) -> Vec<(Name, Decision)> {
        if self.passing < self.least {
            return Vec::new();
        }
        self.applies = true;
        let held = self.held_peers();
        let decide = |peer: Name| {
            let decision = match self.asked.get(&peer)?.held()? {
                Standing::Passes => self.count(&peer),
                Standing::Fails => self.leave_out(&peer, Refusal::BelowThreshold),
                Standing::Open => None,
            };
            Some((peer, decision?))
        };
        held.into_iter().filter_map(decide).collect()
    }

    /// Decides on all updates that are still held, by name, when the round closes. With `enough`, no further
    /// update goes into the sum.
    pub(super) fn decide_rest(&mut self, enough: bool) -> Vec<(Name, Decision)> {
        let held = self.held_peers();
        let decide = |peer: Name| {
            let decision = match enough {
                true => self.leave_out(&peer, Refusal::Late),
                false if self.applies => self.leave_out(&peer, Refusal::BelowThreshold),
                false => self.count(&peer),
            };
            Some((peer, decision?))
        };
        held.into_iter().filter_map(decide).collect()
    }

    fn held_peers(&self) -> Vec<Name> {
        let held = self.asked.iter().filter(|(_, asked)| asked.held().is_some());
        held.map(|(peer, _)| peer.clone()).collect()
    }

    fn count(&mut self, peer: &Name) -> Option<Decision> {
        let (slot, weight) = self.change(peer, Asked::count)??;
        self.updates += 1;
        Some(Decision::Count { slot, weight })
    }

    fn leave_out(&mut self, peer: &Name, refusal: Refusal) -> Option<Decision> {
        let (slot, task) = self.change(peer, |asked| asked.leave_out(refusal.clone()))??;
        Some(Decision::LeaveOut { slot, task, refusal })
    }

    /// Updates that would be in the sum if the round closed now.
    pub(super) fn updates_if_closed(&self) -> u32 {
        self.updates + if self.applies { 0 } else { self.held }
    }

    /// Slots of the updates that are held.
    pub(super) fn held(&self) -> impl Iterator<Item = SlotId> {
        self.asked.values().filter_map(Asked::held_slot)
    }

    /// A granted update failed on its way.
    pub(super) fn dropped(&mut self, peer: &Name, offer: &Offer, refusal: &Refusal) {
        self.change(peer, |asked| asked.drop_coming(offer, refusal));
    }

    /// Takes metrics that answer a task of this round, the first time that they come. With a `fault` they are
    /// an answer, and do not count.
    pub(super) fn report(&mut self, peer: &Name, report: &Report, fault: Option<ReportFault>) {
        let passes = fault.is_none() && self.threshold.as_ref().is_some_and(|t| t.passes(report));
        if self.change(peer, |asked| asked.hear(&report.task, passes)) != Some(true) {
            return;
        }
        match fault {
            None => self.metrics.add(peer, report),
            Some(fault) => self.ignored.push((peer.clone(), report.task.clone(), fault)),
        }
    }

    /// A task failed at the collaborator, which says why.
    pub(super) fn fail(&mut self, peer: &Name, task: &Name, why: String) {
        self.change(peer, |asked| asked.fail(task, why));
    }

    /// Updates in the sum.
    pub(super) fn updates(&self) -> u32 {
        self.updates
    }

    /// Collaborators that were asked for an update, here or gone.
    pub(super) fn contributors(&self) -> usize {
        self.contributors
    }

    /// Whether no update comes any more from anybody who was asked for one.
    pub(super) fn all_lost(&self) -> bool {
        self.lost > 0 && self.lost == self.contributors
    }

    /// Whether it would have too few updates if it closed now. A closing round needs none.
    pub(super) fn is_short(&self) -> bool {
        !self.closing && self.updates_if_closed() < self.least
    }

    /// The collaborators from which no update comes any more, by name, with the reason.
    pub(super) fn lost(&self) -> Vec<Lost> {
        let of = |(name, asked): (&Name, &Asked)| {
            let (task, cause) = asked.lost()?;
            Some(Lost { collaborator: name.clone(), task: task.clone(), cause })
        };
        self.asked.iter().filter_map(of).collect()
    }

    /// Whether every collaborator that was asked has answered, also if it is gone.
    pub(super) fn all_have_answered(&self) -> bool {
        self.awaited.is_empty() && self.asked.values().all(Asked::has_answered)
    }

    /// Collaborators that the round waits for: connected, without an answer.
    pub(super) fn awaited(&self) -> impl Iterator<Item = &Name> {
        self.awaited.iter()
    }

    /// Everybody asked, with whether it did its part.
    pub(super) fn took_part(&self) -> impl Iterator<Item = (&Name, bool)> {
        self.asked.iter().map(|(name, asked)| (name, asked.took_part()))
    }

    /// Whether the round waits for this collaborator.
    pub(super) fn waits_for(&self, peer: &Name) -> bool {
        self.awaited.contains(peer)
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

    /// Reports that do not count: collaborator, task and reason, in order of arrival.
    pub(super) fn ignored(&self) -> &[(Name, Name, ReportFault)] {
        &self.ignored
    }

    pub(super) fn metrics(&self) -> Vec<AggregatedMetric> {
        self.metrics.means()
    }

    /// Changes one collaborator's state and what follows from it.
    fn change<T>(&mut self, peer: &Name, change: impl FnOnce(&mut Asked) -> T) -> Option<T> {
        let asked = self.asked.get_mut(peer)?;
        let (before, was_lost, was_held) = (asked.claim(), asked.is_lost(), asked.held());
        let result = change(asked);
        let (is_lost, is_held) = (asked.is_lost(), asked.held());
        let passes = |held| u32::from(held == Some(Standing::Passes));
        self.claimed = self.claimed - before + asked.claim();
        self.lost = self.lost - usize::from(was_lost) + usize::from(is_lost);
        self.held = self.held - u32::from(was_held.is_some()) + u32::from(is_held.is_some());
        self.passing = self.passing - passes(was_held) + passes(is_held);
        if asked.has_answered() {
            self.awaited.remove(peer);
        }
        Some(result)
    }

    fn await_unanswered(&mut self, peer: &Name) {
        if self.asked.get(peer).is_some_and(Asked::is_waited_for) {
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
        weight.value() <= self.rows
    }
}
