//! The texts of a Rust source: strings of the product by what they are given to, help, and comments.

use std::path::Path;

use super::{Kind, Text, markdown};
use crate::code::{Part, Span, code_only, is_word, item_len, spans, without_tests};

/// `comments` is the kind of the comments: those of the manual's chapters are the manual.
pub(super) fn texts(file: &Path, source: &str, comments: Kind) -> Vec<Text> {
    let chars: Vec<char> = source.chars().collect();
    let code: Vec<char> = code_only(source).chars().collect();
    let product: Vec<char> = without_tests(&code.iter().collect::<String>()).chars().collect();
    let spans = spans(&chars);
    let help = help_ranges(&product, &spans);
    let line_of = |at: usize| chars[..at].iter().filter(|c| **c == '\n').count() + 1;

    let mut texts = Vec::new();
    for span in &spans {
        let literal = matches!(span.part, Part::Text | Part::RawText);
        let kind = if literal { string_kind(&product, span.start) } else { None };
        let value = value(&chars[span.start..span.end], span.part);
        if let Some(kind) = kind.filter(|_| value.split_whitespace().count() >= FEWEST_WORDS) {
            texts.push(Text {
                kind,
                file: file.to_owned(),
                line: line_of(span.start),
                text: value,
                before: String::new(),
            });
        }
    }
    let mut lines: Vec<(usize, String, Kind)> = Vec::new();
    for span in spans.iter().filter(|span| span.part == Part::Comment) {
        let in_help = help.iter().any(|(from, to)| (*from..*to).contains(&span.start));
        let text: String = chars[span.start..span.end].iter().collect();
        for (more, line) in text.lines().enumerate() {
            let words = line.trim().trim_start_matches('/').trim_start_matches('!');
            let is_help = in_help && line.starts_with("///");
            let kind = if is_help { Kind::Help } else { comments };
            lines.push((line_of(span.start) + more, words.to_owned(), kind));
        }
    }
    for group in lines.chunk_by(|one, next| one.2 == next.2 && next.0 == one.0 + 1) {
        let group_lines: Vec<(usize, &str)> =
            group.iter().map(|(line, words, _)| (*line, words.as_str())).collect();
        texts.extend(markdown::of_lines(file, group[0].2, &group_lines));
    }
    texts.sort_by_key(|text| text.line);
    texts
}

/// Ranges of characters, documentation before the item included, of the items that describe a command line.
fn help_ranges(product: &[char], spans: &[Span]) -> Vec<(usize, usize)> {
    let code: String = product.iter().collect();
    let mut ranges = Vec::new();
    for (byte, _) in code.match_indices("#[derive(") {
        let derive = &code[byte..];
        if !derive.split(']').next().is_some_and(|head| head.contains("FromArgs")) {
            continue;
        }
        let at = code[..byte].chars().count();
        let end = at + derive[..item_len(derive)].chars().count();
        // Comments directly above: nothing but space between them and the attribute.
        let mut start = at;
        for span in spans.iter().rev().filter(|span| span.end <= at && span.part == Part::Comment) {
            if product[span.end..start].iter().all(|c| c.is_whitespace()) {
                start = span.start;
            }
        }
        ranges.push((start, end));
    }
    ranges
}

/// What the string that starts at `at` is given to; none for strings of tests, attributes, checks and panics.
fn string_kind(product: &[char], at: usize) -> Option<Kind> {
    let before = product[..at].iter().rposition(|c| !c.is_whitespace());
    // In a test, all before it up to the test's attribute is blank.
    let heads = heads(product, at);
    if before.is_none() || heads.is_empty() && !statement(product, at).contains("const ") {
        return None;
    }
    for (head, arguments) in std::iter::once((statement(product, at), 0)).chain(heads) {
        let word = head.rsplit(|c: char| !is_word(c) && c != '!' && c != ':').next().unwrap_or_default();
        let name = word.rsplit("::").next().unwrap_or_default();
        let in_attribute = head.contains("#[");
        match name {
            "error" if in_attribute => return Some(Kind::Error),
            "error_code" => return Some(Kind::Help),
            "argh" => {
                let key = statement(product, at);
                return (key.starts_with("note") || key.starts_with("description")).then_some(Kind::Help);
            }
            "info!" | "warn!" | "error!" | "debug!" | "trace!" => return Some(Kind::Log),
            "hint" | "maybe_hint" => return Some(Kind::Hint),
            "assert!" | "assert_eq!" | "panic!" | "unreachable!" | "expect" | "expect_err" => return None,
            _ if in_attribute => return None,
            "new" if head.ends_with("Failure::new") => return Some(Kind::Error),
            // The launcher's: an error and a hint.
            "file" if head.ends_with("Failure::file") => {
                return Some(if arguments == 0 { Kind::Error } else { Kind::Hint });
            }
            _ => {}
        }
        let says =
            |name: &str| head.contains(&format!("fn {name}(")) || head.contains(&format!("let {name} ="));
        if says("hint") || head.contains("HINT") {
            return Some(Kind::Hint);
        }
        if says("error") {
            return Some(Kind::Error);
        }
        if says("meaning") {
            return Some(Kind::Help);
        }
    }
    Some(Kind::Other)
}

/// What stands before each open bracket around `at`, innermost first (`#[error`, `Failure::new`,
/// `fn hint(&self)`), and how many arguments stand between the bracket and `at`.
fn heads(product: &[char], at: usize) -> Vec<(String, usize)> {
    let mut heads = Vec::new();
    let (mut closed, mut arguments) = (0_usize, 0);
    for open in (0..at).rev() {
        match product[open] {
            ')' | ']' | '}' => closed += 1,
            '(' | '[' | '{' if closed > 0 => closed -= 1,
            '(' | '[' | '{' => heads.push((statement(product, open), std::mem::take(&mut arguments))),
            ',' if closed == 0 => arguments += 1,
            _ => {}
        }
    }
    heads
}

/// The code before `at`, from where its statement or argument begins.
fn statement(product: &[char], at: usize) -> String {
    let mut closed = 0_usize;
    let mut start = at;
    while start > 0 {
        match product[start - 1] {
            ')' | ']' => closed += 1,
            '(' if closed == 0 => break,
            '(' | '[' => closed = closed.saturating_sub(1),
            ';' | '{' | '}' | ',' if closed == 0 => break,
            _ => {}
        }
        start -= 1;
    }
    product[start..at].iter().collect::<String>().trim().to_owned()
}

/// What a string says: its escapes taken out, `{{` as `{`.
fn value(literal: &[char], part: Part) -> String {
    let text: String = literal.iter().collect();
    let inside = match (text.find('"'), text.rfind('"')) {
        (Some(first), Some(last)) if first < last => &text[first + 1..last],
        _ => return String::new(),
    };
    let plain = if part == Part::RawText { inside.to_owned() } else { unescaped(inside) };
    plain.replace("{{", "{").replace("}}", "}")
}

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            // The line goes on behind the indent.
            Some('\n') => while chars.next_if(|c| c.is_whitespace()).is_some() {},
            Some('u') => while chars.next_if(|c| *c != '}').is_some() {},
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

/// Shorter strings are words and names, not sentences.
const FEWEST_WORDS: usize = 3;
