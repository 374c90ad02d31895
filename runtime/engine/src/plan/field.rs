//! One value of a file under its key's path: typed reads that say what is allowed.

use std::fmt::Display;
use std::ops::RangeInclusive;

use super::error::{At, PlanError};
use super::units;
use super::yaml::{Key, Node, Value, did_you_mean, duplicate, quoted};
use crate::{ByteCount, Millis, Name};

/// A value with the words that a refusal needs.
#[derive(Clone, Debug)]
pub(super) struct Field<'a> {
    file: &'static str,
    /// `quorum.count.min`; empty for the whole file.
    pub(super) path: String,
    /// Where its key stands, for what is said of the value as a whole.
    key: At,
    node: &'a Node,
}

/// A map whose keys are known.
pub(super) struct Section<'a> {
    field: Field<'a>,
    entries: &'a [(Key, Node)],
}

impl<'a> Field<'a> {
    /// The whole file.
    pub(super) fn root(file: &'static str, node: &'a Node) -> Self {
        Self { file, path: String::new(), key: At { line: 1, column: 1 }, node }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.node.value, Value::Null)
    }

    pub(super) fn value(&self) -> &'a Value {
        &self.node.value
    }

    /// A refusal at the value, or at the key of a list or map.
    pub(super) fn error(&self, message: impl Into<String>) -> PlanError {
        let at = match self.node.value {
            Value::Map(_) | Value::List(_) | Value::Null => self.key,
            _ => self.node.at,
        };
        PlanError::new(self.file, at, message)
    }

    /// `rounds is the text "ten"; it takes …`.
    pub(super) fn wrong(&self, takes: impl Display) -> PlanError {
        let path = if self.path.is_empty() { "the file" } else { &self.path };
        self.error(format!("{path} is {}; it takes {takes}", self.node.value.shown()))
    }

    /// The value of a map's key, whatever else is in the map: the key that decides which others there may be.
    pub(super) fn peek(&self, key: &str) -> Option<Field<'a>> {
        let Value::Map(entries) = &self.node.value else { return None };
        let (key, node) = entries.iter().find(|(k, _)| k.text == key)?;
        Some(self.child(key, node))
    }

    /// A map whose key `tag` says which other keys it has, beside `common`.
    pub(super) fn tagged<'k>(
        &self,
        tag: &'k str,
        common: &[&'k str],
        known: &[(&'k str, &[&'k str])],
    ) -> Result<(&'k str, Section<'a>), PlanError> {
        let kinds: Vec<(&'k str, (&'k str, &[&'k str]))> = known.iter().map(|k| (k.0, *k)).collect();
        let Some(kind) = self.peek(tag) else {
            let words = known.iter().map(|k| k.0).collect::<Vec<_>>().join(", ");
            return Err(match self.node.value {
                Value::Map(_) => self
                    .error(format!("the key {tag:?} is missing in {}; it takes one of {words}", self.path)),
                _ => self.wrong(format!("a map with the key {tag}, which is one of {words}")),
            });
        };
        let (kind, keys) = kind.choice(&kinds)?;
        let allowed: Vec<&str> = [tag].iter().chain(common).chain(keys).copied().collect();
        Ok((kind, self.section(&allowed)?))
    }

    fn child(&self, key: &'a Key, node: &'a Node) -> Field<'a> {
        let path =
            if self.path.is_empty() { key.text.clone() } else { format!("{}.{}", self.path, key.text) };
        Field { file: self.file, path, key: key.at, node }
    }

    /// A map with some of the keys `allowed`, each at most once.
    pub(super) fn section(&self, allowed: &[&str]) -> Result<Section<'a>, PlanError> {
        let Value::Map(entries) = &self.node.value else {
            return Err(self.wrong(format!("a map with the keys {}", allowed.join(", "))));
        };
        if let Some((key, _)) = entries.iter().find(|(key, _)| !allowed.contains(&key.text.as_str())) {
            let message = format!("unknown key {}; allowed here: {}", quoted(&key.text), allowed.join(", "));
            let hint = did_you_mean(&key.text, allowed.iter().copied());
            return Err(PlanError::new(self.file, key.at, message).with_hint(hint));
        }
        self.unique(entries)?;
        Ok(Section { field: self.clone(), entries })
    }

    fn unique(&self, entries: &[(Key, Node)]) -> Result<(), PlanError> {
        duplicate(entries).map_or(Ok(()), |(key, first)| {
            let message = format!("the key {} is given twice; first in line {first}", quoted(&key.text));
            Err(PlanError::new(self.file, key.at, message))
        })
    }

    /// A map whose keys are the user's.
    pub(super) fn entries(&self, takes: &str) -> Result<Vec<(&'a str, Field<'a>)>, PlanError> {
        let Value::Map(entries) = &self.node.value else { return Err(self.wrong(takes)) };
        self.unique(entries)?;
        Ok(entries.iter().map(|(key, node)| (key.text.as_str(), self.child(key, node))).collect())
    }

    /// The same with [`Name`]s as keys.
    pub(super) fn named(&self, takes: &str) -> Result<Vec<(Name, Field<'a>)>, PlanError> {
        self.entries(takes)?
            .into_iter()
            .map(|(key, field)| {
                let name = key.parse().map_err(|e: crate::name::NameError| {
                    PlanError::new(self.file, field.key, e.to_string())
                })?;
                Ok((name, field))
            })
            .collect()
    }

    /// Refuses a list or map of more than `most` entries.
    pub(super) fn at_most(&self, count: usize, most: usize) -> Result<(), PlanError> {
        if count <= most {
            return Ok(());
        }
        Err(self.error(format!("{} has {count} entries; it takes at most {most}", self.path)))
    }

    /// A map of one key, or that key alone: `sgd` and `{sgd: {…}}`.
    pub(super) fn variant(&self, known: &[&str]) -> Result<(&'a str, Option<Field<'a>>), PlanError> {
        let takes = || format!("one of {}", known.join(", "));
        let (name, place, settings) = match &self.node.value {
            Value::Text(name) => (name.as_str(), self.node.at, None),
            Value::Map(entries) => match entries.as_slice() {
                [(key, node)] => (key.text.as_str(), key.at, Some(self.child(key, node))),
                _ => {
                    let message = format!("{} has {} keys; it takes {}", self.path, entries.len(), takes());
                    return Err(self.error(message));
                }
            },
            _ => return Err(self.wrong(takes())),
        };
        if known.contains(&name) {
            return Ok((name, settings));
        }
        let message = format!("{} is {}; it takes {}", self.path, quoted(name), takes());
        let hint = did_you_mean(name, known.iter().copied());
        Err(PlanError::new(self.file, place, message).with_hint(hint))
    }

    pub(super) fn list(&self, takes: &str) -> Result<Vec<Field<'a>>, PlanError> {
        let Value::List(nodes) = &self.node.value else { return Err(self.wrong(takes)) };
        Ok(nodes
            .iter()
            .enumerate()
            .map(|(index, node)| Field {
                file: self.file,
                path: format!("{}[{index}]", self.path),
                key: node.at,
                node,
            })
            .collect())
    }

    pub(super) fn text(&self) -> Result<&'a str, PlanError> {
        match &self.node.value {
            Value::Text(text) => Ok(text),
            Value::Whole(_) | Value::Number(_) | Value::Flag(_) => {
                Err(self.wrong("a text").with_hint(Some("put it in quotes".to_owned())))
            }
            _ => Err(self.wrong("a text")),
        }
    }

    pub(super) fn name(&self) -> Result<Name, PlanError> {
        self.text()?.parse().map_err(|e: crate::name::NameError| self.error(e.to_string()))
    }

    pub(super) fn flag(&self) -> Result<bool, PlanError> {
        match self.node.value {
            Value::Flag(flag) => Ok(flag),
            _ => Err(self.wrong("true or false")),
        }
    }

    /// A whole number of `range`.
    pub(super) fn whole<T>(&self, range: &RangeInclusive<T>) -> Result<T, PlanError>
    where
        T: TryFrom<i128> + PartialOrd + Display,
    {
        match self.node.value {
            Value::Whole(number) => T::try_from(number).ok().filter(|n| range.contains(n)),
            _ => None,
        }
        .ok_or_else(|| self.wrong(format!("a whole number of {} to {}", range.start(), range.end())))
    }

    /// A finite number.
    pub(super) fn number(&self) -> Result<f64, PlanError> {
        match self.node.value {
            Value::Whole(number) => Ok(number as f64),
            Value::Number(number) if number.is_finite() => Ok(number),
            _ => Err(self.wrong("a finite number")),
        }
    }

    /// A number that f32 holds.
    pub(super) fn single(&self) -> Result<f32, PlanError> {
        let single = self.number()? as f32;
        if single.is_finite() { Ok(single) } else { Err(self.wrong("a number below 3.4e38")) }
    }

    /// One of the words of `known`.
    pub(super) fn choice<T: Copy>(&self, known: &[(&str, T)]) -> Result<T, PlanError> {
        let words = || known.iter().map(|(word, _)| *word);
        let takes = || format!("one of {}", words().collect::<Vec<_>>().join(", "));
        let Value::Text(text) = &self.node.value else { return Err(self.wrong(takes())) };
        known.iter().find(|(word, _)| word == text).map(|(_, value)| *value).ok_or_else(|| {
            let message = format!("{} is {}; it takes {}", self.path, quoted(text), takes());
            self.error(message).with_hint(did_you_mean(text, words()))
        })
    }

    /// `512MiB`.
    pub(super) fn size(&self) -> Result<ByteCount, PlanError> {
        match &self.node.value {
            Value::Text(text) => units::size(text),
            Value::Whole(0) => Some(ByteCount(0)),
            _ => None,
        }
        .ok_or_else(|| self.wrong("a size: a whole number with B, KiB, MiB, GiB or TiB, as in 512MiB"))
    }

    /// `10m`.
    pub(super) fn duration(&self) -> Result<Millis, PlanError> {
        match &self.node.value {
            Value::Text(text) => units::duration(text),
            _ => None,
        }
        .ok_or_else(|| self.wrong("a time: a whole number with ms, s, m or h, as in 10m"))
    }
}

impl<'a> Section<'a> {
    /// The value of a key, if it is given. An empty one is refused by whoever reads its type.
    pub(super) fn optional(&self, key: &str) -> Option<Field<'a>> {
        let (key, node) = self.entries.iter().find(|(k, _)| k.text == key)?;
        Some(self.field.child(key, node))
    }

    pub(super) fn required(&self, key: &str) -> Result<Field<'a>, PlanError> {
        self.optional(key).ok_or_else(|| {
            let inside = &self.field.path;
            let place = if inside.is_empty() { String::new() } else { format!(" in {inside}") };
            self.field.error(format!("the key {key:?} is missing{place}"))
        })
    }

    /// The value of a key through `read`, or `default` where it is not given.
    pub(super) fn or<T>(
        &self,
        key: &str,
        default: T,
        read: impl FnOnce(&Field<'a>) -> Result<T, PlanError>,
    ) -> Result<T, PlanError> {
        self.optional(key).map_or(Ok(default), |field| read(&field))
    }

    /// The map itself.
    pub(super) fn field(&self) -> &Field<'a> {
        &self.field
    }
}
