//! When a round is over: by its answers, at its deadline, or not yet. Who was waited for in vain.

use super::{Phase, RoundEngine, enough};
use crate::{
    Millis, Name, limits,
    plan::Short,
    round::{Effect, Waiting, WhyClosed, open::OpenRound},
};

impl RoundEngine {
    /// When a `Tick` is due; `None` when only events matter. A time in the past means at once.
    #[must_use]
    pub fn wake(&self) -> Option<Millis> {
        match &self.phase {
            // A run that has only its closing round left opens it with the first event.
            Phase::Gathering { .. } if self.is_closing() => Some(self.now),
            Phase::Gathering { since } => since.filter(|_| self.has_enough_members()).map(|s| self.grace(s)),
            Phase::Open(round) => {
                let over = match self.has_enough(round) {
                    true => self.floor(round).min(self.deadline(round)),
                    false => self.deadline(round),
                };
                Some(over.min(after(self.now, limits::HEARTBEAT)))
            }
            Phase::Collecting(step) => Some(self.wake_for_sums(step)),
            Phase::Serving { since } => Some(after(self.now.max(*since), limits::HEARTBEAT)),
            Phase::Keeping(_) | Phase::Summing { .. } | Phase::Draining(_) | Phase::Finished => None,
        }
    }

    /// What the run waits for; `None` while it waits for nobody.
    #[must_use]
    pub fn waiting(&self) -> Option<Waiting> {
        let need = self.count_min();
        match &self.phase {
            Phase::Gathering { .. } => Some(Waiting::Members {
                here: self.members.contributors_here(),
                need,
                absent: self.members.absent().cloned().collect(),
            }),
            Phase::Open(round) => Some(Waiting::Answers {
                round: round.stamp.round,
                closing: round.closing,
                opened: round.opened,
                deadline: self.deadline(round),
                have: round.updates_if_closed(),
                need,
                awaited: round.awaited().cloned().collect(),
                absent: self.members.absent().filter(|peer| !round.has_answered(peer)).cloned().collect(),
                lost: round.lost(),
            }),
            Phase::Collecting(step) => Some(self.waiting_for_sums(step)),
            Phase::Keeping(_)
            | Phase::Serving { .. }
            | Phase::Summing { .. }
            | Phase::Draining(_)
            | Phase::Finished => None,
        }
    }

    /// The engine was not called for longer than it asks for: the time since `before` is not the members'
    /// fault.
    pub(super) fn stood_still(&mut self, before: Millis, out: &mut Vec<Effect>) {
        let by = Millis(self.now.0.saturating_sub(before.0));
        let since = match &mut self.phase {
            Phase::Open(round) => &mut round.since,
            Phase::Collecting(step) => &mut step.since,
            _ => return,
        };
        if by > after(limits::HEARTBEAT, limits::STOOD_STILL) {
            *since = after(*since, by);
            out.push(Effect::StoodStill { by });
        }
    }

    /// Closes a round whose deadline has passed, or opens it again.
    pub(super) fn expire(&mut self, out: &mut Vec<Effect>) {
        let Phase::Open(round) = &self.phase else { return };
        if self.now < self.deadline(round) {
            return;
        }
        match self.plan.quorum.short {
            Short::Wait if round.is_short() && !round.all_lost() => self.reopen(out),
            _ => self.close(WhyClosed::Deadline, out),
        }
    }

    /// Why the open round is over before its deadline, if it is.
    pub(super) fn why_close(&self) -> Option<WhyClosed> {
        let Phase::Open(round) = &self.phase else { return None };
        if round.closing {
            // A run that begins with this round waits for its members a little, from the last one on.
            let all_came = !self.first
                || self.members.listed().all(|peer| round.was_asked(peer))
                || self.now >= after(self.last_join.max(round.opened), limits::SERVING);
            return (round.awaits_nobody() && all_came).then_some(WhyClosed::Everybody);
        }
        if round.awaits_nobody() && (!round.is_short() || self.is_hopeless(round)) {
            return Some(WhyClosed::Everybody);
        }
        (self.has_enough(round) && self.now >= self.floor(round)).then_some(WhyClosed::Enough)
    }

    /// Whether no answer that is still open can give the round enough updates: everybody who could send one
    /// was asked and has answered. Where the plan waits, a round with some updates goes on: a site may come
    /// back repaired.
    fn is_hopeless(&self, round: &OpenRound) -> bool {
        let all_asked =
            round.contributors() > 0 && round.contributors() >= self.members.contributors_listed();
        all_asked && (round.all_lost() || (self.plan.quorum.short == Short::End && round.all_have_answered()))
    }

    /// Opens a round again that has too few updates at its deadline. It keeps its updates; collaborators
    /// whose updates were lost are asked again.
    fn reopen(&mut self, out: &mut Vec<Effect>) {
        let need = self.count_min();
        let Phase::Open(round) = &mut self.phase else { return };
        round.since = self.now;
        round.reopened += 1;
        let (stamp, lost) = (round.stamp, round.lost());
        let in_vain: Vec<Name> = round.awaited().cloned().collect();
        out.push(Effect::Reopened {
            round: stamp.round,
            times: round.reopened,
            have: round.updates_if_closed(),
            need,
            missing: round.missing(),
            lost: lost.clone(),
        });
        for peer in lost.iter().map(|lost| &lost.collaborator).filter(|peer| self.members.is_here(peer)) {
            let tasks = round.retry(peer);
            out.push(Effect::Assign { peer: peer.clone(), stamp, tasks });
        }
        for peer in in_vain {
            self.missed(&peer, out);
        }
        self.members.deadline_over();
        self.ask_others(out);
    }

    /// When nobody of a sample is left to answer and the updates are too few, others are asked.
    pub(super) fn ask_in_place(&mut self, out: &mut Vec<Effect>) {
        let Phase::Open(round) = &self.phase else { return };
        if round.awaits_nobody() && round.is_short() {
            self.ask_others(out);
        }
    }

    /// A sample asks others in place of those from which no update comes.
    fn ask_others(&mut self, out: &mut Vec<Effect>) {
        let Some(sample) = self.plan.sample else { return };
        let Phase::Open(round) = &self.phase else { return };
        let (stamp, open) = (round.stamp, round.awaited().count() + round.updates_if_closed() as usize);
        let others = |peer: &Name| !round.was_asked(peer);
        let drawn = self.draw((sample as usize).saturating_sub(open), others);
        let Phase::Open(round) = &mut self.phase else { return };
        for peer in drawn {
            let Some(work) = self.members.work(&peer) else { continue };
            round.ask(&peer, &work.tasks, work.update.as_ref(), self.members.waits_for(&peer));
            out.push(Effect::Assign { peer, stamp, tasks: work.tasks.clone() });
        }
    }

    /// Notes who answered a round that closes, and who was waited for in vain.
    pub(super) fn note_answers(&mut self, round: &OpenRound, why: WhyClosed, out: &mut Vec<Effect>) {
        for (peer, took_part) in round.took_part() {
            if took_part {
                if self.members.answered(peer) {
                    out.push(Effect::AwaitedAgain { peer: peer.clone() });
                }
            } else if why == WhyClosed::Deadline && round.waits_for(peer) {
                self.missed(peer, out);
            }
        }
        self.members.round_over();
    }

    /// A collaborator that leaves late and without an answer held the round up like one that stays silent.
    pub(super) fn left_late(&mut self, peer: &Name, out: &mut Vec<Effect>) {
        let late = |round: &OpenRound| {
            let half = Millis(self.deadline(round).0.saturating_sub(round.since.0) / 2);
            round.waits_for(peer) && self.now >= after(round.since, half)
        };
        if matches!(&self.phase, Phase::Open(round) if late(round)) {
            self.missed(peer, out);
        }
    }

    fn missed(&mut self, peer: &Name, out: &mut Vec<Effect>) {
        let Some(missed) = self.members.missed(peer) else { return };
        if let Phase::Open(round) = &mut self.phase {
            round.stop_waiting(peer);
        }
        out.push(Effect::Unawaited { peer: peer.clone(), missed });
    }

    pub(super) fn has_enough(&self, round: &OpenRound) -> bool {
        enough(&self.plan, round)
    }

    /// When the first round opens although members are missing.
    pub(super) fn grace(&self, since: Millis) -> Millis {
        after(since, limits::OPENING_GRACE.max(self.plan.quorum.time_min))
    }

    /// Before this the round only closes when everybody has answered.
    fn floor(&self, round: &OpenRound) -> Millis {
        after(round.opened, self.plan.quorum.time_min)
    }

    fn deadline(&self, round: &OpenRound) -> Millis {
        let longest = self.plan.quorum.time_max;
        after(round.since, if round.closing { longest.min(limits::CLOSING_TIME) } else { longest })
    }
}

pub(super) fn after(start: Millis, span: Millis) -> Millis {
    Millis(start.0.saturating_add(span.0))
}
