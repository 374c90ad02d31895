//! One collaborator in the open round: what it still owes, and where its update stands.

use super::{Contribution, LostCause, Offer, Refusal, SlotId, threshold::Standing};
use crate::{Digest, Name, Weight, limits, plan::Threshold};

/// What one collaborator was asked and has answered.
///
/// A collaborator has answered when each of its tasks was reported or has failed, and when its update, if it
/// owes one, was staged, was refused for good, or has failed. The round also waits for the report of the
/// update's own task, because update and report come over different streams; it stops waiting when the link
/// is gone. The round always waits for the report that the plan's threshold needs: a new link may bring it.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// Whether the round waits for it while it is connected.
    waited: bool,
    answers: Vec<(Name, Heard)>,
    update: Option<OwedUpdate>,
    standing: Standing,
    /// The task whose report decides on `standing`.
    judged_by: Option<Name>,
}

/// The report of one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Nothing,
    /// No report, and the round does not wait for one: the task is done, and the link is gone.
    Waived,
    /// The task failed.
    Failed,
    Reported,
}

#[derive(Clone, Debug)]
struct OwedUpdate {
    task: Name,
    coming: Vec<Coming>,
    fate: Fate,
}

/// A granted update that is under way.
#[derive(Clone, Debug)]
struct Coming {
    offer: Offer,
    /// Whether the update comes over the collaborator's present link. The bytes of an earlier link may have
    /// arrived in full and still be in the checks.
    live: bool,
}

#[derive(Clone, Debug)]
enum Fate {
    Awaited,
    /// Staged. Whether the update counts is not decided yet.
    Held {
        weight: Weight,
        root: Digest,
        slot: SlotId,
    },
    /// In the sum.
    Counted {
        weight: Weight,
        root: Digest,
    },
    /// Not under way. The collaborator may not offer the update again.
    Refused(Refusal),
    /// The task failed at the collaborator, which said why. An update that was granted before may still
    /// arrive, and counts.
    Failed(String),
}

/// A staged update was granted and is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    /// The collaborator has joined again since the grant, and may be repeating a task that is done.
    pub(super) redone: bool,
}

impl Asked {
    /// `update` is the one of `tasks` that ends in an update. `waited`: whether the round waits for it.
    pub(super) fn new(
        tasks: &[Name],
        update: Option<&Name>,
        threshold: Option<&Threshold>,
        waited: bool,
    ) -> Self {
        let place = |task: &Name| OwedUpdate { task: task.clone(), coming: Vec::new(), fate: Fate::Awaited };
        Self {
            waited,
            answers: tasks.iter().map(|t| (t.clone(), Heard::Nothing)).collect(),
            update: update.map(place),
            standing: match threshold {
                None => Standing::Passes,
                Some(threshold) if tasks.contains(&threshold.task) => Standing::Open,
                Some(_) => Standing::Fails,
            },
            judged_by: threshold.map(|threshold| threshold.task.clone()),
        }
    }

    /// Whether an update is asked for.
    pub(super) fn contributes(&self) -> bool {
        self.update.is_some()
    }

    pub(super) fn has_answered(&self) -> bool {
        self.missing().next().is_none()
    }

    /// Whether the round waits for it while it is connected.
    pub(super) fn is_waited_for(&self) -> bool {
        self.waited && !self.has_answered()
    }

    /// The round does not wait for it any more.
    pub(super) fn stop_waiting(&mut self) {
        self.waited = false;
    }

    /// Whether it did its part: it has answered, or its update is in the sum.
    pub(super) fn took_part(&self) -> bool {
        let counted = |u: &OwedUpdate| matches!(u.fate, Fate::Counted { .. });
        self.has_answered() || self.update.as_ref().is_some_and(counted)
    }

    /// Why no update comes from it any more, if none comes.
    pub(super) fn lost(&self) -> Option<(&Name, LostCause)> {
        let update = self.update.as_ref().filter(|update| update.coming.is_empty())?;
        match &update.fate {
            Fate::Failed(why) => Some((&update.task, LostCause::Failed(why.clone()))),
            Fate::Refused(refusal) => Some((&update.task, LostCause::Refused(refusal.clone()))),
            _ => None,
        }
    }

    /// Asks for an update that was lost, and for everything else that failed, again. Returns the tasks.
    pub(super) fn retry(&mut self) -> Vec<Name> {
        if self.is_lost()
            && let Some(update) = &mut self.update
        {
            update.fate = Fate::Awaited;
            for (task, heard) in &mut self.answers {
                if *heard == Heard::Failed || *task == update.task {
                    *heard = Heard::Nothing;
                    if self.judged_by.as_ref() == Some(task) {
                        self.standing = Standing::Open;
                    }
                }
            }
        }
        self.missing().cloned().collect()
    }

    /// Asks again, over a new link, a collaborator that is on the roster. Returns the tasks.
    pub(super) fn ask_again(&mut self) -> Vec<Name> {
        if let Some(update) = &mut self.update
            && matches!(update.fate, Fate::Refused(Refusal::NotOnRoster))
        {
            update.fate = Fate::Awaited;
        }
        self.missing().cloned().collect()
    }

    pub(super) fn is_lost(&self) -> bool {
        self.update.as_ref().is_some_and(|update| {
            update.coming.is_empty() && matches!(update.fate, Fate::Failed(_) | Fate::Refused(_))
        })
    }

    /// Tasks that the collaborator still has to run, or to run again.
    pub(super) fn missing(&self) -> impl Iterator<Item = &Name> {
        let unheard = |(task, heard): &&(Name, Heard)| *heard == Heard::Nothing || self.owes_update(task);
        self.answers.iter().filter(unheard).map(|(task, _)| task)
    }

    /// Whether it neither answered nor had its update counted or refused.
    pub(super) fn is_missing(&self) -> bool {
        let decided =
            |u: &OwedUpdate| matches!(u.fate, Fate::Held { .. } | Fate::Counted { .. } | Fate::Refused(_));
        !self.has_answered() && !self.update.as_ref().is_some_and(decided)
    }

    /// The collaborator's link is gone: no granted update comes over it any longer.
    pub(super) fn link_lost(&mut self) {
        let Some(update) = &mut self.update else { return };
        update.coming.iter_mut().for_each(|c| c.live = false);
        if !matches!(update.fate, Fate::Awaited) {
            self.waive_update_report();
        }
    }

    /// The collaborator left the roster: no update of it counts any more, but one that is in the sum. Returns
    /// slot and task of a held update.
    pub(super) fn unlisted(&mut self) -> Option<(SlotId, Name)> {
        let update = self.update.as_mut()?;
        update.coming.clear();
        let held = match update.fate {
            Fate::Awaited => None,
            Fate::Held { slot, .. } => Some((slot, update.task.clone())),
            Fate::Counted { .. } | Fate::Refused(_) | Fate::Failed(_) => return None,
        };
        update.fate = Fate::Refused(Refusal::NotOnRoster);
        held
    }

    /// Takes the report of a task, which `passes` the threshold or does not; returns whether it is the first
    /// of its task.
    pub(super) fn hear(&mut self, task: &Name, passes: bool) -> bool {
        self.note(task, Heard::Reported, passes)
    }

    fn note(&mut self, task: &Name, how: Heard, passes: bool) -> bool {
        let news = self.answer(task, how);
        if news && self.standing == Standing::Open && self.judged_by.as_ref() == Some(task) {
            self.standing = if passes { Standing::Passes } else { Standing::Fails };
        }
        news
    }

    fn answer(&mut self, task: &Name, how: Heard) -> bool {
        match self.answers.iter_mut().find(|(t, _)| t == task) {
            Some((_, heard)) if !matches!(heard, Heard::Reported | Heard::Failed) => {
                *heard = how;
                true
            }
            _ => false,
        }
    }

    /// The task failed: no update or report will come for it.
    pub(super) fn fail(&mut self, task: &Name, why: String) {
        self.note(task, Heard::Failed, false);
        if let Some(update) = self.update.as_mut().filter(|u| u.task == *task)
            && matches!(update.fate, Fate::Awaited)
        {
            update.fate = Fate::Failed(why);
        }
    }

    /// Why no update for `task` would be granted, independent of its contents.
    pub(super) fn why_not(&self, task: &Name) -> Option<Refusal> {
        let Some(update) = self.update.as_ref().filter(|u| u.task == *task) else {
            return Some(Refusal::NotAssigned(task.clone()));
        };
        match &update.fate {
            Fate::Awaited if update.coming.iter().any(|c| c.live) => Some(Refusal::Duplicate),
            Fate::Awaited => None,
            Fate::Held { .. } | Fate::Counted { .. } => Some(Refusal::Duplicate),
            Fate::Refused(refusal) => Some(refusal.clone()),
            Fate::Failed(_) => Some(Refusal::NotAssigned(task.clone())),
        }
    }

    /// Remembers a granted offer.
    pub(super) fn grant(&mut self, offer: Offer) {
        if let Some(update) = &mut self.update {
            if update.coming.len() >= limits::GRANTS_REMEMBERED {
                update.coming.remove(0);
            }
            update.coming.push(Coming { offer, live: true });
        }
    }

    /// An offer was refused because of its contents.
    pub(super) fn turn_down(&mut self, refusal: &Refusal) {
        if let Some(update) = &mut self.update
            && matches!(update.fate, Fate::Awaited)
            && update.coming.is_empty()
            && !refusal.may_retry()
        {
            update.fate = Fate::Refused(refusal.clone());
        }
    }

    /// A granted update failed on its way.
    pub(super) fn drop_coming(&mut self, offer: &Offer, refusal: &Refusal) {
        if self.take_coming(offer).is_some() {
            self.turn_down(refusal);
        }
    }

    /// An update has arrived in full and is held from now on.
    ///
    /// # Errors
    /// Why it does not count.
    pub(super) fn stage(&mut self, offer: &Offer, slot: SlotId) -> Result<Accepted, Refusal> {
        let coming = self.take_coming(offer);
        let why_not = self.why_not(&offer.task);
        let Some(coming) = coming else {
            return Err(why_not.unwrap_or_else(|| Refusal::NotAssigned(offer.task.clone())));
        };
        let Some(update) = &mut self.update else {
            return Err(Refusal::NotAssigned(offer.task.clone()));
        };
        if let Fate::Held { .. } | Fate::Counted { .. } | Fate::Refused(_) = update.fate {
            return Err(why_not.unwrap_or(Refusal::Duplicate));
        }
        update.fate = Fate::Held { weight: offer.weight, root: offer.root, slot };
        if !coming.live {
            self.waive_update_report();
        }
        Ok(Accepted { redone: !coming.live })
    }

    /// What is known of its metric, while its update is held.
    pub(super) fn held(&self) -> Option<Standing> {
        self.held_slot().map(|_| self.standing)
    }

    /// The slot of its held update.
    pub(super) fn held_slot(&self) -> Option<SlotId> {
        match self.update.as_ref()?.fate {
            Fate::Held { slot, .. } => Some(slot),
            _ => None,
        }
    }

    /// Its held update goes into the sum.
    pub(super) fn count(&mut self) -> Option<(SlotId, Weight)> {
        let update = self.update.as_mut()?;
        let Fate::Held { weight, root, slot } = update.fate else { return None };
        update.fate = Fate::Counted { weight, root };
        Some((slot, weight))
    }

    /// Its held update does not count.
    pub(super) fn leave_out(&mut self, refusal: Refusal) -> Option<(SlotId, Name)> {
        let update = self.update.as_mut()?;
        let Fate::Held { slot, .. } = update.fate else { return None };
        update.fate = Fate::Refused(refusal);
        Some((slot, update.task.clone()))
    }

    /// The share of the round's total weight that is kept for it.
    pub(super) fn claim(&self) -> u64 {
        let Some(update) = &self.update else { return 0 };
        match &update.fate {
            Fate::Held { weight, .. } | Fate::Counted { weight, .. } => weight.value().into(),
            _ => update.coming.iter().map(|c| u64::from(c.offer.weight.value())).max().unwrap_or(0),
        }
    }

    /// Its counted update.
    pub(super) fn contribution(&self, collaborator: &Name) -> Option<Contribution> {
        let update = self.update.as_ref()?;
        let Fate::Counted { weight, root } = update.fate else { return None };
        Some(Contribution { collaborator: collaborator.clone(), task: update.task.clone(), weight, root })
    }

    fn owes_update(&self, task: &Name) -> bool {
        self.update.as_ref().is_some_and(|u| u.task == *task && matches!(u.fate, Fate::Awaited))
    }

    /// The oldest grant of this offer.
    fn take_coming(&mut self, offer: &Offer) -> Option<Coming> {
        let coming = &mut self.update.as_mut()?.coming;
        let at = coming.iter().position(|c| c.offer == *offer)?;
        Some(coming.remove(at))
    }

    fn waive_update_report(&mut self) {
        let Some(update) = &self.update else { return };
        if self.standing == Standing::Open && self.judged_by.as_ref() == Some(&update.task) {
            return;
        }
        for (_, heard) in self.answers.iter_mut().filter(|(t, h)| *t == update.task && *h == Heard::Nothing) {
            *heard = Heard::Waived;
        }
    }
}
