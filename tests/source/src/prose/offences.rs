//! What the rules for prose refuse: constructs that a reader has to decode, long sentences, and comments
//! beyond the column limit.

use std::path::{Path, PathBuf};

use super::{Kind, Text, habits, sentences, texts};
use crate::code::{Part, spans};

/// One place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offence {
    /// The file, relative to the root of the repository.
    pub file: PathBuf,
    /// Its line, counted from one.
    pub line: usize,
    /// The rule's name.
    pub rule: &'static str,
    /// What stands there, and the cure.
    pub cure: String,
}

/// Every offence of one file.
#[must_use]
pub fn offences(file: &Path, content: &str) -> Vec<Offence> {
    let mut found = Vec::new();
    let mut add = |line: usize, rule: &'static str, cure: String| {
        found.push(Offence { file: file.to_owned(), line, rule, cure });
    };
    for text in texts(file, content) {
        for (line, construct, instead) in constructs(&text) {
            add(line, "construct", format!("`{construct}` ({}): {instead}", text.kind.word()));
        }
        if matches!(text.kind, Kind::Error | Kind::Hint) {
            for (_, sentence) in sentences(&text.text) {
                let words = sentence.split_whitespace().count();
                if words > MOST_WORDS {
                    let kind = text.kind.word();
                    add(
                        text.line,
                        "long",
                        format!(
                            "{words} words in one sentence of this {kind}: split it, {MOST_WORDS} are the most"
                        ),
                    );
                }
            }
        }
    }
    if file.extension().is_some_and(|end| end == "rs") {
        for (line, width) in wide_comments(content) {
            add(line, "wide", format!("comment of {width} columns: wrap it, {COLUMNS} are the most"));
        }
        for (line, name) in habits::possessive_names(content) {
            add(line, "name", format!("`{name}` has a possessive `_s_`: name the test without"));
        }
        for (line, root) in habits::repeated_roots(content) {
            add(line, "import", format!("a second `use {root}`: merge it into the first"));
        }
        if file.components().any(|part| part.as_os_str() == "src") {
            for (line, name) in habits::early_constants(content) {
                add(
                    line,
                    "constant",
                    format!(
                        "`{name}` stands above a type or function: move it to the end of the file, before tests"
                    ),
                );
            }
        }
    }
    found.sort();
    found
}

/// Constructs in a text: the line, what was found, and what to write.
fn constructs(text: &Text) -> Vec<(usize, String, &'static str)> {
    let clean = |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    let words: Vec<(usize, String)> = text
        .text
        .lines()
        .enumerate()
        .flat_map(|(more, line)| line.split_whitespace().map(move |word| (text.line + more, clean(word))))
        .filter(|(_, word)| !word.is_empty())
        .collect();
    // Escapes of a string are taken out: its lines are not the source's.
    let is_string = text.kind <= Kind::Help || text.kind == Kind::Other;
    let read_by_users = text.kind != Kind::Comment;
    let mut found = Vec::new();
    for (refused, instead, everywhere) in CONSTRUCTS {
        if !everywhere && !read_by_users {
            continue;
        }
        let sought: Vec<&str> = refused.split(' ').collect();
        for (at, window) in words.windows(sought.len()).enumerate() {
            let is_it = window.iter().map(|(_, word)| word.as_str()).eq(sought.iter().copied());
            let before = at.checked_sub(1).map_or("", |before| words[before].1.as_str());
            let after = words.get(at + sought.len()).map_or("", |(_, word)| word.as_str());
            // "There is no file" and "is no longer" are plain.
            let plain =
                sought.last() == Some(&"no") && (before == "there" || matches!(after, "longer" | "more"));
            if is_it && !plain {
                found.push((if is_string { text.line } else { window[0].0 }, refused.to_owned(), instead));
            }
        }
    }
    found
}

/// Comments beyond the column limit: the line and its width. A line that is one long word cannot be wrapped.
fn wide_comments(source: &str) -> Vec<(usize, usize)> {
    let chars: Vec<char> = source.chars().collect();
    let mut is_comment = vec![false; chars.len()];
    for span in spans(&chars).iter().filter(|span| span.part == Part::Comment) {
        is_comment[span.start..span.end].fill(true);
    }
    let mut found = Vec::new();
    let mut start = 0;
    for (index, line) in source.lines().enumerate() {
        let width = line.chars().count();
        let begins = line.chars().take_while(|c| c.is_whitespace()).count();
        let is_ours = is_comment.get(start + begins).is_some_and(|is| *is);
        let words = line.trim().trim_start_matches(['/', '!']).split_whitespace().count();
        if width > COLUMNS && is_ours && words > 1 && !line.contains("](") && !line.contains('|') {
            found.push((index + 1, width));
        }
        start += width + 1;
    }
    found
}

/// Refused words, what to write, and whether comments beside the code may not have them either.
const CONSTRUCTS: [(&str, &str, bool); 26] = [
    ("whoever", "name who: the user, the owner, the site", true),
    ("of theirs", "name whose", true),
    ("of ours", "name whose", true),
    ("yours to", "you decide, you may", true),
    ("that is none", "say what it is not: an invalid …, not a …", true),
    ("it is none", "say what it is not: not a …", true),
    ("what is not so", "say what is wrong", true),
    ("once more", "again", true),
    ("all the same", "still", true),
    ("counts for nothing", "is ignored, is overwritten", true),
    ("the like of", "such as", true),
    ("or the like", "name the others", true),
    ("is told of", "gets, learns, is informed of", true),
    ("are told of", "get, learn, are informed of", true),
    ("told of", "name who tells what", true),
    ("the same of", "repeat the noun", true),
    ("but for", "except for", true),
    ("passed over", "ignored, skipped", true),
    ("what lies", "any file, the file", true),
    ("lest", "so that … not", true),
    ("not any more", "no longer", true),
    ("what comes", "name what comes", false),
    ("who comes", "name who: a collaborator that connects", false),
    ("say of", "report about, state about", false),
    ("is no", "is not a, has no", false),
    ("are no", "are not, have no", false),
];
/// Words of a sentence in an error or a hint, at most.
const MOST_WORDS: usize = 30;
/// As `.rustfmt.toml` has it.
const COLUMNS: usize = 110;
