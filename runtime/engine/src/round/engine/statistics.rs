//! The statistics of the features, before the first round: who is asked, when there are enough sums, and who
//! is told. Nothing is trained or measured before the statistics are on disk.

use std::sync::Arc;

use super::{Phase, RoundEngine, deadline::after};
use crate::{
    Millis, Name, limits,
    plan::Short,
    round::{Effect, Reason, StatisticsFacts, Waiting, collecting::Collecting},
    statistics::{ColumnSums, Pool},
};

impl RoundEngine {
    /// Begins to ask the sites, if the plan wants their statistics and nobody knows them yet.
    pub(super) fn collect(&mut self, out: &mut Vec<Effect>) -> bool {
        let Some(pool) = Pool::new(&self.plan).filter(|_| self.statistics.is_none()) else { return false };
        let mut step = Box::new(Collecting::new(pool, self.now));
        for (peer, _) in self.members.here().filter(|(_, work)| work.reads_data) {
            step.ask(peer);
            out.push(Effect::AskSums { peer: peer.clone() });
        }
        self.phase = Phase::Collecting(step);
        self.first = false;
        true
    }

    /// Tells a collaborator that has joined what is known, or asks it. Returns whether that is all for now.
    pub(super) fn joined_statistics(&mut self, peer: &Name, reads_data: bool, out: &mut Vec<Effect>) -> bool {
        if let Some(statistics) = &self.statistics {
            out.push(Effect::Statistics { peer: peer.clone(), statistics: Arc::clone(statistics) });
        }
        let Phase::Collecting(step) = &mut self.phase else { return false };
        if reads_data && step.ask(peer) {
            out.push(Effect::AskSums { peer: peer.clone() });
        }
        true
    }

    pub(super) fn sums(
        &mut self,
        peer: &Name,
        incarnation: u64,
        first: u32,
        columns: Vec<ColumnSums>,
        out: &mut Vec<Effect>,
    ) {
        let Phase::Collecting(step) = &mut self.phase else { return };
        if incarnation != self.incarnation || !self.members.is_here(peer) {
            return;
        }
        let taken = match self.columns.why_not(peer) {
            None => step.take(peer, first, columns),
            Some(_) => step.refuse(peer),
        };
        match taken {
            Ok(true) => self.columns.let_in(peer),
            Ok(false) => {}
            Err(fault) => out.push(Effect::SumsRefused { peer: peer.clone(), fault }),
        }
    }

    /// Asks sites again whose sums were refused for their columns, where they count now.
    pub(super) fn ask_sums_again(&mut self, out: &mut Vec<Effect>) {
        let Phase::Collecting(step) = &mut self.phase else { return };
        let fits = |peer: &&Name| self.members.is_here(peer) && self.columns.why_not(peer).is_none();
        let again: Vec<Name> = step.other_columns().filter(fits).cloned().collect();
        for peer in again {
            step.ask(&peer);
            out.push(Effect::AskSums { peer });
        }
    }

    /// The deadline has passed with too few sums. Sums that came before most sites told other columns are
    /// dropped: the others could never be added to them.
    fn collect_again(&mut self, have: u32, need: u32, out: &mut Vec<Effect>) {
        let Phase::Collecting(step) = &mut self.phase else { return };
        step.since = self.now;
        step.times += 1;
        let missing = step.asked().cloned().collect();
        let refused = step.refused().cloned().collect();
        out.push(Effect::CollectingAgain { times: step.times, have, need, missing, refused });
        if self.columns.most_are_others()
            && let Some(pool) = Pool::new(&self.plan)
        {
            step.drop_counted(pool);
            self.columns.round_opens();
        }
        self.ask_sums_again(out);
    }

    /// Ends the step when nobody is left to answer or its deadline has passed. Returns whether the phase has
    /// changed.
    pub(super) fn end_collecting(&mut self, out: &mut Vec<Effect>) -> bool {
        let need = self.sums_needed();
        let Phase::Collecting(step) = &self.phase else { return false };
        let have = u32::try_from(step.counted().count()).unwrap_or(u32::MAX);
        let late = self.now >= self.sums_deadline(step);
        if have < need {
            if late && self.plan.quorum.short == Short::End {
                self.phase = Phase::Draining(Reason::TooFewSites { have, need });
                return true;
            }
            if late {
                self.collect_again(have, need, out);
            }
            return false;
        }
        if !late && self.awaited(step).next().is_some() {
            return false;
        }
        self.phase = match step.pool().statistics(&self.plan) {
            Err(none) => Phase::Draining(Reason::NoStatistics(none)),
            Ok(statistics) => {
                let statistics = Arc::new(statistics);
                out.push(Effect::StoreStatistics(Box::new(StatisticsFacts {
                    plan: self.plan_hash,
                    incarnation: self.incarnation,
                    collaborators: step.counted().cloned().collect(),
                    statistics: Arc::clone(&statistics),
                })));
                Phase::Keeping(statistics)
            }
        };
        true
    }

    /// The statistics are on disk: everybody is told.
    pub(super) fn statistics_durable(&mut self, out: &mut Vec<Effect>) {
        let Phase::Keeping(statistics) = &self.phase else { return };
        let statistics = Arc::clone(statistics);
        for (peer, _) in self.members.here() {
            out.push(Effect::Statistics { peer: peer.clone(), statistics: Arc::clone(&statistics) });
        }
        self.statistics = Some(statistics);
        self.phase = Phase::Gathering { since: None };
    }

    pub(super) fn waiting_for_sums(&self, step: &Collecting) -> Waiting {
        Waiting::Sums {
            opened: step.opened,
            deadline: self.sums_deadline(step),
            have: step.counted().count(),
            need: self.sums_needed(),
            awaited: self.awaited(step).cloned().collect(),
            refused: step.refused().filter(|peer| self.members.is_here(peer)).cloned().collect(),
        }
    }

    /// Connected sites that were asked and have not answered.
    fn awaited<'a>(&'a self, step: &'a Collecting) -> impl Iterator<Item = &'a Name> {
        step.asked().filter(|peer| self.members.is_here(peer))
    }

    /// When a `Tick` is due while sums come in.
    pub(super) fn wake_for_sums(&self, step: &Collecting) -> Millis {
        self.sums_deadline(step).min(after(self.now, limits::HEARTBEAT))
    }

    fn sums_deadline(&self, step: &Collecting) -> Millis {
        after(step.since, self.plan.quorum.time_max)
    }

    /// As many sites as a round needs, or all that have data.
    fn sums_needed(&self) -> u32 {
        let all = u32::try_from(self.members.reading_listed()).unwrap_or(u32::MAX);
        self.count_min().min(all).max(1)
    }
}
