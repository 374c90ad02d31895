//! `release`: which models leave the enclave, and for whom.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// What leaves, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Which models.
    pub what: Released,
    /// Who can read them.
    pub to: ReleaseTo,
}

/// Which models leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Released {
    /// The last round's, once all rounds are run.
    Last,
    /// The best by the plan's metric, once all rounds are run.
    Best,
    /// Every round's, once the round is on disk.
    Each,
}

/// Who can read what leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ReleaseTo {
    /// Every collaborator: each keeps what it was sent.
    Members,
    /// Whoever holds the private key of this one.
    Key(PublicKey),
    /// The aggregator's host.
    Host,
}

/// An X25519 public key (RFC 7748); shown as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey(pub [u8; 32]);

/// A text that is not 64 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a public key is 64 hex digits")]
pub struct PublicKeyError;

impl Release {
    /// Whether members are sent the best model when all rounds are run: it is not the one that they hold then.
    #[must_use]
    pub fn is_best_to_members(&self) -> bool {
        (self.what, self.to) == (Released::Best, ReleaseTo::Members)
    }
}

impl Released {
    /// As a plan spells it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Best => "best",
            Self::Each => "each",
        }
    }
}

/// `last, to members`.
impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, to {}", self.what.word(), self.to)
    }
}

/// As a plan spells it.
impl fmt::Display for ReleaseTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Members => f.write_str("members"),
            Self::Key(key) => write!(f, "key:{key}"),
            Self::Host => f.write_str("host"),
        }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = PublicKeyError;

    fn from_str(text: &str) -> Result<Self, PublicKeyError> {
        text.parse().map(|Digest(bytes)| Self(bytes)).map_err(|_| PublicKeyError)
    }
}
