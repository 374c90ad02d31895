//! Text that is safe to print: characters that move a terminal's cursor, hide other text, turn its direction
//! or begin a line become `\u{…}`.
//!
//! The sinks of both programs call [`printable`] or [`json`] for everything that they write: no text of a
//! plan, a peer, a file or a certificate reaches a terminal or a log file without it. Readers of plans,
//! rosters and model files refuse such characters, with [`unprintable`].

use std::borrow::Cow;

/// Whether a character is written as it is: all characters but C0, DEL, C1, the controls of writing direction
/// and the two line separators. A line feed is not printable here; [`printable`] keeps it.
#[must_use]
pub fn is_printable(c: char) -> bool {
    !matches!(
        c,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}

/// The first character of `text` that is not printable. A line feed counts.
#[must_use]
pub fn unprintable(text: &str) -> Option<char> {
    text.chars().find(|c| !is_printable(*c))
}

/// As [`unprintable`], for a text that may have several lines.
#[must_use]
pub fn unprintable_in_lines(text: &str) -> Option<char> {
    text.chars().find(|c| !in_lines(*c))
}

/// `text` with every character escaped that is not printable, except line feeds.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, in_lines)
}

fn in_lines(c: char) -> bool {
    c == '\n' || is_printable(c)
}

/// `text` with every character escaped that is not printable, line feeds too: it stays one line.
#[must_use]
pub fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, is_printable)
}

/// Serialised JSON whose texts are printable, as [`printable`] makes them: a program that prints a value of
/// it prints nothing else. The JSON stays valid.
#[must_use]
pub fn json(serialised: &str) -> Cow<'_, str> {
    if !serialised.contains('\\') && serialised.chars().all(in_lines) {
        return Cow::Borrowed(serialised);
    }
    let mut out = String::with_capacity(serialised.len());
    let mut rest = serialised.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            if in_lines(c) {
                out.push(c)
            } else {
                push_json(&mut out, c)
            }
            continue;
        }
        let named = rest.next().unwrap_or('\\');
        let digits: String = if named == 'u' { rest.by_ref().take(4).collect() } else { String::new() };
        let meant = match named {
            'b' => Some('\u{8}'),
            'f' => Some('\u{c}'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'u' => u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32),
            _ => None,
        };
        match meant {
            Some(c) if !in_lines(c) => push_json(&mut out, c),
            _ => {
                out.extend(['\\', named]);
                out.push_str(&digits);
            }
        }
    }
    Cow::Owned(out)
}

fn escaped(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.chars().all(&keep) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if keep(c) { out.push(c) } else { out.extend(c.escape_unicode()) }
    }
    Cow::Owned(out)
}

/// Inside a JSON text the backslash of `\u{…}` is itself escaped.
fn push_json(out: &mut String, c: char) {
    out.push('\\');
    out.extend(c.escape_unicode());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every character that has to be escaped, and its neighbours that have not.
    fn samples() -> (Vec<char>, Vec<char>) {
        let ranges: [(u32, u32); 6] =
            [(0, 0x1f), (0x7f, 0x9f), (0x61c, 0x61c), (0x200e, 0x200f), (0x2028, 0x202e), (0x2066, 0x2069)];
        let bad = ranges.iter().flat_map(|(from, to)| *from..=*to).filter_map(char::from_u32).collect();
        let good = ranges.iter().flat_map(|(from, to)| [from.checked_sub(1), Some(to + 1)]).flatten();
        (bad, good.chain([u32::from('ä'), 0x1_f600]).filter_map(char::from_u32).collect())
    }

    #[test]
    fn controls_become_their_numbers_and_everything_else_stays() {
        let (bad, good) = samples();
        for c in bad {
            let shown = if c == '\n' { "a\nb".to_owned() } else { format!("a\\u{{{:x}}}b", u32::from(c)) };
            assert_eq!(printable(&format!("a{c}b")), shown);
            assert_eq!(one_line(&format!("a{c}b")), format!("a\\u{{{:x}}}b", u32::from(c)));
            assert_eq!(unprintable(&format!("a{c}b")), Some(c));
        }
        for c in good {
            assert!(matches!(printable(&format!("a{c}b")), Cow::Borrowed(_)), "{c:?}");
            assert_eq!(unprintable(&c.to_string()), None);
        }
        assert_eq!(printable(&printable("\u{1b}[2J")), "\\u{1b}[2J");
    }

    #[test]
    fn json_keeps_its_form_and_its_texts_hold_no_control() {
        for (serialised, expected) in [
            (r#"{"a":"b\nc"}"#, r#"{"a":"b\nc"}"#),
            (r#"{"a":"\u001b[2J\t\r\b\f"}"#, r#"{"a":"\\u{1b}[2J\\u{9}\\u{d}\\u{8}\\u{c}"}"#),
            ("{\"a\":\"\u{7f}\u{9b}2J\u{202e}\u{2028}\"}", r#"{"a":"\\u{7f}\\u{9b}2J\\u{202e}\\u{2028}"}"#),
            // A backslash of the text is no escape.
            (r#"{"a":"\\u001b \" \/ \u00e4 \ud83d\ude00"}"#, r#"{"a":"\\u001b \" \/ \u00e4 \ud83d\ude00"}"#),
            (r#"{"\u001b":1,"cut":"\"#, r#"{"\\u{1b}":1,"cut":"\\"#),
        ] {
            assert_eq!(json(serialised), expected);
            assert_eq!(json(expected), expected);
        }
    }
}
