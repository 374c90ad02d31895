//! One value of a file under its key's path, read as its key's description says.

use std::fmt::Display;

use super::{
    error::{At, PlanError},
    fault::{Checked, Fault, number_of},
    key::{Absent, Key, Tagged, Takes, Text, names},
    tree::{self, Node, Value, did_you_mean, duplicate, quoted},
    units,
};
use crate::{ByteCount, Millis, Name, limits, name::NameError};

/// A type that a key's value is read as.
pub(crate) trait Setting: Sized {
    /// Reads a value that is there.
    fn read(field: &Field<'_>) -> Result<Self, PlanError>;

    /// What a key without a default means that is not there; `None` where the key has to be there.
    fn absent() -> Option<Self> {
        None
    }

    /// Refuses a value that the key does not take.
    fn check(&self, _takes: &Takes, _path: &str) -> Checked {
        Ok(())
    }
}

/// An enum of the macro `words`.
pub(crate) trait Choice: Setting {
    /// The keys that its word brings.
    fn keys(&self) -> &'static [Key];
}

/// A value with the words that a refusal needs.
#[derive(Clone, Debug)]
pub(crate) struct Field<'a> {
    file: &'static str,
    /// `quorum.count.min`; empty for the whole file.
    path: String,
    /// Where its key stands, for what is said of the value as a whole.
    key: At,
    node: &'a Node,
    /// What its key takes.
    takes: Takes,
}

/// A map whose keys are known.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    field: Field<'a>,
    entries: &'a [(tree::Key, Node)],
    keys: Vec<Key>,
}

impl<'a> Field<'a> {
    /// The whole file.
    pub(crate) fn root(file: &'static str, node: &'a Node, takes: Takes) -> Self {
        Self { file, path: String::new(), key: At { line: 1, column: 1 }, node, takes }
    }

    pub(crate) fn value(&self) -> &'a Value {
        &self.node.value
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn node(&self) -> &'a Node {
        self.node
    }

    /// Where its value stands.
    pub(super) fn place(&self) -> At {
        self.node.at
    }

    pub(crate) fn takes(&self) -> Takes {
        self.takes
    }

    /// Another value in the place of this one, read as what `takes` says.
    pub(crate) fn holding<'n>(&self, node: &'n Node, takes: Takes) -> Field<'n> {
        Field { file: self.file, path: self.path.clone(), key: self.key, node, takes }
    }

    /// The values of a map, whatever its keys are; nothing for another value.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (String, Field<'a>)> {
        let entries = match &self.node.value {
            Value::Map(entries) => entries.as_slice(),
            _ => &[],
        };
        entries.iter().map(|(key, node)| (key.text.clone(), self.child(&key.text, key.at, node, self.takes)))
    }

    /// A refusal at the value, or at the key of a list or map.
    pub(crate) fn error(&self, message: impl Into<String>) -> PlanError {
        let at = match self.node.value {
            Value::Map(_) | Value::List(_) | Value::Null => self.key,
            _ => self.node.at,
        };
        PlanError::new(self.file, at, message)
    }

    /// A refusal at one of the value's keys, or at a word.
    pub(super) fn error_at(&self, at: At, message: impl Into<String>) -> PlanError {
        PlanError::new(self.file, at, message)
    }

    /// `rounds is the text "ten"; it takes …`.
    pub(crate) fn wrong(&self, takes: impl Display) -> PlanError {
        let path = if self.path.is_empty() { "the file" } else { &self.path };
        self.error(format!("{path} is {}; it takes {takes}", self.node.value.shown()))
    }

    /// The same with what the key takes.
    pub(crate) fn refused(&self) -> PlanError {
        self.wrong(self.takes)
    }

    /// The refusal of a word: `metrics is "menbers"; it takes …`, with the nearest of `known`.
    pub(crate) fn wrong_word<'k>(&self, known: impl Iterator<Item = &'k str>) -> PlanError {
        let Value::Text(text) = &self.node.value else { return self.refused() };
        let message = format!("{} is {}; it takes {}", self.path, quoted(text), self.takes);
        self.error(message).with_hint(did_you_mean(text, known))
    }

    /// The value of a key of a map.
    pub(super) fn child(&self, name: &str, key: At, node: &'a Node, takes: Takes) -> Field<'a> {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Field { file: self.file, path, key, node, takes }
    }

    /// A map with some of its table's keys, each at most once.
    pub(crate) fn section(&self) -> Result<Section<'a>, PlanError> {
        match self.takes {
            Takes::Section(keys) => self.with_keys(keys.to_vec()),
            _ => Err(self.error("no table of keys is known here")),
        }
    }

    /// A map of which the key `tag` says which other keys it has: the tag's word, if it is there, and the
    /// map.
    pub(crate) fn tagged<T: Choice>(&self) -> Result<(Option<T>, Section<'a>), PlanError> {
        let Takes::Tagged(Tagged { tag, common, untagged }) = self.takes else {
            return Err(self.error("no table of words is known here"));
        };
        let Value::Map(entries) = &self.node.value else { return Err(self.refused()) };
        if let Some((key, node)) = entries.iter().find(|(key, _)| key.text == tag.name) {
            let word = T::read(&self.child(tag.name, key.at, node, tag.takes))?;
            let keys = [tag].into_iter().chain(*common).chain(word.keys()).copied().collect();
            return Ok((Some(word), self.with_keys(keys)?));
        }
        let (name, takes) = (tag.name, tag.takes);
        let Some(keys) = untagged else {
            let message = format!("the key {name:?} is missing in {}; it takes {takes}", self.path);
            return Err(self.error(message));
        };
        let hint = || Some(format!("for other keys, first write the key {name}, which takes {takes}"));
        let section = self.with_keys(common.iter().chain(*keys).copied().collect());
        Ok((None, section.map_err(|e| if e.hint.is_none() { e.with_hint(hint()) } else { e })?))
    }

    pub(super) fn with_keys(&self, keys: Vec<Key>) -> Result<Section<'a>, PlanError> {
        let Value::Map(entries) = &self.node.value else {
            return Err(self.wrong(format!("a map with the keys {}", names(&keys))));
        };
        let known = |key: &tree::Key| keys.iter().any(|known| known.name == key.text);
        if let Some((key, _)) = entries.iter().find(|(key, _)| !known(key)) {
            let message = format!("unknown key {}; allowed here: {}", quoted(&key.text), names(&keys));
            let hint = did_you_mean(&key.text, keys.iter().map(|key| key.name));
            return Err(self.error_at(key.at, message).with_hint(hint));
        }
        self.unique(entries)?;
        Ok(Section { field: self.clone(), entries, keys })
    }

    /// A map that is not there, of a word whose settings may all be left out.
    pub(super) fn without_entries(&self, keys: Vec<Key>) -> Section<'a> {
        Section { field: self.clone(), entries: &[], keys }
    }

    /// Refuses a map in which a key is there twice.
    pub(crate) fn distinct(&self) -> Result<(), PlanError> {
        match &self.node.value {
            Value::Map(entries) => self.unique(entries),
            _ => Ok(()),
        }
    }

    fn unique(&self, entries: &[(tree::Key, Node)]) -> Result<(), PlanError> {
        duplicate(entries).map_or(Ok(()), |(key, first)| {
            let message = format!("the key {} is given twice; first in line {first}", quoted(&key.text));
            Err(self.error_at(key.at, message))
        })
    }

    /// A map whose keys are names that the author chose, at most `most` of them.
    pub(crate) fn named(&self, most: usize) -> Result<Vec<(Name, Field<'a>)>, PlanError> {
        let named = |(text, field): (String, Field<'a>)| {
            let name = text.parse().map_err(|e: NameError| self.error_at(field.key, e.to_string()))?;
            Ok((name, field))
        };
        self.texts(most)?.into_iter().map(named).collect()
    }

    /// As [`Self::named`], with keys of any text.
    pub(crate) fn texts(&self, most: usize) -> Result<Vec<(String, Field<'a>)>, PlanError> {
        let (Value::Map(entries), Takes::Names { of, .. }) = (&self.node.value, self.takes) else {
            return Err(self.refused());
        };
        self.unique(entries)?;
        number_of(&self.path, entries.len(), most).map_err(|fault| self.error(fault.message))?;
        let child =
            |(key, node): &'a (tree::Key, Node)| (key.text.clone(), self.child(&key.text, key.at, node, *of));
        Ok(entries.iter().map(child).collect())
    }

    /// The same value, read as what another key takes.
    pub(crate) fn taking(&self, takes: Takes) -> Field<'a> {
        Field { takes, ..self.clone() }
    }

    pub(crate) fn list(&self) -> Result<Vec<Field<'a>>, PlanError> {
        let (Value::List(nodes), Takes::List { of, .. }) = (&self.node.value, self.takes) else {
            return Err(self.refused());
        };
        let file = self.file;
        let field = |(index, node): (usize, &'a Node)| Field {
            file,
            path: format!("{}[{index}]", self.path),
            key: node.at,
            node,
            takes: *of,
        };
        Ok(nodes.iter().enumerate().map(field).collect())
    }

    /// The value itself as the only entry of a list.
    pub(crate) fn entry(&self) -> Field<'a> {
        match self.takes {
            Takes::List { of, .. } => self.taking(*of),
            _ => self.clone(),
        }
    }

    pub(crate) fn text(&self) -> Result<&'a str, PlanError> {
        match &self.node.value {
            Value::Text(text) => Ok(text),
            Value::Whole(_) | Value::Number(_) | Value::Flag(_) => {
                Err(self.wrong("a text").with_hint(Some("put the value in quotes".to_owned())))
            }
            _ => Err(self.wrong("a text")),
        }
    }

    /// A value, if there is one and the key takes it.
    fn taken<T: Setting>(&self, value: Option<T>) -> Result<T, PlanError> {
        let taken = value.filter(|value| value.check(&self.takes, &self.path).is_ok());
        taken.ok_or_else(|| self.refused())
    }
}

impl<'a> Section<'a> {
    /// The value of one of the section's keys; its default where it is not there.
    pub(crate) fn get<T: Setting>(&self, name: &str) -> Result<T, PlanError> {
        let mut default = None;
        let found = self.found(name, &mut default)?;
        match found {
            Some(field) => T::read(&field),
            None => T::absent().ok_or_else(|| self.missing(name)),
        }
    }

    /// What [`Self::get`] reads, whatever its type: this is in a program once, and `get` once a type.
    /// `default` holds a default. `None`: the type says what the key's absence means.
    fn found<'n>(
        &'n self,
        name: &str,
        default: &'n mut Option<Node>,
    ) -> Result<Option<Field<'n>>, PlanError> {
        let key = self.key(name)?;
        if let Some(field) = self.optional(name) {
            return Ok(Some(field));
        }
        match key.absent {
            Absent::Default(text) => {
                let node = default.insert(tree::parse(self.field.file, text)?);
                Ok(Some(self.field.child(name, self.field.key, node, key.takes)))
            }
            Absent::Means(_) => Ok(None),
            Absent::Refused => Err(self.missing(name)),
        }
    }

    /// The value of a key that is there.
    pub(crate) fn optional(&self, name: &str) -> Option<Field<'a>> {
        let key = self.key(name).ok()?;
        let (place, node) = self.entries.iter().find(|(key, _)| key.text == name)?;
        Some(self.field.child(name, place.at, node, key.takes))
    }

    /// The map itself.
    pub(crate) fn field(&self) -> &Field<'a> {
        &self.field
    }

    fn key(&self, name: &str) -> Result<&Key, PlanError> {
        let key = self.keys.iter().find(|key| key.name == name);
        key.ok_or_else(|| self.field.error(format!("no table of keys has {name:?} here")))
    }

    fn missing(&self, name: &str) -> PlanError {
        let inside = &self.field.path;
        let place = if inside.is_empty() { String::new() } else { format!(" in {inside}") };
        self.field.error(format!("the key {name:?} is missing{place}"))
    }
}

/// Refuses a value that its key does not take. `path` ends with the key's name in `keys`.
pub(crate) fn check<T: Setting>(keys: &[Key], path: &str, value: &T) -> Checked {
    let name = path.rsplit('/').next().unwrap_or(path);
    match keys.iter().find(|key| key.name == name) {
        Some(key) => value.check(&key.takes, path),
        None => Err(Fault::new(path, format!("no table of keys has {name:?}"))),
    }
}

impl<T: Setting> Setting for Option<T> {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        T::read(field).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn check(&self, takes: &Takes, path: &str) -> Checked {
        self.as_ref().map_or(Ok(()), |value| value.check(takes, path))
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        field.list()?.iter().map(T::read).collect()
    }

    fn check(&self, takes: &Takes, path: &str) -> Checked {
        let Takes::List { of, .. } = takes else { return Ok(()) };
        self.iter().enumerate().try_for_each(|(index, value)| value.check(of, &format!("{path}/{index}")))
    }
}

macro_rules! whole_numbers {
    ($($number:ty),*) => {$(
        impl Setting for $number {
            fn read(field: &Field<'_>) -> Result<Self, PlanError> {
                match field.value() {
                    Value::Whole(number) => field.taken(Self::try_from(*number).ok()),
                    _ => Err(field.refused()),
                }
            }

            fn check(&self, takes: &Takes, path: &str) -> Checked {
                match takes {
                    Takes::Whole { least, most, .. } if !(*least..=*most).contains(&u64::from(*self)) => {
                        Err(Fault::value(path, self, takes))
                    }
                    _ => Ok(()),
                }
            }
        }
    )*};
}

whole_numbers!(u16, u32, u64);

impl Setting for f64 {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        match *field.value() {
            Value::Whole(number) => field.taken(Some(number as Self)),
            Value::Number(number) => field.taken(Some(number)),
            _ => Err(field.refused()),
        }
    }

    fn check(&self, takes: &Takes, path: &str) -> Checked {
        match takes {
            Takes::Number(range) if !range.contains(*self) => Err(Fault::value(path, self, takes)),
            _ => Ok(()),
        }
    }
}

impl Setting for f32 {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let single = f64::read(field)? as Self;
        if single.is_finite() { Ok(single) } else { Err(field.wrong("a number below 3.4e38")) }
    }

    fn check(&self, takes: &Takes, path: &str) -> Checked {
        match takes {
            Takes::Number(range) if !range.contains(f64::from(*self)) => Err(Fault::value(path, self, takes)),
            _ => Ok(()),
        }
    }
}

impl Setting for bool {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        match field.value() {
            Value::Flag(flag) => Ok(*flag),
            _ => Err(field.refused()),
        }
    }
}

impl Setting for String {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        field.taken(Some(field.text()?.to_owned()))
    }

    fn check(&self, takes: &Takes, path: &str) -> Checked {
        match takes {
            Takes::Text(Text::Registered(_)) if !is_registered(self) => {
                Err(Fault::value(path, format!("{self:?}"), takes))
            }
            _ => Ok(()),
        }
    }
}

/// Whether a text can be a name that a user's crate registers.
fn is_registered(name: &str) -> bool {
    let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    (1..=limits::NAME_BYTES).contains(&name.len()) && letters
}

impl Setting for Name {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        field.text()?.parse().map_err(|e: NameError| field.error(e.to_string()))
    }
}

impl Setting for ByteCount {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        field.taken(match field.value() {
            Value::Text(text) => units::size(text),
            Value::Whole(0) => Some(Self(0)),
            _ => None,
        })
    }
}

impl Setting for Millis {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        match field.value() {
            Value::Text(text) => field.taken(units::duration(text)),
            _ => Err(field.refused()),
        }
    }

    fn check(&self, takes: &Takes, path: &str) -> Checked {
        match takes {
            Takes::Time { least, most } if !(*least..=*most).contains(self) => {
                Err(Fault::value(path, self, takes))
            }
            _ => Ok(()),
        }
    }
}
