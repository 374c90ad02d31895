//! Where the comments and literals of a Rust source stand.

use super::is_word;

/// What is no code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `// …` or `/* … */`, documentation included.
    Comment,
    /// A string in quotes, with escapes.
    Text,
    /// A string without escapes: `r"…"`, `r#"…"#`.
    RawText,
    /// A character in quotes.
    Character,
}

/// A comment or a literal, from its first sign to its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// What it is.
    pub part: Part,
    /// Index of its first character.
    pub start: usize,
    /// Index of the character after it.
    pub end: usize,
}

/// Every comment and literal, in order.
pub fn spans(source: &[char]) -> Vec<Span> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < source.len() {
        match span_at(source, at) {
            Some((part, end)) if end > at => {
                found.push(Span { part, start: at, end });
                at = end;
            }
            _ => at += 1,
        }
    }
    found
}

/// The comment or literal that starts at `at`: what it is and where it ends.
fn span_at(text: &[char], at: usize) -> Option<(Part, usize)> {
    let next = text.get(at + 1).copied();
    match text[at] {
        '/' if next == Some('/') => {
            let end = text[at..].iter().position(|c| *c == '\n').map_or(text.len(), |len| at + len);
            Some((Part::Comment, end))
        }
        '/' if next == Some('*') => Some((Part::Comment, block_comment_end(text, at))),
        '"' => Some((Part::Text, string_end(text, at + 1))),
        'r' | 'b' | 'c' if at == 0 || !is_word(text[at - 1]) => {
            raw_string_end(text, at).map(|end| (Part::RawText, end))
        }
        '\'' => char_end(text, at).map(|end| (Part::Character, end)),
        _ => None,
    }
}

fn block_comment_end(text: &[char], start: usize) -> usize {
    let mut depth = 0usize;
    let mut at = start;
    while at < text.len() {
        match (text[at], text.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    text.len()
}

/// `at` is the first character inside the quotes.
fn string_end(text: &[char], mut at: usize) -> usize {
    while at < text.len() {
        match text[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// `r"…"`, `r#"…"#`, `br"…"`, `cr"…"`; none if `start` is no such thing.
fn raw_string_end(text: &[char], start: usize) -> Option<usize> {
    let r = if text[start] == 'r' { start } else { start + 1 };
    if text.get(r) != Some(&'r') {
        return None;
    }
    let hashes = text[r + 1..].iter().take_while(|c| **c == '#').count();
    let open = r + 1 + hashes;
    if text.get(open) != Some(&'"') {
        return None;
    }
    let mut at = open + 1;
    while at < text.len() {
        let closes = text[at] == '"' && text[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes;
        if closes {
            return Some(at + 1 + hashes);
        }
        at += 1;
    }
    Some(text.len())
}

/// A character literal, told from a lifetime by its closing quote.
fn char_end(text: &[char], start: usize) -> Option<usize> {
    if text.get(start + 1) == Some(&'\\') {
        // The escaped character itself may be a quote.
        let close = text.get(start + 3..)?.iter().position(|c| *c == '\'')?;
        return Some(start + 3 + close + 1);
    }
    (text.get(start + 2) == Some(&'\'')).then_some(start + 3)
}
