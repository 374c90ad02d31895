//! `release`: which models leave the enclave, and for whom.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Plan;
use super::error::PlanError;
use super::fault::{Checked, PlanFault};
use super::field::Field;
use super::yaml::{Value, did_you_mean, quoted};
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

/// Reads `{what: last, to: members}`.
pub(super) fn read(field: &Field<'_>) -> Result<Release, PlanError> {
    let release = field.section(&["what", "to"])?;
    Ok(Release {
        what: release.or("what", Released::Last, |f| {
            f.choice(&[("last", Released::Last), ("best", Released::Best), ("each", Released::Each)])
        })?,
        to: to(&release.required("to")?)?,
    })
}

fn to(field: &Field<'_>) -> Result<ReleaseTo, PlanError> {
    let Value::Text(text) = field.value() else {
        return Err(field.wrong(TAKES).with_hint(matches!(field.value(), Value::Map(_)).then(no_space)));
    };
    match text.as_str() {
        "members" => Ok(ReleaseTo::Members),
        "host" => Ok(ReleaseTo::Host),
        _ => match text.strip_prefix("key:") {
            Some(key) => key.parse().map(ReleaseTo::Key).map_err(|e| {
                let hint = "`fl-host model key` makes a key pair and prints the public one".to_owned();
                field.error(format!("{} is {}: {e}", field.path, quoted(text))).with_hint(Some(hint))
            }),
            None => {
                let message = format!("{} is {}; it takes {TAKES}", field.path, quoted(text));
                let near = did_you_mean(text, ["members", "host"].into_iter());
                Err(field.error(message).with_hint(near))
            }
        },
    }
}

fn no_space() -> String {
    "write key:PUBLIC_KEY without a space".to_owned()
}

/// Whether what the plan releases can be had, and somebody can read it.
pub(super) fn check(plan: &Plan) -> Checked {
    let Some(Release { what, to }) = plan.release else { return Ok(()) };
    if to == ReleaseTo::Key(PublicKey([0; 32])) {
        return Err(PlanFault::new("release/to", "release.to is the key of zeros, which nobody holds"));
    }
    if what != Released::Best {
        return Ok(());
    }
    let best = &plan.best;
    let measured =
        plan.tasks.iter().any(|task| task.name == best.task && task.metrics.contains(&best.metric));
    let is_run = plan.groups.iter().any(|group| group.tasks.contains(&best.task));
    let (message, hint) = match (measured, is_run) {
        (true, true) => return Ok(()),
        (true, false) => {
            let why = format!("release.what is best, by the task {}, which is in no group", best.task);
            (why, "give the task to a group, or release last")
        }
        (false, _) => {
            let why = "release.what is best; this plan measures nothing, so no model is the best";
            (why.to_owned(), "give a task metrics, or release last")
        }
    };
    Err(PlanFault::new("release/what", message).hint(Some(hint.to_owned())))
}

const TAKES: &str = "one of members, host, key:PUBLIC_KEY";
