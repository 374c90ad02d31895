//! The roster as the round engine sees it: who is on it, who is connected, which tasks each collaborator has.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::work::Work;
use crate::{Name, plan::Plan};

/// Everybody on the roster.
pub(super) struct Members {
    plan: Arc<Plan>,
    all: BTreeMap<Name, Member>,
    here: Count,
    listed: Count,
}

struct Member {
    here: bool,
    work: Arc<Work>,
}

/// Numbers of collaborators, kept up to date so that no event has to count the roster.
#[derive(Clone, Copy, Default)]
struct Count {
    /// Collaborators that have tasks in a round.
    asked: usize,
    /// Collaborators that have a task with an update.
    contributors: usize,
}

impl Members {
    /// All collaborators of the roster; nobody is connected yet.
    pub(super) fn new(plan: Arc<Plan>, names: Vec<Name>) -> Self {
        let (here, listed) = (Count::default(), Count::default());
        let mut members = Self { plan, all: BTreeMap::new(), here, listed };
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
            if let Some(member) = self.all.remove(name) {
                self.listed.change(&member.work, false);
            }
        }
        for name in names {
            if !self.all.contains_key(&name) {
                let work = Arc::new(Work::new(&self.plan, self.plan.group_of(&name)));
                self.listed.change(&work, true);
                self.all.insert(name, Member { here: false, work });
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
    }
}
