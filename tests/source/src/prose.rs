//! The sentences of this repository, each with its place: what a user reads, and what an engineer reads
//! beside the code.
//!
//! [`texts`] takes a file apart, [`sentences`] splits a text, [`draw`] chooses sentences by a seed, and
//! [`offences`] finds what the rules for prose refuse.

mod draw;
mod habits;
mod markdown;
mod offences;
mod rust;

use std::path::{Path, PathBuf};

pub use draw::{draw, numbered};
pub use offences::{Offence, offences};

/// Where a text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// After `error:`.
    Error,
    /// After `hint:`.
    Hint,
    /// A line of a log.
    Log,
    /// `--help`.
    Help,
    /// The README.
    Readme,
    /// A chapter of the manual.
    Manual,
    /// Another string of the product, or another page.
    Other,
    /// Beside the code.
    Comment,
}

impl Kind {
    /// The kinds that users read, in the order in which they are drawn.
    pub const READ_BY_USERS: [Self; 6] =
        [Self::Error, Self::Hint, Self::Log, Self::Help, Self::Readme, Self::Manual];

    /// As a report names the kind.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Hint => "hint",
            Self::Log => "log line",
            Self::Help => "help",
            Self::Readme => "README",
            Self::Manual => "manual",
            Self::Other => "text",
            Self::Comment => "comment",
        }
    }
}

/// A paragraph, a string or a comment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text {
    /// Where it is read.
    pub kind: Kind,
    /// Its file, relative to the root of the repository.
    pub file: PathBuf,
    /// Its first line, counted from one.
    pub line: usize,
    /// The words. Lines of comments and pages stay apart; escapes of strings are taken out.
    pub text: String,
    /// What a reader has read before: the headings above, and of a drawn sentence its paragraph so far.
    pub before: String,
}

/// The texts of a file by its name's end: `.rs`, `.md`, and the comments of `.yaml`, `.toml` and scripts.
#[must_use]
pub fn texts(file: &Path, content: &str) -> Vec<Text> {
    let is_manual = file.components().any(|part| part.as_os_str() == "manual");
    let end = file.extension().and_then(|end| end.to_str()).unwrap_or_default();
    match end {
        "rs" => rust::texts(file, content, if is_manual { Kind::Manual } else { Kind::Comment }),
        "md" if file == Path::new("README.md") => markdown::texts(file, content, Kind::Readme),
        "md" if is_manual => markdown::texts(file, content, Kind::Manual),
        "md" => markdown::texts(file, content, Kind::Other),
        "yaml" | "yml" | "toml" | "template" => comments_after_hash(file, content),
        _ if content.starts_with("#!") => comments_after_hash(file, content),
        _ => Vec::new(),
    }
}

/// The sentences of a text, each on one line, with the number of the text's line on which the sentence
/// begins, counted from zero. A sentence ends with a full stop, a question mark or an exclamation mark before
/// a new one.
#[must_use]
pub fn sentences(text: &str) -> Vec<(usize, String)> {
    let words: Vec<(usize, &str)> = text
        .lines()
        .enumerate()
        .flat_map(|(n, line)| line.split_whitespace().map(move |word| (n, word)))
        .collect();
    let joined = |words: &[(usize, &str)]| words.iter().map(|(_, word)| *word).collect::<Vec<_>>().join(" ");
    let mut sentences = Vec::new();
    let mut first = 0;
    for (at, (_, word)) in words.iter().enumerate() {
        let ends = word.trim_end_matches([')', '"', '*', '`']).ends_with(['.', '?', '!']);
        let shortened = ["e.g.", "i.e.", "etc."].contains(word);
        let begins =
            |c: char| c.is_uppercase() || c.is_ascii_digit() || matches!(c, '`' | '*' | '"' | '(' | '[');
        let next_begins = words.get(at + 1).is_none_or(|(_, next)| next.starts_with(begins));
        if ends && !shortened && next_begins {
            sentences.push((words[first].0, joined(&words[first..=at])));
            first = at + 1;
        }
    }
    if first < words.len() {
        sentences.push((words[first].0, joined(&words[first..])));
    }
    sentences
}

/// Comments that begin with `#`, one text a paragraph.
fn comments_after_hash(file: &Path, content: &str) -> Vec<Text> {
    let comment = |line: &str| {
        let words = line.trim_start().strip_prefix('#').filter(|rest| !rest.starts_with('!'))?;
        Some(words.trim().to_owned())
    };
    let lines: Vec<_> = content.lines().enumerate().map(|(index, line)| (index + 1, comment(line))).collect();
    paragraphs(file, Kind::Comment, &lines)
}

/// Numbered lines joined to texts. A line without words ends a text, and so does a line that belongs to no
/// text.
fn paragraphs(file: &Path, kind: Kind, lines: &[(usize, Option<String>)]) -> Vec<Text> {
    let mut texts: Vec<Text> = Vec::new();
    let mut open = false;
    for (line, words) in lines {
        let words = words.as_ref().filter(|words| !words.is_empty());
        match (words, texts.last_mut()) {
            (Some(words), Some(last)) if open => {
                last.text.push('\n');
                last.text.push_str(words);
            }
            (Some(words), _) => {
                texts.push(Text {
                    kind,
                    file: file.to_owned(),
                    line: *line,
                    text: words.clone(),
                    before: String::new(),
                });
            }
            (None, _) => {}
        }
        open = words.is_some();
    }
    texts
}

#[cfg(test)]
mod tests;
