//! The state machine itself: phases, quorum, deadline, stores.
//!
//! The roster bounds its memory: one entry for each member, one for each collaborator asked, a few refusals
//! for each, and the contributors of at most [`limits::STORES_UNDER_WAY`] rounds that are not on disk yet.

mod deadline;
mod early;
mod statistics;
mod updates;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Effect, Event, LeftOutFact, Lost, LostCause, Reason, Refusal, Report, ReportFault, Stamp, WhyClosed,
    closed_round::Closed,
    collecting::Collecting,
    columns::Columns,
    members::Members,
    metrics::improvement,
    open::{Bounds, OpenRound},
    refusal_notes::Notes,
    sample,
    threshold::Decision,
    work::Work,
};
use crate::{
    ByteCount, Digest, Millis, Name, RoundNo, limits,
    plan::{EndsEarly, Plan, Standardise},
};

/// The state in which a run begins.
#[derive(Clone)]
pub struct Start {
    /// The number of this run, drawn at random.
    pub incarnation: u64,
    /// The first round to run: 0, or after a restart the round after the last durable one. If it is the
    /// plan's number of rounds, the run begins with the closing round.
    pub round: RoundNo,
    /// Root of the model that the run starts from.
    pub base: Digest,
    /// Everybody on the roster.
    pub members: Vec<Name>,
    /// The key of the sampling. No collaborator may know it.
    pub secret: [u8; 32],
    /// The best metric of earlier runs.
    pub best: Option<f64>,
    /// The round that measured it.
    pub best_round: RoundNo,
    /// Whether an earlier run has measured the final model. Then, after the last round, nothing is left but
    /// to give members the model.
    pub measured: bool,
    /// Length of an update's payload.
    pub layout_bytes: ByteCount,
    /// The plan's.
    pub plan_hash: Digest,
    /// What an earlier run has learnt from the sites, for a plan with `standardise: federated`.
    pub statistics: Option<Arc<Standardise>>,
}

/// Decides on the rounds of a run. The [module](super) says who calls it.
pub struct RoundEngine {
    plan: Arc<Plan>,
    incarnation: u64,
    secret: [u8; 32],
    plan_hash: Digest,
    bounds: Bounds,
    members: Members,
    columns: Columns,
    /// What each member has told.
    left_out: BTreeMap<Name, LeftOutFact>,
    /// The open round, or the one that opens next.
    round: RoundNo,
    base: Digest,
    /// The best metric, and the round that measured it.
    best: Option<(f64, RoundNo)>,
    /// How many rounds are run: the plan's, or fewer where the plan's `stop` ends the run.
    rounds: u32,
    early: Option<EndsEarly>,
    phase: Phase,
    /// Whether no round has opened in this run yet: members are still on their way.
    first: bool,
    stopping: bool,
    /// The round that was open last. Its updates come too late.
    last: Option<Stamp>,
    /// Refusals that no facts name yet.
    notes: Notes,
    /// Rounds that are being stored and are not durable yet.
    unstored: Vec<Unstored>,
    now: Millis,
    /// When a collaborator joined last.
    last_join: Millis,
    /// What the sites' data are scaled by, where the plan asks the sites and the answer is on disk.
    statistics: Option<Arc<Standardise>>,
}

enum Phase {
    /// Waits for members. There are enough of them `since` then.
    Gathering {
        since: Option<Millis>,
    },
    /// The sites are asked for their sums, before the first round.
    Collecting(Box<Collecting>),
    /// Waits until the statistics are on disk.
    Keeping(Arc<Standardise>),
    /// At most one round is open.
    Open(Box<OpenRound>),
    /// The sum is being finished. While `asked` is false, it waits for the disk first.
    Summing {
        closed: Box<Closed>,
        asked: bool,
    },
    /// The run is over and was measured before: nothing is left but to give members the model. Nobody has
    /// been connected `since` then.
    Serving {
        since: Millis,
    },
    /// Waits for the disk, then finishes.
    Draining(Reason),
    Finished,
}

struct Unstored {
    round: RoundNo,
    contributors: Vec<Name>,
}

impl RoundEngine {
    /// A run that begins at `start`; nobody is connected yet.
    #[must_use]
    pub fn new(plan: Arc<Plan>, start: Start) -> Self {
        let best =
            start.best.filter(|best| plan.best.metric.allows(*best)).map(|best| (best, start.best_round));
        let through =
            start.round.0.checked_sub(1).map(RoundNo).filter(|_| start.round.0 < plan.training_rounds());
        let early = through.and_then(|through| plan.stop?.ends(&plan.best, best, through));
        let rounds = if early.is_some() { start.round.0 } else { plan.training_rounds() };
        let finished = start.measured && start.round.0 >= rounds;
        Self {
            incarnation: start.incarnation,
            secret: start.secret,
            plan_hash: start.plan_hash,
            bounds: Bounds { range: plan.exact, rows: plan.most_rows(), bytes: start.layout_bytes },
            members: Members::new(Arc::clone(&plan), start.members),
            columns: Columns::default(),
            left_out: BTreeMap::new(),
            round: start.round.min(RoundNo(rounds)),
            base: start.base,
            best,
            rounds,
            early,
            phase: match finished {
                true => Phase::Serving { since: Millis(0) },
                false => Phase::Gathering { since: None },
            },
            first: true,
            stopping: false,
            last: None,
            notes: Notes::default(),
            unstored: Vec::new(),
            now: Millis(0),
            last_join: Millis(0),
            statistics: start.statistics,
            plan,
        }
    }

    /// The number of this run.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// How many updates the open round still waits for before it can close, at most; 0 when none is open.
    #[must_use]
    pub fn updates_awaited(&self) -> usize {
        let Phase::Open(round) = &self.phase else { return 0 };
        let most = most_updates(&self.plan).map_or(usize::MAX, |most| most as usize);
        most.min(round.contributors()).saturating_sub(round.updates() as usize)
    }

    /// Takes an event in and returns what is to be done, in order. `now` never goes backwards.
    ///
    /// A deadline that has passed counts before the event does.
    pub fn on(&mut self, event: Event, now: Millis) -> Vec<Effect> {
        let before = self.now;
        self.now = before.max(now);
        let mut out = Vec::new();
        if let Phase::Finished = self.phase {
            if let Event::Staged { slot, .. } = event {
                out.push(Effect::Discard { slot });
            }
            return out;
        }
        self.stood_still(before, &mut out);
        self.expire(&mut out);
        match event {
            Event::Joined { peer } => self.joined(&peer, &mut out),
            Event::Left { peer } => self.left(&peer, &mut out),
            Event::RosterChanged { members } => self.roster_changed(members, &mut out),
            Event::Columns { peer, digest } => self.columns_told(&peer, digest, &mut out),
            Event::LeftOut { peer, samples, names } => self.told_left_out(peer, samples, names),
            Event::Offered { peer, offer } => self.offered(peer, offer, &mut out),
            Event::Staged { peer, offer, slot } => self.staged(peer, offer, slot, &mut out),
            Event::Refused { peer, offer, refusal } => self.turned_down(peer, &offer, refusal, &mut out),
            Event::Failed { peer, stamp, task, why } => self.failed(&peer, stamp, &task, why, &mut out),
            Event::Sums { peer, incarnation, first, columns } => {
                self.sums(&peer, incarnation, first, columns, &mut out);
            }
            Event::StatisticsDurable => self.statistics_durable(&mut out),
            Event::Reported { peer, report } => self.reported(&peer, &report, &mut out),
            Event::Finalised { round, root } => self.finalised(round, root, &mut out),
            Event::Durable { round } => self.durable(round, &mut out),
            Event::Tick => {}
            Event::Stop => self.stop(&mut out),
        }
        self.settle(&mut out);
        out
    }

    /// Whether [`Effect::Finished`] was returned.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Finished)
    }

    /// The open round, or the one that opens next; [`Self::rounds`] from the closing round on.
    #[must_use]
    pub fn round(&self) -> RoundNo {
        self.round
    }

    /// Whether the collaborator is on the roster.
    #[must_use]
    pub fn lists(&self, peer: &Name) -> bool {
        self.members.is_listed(peer)
    }

    fn joined(&mut self, peer: &Name, out: &mut Vec<Effect>) {
        let Some(work) = self.members.join(peer) else { return };
        if self.joined_statistics(peer, work.reads_data, out) {
            return;
        }
        if let Phase::Serving { .. } = self.phase {
            out.push(Effect::Serve { peer: peer.clone() });
            return;
        }
        self.last_join = self.now;
        let waited = self.members.waits_for(peer);
        let Phase::Open(round) = &mut self.phase else { return };
        let stamp = round.stamp;
        // A new link may replace one whose end was not seen.
        round.link_lost(peer);
        if round.closing {
            // A collaborator without a task to measure is sent the final model too.
            let again = round.ask_again(peer);
            let tasks = again.unwrap_or_else(|| {
                round.ask(peer, &work.closing, None, waited);
                work.closing.clone()
            });
            out.push(Effect::Assign { peer: peer.clone(), stamp, tasks });
            return;
        }
        if enough(&self.plan, round) {
            return;
        }
        let full = self.plan.sample.is_some_and(|k| round.contributors() >= k as usize);
        // With a new link, a site may be repaired. A round that has enough updates does not wait for that.
        let short = round.awaits_nobody() && round.is_short();
        let tasks = match round.was_asked(peer) {
            true if short => round.retry(peer),
            true => round.ask_again(peer).unwrap_or_default(),
            false if work.update.is_some() && full => return,
            false => {
                round.ask(peer, &work.tasks, work.update.as_ref(), waited);
                work.tasks.clone()
            }
        };
        if !tasks.is_empty() {
            out.push(Effect::Assign { peer: peer.clone(), stamp, tasks });
        }
    }

    fn left(&mut self, peer: &Name, out: &mut Vec<Effect>) {
        self.members.leave(peer);
        self.left_late(peer, out);
        match &mut self.phase {
            Phase::Open(round) => round.link_lost(peer),
            Phase::Serving { since } => *since = self.now,
            _ => {}
        }
    }

    fn roster_changed(&mut self, names: Vec<Name>, out: &mut Vec<Effect>) {
        for peer in self.members.replace(names) {
            self.columns.forget(&peer);
            self.left_out.remove(&peer);
            if let Phase::Open(round) = &mut self.phase
                && let Some((slot, task)) = round.unlisted(&peer)
            {
                out.push(Effect::Discard { slot });
                self.refuse(peer, task, Refusal::NotOnRoster, out);
            }
        }
        self.ask_sums_again(out);
    }

    /// For the history.
    fn told_left_out(&mut self, collaborator: Name, samples: u64, names: Vec<String>) {
        if self.members.is_listed(&collaborator) {
            let fact = LeftOutFact { collaborator: collaborator.clone(), samples, names };
            self.left_out.insert(collaborator, fact);
        }
    }

    /// Asks collaborators again whose updates or sums were refused for their columns, where they count now.
    fn columns_told(&mut self, peer: &Name, digest: Digest, out: &mut Vec<Effect>) {
        if !self.members.is_listed(peer) || !self.columns.tell(peer, digest) {
            return;
        }
        self.ask_sums_again(out);
        let Phase::Open(round) = &mut self.phase else { return };
        let stamp = round.stamp;
        for Lost { collaborator, cause, .. } in round.lost() {
            let refused = matches!(cause, LostCause::Refused(Refusal::Columns { .. }));
            if refused && self.members.is_here(&collaborator) && self.columns.why_not(&collaborator).is_none()
            {
                let tasks = round.retry(&collaborator);
                out.push(Effect::Assign { peer: collaborator, stamp, tasks });
            }
        }
    }

    fn failed(&mut self, peer: &Name, stamp: Stamp, task: &Name, why: String, out: &mut Vec<Effect>) {
        if let Some(round) = self.open_for(peer, stamp) {
            round.fail(peer, task, why);
            self.decide(peer, out);
        }
    }

    fn reported(&mut self, peer: &Name, report: &Report, out: &mut Vec<Effect>) {
        let odd = || self.columns.why_not(peer).map(|_| ReportFault::Columns);
        let fault = report.fault(&self.plan).or_else(odd);
        if let Some(round) = self.open_for(peer, report.stamp) {
            round.report(peer, report, fault);
            self.decide(peer, out);
        }
    }

    /// Decides on held updates, if they can be decided now that this collaborator is heard.
    fn decide(&mut self, peer: &Name, out: &mut Vec<Effect>) {
        if let Phase::Open(round) = &mut self.phase {
            for (peer, decision) in round.decide(peer) {
                self.decided(peer, decision, out);
            }
        }
    }

    fn decided(&mut self, peer: Name, decision: Decision, out: &mut Vec<Effect>) {
        match decision {
            Decision::Count { slot, weight } => out.push(Effect::Absorb { peer, slot, weight }),
            Decision::LeaveOut { slot, task, refusal } => {
                out.push(Effect::Discard { slot });
                self.refuse(peer, task, refusal, out);
            }
        }
    }

    fn finalised(&mut self, number: RoundNo, root: Digest, out: &mut Vec<Effect>) {
        let closed = match std::mem::replace(&mut self.phase, Phase::Gathering { since: None }) {
            Phase::Summing { closed, asked: true } if closed.round.stamp.round == number => closed,
            other => {
                self.phase = other;
                return;
            }
        };
        let notes = std::mem::take(&mut self.notes);
        self.base = root;
        self.round = number.next();
        // The next tasks first: collaborators wait for nothing else.
        if self.stopping {
            self.phase = Phase::Draining(Reason::Stopped);
        } else {
            self.open_when_ready(out);
        }
        let facts = closed.facts(&notes, self.plan_hash, root, &self.left_out);
        let contributors = facts.contributions.iter().map(|c| c.collaborator.clone()).collect();
        self.unstored.push(Unstored { round: number, contributors });
        out.push(Effect::RoundClosed(Box::new(closed.summary(&notes, self.now))));
        out.push(Effect::Store { facts: Box::new(facts) });
    }

    fn durable(&mut self, number: RoundNo, out: &mut Vec<Effect>) {
        let Some(at) = self.unstored.iter().position(|u| u.round == number) else { return };
        let stored = self.unstored.remove(at);
        let here = stored.contributors.into_iter().filter(|peer| self.members.is_here(peer));
        out.extend(here.map(|peer| Effect::Counted { peer, round: number }));
    }

    fn stop(&mut self, out: &mut Vec<Effect>) {
        match &self.phase {
            Phase::Open(round) => {
                let here = round.asked().filter(|peer| self.members.is_here(peer));
                out.extend(here.map(|peer| Effect::Cancel { peer: peer.clone(), stamp: round.stamp }));
                out.extend(round.held().map(|slot| Effect::Discard { slot }));
                self.last = Some(round.stamp);
                self.phase = Phase::Draining(Reason::Stopped);
            }
            Phase::Gathering { .. } | Phase::Collecting(_) | Phase::Keeping(_) | Phase::Serving { .. } => {
                self.phase = Phase::Draining(Reason::Stopped);
            }
            // All updates of the round are in the sum: the run waits for its model.
            Phase::Summing { .. } => self.stopping = true,
            Phase::Draining(_) | Phase::Finished => {}
        }
    }

    /// Carries out what the present state asks for, until nothing is left to do.
    fn settle(&mut self, out: &mut Vec<Effect>) {
        loop {
            match &mut self.phase {
                Phase::Gathering { .. } => {
                    self.open_when_ready(out);
                    if let Phase::Gathering { .. } = self.phase {
                        return;
                    }
                }
                Phase::Collecting(_) => {
                    if !self.end_collecting(out) {
                        return;
                    }
                }
                Phase::Keeping(_) => return,
                Phase::Open(_) => {
                    self.ask_in_place(out);
                    match self.why_close() {
                        Some(why) => self.close(why, out),
                        None => return,
                    }
                }
                Phase::Summing { closed, asked } => {
                    if !*asked && self.unstored.len() < limits::STORES_UNDER_WAY {
                        *asked = true;
                        out.push(Effect::Finalise { round: closed.round.stamp.round });
                    }
                    return;
                }
                Phase::Serving { since } => {
                    if self.members.here().next().is_some()
                        || self.now < deadline::after(*since, limits::SERVING)
                    {
                        return;
                    }
                    self.phase = Phase::Draining(Reason::Completed);
                }
                Phase::Draining(reason) => {
                    if self.unstored.is_empty() {
                        out.push(Effect::Finished(*reason));
                        self.phase = Phase::Finished;
                    }
                    return;
                }
                Phase::Finished => return,
            }
        }
    }

    fn open_when_ready(&mut self, out: &mut Vec<Effect>) {
        let enough = self.has_enough_members();
        let Phase::Gathering { since } = &mut self.phase else { return };
        if enough {
            since.get_or_insert(self.now);
        }
        let since = since.unwrap_or(self.now);
        let waited = !self.first || self.members.all_here() || self.now >= self.grace(since);
        if (self.is_closing() || (enough && waited)) && !self.collect(out) {
            self.open(out);
        }
    }

    fn open(&mut self, out: &mut Vec<Effect>) {
        let closing = self.is_closing();
        let stamp = Stamp { incarnation: self.incarnation, round: self.round, base: self.base };
        let threshold = self.plan.aggregation().and_then(|a| a.threshold).cloned();
        let mut round = Box::new(OpenRound::new(stamp, closing, self.now, threshold, self.count_min()));
        let drawn = self.plan.sample.filter(|_| !closing).map(|k| self.draw(k as usize, |_| true));
        let is_drawn = |peer: &Name| drawn.as_ref().is_none_or(|drawn| drawn.contains(peer));
        for (peer, work) in self.members.here() {
            let (tasks, update) = match work {
                Work { closing: tasks, .. } if closing => (tasks, None),
                Work { tasks, .. } if tasks.is_empty() => continue,
                // A collaborator that only measures takes no part in the draw.
                Work { tasks, update, .. } if update.is_none() || is_drawn(peer) => (tasks, update.as_ref()),
                _ => continue,
            };
            round.ask(peer, tasks, update, self.members.waits_for(peer));
            out.push(Effect::Assign { peer: peer.clone(), stamp, tasks: tasks.clone() });
        }
        self.phase = Phase::Open(round);
        self.columns.round_opens();
        // Members of a run that begins with its closing round are still on their way: `why_close` waits for
        // them.
        self.first &= closing;
    }

    /// Draws `k` of the connected collaborators that send updates and that `may` be drawn.
    fn draw(&self, k: usize, may: impl Fn(&Name) -> bool) -> BTreeSet<Name> {
        let candidates = self.members.here().filter(|(_, work)| work.update.is_some()).map(|(peer, _)| peer);
        let candidates = candidates.filter(|peer| may(peer));
        sample::draw(&self.secret, &self.plan_hash, self.round, candidates, k)
    }

    fn close(&mut self, why: WhyClosed, out: &mut Vec<Effect>) {
        let mut round = match std::mem::replace(&mut self.phase, Phase::Finished) {
            Phase::Open(round) => *round,
            other => {
                self.phase = other;
                return;
            }
        };
        let stamp = round.stamp;
        self.last = Some(stamp);
        for (peer, decision) in round.decide_rest(why == WhyClosed::Enough) {
            self.decided(peer, decision, out);
        }
        self.note_answers(&round, why, out);
        let unanswered = round.asked().filter(|p| !round.has_answered(p) && self.members.is_here(p));
        out.extend(unanswered.map(|peer| Effect::Cancel { peer: peer.clone(), stamp }));

        let metrics = round.metrics();
        let so_far = self.best.map(|(best, _)| best);
        if let Some(value) = improvement(&self.plan.best, so_far, &metrics, self.least_measured()) {
            self.best = Some((value, stamp.round));
            let metrics = metrics.clone();
            out.push(Effect::Best { round: stamp.round, root: stamp.base, value, metrics });
        }
        let (have, need) = (round.updates(), self.count_min());
        let nothing = round.all_lost();
        let (closing, closed) = (round.closing, Closed { round, why, at: self.now, metrics });
        if !closing && have >= need {
            self.end_early(stamp.round, out);
            self.phase = Phase::Summing { closed: Box::new(closed), asked: false };
            return;
        }
        let notes = std::mem::take(&mut self.notes);
        out.push(Effect::RoundClosed(Box::new(closed.summary(&notes, self.now))));
        self.phase = Phase::Draining(match closing {
            true => Reason::Completed,
            false if nothing => Reason::NoUpdate { round: stamp.round },
            false => Reason::QuorumMissed { round: stamp.round, have, need },
        });
    }

    fn refuse(&mut self, peer: Name, task: Name, refusal: Refusal, out: &mut Vec<Effect>) {
        self.notes.add(&peer, &task, &refusal);
        out.push(Effect::Refuse { peer, task, refusal });
    }

    /// Why work with this stamp, which is not the open round's, does not count.
    fn untimely(&self, stamp: Stamp) -> Refusal {
        match self.last {
            Some(last) if last == stamp => Refusal::Late,
            _ => Refusal::Stale { open: self.round },
        }
    }

    /// The open round, when this collaborator's work is for it.
    fn open_for(&mut self, peer: &Name, stamp: Stamp) -> Option<&mut OpenRound> {
        match &mut self.phase {
            Phase::Open(round) if round.stamp == stamp && self.members.is_listed(peer) => Some(round),
            _ => None,
        }
    }

    fn has_answered(&self, peer: &Name) -> bool {
        matches!(&self.phase, Phase::Open(round) if round.has_answered(peer))
    }

    fn is_closing(&self) -> bool {
        self.round.0 >= self.rounds
    }

    /// A mean needs at least one update.
    fn count_min(&self) -> u32 {
        self.plan.quorum.count_min.max(1)
    }

    /// Fewest collaborators whose measurements may make a model the best: as many as a round needs, or all
    /// that measure.
    fn least_measured(&self) -> u32 {
        let all = self.members.measuring_listed();
        self.count_min().min(u32::try_from(all).unwrap_or(u32::MAX)).max(1)
    }

    fn has_enough_members(&self) -> bool {
        self.members.contributors_here() >= self.count_min() as usize
    }
}

/// Whether `count.max` updates are in.
fn enough(plan: &Plan, round: &OpenRound) -> bool {
    !round.closing && most_updates(plan).is_some_and(|most| round.updates() >= most)
}

/// Updates with which a round may close before everybody has answered.
fn most_updates(plan: &Plan) -> Option<u32> {
    plan.quorum.count_max.map(|most| most.max(plan.quorum.count_min).max(1))
}
