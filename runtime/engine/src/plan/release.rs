//! `release`: which models leave the enclave, and for whom.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

use super::PlanDraft;
use crate::{
    Digest,
    settings::{Absent, Checked, Fault, Field, Key, PlanError, Setting, Takes, Value, Word, quoted, words},
};

/// What leaves, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Release {
    /// Which models.
    pub what: Released,
    /// Who can read them.
    pub to: ReleaseTo,
}

words! {
    /// Which models leave.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    #[non_exhaustive]
    pub enum Released {
        /// The model of the last round, when all rounds are run.
        Last = "last",
        /// The best model by the plan's metric, when all rounds are run.
        Best = "best",
        /// The model of every round, as soon as the round is on disk.
        Each = "each",
    }
}

/// Who can read what leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReleaseTo {
    /// Every collaborator: each keeps what it was sent.
    Members,
    /// The owner of the private key that belongs to this one.
    Key(PublicKey),
    /// The aggregator's host.
    Host,
}

/// An X25519 public key (RFC 7748); shown as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(pub [u8; 32]);

/// A text that is not 64 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a public key is 64 hex digits")]
pub struct PublicKeyError;

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Release {
    /// Whether members are sent the best model when all rounds are run: it is not the one that they hold
    /// then.
    #[must_use]
    pub fn is_best_to_members(&self) -> bool {
        (self.what, self.to) == (Released::Best, ReleaseTo::Members)
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
            Self::Members => f.write_str(MEMBERS),
            Self::Key(key) => write!(f, "{KEY}{key}"),
            Self::Host => f.write_str(HOST),
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

impl Setting for Release {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let release = field.section()?;
        Ok(Self { what: release.get("what")?, to: release.get("to")? })
    }
}

impl Setting for ReleaseTo {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let Value::Text(text) = field.value() else {
            let no_space = || "write key:PUBLIC_KEY without a space".to_owned();
            return Err(field.refused().with_hint(matches!(field.value(), Value::Map(_)).then(no_space)));
        };
        match (text.as_str(), text.strip_prefix(KEY)) {
            (MEMBERS, _) => Ok(Self::Members),
            (HOST, _) => Ok(Self::Host),
            (_, Some(key)) => key.parse().map(Self::Key).map_err(|e| {
                let hint = "`fl-host model key` makes a key pair and prints the public one".to_owned();
                field.error(format!("{} is {}: {e}", field.path(), quoted(text))).with_hint(Some(hint))
            }),
            _ => Err(field.wrong_word([MEMBERS, HOST].into_iter())),
        }
    }
}

/// Whether what the plan releases can be had, and somebody can read it.
pub(super) fn check_in(plan: &PlanDraft) -> Checked {
    let Some(Release { what, to }) = plan.release else { return Ok(()) };
    if to == ReleaseTo::Key(PublicKey([0; 32])) {
        return Err(Fault::new("release/to", "release.to is the key of zeros, which nobody holds"));
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
            let why =
                format!("release.what is best, but no group runs the task {}, which measures it", best.task);
            (why, "give the task to a group, or release last")
        }
        (false, _) => {
            let why = "release.what is best, but this plan measures nothing, so no model is the best";
            (why.to_owned(), "give a task metrics, or release last")
        }
    };
    Err(Fault::new("release/what", message).hint(Some(hint.to_owned())))
}

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "what",
        takes: Takes::Word(Released::TABLE),
        absent: Absent::Default("last"),
        meaning: "Which models leave the aggregator.",
        example: "best",
    },
    Key {
        name: "to",
        takes: Takes::Other { kind: "one of members, host, key:PUBLIC_KEY", words: RECEIVERS },
        absent: Absent::Refused,
        meaning: "Who can read the models that leave.",
        example: "members",
    },
];

const RECEIVERS: &[Word] = &[
    Word::plain(MEMBERS, "Every collaborator. Each keeps the models that it was sent."),
    Word::plain(HOST, "The host of the aggregator."),
    Word::plain(
        "key:PUBLIC_KEY",
        "The owner of the private key that belongs to a public key (64 hex digits). `fl-host model key` makes both.",
    ),
];

const MEMBERS: &str = "members";
const HOST: &str = "host";
const KEY: &str = "key:";
