//! Names of federations, collaborators and tasks.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::limits;

/// A lower-case name: first a letter or digit, then letters, digits, `-`, `_` or `.`; at most 64 bytes.
///
/// Names appear in URIs of certificates, in file names and in log lines, so a name has no character that one
/// of these would have to escape.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(String);

/// Why a text is not a [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Longer than [`limits::NAME_BYTES`].
    #[error("\"{start}…\" has {bytes} bytes; a name has at most {max}", max = limits::NAME_BYTES)]
    Long {
        /// Its first characters.
        start: String,
        /// Its length.
        bytes: usize,
    },
    /// It has a character that a name does not have, or begins with the wrong one.
    #[error(
        "{0:?} is not a name: use 1 to {max} of a-z 0-9 - _ . beginning with a letter or digit",
        max = limits::NAME_BYTES
    )]
    Form(String),
}

impl Name {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let rest = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
        match (first && rest, text.len()) {
            (true, 0..=limits::NAME_BYTES) => Ok(Self(text.to_owned())),
            (true, bytes) => Err(NameError::Long { start: text[..20].to_owned(), bytes }),
            (false, _) => Err(NameError::Form(text.chars().take(limits::NAME_BYTES).collect())),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The known name that a reader most likely meant, if any is close.
#[must_use]
pub fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .map(|name| (strsim::osa_distance(wrong, name), name))
        .filter(|(distance, name)| *distance <= name.chars().count().max(3) / 3)
        .min()
        .map(|(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_escape_a_path_or_a_uri_are_refused() {
        for bad in ["", "../x", "a/b", "A", "a b", "-a", ".", "..", "ä", &"a".repeat(65)] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
        let long = "a".repeat(65).parse::<Name>().unwrap_err().to_string();
        assert_eq!(long, "\"aaaaaaaaaaaaaaaaaaaa…\" has 65 bytes; a name has at most 64");
        for good in ["one", "0", "site-1_b.c", &"a".repeat(64)] {
            assert_eq!(good.parse::<Name>().map(|n| n.to_string()), Ok(good.to_owned()));
        }
    }

    #[test]
    fn nearest_name_is_close_or_absent() {
        let known = ["fc1.weight", "fc1.bias"];
        assert_eq!(nearest("fc1.weigth", known.into_iter()), Some("fc1.weight".to_owned()));
        assert_eq!(nearest("encoder.0", known.into_iter()), None);
    }
}
