//! The roster as the round engine sees it: who is on it, who is connected, which tasks each collaborator has.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{patience::Patience, work::Work};
use crate::{Name, plan::Plan};

/// Everybody on the roster.
pub(super) struct Members {
    plan: Arc<Plan>,
    all: BTreeMap<Name, Member>,
    here: Count,
    listed: Count,
    /// Collaborators that have missed a deadline and not answered since. Mostly none.
    silent: BTreeSet<Name>,
}

struct Member {
    here: bool,
    work: Arc<Work>,
    patience: Patience,
}

/// Numbers of collaborators, kept up to date so that no event has to count the roster.
#[derive(Clone, Copy, Default)]
struct Count {
    /// Collaborators that have tasks in a round.
    asked: usize,
    /// Collaborators that have a task with an update.
    contributors: usize,
    /// Collaborators that report the metric of the best model.
    measuring: usize,
    /// Collaborators whose tasks read data.
    reading: usize,
}

impl Members {
    /// All collaborators of the roster; nobody is connected yet.
    pub(super) fn new(plan: Arc<Plan>, names: Vec<Name>) -> Self {
        let (here, listed) = (Count::default(), Count::default());
        let mut members = Self { plan, all: BTreeMap::new(), here, listed, silent: BTreeSet::new() };
        members.replace(names);
        members
    }

    /// Takes another roster and returns the collaborators that are no longer on it. The others keep their
    /// links.
    pub(super) fn replace(&mut self, names: Vec<Name>) -> Vec<Name> {
        let names: BTreeSet<Name> = names.into_iter().collect();
        let removed: Vec<Name> = self.all.keys().filter(|n| !names.contains(*n)).cloned().collect();
        for name in &removed {
            self.leave(name);
            self.silent.remove(name);
            if let Some(member) = self.all.remove(name) {
                self.listed.change(&member.work, false);
            }
        }
        for name in names {
            if !self.all.contains_key(&name) {
                let work = Arc::new(Work::new(&self.plan, self.plan.group_of(&name)));
                self.listed.change(&work, true);
                self.all.insert(name, Member { here: false, work, patience: Patience::default() });
            }
        }
        removed
    }

    /// Whether it is on the roster; if so, it is here from now on.
    pub(super) fn join(&mut self, name: &Name) -> Option<Arc<Work>> {
        let member = self.all.get_mut(name)?;
        if !member.here {
            member.here = true;
            self.here.change(&member.work, true);
        }
        Some(Arc::clone(&member.work))
    }

    /// What rounds ask of a collaborator on the roster.
    pub(super) fn work(&self, name: &Name) -> Option<&Work> {
        self.all.get(name).map(|member| &*member.work)
    }

    pub(super) fn leave(&mut self, name: &Name) {
        if let Some(member) = self.all.get_mut(name).filter(|m| m.here) {
            member.here = false;
            self.here.change(&member.work, false);
        }
    }

    pub(super) fn is_listed(&self, name: &Name) -> bool {
        self.all.contains_key(name)
    }

    pub(super) fn is_here(&self, name: &Name) -> bool {
        self.all.get(name).is_some_and(|m| m.here)
    }

    /// Who is here, by name.
    pub(super) fn here(&self) -> impl Iterator<Item = (&Name, &Work)> {
        self.all.iter().filter(|(_, m)| m.here).map(|(n, m)| (n, &*m.work))
    }

    /// Everybody on the roster, by name.
    pub(super) fn listed(&self) -> impl Iterator<Item = &Name> {
        self.all.keys()
    }

    /// How many are here whose tasks end in an update: only they can meet a quorum.
    pub(super) fn contributors_here(&self) -> usize {
        self.here.contributors
    }

    /// How many are listed whose tasks end in an update.
    pub(super) fn contributors_listed(&self) -> usize {
        self.listed.contributors
    }

    /// How many are listed that report the metric of the best model.
    pub(super) fn measuring_listed(&self) -> usize {
        self.listed.measuring
    }

    /// How many are listed whose tasks read data.
    pub(super) fn reading_listed(&self) -> usize {
        self.listed.reading
    }

    /// Listed collaborators that a round would ask and that are not here, by name.
    pub(super) fn absent(&self) -> impl Iterator<Item = &Name> {
        self.all.iter().filter(|(_, m)| !m.here && !m.work.tasks.is_empty()).map(|(n, _)| n)
    }

    /// Whether rounds wait for this collaborator.
    pub(super) fn waits_for(&self, name: &Name) -> bool {
        self.all.get(name).is_some_and(|member| member.patience.waits())
    }

    /// It has answered. Returns whether rounds did not wait for it.
    pub(super) fn answered(&mut self, name: &Name) -> bool {
        self.silent.remove(name) && self.all.get_mut(name).is_some_and(|member| member.patience.answered())
    }

    /// A round waited for it in vain; a deadline counts once. Returns how often in a row when rounds do not
    /// wait from now on.
    pub(super) fn missed(&mut self, name: &Name) -> Option<u32> {
        let member = self.all.get_mut(name)?;
        self.silent.insert(name.clone());
        member.patience.missed()
    }

    /// A deadline has passed, and the round goes on.
    pub(super) fn deadline_over(&mut self) {
        self.each_silent(Patience::deadline_over);
    }

    /// A round is over.
    pub(super) fn round_over(&mut self) {
        self.each_silent(Patience::round_over);
    }

    fn each_silent(&mut self, note: impl Fn(&mut Patience)) {
        for name in &self.silent {
            if let Some(member) = self.all.get_mut(name) {
                note(&mut member.patience);
            }
        }
    }

    /// Whether everybody is here whom a round would ask.
    pub(super) fn all_here(&self) -> bool {
        self.here.asked == self.listed.asked
    }
}

impl Count {
    fn change(&mut self, work: &Work, more: bool) {
        let step = |count: &mut usize, applies: bool| match (applies, more) {
            (true, true) => *count += 1,
            (true, false) => *count -= 1,
            (false, _) => {}
        };
        step(&mut self.asked, !work.tasks.is_empty());
        step(&mut self.contributors, work.update.is_some());
        step(&mut self.measuring, work.measures);
        step(&mut self.reading, work.reads_data);
    }
}
