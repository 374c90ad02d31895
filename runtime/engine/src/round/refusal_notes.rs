//! The refusals of one round, bounded by collaborator.

use std::collections::BTreeMap;

use super::{Refusal, RefusalFact};
use crate::{Name, limits};

/// Refusals in order of arrival.
///
/// Names come from certificates, so a peer cannot invent more of them. Each name has
/// [`limits::REFUSALS_NOTED`] places, however many bad offers the peer sends.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    noted: Vec<Note>,
    by_peer: BTreeMap<Name, u32>,
}

#[derive(Clone, Debug)]
struct Note {
    peer: Name,
    task: Name,
    refusal: Refusal,
}

impl Notes {
    pub(super) fn add(&mut self, peer: &Name, task: &Name, refusal: &Refusal) {
        let count = self.by_peer.entry(peer.clone()).or_default();
        if *count < limits::REFUSALS_NOTED {
            *count += 1;
            self.noted.push(Note { peer: peer.clone(), task: task.clone(), refusal: refusal.clone() });
        }
    }

    /// As the summary tells them.
    pub(super) fn summary(&self) -> Vec<(Name, Refusal)> {
        self.noted.iter().map(|n| (n.peer.clone(), n.refusal.clone())).collect()
    }

    /// As the history keeps them.
    pub(super) fn facts(&self) -> Vec<RefusalFact> {
        let fact = |n: &Note| RefusalFact {
            collaborator: n.peer.clone(),
            task: n.task.clone(),
            reason: n.refusal.to_string(),
        };
        self.noted.iter().map(fact).collect()
    }
}
