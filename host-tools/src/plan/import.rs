//! An OpenFL plan becomes a plan of ours, as far as a file can say it.
//!
//! OpenFL names Python classes for model, data and optimiser; no file says what they do. Their places are marked
//! `fill_in`, which `plan check` refuses until a person has written them. Every other key is kept, converted or dropped,
//! with a line that says so. Keys of versions that ignored them (`epochs_per_round`) are warnings; no file makes this
//! fail but one that is not YAML.

mod aggregation;
mod rules;
mod write;

use std::{fmt, path::Path};

use fl_engine::limits::PLAN_FILE_BYTES;
use serde_json::Value;

use crate::{
    exit::{Exit, Failure},
    files,
};

/// What became of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// `aggregator.settings.rounds_to_train`.
    pub key: String,
    /// Its fate.
    pub verdict: Verdict,
    /// What it became, or why it did not.
    pub text: String,
}

/// A key's fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The same setting.
    Kept,
    /// Another setting with the same effect.
    Converted,
    /// Without a counterpart.
    Dropped,
    /// Without a counterpart, and a reader may have relied on it.
    Warning,
}

/// A converted plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The new `plan.yaml`.
    pub text: String,
    /// One a key, in the order of their names.
    pub notes: Vec<Note>,
    /// Keys of the new plan that only a person can write.
    pub fill_in: Vec<&'static str>,
}

impl Verdict {
    /// As shown.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Converted => "converted",
            Self::Dropped => "dropped",
            Self::Warning => "warning",
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<9} {}: {}", self.verdict.word(), self.key, self.text)
    }
}

/// Converts the OpenFL plan `from` into the new file `to`.
///
/// # Errors
/// [`Exit::File`] when `to` exists or a file cannot be read or written; [`Exit::Plan`] when `from` is not a YAML map.
pub fn file(from: &Path, to: &Path) -> Result<Imported, Failure> {
    let imported = text(&files::read_text(from, PLAN_FILE_BYTES)?)
        .map_err(|e| Failure::new(Exit::Plan, format!("{}: {}", from.display(), e.error)))?;
    if to.exists() {
        return Err(Failure::new(Exit::File, format!("{} is there already", to.display()))
            .hint("name another file with --output, or move this one away"));
    }
    files::replace(to, imported.text.as_bytes())?;
    Ok(imported)
}

/// Converts an OpenFL plan.
///
/// # Errors
/// [`Exit::Plan`] when the text is not a YAML map.
pub fn text(openfl: &str) -> Result<Imported, Failure> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: 64, max_nodes: 100_000 },
        // As Python's YAML does.
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::LastWins,
        with_snippet: false,
    };
    let tree: Value = serde_saphyr::from_str_with_options(openfl, options)
        .map_err(|e| Failure::new(Exit::Plan, format!("not YAML: {e}")))?;
    if !tree.is_object() {
        return Err(Failure::new(Exit::Plan, "not an OpenFL plan: a plan is a map of sections"));
    }
    let mut found = rules::Found::default();
    let mut notes = Vec::new();
    leaves("", &tree, &mut |key, value| {
        if let Some((verdict, text)) = rules::apply(&mut found, key, value) {
            notes.push(Note { key: key.to_owned(), verdict, text });
        }
    });
    rules::tasks(&mut found, &tree, &mut notes);
    notes.sort_by(|a, b| a.key.cmp(&b.key));
    let mut fill_in = vec!["model", "data"];
    if found.tasks.iter().any(|task| matches!(task.kind, rules::Kind::Train { .. })) {
        fill_in.extend(["optimiser", "loss"]);
    }
    Ok(Imported { text: write::plan(&found), notes, fill_in })
}

/// Every key whose value is not a map, with its path. `tasks` is left to its own rule.
fn leaves(path: &str, value: &Value, each: &mut dyn FnMut(&str, &Value)) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map.iter().filter(|(key, _)| !(path.is_empty() && *key == "tasks")) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                leaves(&path, value, each);
            }
        }
        _ if path.is_empty() => {}
        _ => each(path, value),
    }
}

#[cfg(test)]
mod tests;
