//! `resume`: the owner takes the run back to the model after a round, and leaves members out from there.
//!
//! The section has a signature of its own beside the roster's, so that the aggregator can show the section to
//! collaborators that hold no roster.

use serde::Deserialize;

use super::{Member, RosterError};
use crate::{Name, RoundNo, hex, limits};

/// The order to take the run back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resumption {
    /// The run continues from the model after this round.
    pub round: RoundNo,
    /// The members that are left out from then on. The roster revokes them.
    pub without: Vec<Name>,
    /// Serial of the first roster that has the section. Later rosters repeat the section with this number,
    /// and the run goes back once for each number.
    pub serial: u64,
    /// The CA's signature (Ed25519) over [`Self::signed_bytes`].
    pub proof: [u8; 64],
}

impl Resumption {
    /// What [`Self::proof`] signs: the federation, and everything else of the section.
    #[must_use]
    pub fn signed_bytes(&self, federation: &Name) -> Vec<u8> {
        let mut text = format!("{DOMAIN}{federation}\n{}\n{}\n", self.serial, self.round);
        self.without.iter().for_each(|name| text += &format!("{name}\n"));
        text.into_bytes()
    }

    /// `one, two`.
    #[must_use]
    pub fn names(&self) -> String {
        self.without.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn render(&self) -> String {
        let names = self.without.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let (Self { round, serial, .. }, proof) = (self, hex::digits(&self.proof));
        format!("resume:\n  round: {round}\n  without: [{names}]\n  serial: {serial}\n  proof: \"{proof}\"\n")
    }

    /// Whether the section fits a roster with this serial and these members.
    pub(super) fn check(&self, serial: u64, members: &[Member]) -> Result<(), RosterError> {
        let refused = |why: String| Err(RosterError::Resume(why));
        let Self { without, .. } = self;
        if without.is_empty() || without.len() > limits::WITHDRAWN {
            return refused(format!(
                "it leaves out {} members, not 1 to {}",
                without.len(),
                limits::WITHDRAWN
            ));
        }
        if !(1..=serial).contains(&self.serial) {
            return refused(format!("its serial is {}, but the roster's is {serial}", self.serial));
        }
        for (at, name) in without.iter().enumerate() {
            if without[..at].contains(name) {
                return refused(format!("it names {name} twice"));
            }
            if !members.iter().any(|line| line.name == *name && line.revoked.is_some()) {
                return refused(format!("it leaves out {name}, whom the roster does not revoke"));
            }
        }
        Ok(())
    }
}

/// As the roster's file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    round: RoundNo,
    without: Vec<Name>,
    serial: u64,
    proof: String,
}

impl Section {
    pub(super) fn read(self) -> Result<Resumption, RosterError> {
        let Self { round, without, serial, proof } = self;
        match hex::array(&proof) {
            Some(proof) => Ok(Resumption { round, without, serial, proof }),
            None => Err(RosterError::Resume("its proof is not 128 hex digits".to_owned())),
        }
    }
}

/// Put before the signed text, so that no signature by the CA means two things.
const DOMAIN: &str = "fl resume 1\n";
