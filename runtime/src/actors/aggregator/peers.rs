//! The collaborators that are connected, and how many lines of the log each of them may cause.

use std::{collections::BTreeMap, time::Instant};

use fl_engine::{Name, round::Stamp, wire::Side};

use super::{
    log_ration::LogRation,
    messages::{SessionMessage, SessionNo},
};
use crate::{
    actors::{
        attestation::Attestation,
        close_code,
        mailbox::{Mailbox, Undelivered},
    },
    net::LinkHandle,
    trust::{Admission, PeerAdmitted, evidence::Appraised},
};

/// Collaborators with a session, by name.
#[derive(Default)]
pub(super) struct Peers {
    connected: BTreeMap<Name, Peer>,
    /// Also of collaborators that are gone. Names come from certificates, so their number is bounded.
    rations: BTreeMap<Name, LogRation>,
}

/// A collaborator's link. Dropping it ends the session with all its tasks; close the link first, to say why.
pub(super) struct Peer {
    pub(super) proof: PeerAdmitted,
    pub(super) appraised: Appraised,
    pub(super) session: SessionNo,
    pub(super) mailbox: Mailbox<SessionMessage>,
    pub(super) handle: LinkHandle,
    /// The work that the collaborator was given last.
    pub(super) assigned: Option<Stamp>,
}

impl Peers {
    /// How many collaborators are connected.
    pub(super) fn len(&self) -> usize {
        self.connected.len()
    }

    /// Who is connected.
    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.connected.keys()
    }

    /// Whether this is the collaborator's newest session.
    pub(super) fn is_current(&self, name: &Name, session: SessionNo) -> bool {
        self.connected.get(name).is_some_and(|peer| peer.session == session)
    }

    pub(super) fn insert(&mut self, peer: Peer) {
        self.connected.insert(peer.proof.name().clone(), peer);
    }

    pub(super) fn remove(&mut self, name: &Name) -> Option<Peer> {
        self.connected.remove(name)
    }

    /// Closes the links of the collaborators that may not stay, and names them.
    pub(super) fn cut_off_refused(
        &mut self,
        admission: &dyn Admission,
        attestation: &Attestation,
    ) -> Vec<Name> {
        let refused = self.connected.extract_if(.., |_, peer| {
            close_if_refused((&peer.proof, &peer.appraised, &peer.handle), admission, attestation)
        });
        refused.map(|(name, _)| name).collect()
    }

    /// Closes every link.
    pub(super) fn close_all(&mut self, code: u32, reason: &str) {
        for (_, peer) in std::mem::take(&mut self.connected) {
            peer.handle.close(code, reason);
        }
    }

    /// Notes that the collaborator was given this work.
    pub(super) fn assign(&mut self, name: &Name, stamp: Stamp) {
        if let Some(peer) = self.connected.get_mut(name) {
            peer.assigned = Some(stamp);
        }
    }

    /// The work that the collaborator was given last over this link.
    pub(super) fn assigned(&self, name: &Name) -> Option<Stamp> {
        self.connected.get(name).and_then(|peer| peer.assigned)
    }

    /// Tells the collaborator's session, if it is connected.
    pub(super) fn tell(&self, name: &Name, message: SessionMessage) {
        if let Some(peer) = self.connected.get(name) {
            peer.tell(message);
        }
    }

    /// Tells every session.
    pub(super) fn tell_all(&self, message: impl Fn() -> SessionMessage) {
        self.connected.values().for_each(|peer| peer.tell(message()));
    }

    /// Whether one more line about this collaborator may be written. The first line after a flood is preceded
    /// by one that says how many were left out.
    pub(super) fn may_log(&mut self, name: &Name, now: Instant) -> bool {
        let ration = self.rations.entry(name.clone()).or_default();
        let spoken = ration.take(now);
        if let Some(unsaid @ 1..) = spoken {
            tracing::warn!(collaborator = %name, "{unsaid} lines about {name} were not logged: there were too many");
        }
        spoken.is_some()
    }
}

/// Closes the link of a collaborator that may not stay, and logs why. Returns whether the link was closed.
pub(super) fn close_if_refused(
    (proof, appraised, handle): (&PeerAdmitted, &Appraised, &LinkHandle),
    admission: &dyn Admission,
    attestation: &Attestation,
) -> bool {
    let (code, why) = match (admission.still_admits(proof), attestation.still(appraised)) {
        (Ok(()), Ok(())) => return false,
        (Err(why), _) => (close_code::of(&why), why.to_string()),
        // The next attempt of the collaborator hears the refusal at its Hello.
        (Ok(()), Err(why)) => (close_code::REJECTED, why.told_by(Side::Aggregator)),
    };
    let name = proof.name();
    tracing::warn!(collaborator = %name, "closed the link of {name}: {why}");
    handle.close(code, &why);
    true
}

impl Peer {
    fn tell(&self, message: SessionMessage) {
        match self.mailbox.tell(message) {
            Ok(()) => {}
            // The link has ended; the message that says so is on its way.
            Err(Undelivered::Gone) => {}
            // Only a collaborator that sends faster than it reads fills the mailbox. A new link begins with
            // an empty one.
            Err(Undelivered::Full) => {
                let name = self.proof.name();
                tracing::debug!(collaborator = %name, "closed the link of {name}: {name} sends messages and does not read the answers");
                self.handle.close(close_code::SLOW, close_code::OVERLOADED);
            }
        }
    }
}
