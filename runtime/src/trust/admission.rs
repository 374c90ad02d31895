//! Whether a peer with a valid certificate is on the roster. The aggregator asks an [`Admission`].

use std::sync::Arc;

use fl_engine::{
    Name,
    plan::roster::{Resumption, Roster, UnixSeconds},
};
use rustls::pki_types::CertificateDer;

use super::{
    authority::validity,
    identity::{Fingerprint, Identity, IdentityError, Role},
};

/// Decides who may take part. Outside of tests this is the roster in force.
pub trait Admission: Send + Sync {
    /// Admits the collaborator that presented `certificates` in a handshake; its own certificate is the
    /// first.
    ///
    /// The certificates must come from a handshake under [`super::server_config`], which has checked chain,
    /// validity and key usage. What the peer writes in messages does not matter.
    ///
    /// # Errors
    /// [`Refused`].
    fn admit(&self, certificates: &[CertificateDer<'_>]) -> Result<PeerAdmitted, Refused>;

    /// Checks that a collaborator that was admitted earlier may stay.
    ///
    /// # Errors
    /// [`Refused`].
    fn still_admits(&self, peer: &PeerAdmitted) -> Result<(), Refused>;

    /// Serial of the roster in force.
    fn serial(&self) -> u64;

    /// The text of the roster in force, signature included.
    fn roster_text(&self) -> Option<Arc<[u8]>> {
        None
    }

    /// The owner's last order to take the run back, by the roster in force.
    fn resumption(&self) -> Option<Resumption> {
        None
    }
}

/// The proof that the roster names a collaborator: only [`Admission::admit`] makes one. A session holds the
/// proof and takes the collaborator's name from the proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAdmitted {
    name: Name,
    key: Fingerprint,
    /// The certificate's last second.
    not_after: UnixSeconds,
}

/// Why a peer is not admitted. The peer receives the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The peer presented no certificate.
    #[error("the peer presented no certificate")]
    NoCertificate,
    /// The certificate does not name one member of a federation.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The certificate is not a collaborator's.
    #[error("certificate is for the role {0}, but only collaborators are admitted")]
    Role(Role),
    /// The certificate belongs to another federation.
    #[error("certificate belongs to the federation {0}")]
    Federation(Name),
    /// The roster has no line for the name.
    #[error("the collaborator {0} is not on the roster: ask the federation's owner for approval")]
    Unlisted(Name),
    /// The roster's line for the name has another key.
    #[error(
        "the roster has another key for {0}: ask the federation's owner to approve this collaborator's key"
    )]
    OtherKey(Name),
    /// The roster's line is revoked.
    #[error("{name} was revoked: {why}")]
    Revoked {
        /// The collaborator.
        name: Name,
        /// The owner's reason.
        why: String,
    },
    /// The roster's last second is over.
    #[error("the aggregator's roster expired at {0}: the federation's owner has to sign it again")]
    RosterExpired(UnixSeconds),
    /// The certificate of a link that is open has ended.
    #[error(
        "this collaborator's certificate expired at {0}: ask the federation's owner to run `fl-host pki renew`"
    )]
    CertificateExpired(UnixSeconds),
}

impl Refused {
    /// Whether the refusal follows from the aggregator's clock: after a renewal, or with another clock, the
    /// same collaborator is admitted.
    #[must_use]
    pub fn is_of_the_clock(&self) -> bool {
        matches!(self, Self::RosterExpired(_) | Self::CertificateExpired(_))
    }
}

impl PeerAdmitted {
    /// The name on the certificate and on the roster.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Makes one without a check, for tests of the code that holds one.
    #[cfg(test)]
    pub(crate) fn unchecked(name: Name) -> Self {
        let key = Fingerprint(fl_engine::Digest::of(name.as_str().as_bytes()));
        Self { name, key, not_after: UnixSeconds(u64::MAX) }
    }

    /// Checks that `roster`, a later one, still admits the collaborator.
    pub(super) fn still(&self, roster: &Roster, now: UnixSeconds) -> Result<(), Refused> {
        if now > self.not_after {
            return Err(Refused::CertificateExpired(self.not_after));
        }
        listed(&self.name, self.key, roster, now)
    }
}

/// [`Admission::admit`] by this roster, at this time.
pub(super) fn admit(
    certificates: &[CertificateDer<'_>],
    roster: &Roster,
    now: UnixSeconds,
) -> Result<PeerAdmitted, Refused> {
    let certificate = certificates.first().ok_or(Refused::NoCertificate)?;
    let Identity { federation, role, name } = Identity::of(certificate)?;
    if role != Role::Collaborator {
        return Err(Refused::Role(role));
    }
    if federation != *roster.federation() {
        return Err(Refused::Federation(federation));
    }
    let key = Fingerprint::of(certificate)?;
    listed(&name, key, roster, now)?;
    let not_after = validity(certificate)?.not_after;
    Ok(PeerAdmitted { name, key, not_after })
}

fn listed(name: &Name, key: Fingerprint, roster: &Roster, now: UnixSeconds) -> Result<(), Refused> {
    if now > roster.not_after() {
        return Err(Refused::RosterExpired(roster.not_after()));
    }
    match roster.by_key(&key.0) {
        Some(line) if line.name == *name => match &line.revoked {
            None => Ok(()),
            Some(why) => Err(Refused::Revoked { name: name.clone(), why: why.clone() }),
        },
        _ if roster.by_name(name).is_some() => Err(Refused::OtherKey(name.clone())),
        _ => Err(Refused::Unlisted(name.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::fixture::{DAY, Leaf, NOW, TestCa};

    #[test]
    fn only_lines_with_name_and_key_admit() {
        let ca = TestCa::new("w");
        let (one, key) = ca.issue(Leaf::collaborator("one"));
        let stranger = ca.issue(Leaf::collaborator("two")).0;
        let gone = ca.issue(Leaf::collaborator("gone")).0;
        let roster = ca.roster(1, &[("one", &one, None), ("gone", &gone, Some("left"))]);
        let roster = ca.authority().open_roster(&roster).unwrap();
        let try_one =
            |certificate: &CertificateDer<'static>| admit(std::slice::from_ref(certificate), &roster, NOW);
        let name = |text: &str| text.parse::<Name>().unwrap();

        let admitted = try_one(&one).unwrap();
        assert_eq!((admitted.name().as_str(), admitted.key), ("one", Fingerprint::of(&one).unwrap()));
        assert_eq!(try_one(&stranger), Err(Refused::Unlisted(name("two"))));
        let revoked = Refused::Revoked { name: name("gone"), why: "left".into() };
        assert_eq!(try_one(&gone), Err(revoked.clone()));
        let other_key = ca.issue(Leaf::collaborator("one")).0;
        assert_eq!(try_one(&other_key), Err(Refused::OtherKey(name("one"))));
        // The key of one under the name of another.
        let disguised = ca.issue(Leaf::collaborator("three").key(&key)).0;
        assert_eq!(try_one(&disguised), Err(Refused::Unlisted(name("three"))));
        let elsewhere = ca.issue(Leaf::collaborator("one").key(&key).uris(&["fl://v/collaborator/one"])).0;
        assert_eq!(try_one(&elsewhere), Err(Refused::Federation(name("v"))));
        let aggregator = ca.issue(Leaf::aggregator("one").key(&key)).0;
        assert_eq!(try_one(&aggregator), Err(Refused::Role(Role::Aggregator)));
        assert_eq!(admit(&[], &roster, NOW), Err(Refused::NoCertificate));
        let late = UnixSeconds(roster.not_after().0 + 1);
        assert_eq!(
            admit(std::slice::from_ref(&one), &roster, late),
            Err(Refused::RosterExpired(roster.not_after()))
        );

        let next = ca.roster(2, &[("one", &one, Some("laptop stolen"))]);
        let next = ca.authority().open_roster(&next).unwrap();
        assert_eq!(admitted.still(&roster, NOW), Ok(()));
        assert!(matches!(admitted.still(&next, NOW), Err(Refused::Revoked { .. })));
        // The leaf is valid for one more day.
        let later = UnixSeconds(NOW.0 + DAY + 1);
        let expired = admitted.still(&roster, later).unwrap_err();
        assert_eq!(expired, Refused::CertificateExpired(UnixSeconds(NOW.0 + DAY)));
        assert!(expired.is_of_the_clock());
    }
}
