//! Whether the members' tables have the same columns, by the digest that each member tells of its own.
//!
//! Each member has one voice. An update counts only if its member tells the digest that more than half of
//! the members tell. Where no digest has so many, the one that was let in last stays in force, so that one
//! member that comes later cannot stop the others. A round never mixes two digests. A member that tells none
//! has no voice, and its updates count: its data have no names, or the plan lists them.

use std::collections::BTreeMap;

use super::Refusal;
use crate::{Digest, Name};

/// What the members of a run have told. At most one entry for each member on the roster.
#[derive(Clone, Debug, Default)]
pub(super) struct Columns {
    told: BTreeMap<Name, Digest>,
    /// What more than half of `told` are.
    most: Option<Digest>,
    /// That of the update that was let in last.
    last: Option<Digest>,
    /// That of the updates that were let in to the open round.
    of_round: Option<Digest>,
}

impl Columns {
    /// A member tells its digest, in place of what it has told before. Returns whether that is news.
    pub(super) fn tell(&mut self, peer: &Name, digest: Digest) -> bool {
        let news = self.told.insert(peer.clone(), digest) != Some(digest);
        if news {
            self.count();
        }
        news
    }

    /// A member left the roster.
    pub(super) fn forget(&mut self, peer: &Name) {
        if self.told.remove(peer).is_some() {
            self.count();
        }
    }

    /// Another round opens.
    pub(super) fn round_opens(&mut self) {
        self.of_round = None;
    }

    /// An update of this member was let in.
    pub(super) fn let_in(&mut self, peer: &Name) {
        if let Some(digest) = self.told.get(peer) {
            (self.last, self.of_round) = (Some(*digest), Some(*digest));
        }
    }

    /// Why nothing of this member counts, if its columns are others.
    pub(super) fn why_not(&self, peer: &Name) -> Option<Refusal> {
        let own = *self.told.get(peer)?;
        let others = self.of_round.or(self.most).or(self.last);
        (others != Some(own)).then_some(Refusal::Columns { own, others })
    }

    /// Whether most members tell another digest than that of the updates that were let in to the open round.
    pub(super) fn most_are_others(&self) -> bool {
        self.most.is_some_and(|most| self.of_round.is_some_and(|of_round| of_round != most))
    }

    fn count(&mut self) {
        let mut voices = BTreeMap::<Digest, usize>::new();
        self.told.values().for_each(|digest| *voices.entry(*digest).or_default() += 1);
        let most = voices.into_iter().find(|(_, voices)| voices * 2 > self.told.len());
        self.most = most.map(|(digest, _)| digest);
    }
}
