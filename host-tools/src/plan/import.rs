//! Converts an OpenFL plan, as far as a file can describe it.
//!
//! OpenFL names Python classes for model, data and optimiser, and no file describes them. The new plan has
//! `fill_in` in these places, and `plan check` refuses it until a person has replaced each of them. Every
//! other key is kept, converted or dropped, and a note says which. A key that some versions ignored
//! (`epochs_per_round`) gets a warning. Only a file that is not YAML is an error.

mod aggregation;
mod rules;
mod write;

use std::{fmt, path::Path};

use fl_engine::limits::PLAN_FILE_BYTES;
use serde_json::Value;

use crate::{
    exit::{Exit, Failure},
    files,
    templates::TEMPLATES,
    workspace::set_key,
};

/// What happened to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// `aggregator.settings.rounds_to_train`.
    pub key: String,
    /// Whether it was kept, converted or dropped.
    pub verdict: Verdict,
    /// What it became, or why it was dropped.
    pub text: String,
}

/// Whether a key was kept, converted or dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The same setting.
    Kept,
    /// Another setting with the same effect.
    Converted,
    /// Without a counterpart.
    Dropped,
    /// Without a counterpart, although a federation may rely on it.
    Warning,
}

/// A converted plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The new `plan.yaml`.
    pub text: String,
    /// One for each key, in the order of the keys' names.
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

/// Converts the OpenFL plan `from` into the file `to`. A template's plan is replaced, and its federation
/// stays.
///
/// # Errors
/// [`Exit::File`] when `to` is a plan that somebody has edited, or a file cannot be read or written;
/// [`Exit::Plan`] when `from` is not a YAML map.
pub fn file(from: &Path, to: &Path) -> Result<Imported, Failure> {
    let mut imported = text(&files::read_text(from, PLAN_FILE_BYTES)?)
        .map_err(|e| Failure::new(Exit::Plan, format!("{}: {}", from.display(), e.error)))?;
    if to.exists() {
        let present = files::read_text(to, PLAN_FILE_BYTES)?;
        if !is_template(&present) {
            return Err(Failure::new(
                Exit::File,
                format!("{} already exists, and somebody has edited it", to.display()),
            )
            .hint("give another path with --output, or move the existing file away"));
        }
        // The plan that `fl-host workspace create` made: the folder's federation keeps its name.
        if let Some(line) = present.lines().find_map(|line| line.strip_prefix("federation:")) {
            imported.text = set_key(&imported.text, "federation", line.trim(), "schema");
        }
    }
    files::replace(to, imported.text.as_bytes())?;
    Ok(imported)
}

/// Whether a plan is a template as `fl-host workspace create` and `fl-host plan initialize` leave it.
fn is_template(plan: &str) -> bool {
    let kept = |line: &&str| !["federation:", "ca:", "quorum:"].iter().any(|key| line.starts_with(key));
    TEMPLATES.iter().any(|template| plan.lines().filter(kept).eq(template.plan.lines().filter(kept)))
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
        .map_err(|e| Failure::new(Exit::Plan, format!("the file is not YAML: {e}")))?;
    if !tree.is_object() {
        return Err(Failure::new(
            Exit::Plan,
            "the file is not an OpenFL plan: it has no sections such as aggregator, network and tasks",
        ));
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

/// Every key whose value is not a map, with its path. `tasks` is converted elsewhere.
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
