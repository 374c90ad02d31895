//! Updates on their way: offered, granted, staged, or turned down.

use super::{Phase, RoundEngine};
use crate::{
    ByteCount, Name,
    round::{Effect, Offer, Refusal, SlotId},
};

impl RoundEngine {
    pub(super) fn offered(&mut self, peer: Name, offer: Offer, out: &mut Vec<Effect>) {
        let (task, stamp) = (offer.task.clone(), offer.stamp);
        let (bounds, odd) = (self.bounds, self.columns.why_not(&peer));
        let expected = offer.bytes;
        let granted = match &mut self.phase {
            _ if !self.members.is_listed(&peer) => Err(Refusal::NotOnRoster),
            Phase::Open(round) if round.stamp == stamp => match self.members.is_here(&peer) {
                true => round.offer(&peer, offer, bounds, odd),
                // The link was lost while the offer was on its way here.
                false => Err(Refusal::Dropped { got: ByteCount(0), expected }),
            },
            Phase::Open(_) => Err(Refusal::Stale { open: self.round }),
            _ => Err(self.untimely(stamp)),
        };
        match granted {
            Ok(()) => out.push(Effect::Grant { peer, task, stamp }),
            Err(refusal) => self.refuse(peer, task, refusal, out),
        }
    }

    pub(super) fn staged(&mut self, peer: Name, offer: Offer, slot: SlotId, out: &mut Vec<Effect>) {
        let accepted = match &mut self.phase {
            _ if !self.members.is_listed(&peer) => Err(Refusal::NotOnRoster),
            Phase::Open(round) if round.stamp == offer.stamp => match self.columns.why_not(&peer) {
                None => round.stage(&peer, &offer, slot, self.now),
                Some(refusal) => {
                    round.dropped(&peer, &offer, &refusal);
                    Err(refusal)
                }
            },
            _ => Err(self.untimely(offer.stamp)),
        };
        match accepted {
            Ok(accepted) => {
                let stamp = offer.stamp;
                self.columns.let_in(&peer);
                out.push(Effect::Received { peer: peer.clone(), task: offer.task, stamp });
                self.decide(&peer, out);
                if accepted.redone && self.members.is_here(&peer) && self.has_answered(&peer) {
                    out.push(Effect::Cancel { peer, stamp });
                }
            }
            Err(refusal) => {
                out.push(Effect::Discard { slot });
                self.refuse(peer, offer.task, refusal, out);
            }
        }
    }

    pub(super) fn turned_down(&mut self, peer: Name, offer: &Offer, refusal: Refusal, out: &mut Vec<Effect>) {
        match &mut self.phase {
            _ if !self.members.is_listed(&peer) => return,
            Phase::Open(round) if round.stamp == offer.stamp => round.dropped(&peer, offer, &refusal),
            // The upload was cut off because its round had closed: the sender did nothing wrong.
            _ if refusal.may_retry() => return,
            _ => {}
        }
        self.refuse(peer, offer.task.clone(), refusal, out);
    }
}
