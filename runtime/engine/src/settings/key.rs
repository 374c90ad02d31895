//! What is said of one key.

use std::fmt;

use crate::{Millis, limits};

/// One key of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// As the file spells it.
    pub(crate) name: &'static str,
    pub(crate) takes: Takes,
    pub(crate) absent: Absent,
    /// What it is for: sentences for the plan's author.
    pub(crate) meaning: &'static str,
    /// A value, as YAML.
    pub(crate) example: &'static str,
}

/// What a file without the key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// The key has to be there.
    Refused,
    /// The same as this value, in YAML.
    Default(&'static str),
    /// What the words say: it depends on other keys, or no value says the same.
    Means(&'static str),
}

/// What values a key takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Takes {
    /// A whole number between two bounds, both allowed; of what, in the plural.
    Whole { least: u64, most: u64, unit: &'static str },
    /// A finite number.
    Number(Range),
    /// `true` or `false`.
    Flag,
    /// A text.
    Text(Text),
    /// A number of bytes with its unit.
    Size,
    /// A time with its unit; the bounds are allowed.
    Time { least: Millis, most: Millis },
    /// One word of a table.
    Word(&'static [Word]),
    /// One word of a table, with its settings: `median`, `{trimmed_mean: {trim: 0.2}}`.
    Variant(&'static [Word]),
    /// One word of a table with its settings, and further keys beside the word.
    Entry { words: &'static [Word], beside: &'static [Key] },
    /// A map with these keys.
    Section(&'static [Key]),
    /// A map of which one key says which other keys there are.
    Tagged(&'static Tagged),
    /// A map from names that the author chooses; `kind` says from what to what.
    Names { kind: &'static str, of: &'static Takes },
    /// A list; `kind` says of what.
    List { kind: &'static str, of: &'static Takes },
    /// Something that `kind` describes and its type reads; `words` of it are fixed.
    Other { kind: &'static str, words: &'static [Word] },
}

/// One word of a closed choice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word {
    pub(crate) word: &'static str,
    pub(crate) meaning: &'static str,
    /// The word's settings.
    pub(crate) keys: &'static [Key],
}

/// A map of which one key says which other keys there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tagged {
    /// The key that decides; each of its words brings keys.
    pub(crate) tag: Key,
    /// Keys beside any word.
    pub(crate) common: &'static [Key],
    /// Keys of a map without `tag`, beside the common ones, where there may be such a map.
    pub(crate) untagged: Option<&'static [Key]>,
}

/// Bounds of a finite number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Range {
    Finite,
    AboveZero,
    FromZero,
    FromZeroBelowHalf,
    FromZeroBelowOne,
    FromZeroToOne,
}

/// What a text has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// A [`crate::Name`]; of what.
    Name(&'static str),
    /// A name that a user's crate registers; of what.
    Registered(&'static str),
    /// Anything; `kind` says what it is.
    Any(&'static str),
}

impl Key {
    /// The words of the choice that the key or its entries take, with their meanings.
    pub(crate) fn words(&self) -> &'static [Word] {
        match self.takes {
            Takes::Word(words)
            | Takes::Variant(words)
            | Takes::Entry { words, .. }
            | Takes::Other { words, .. } => words,
            Takes::List { of: Takes::Entry { words, .. }, .. } => words,
            _ => &[],
        }
    }
}

impl Word {
    /// A word without settings.
    pub(crate) const fn plain(word: &'static str, meaning: &'static str) -> Self {
        Self { word, meaning, keys: &[] }
    }

    /// The word as a plan has it, with the settings that it needs: `{trimmed_mean: {trim: 0.2}}`.
    pub(crate) fn example(&self) -> String {
        let needed = self.keys.iter().filter(|key| key.absent == Absent::Refused);
        let settings: Vec<String> = needed.map(|key| format!("{}: {}", key.name, key.example)).collect();
        match settings.as_slice() {
            [] => self.word.to_owned(),
            settings => format!("{{{}: {{{}}}}}", self.word, settings.join(", ")),
        }
    }
}

impl Range {
    pub(crate) fn contains(self, number: f64) -> bool {
        match self {
            Self::Finite => number.is_finite(),
            Self::AboveZero => number.is_finite() && number > 0.0,
            Self::FromZero => number.is_finite() && number >= 0.0,
            Self::FromZeroBelowHalf => (0.0..0.5).contains(&number),
            Self::FromZeroBelowOne => (0.0..1.0).contains(&number),
            Self::FromZeroToOne => (0.0..=1.0).contains(&number),
        }
    }

    /// The bounds alone; empty where there are none.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Finite => "",
            Self::AboveZero => "above 0",
            Self::FromZero => "from 0",
            Self::FromZeroBelowHalf => "from 0, below 0.5",
            Self::FromZeroBelowOne => "from 0, below 1",
            Self::FromZeroToOne => "from 0 to 1",
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finite => f.write_str("a finite number"),
            bounded => write!(f, "a number {}", bounded.words()),
        }
    }
}

/// For a refusal: `… is 0; it takes a whole number of 1 to 64`.
impl fmt::Display for Takes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole { least, most, .. } if least == most => write!(f, "{least}"),
            Self::Whole { least, most, .. } => write!(f, "a whole number of {least} to {most}"),
            Self::Number(range) => range.fmt(f),
            Self::Flag => f.write_str("true or false"),
            Self::Text(text) => text.fmt(f),
            Self::Size => f.write_str("a size: a whole number with B, KiB, MiB, GiB or TiB, as in 512MiB"),
            Self::Time { least, most } => {
                write!(f, "a time of {least} to {most}: a whole number with ms, s, m or h, as in 10m")
            }
            Self::Word(words) | Self::Variant(words) => write!(f, "one of {}", list(words)),
            Self::Entry { words, beside } => {
                write!(f, "one of {}, with any of the keys {}", list(words), names(*beside))
            }
            Self::Section(keys) => write!(f, "a map with the keys {}", names(*keys)),
            Self::Tagged(Tagged { tag, untagged: None, .. }) => {
                write!(f, "a map with the key {}, which is {}", tag.name, tag.takes)
            }
            Self::Tagged(Tagged { tag, common, untagged: Some(keys) }) => {
                let keys = common.iter().chain(*keys);
                write!(f, "a map with the keys {}, or with the key {}: {}", names(keys), tag.name, tag.takes)
            }
            Self::Names { kind, .. } | Self::List { kind, .. } | Self::Other { kind, .. } => {
                f.write_str(kind)
            }
        }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(_) | Self::Any(_) => f.write_str("a text"),
            Self::Registered(_) => write!(f, "1 to {} letters, digits, - _ .", limits::NAME_BYTES),
        }
    }
}

/// Names of keys, with commas.
pub(super) fn names<'a>(keys: impl IntoIterator<Item = &'a Key>) -> String {
    keys.into_iter().map(|key| key.name).collect::<Vec<_>>().join(", ")
}

fn list(words: &[Word]) -> String {
    words.iter().map(|word| word.word).collect::<Vec<_>>().join(", ")
}
