//! YAML as a tree in which every value knows its line and column.
//!
//! The plan, the site file and the data map are read through here, so all three refuse in the same words. The
//! parser refuses anchors, aliases, merge keys, a second document and any file beyond the limits before it
//! builds a value. Callers know what a key means.

use std::{collections::BTreeMap, fmt};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use super::error::{At, PlanError};
use crate::{
    limits, name,
    printable::{is_printable, unprintable},
};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: At,
    pub(crate) value: Value,
}

/// What YAML's core schema makes of a text. Quoted scalars are [`Value::Text`], whatever they look like.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Flag(bool),
    Whole(i128),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    /// Duplicates included: the reader of a map names both places.
    Map(Vec<(Key, Node)>),
}

/// A map's key and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) at: At,
    pub(crate) text: String,
}

/// Parses one document of at most [`limits::PLAN_FILE_BYTES`]; `file` labels its refusals.
pub(crate) fn parse(file: &'static str, text: &str) -> Result<Node, PlanError> {
    let start = At { line: 1, column: 1 };
    if text.len() > limits::PLAN_FILE_BYTES {
        let message =
            format!("the file has {} bytes; it takes at most {}", text.len(), limits::PLAN_FILE_BYTES);
        return Err(PlanError::new(file, start, message));
    }
    printable_file(file, text)?;
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_aliases: 0,
            max_anchors: 0,
            max_merge_keys: 0,
            max_documents: 1,
            max_depth: DEPTH,
            flow_nesting_limit: DEPTH,
            max_nodes: NODES,
            max_events: 4 * NODES,
        },
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::PassThrough,
        merge_keys: serde_saphyr::options::MergeKeyPolicy::Error,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        strict_booleans: true,
        with_snippet: false,
    };
    let tree = serde_saphyr::from_str_with_options::<Node>(text, options).map_err(|e| refused(file, &e))?;
    tree.printable(file)?;
    Ok(tree)
}

/// Refuses control characters as they stand in the file, comments included: what an editor shows is what is
/// read.
fn printable_file(file: &'static str, text: &str) -> Result<(), PlanError> {
    for (line, number) in text.split('\n').zip(1..) {
        let mut seen = line.trim_end_matches('\r').chars().zip(1..);
        if let Some((c, column)) = seen.find(|(c, _)| *c != '\t' && !is_printable(*c)) {
            return Err(control(file, At { line: number, column }, c));
        }
    }
    Ok(())
}

fn control(file: &'static str, at: At, c: char) -> PlanError {
    let message = format!("the control character {} is not allowed in this file", c.escape_unicode());
    PlanError::new(file, at, message)
        .with_hint(Some("remove it: such a character can hide or change what a terminal shows".to_owned()))
}

/// The parser's refusal in one line, its own place taken out of the text.
fn refused(file: &'static str, error: &serde_saphyr::Error) -> PlanError {
    let at = error.location().map_or(At { line: 1, column: 1 }, |place| At::from(&place));
    let text = match error {
        serde_saphyr::Error::Budget { breach, .. } => match breach {
            serde_saphyr::budget::BudgetBreach::Aliases { .. }
            | serde_saphyr::budget::BudgetBreach::Anchors { .. } => {
                "anchors (&) and aliases (*) are not allowed: write each value out, and put a text that begins with & or * in quotes"
                    .to_owned()
            }
            serde_saphyr::budget::BudgetBreach::Documents { .. } => {
                "the file has a second document, which begins with `---`: write one document alone".to_owned()
            }
            serde_saphyr::budget::BudgetBreach::MergeKeys { .. } => {
                "merge keys (<<) are not allowed: write each value out".to_owned()
            }
            serde_saphyr::budget::BudgetBreach::Depth { .. } => {
                format!("the file is nested deeper than {DEPTH} levels")
            }
            _ => format!("the file has more than {NODES} values"),
        },
        serde_saphyr::Error::MultipleDocuments { .. } => {
            "the file has a second document, which begins with `---`: write one document alone".to_owned()
        }
        other => {
            let text = other.render_with_formatter(&serde_saphyr::UserMessageFormatter);
            let line = text.lines().next().unwrap_or_default();
            let line = line.split(" at line ").next().unwrap_or(line);
            format!("the file is not YAML: {}", line.trim_end_matches(['.', ':', ',']))
        }
    };
    PlanError::new(file, at, text)
}

impl At {
    fn from(place: &Location) -> Self {
        Self { line: place.line().max(1), column: place.column().max(1) }
    }
}

impl Node {
    /// Refuses keys and texts that YAML's escapes (`"\\e"`) have put control characters into.
    fn printable(&self, file: &'static str) -> Result<(), PlanError> {
        let check = |at: At, text: &str| unprintable(text).map_or(Ok(()), |c| Err(control(file, at, c)));
        match &self.value {
            // The separator of a table; alone, a tab hides nothing.
            Value::Text(text) if text == "\t" => Ok(()),
            Value::Text(text) => check(self.at, text),
            Value::List(nodes) => nodes.iter().try_for_each(|node| node.printable(file)),
            Value::Map(entries) => entries.iter().try_for_each(|(key, node)| {
                check(key.at, &key.text)?;
                node.printable(file)
            }),
            _ => Ok(()),
        }
    }

    /// The deepest value that `path` (`tasks/train/epochs`) reaches, and its place: a scalar's own, a list's
    /// or map's key's.
    pub(crate) fn locate(&self, path: &str) -> At {
        let mut node = self;
        let mut at = self.at;
        for step in path.split('/') {
            let next = match &node.value {
                Value::Map(entries) => {
                    entries.iter().find(|(key, _)| key.text == step).map(|(key, node)| (key.at, node))
                }
                Value::List(nodes) => {
                    step.parse::<usize>().ok().and_then(|i| nodes.get(i)).map(|node| (node.at, node))
                }
                _ => None,
            };
            let Some((key, next)) = next else { break };
            node = next;
            at = match node.value {
                Value::Map(_) | Value::List(_) => key,
                _ => node.at,
            };
        }
        at
    }
}

impl Value {
    /// What a reader sees, for a refusal: `the text "ten"`, `a list`. Never long, never with a line break in
    /// it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Null => "empty".to_owned(),
            Self::Flag(flag) => flag.to_string(),
            Self::Whole(number) => number.to_string(),
            // With its point or exponent: 1.0 is no whole number, and 1e300 has many zeros.
            Self::Number(number) => format!("{number:?}"),
            Self::Text(text) => format!("the text {}", quoted(text)),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) => "a map".to_owned(),
        }
    }
}

/// A text of a file, quoted, at most 40 characters of it. What stands before an `@` may be the password of an
/// address, and is left out.
pub(crate) fn quoted(text: &str) -> String {
    if let Some((before, after)) = text.rsplit_once('@')
        && before.contains(':')
    {
        return quoted(&format!("…{after}"));
    }
    let short: String = text.chars().take(40).collect();
    if short.len() < text.len() { format!("{short:?}…") } else { format!("{short:?}") }
}

/// `did you mean "rounds"?`, if a known name is near.
pub(crate) fn did_you_mean<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    name::nearest(wrong, known).map(|near| format!("did you mean {near:?}?"))
}

/// Where two keys of a map are the same: the second, and the line of the first.
pub(crate) fn duplicate(entries: &[(Key, Node)]) -> Option<(&Key, u64)> {
    let mut seen = BTreeMap::new();
    entries.iter().find_map(|(key, _)| seen.insert(&key.text, key.at.line).map(|first| (key, first)))
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { at: At::from(&referenced), value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Build)
    }
}

struct Build;

impl<'de> Visitor<'de> for Build {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Whole(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Whole(number.into()))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Value, E> {
        Ok(Value::Whole(number))
    }

    fn visit_u128<E>(self, number: u128) -> Result<Value, E> {
        Ok(i128::try_from(number).map_or(Value::Number(number as f64), Value::Whole))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(Spanned { value: text, referenced, .. }) = map.next_key::<Spanned<String>>()? {
            entries.push((Key { at: At::from(&referenced), text }, map.next_value()?));
        }
        Ok(Value::Map(entries))
    }
}

/// Levels of nesting: a plan has six.
const DEPTH: usize = 24;
/// Values of a whole file: a statistic a feature for a hundred thousand features fits.
const NODES: usize = 300_000;
