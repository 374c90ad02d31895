//! The tables of keys as a list, for the manual and `fl-host plan reference`.

use super::key::{Absent, Key, Tagged, Takes, Text, Word};

/// What is known of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyReference {
    /// The keys from the file's top to this one: `tasks.*.rule.trimmed_mean.trim`. `*` stands for a name that
    /// the author chooses, `[]` for each entry of a list.
    pub path: String,
    /// The settings beside which the key is allowed, any of these: `kind: train`. Empty: always.
    pub only_with: Vec<String>,
    /// The kind of value: `whole number`.
    pub kind: &'static str,
    /// What the value counts, or how its unit is spelt.
    pub unit: Option<&'static str>,
    /// Bounds of the value: `1 to 64`.
    pub range: Option<String>,
    /// What a file without the key means.
    pub absent: Absent,
    /// The words that the key takes; empty for a key that takes something else.
    pub words: Vec<WordReference>,
    /// What the key is for.
    pub meaning: String,
    /// A value.
    pub example: &'static str,
}

/// One word that a key takes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WordReference {
    /// The word.
    pub word: &'static str,
    /// What it means.
    pub meaning: String,
    /// The word with the settings that it needs.
    pub example: String,
}

/// Every key of a table and what is below, in the table's order.
pub(crate) fn reference(keys: &[Key]) -> Vec<KeyReference> {
    let mut all = Vec::new();
    section("", keys, &[], &mut all);
    all
}

fn section(inside: &str, keys: &[Key], only_with: &[String], all: &mut Vec<KeyReference>) {
    for key in keys {
        let path = if inside.is_empty() { key.name.to_owned() } else { format!("{inside}.{}", key.name) };
        let found = KeyReference {
            path: path.clone(),
            only_with: only_with.to_vec(),
            kind: kind(&key.takes),
            unit: unit(&key.takes),
            range: range(&key.takes),
            absent: key.absent,
            words: key.words().iter().map(word).collect(),
            meaning: key.meaning.trim().to_owned(),
            example: key.example,
        };
        // A key of several words of one choice is one key.
        let same = |other: &&mut KeyReference| {
            KeyReference { only_with: found.only_with.clone(), ..(**other).clone() } == found
        };
        match all.iter_mut().find(same) {
            Some(other) => {
                let new = found.only_with.into_iter().filter(|with| !other.only_with.contains(with));
                let new: Vec<String> = new.collect();
                other.only_with.extend(new);
            }
            None => all.push(found),
        }
        below(&path, &key.takes, only_with, all);
    }
}

fn below(path: &str, takes: &Takes, only_with: &[String], all: &mut Vec<KeyReference>) {
    match takes {
        Takes::Section(keys) => section(path, keys, only_with, all),
        Takes::Variant(words) => {
            for word in *words {
                section(&format!("{path}.{}", word.word), word.keys, only_with, all);
            }
        }
        Takes::Entry { words, beside } => {
            section(path, beside, only_with, all);
            below(path, &Takes::Variant(words), only_with, all);
        }
        Takes::Tagged(Tagged { tag, common, untagged }) => {
            section(path, &[*tag], &[], all);
            if let Some(keys) = untagged {
                section(path, keys, &[format!("no {}", tag.name)], all);
            }
            for word in tag.words() {
                section(path, word.keys, &[format!("{}: {}", tag.name, word.word)], all);
            }
            section(path, common, &[], all);
        }
        Takes::Names { of, .. } => below(&format!("{path}.*"), of, only_with, all),
        Takes::List { of, .. } => below(&format!("{path}[]"), of, only_with, all),
        Takes::Whole { .. }
        | Takes::Number(_)
        | Takes::Flag
        | Takes::Text(_)
        | Takes::Size
        | Takes::Time { .. }
        | Takes::Word(_)
        | Takes::Other { .. } => {}
    }
}

fn word(word: &Word) -> WordReference {
    WordReference { word: word.word, meaning: word.meaning.trim().to_owned(), example: word.example() }
}

fn kind(takes: &Takes) -> &'static str {
    match takes {
        Takes::Whole { .. } => "whole number",
        Takes::Number(_) => "number",
        Takes::Flag => "true or false",
        Takes::Text(Text::Name(kind) | Text::Registered(kind) | Text::Any(kind)) => kind,
        Takes::Size => "size",
        Takes::Time { .. } => "time",
        Takes::Word(_) => "one of the words below",
        Takes::Variant(_) | Takes::Entry { .. } => "one of the words below, with its settings",
        Takes::Section(_) | Takes::Tagged(_) => "map with the keys below",
        Takes::Names { kind, .. } | Takes::List { kind, .. } | Takes::Other { kind, .. } => kind,
    }
}

fn unit(takes: &Takes) -> Option<&'static str> {
    match takes {
        Takes::Whole { unit, .. } if !unit.is_empty() => Some(unit),
        Takes::Size => Some("B, KiB, MiB, GiB or TiB"),
        Takes::Time { .. } => Some("ms, s, m or h"),
        Takes::List { of, .. } => unit(of),
        _ => None,
    }
}

fn range(takes: &Takes) -> Option<String> {
    match takes {
        Takes::Whole { least, most, .. } if least == most => Some(format!("{least} only")),
        Takes::Whole { least, most, .. } => Some(format!("{least} to {most}")),
        Takes::Number(range) if !range.words().is_empty() => Some(range.words().to_owned()),
        Takes::Time { least, most } if most.0 < u64::MAX => Some(format!("{least} to {most}")),
        Takes::Text(text @ Text::Registered(_)) => Some(text.to_string()),
        Takes::List { of, .. } => range(of).map(|range| format!("each {range}")),
        _ => None,
    }
}
