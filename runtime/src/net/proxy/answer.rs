//! The answer to CONNECT, read from bytes that anybody may have sent.

use fl_engine::printable::one_line;

use super::fault::{HEAD_BYTES, ProxyFault};

/// The bytes of an answer so far.
#[derive(Debug)]
pub(super) struct Answer {
    heard: Vec<u8>,
    /// How many of them were searched for the end of the head, and where the last line begins.
    searched: usize,
    line: usize,
    /// Bytes before those, of answers that only announce another one.
    before: usize,
    with_login: bool,
}

impl Answer {
    /// `with_login`: whether the request named a user.
    pub(super) fn new(with_login: bool) -> Self {
        Self { heard: Vec::new(), searched: 0, line: 0, before: 0, with_login }
    }

    /// Takes the next bytes. Returns whether the proxy has connected.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<bool, ProxyFault> {
        self.heard.extend_from_slice(bytes);
        loop {
            let seen = self.heard.len().min(VERSION.len());
            if self.heard[..seen] != VERSION[..seen] {
                return Err(ProxyFault::NotHttp(shown(&self.heard)));
            }
            let end = self.head_end();
            if self.before + end.unwrap_or(self.heard.len()) > HEAD_BYTES {
                return Err(ProxyFault::TooLong);
            }
            let Some(end) = end else { return Ok(false) };
            let (head, rest) = self.heard.split_at(end);
            let (status, reason) = status(head).ok_or_else(|| ProxyFault::NotHttp(shown(head)))?;
            match status {
                // Another answer follows (RFC 9110, section 15.2). 101 changes the protocol, which nobody
                // asked for.
                100 | 102..=199 => {
                    self.before += end;
                    self.heard.drain(..end);
                    (self.searched, self.line) = (0, 0);
                }
                // The lengths that such an answer states say nothing (RFC 9110, section 9.3.6).
                200..=299 if rest.is_empty() => return Ok(true),
                200..=299 => return Err(ProxyFault::Page(status)),
                _ => {
                    let schemes = if status == 407 { schemes(head) } else { String::new() };
                    return Err(ProxyFault::Refused { status, reason, schemes, with_login: self.with_login });
                }
            }
        }
    }

    /// Where the empty line ends that ends the head. A line feed alone ends a line too (RFC 9112, section
    /// 2.2).
    fn head_end(&mut self) -> Option<usize> {
        while let Some(byte) = self.heard.get(self.searched) {
            self.searched += 1;
            if *byte == b'\n' {
                let is_empty = matches!(self.heard[self.line..self.searched - 1], [] | [b'\r']);
                self.line = self.searched;
                if is_empty {
                    return Some(self.searched);
                }
            }
        }
        None
    }
}

/// Status and reason of `HTTP/1.1 200 Connection established`.
fn status(head: &[u8]) -> Option<(u16, String)> {
    let line = head.split(|byte| *byte == b'\n').next()?;
    let (_version, rest) = line.split_at_checked(VERSION.len() + 1)?;
    let [b' ', code @ ..] = rest else { return None };
    let (code, reason) = code.split_at_checked(3)?;
    let digits = code.iter().all(u8::is_ascii_digit) && matches!(reason, [] | [b' ' | b'\r', ..]);
    let status = std::str::from_utf8(code).ok().filter(|_| digits)?.parse().ok()?;
    (100..=599).contains(&status).then(|| (status, shown(reason)))
}

/// The ways to log in that a head names, as in `Proxy-Authenticate: Negotiate, Basic realm="x"`: one header
/// or several, each with one way or several (RFC 9110, section 11.6.1).
fn schemes(head: &[u8]) -> String {
    let value = |line| {
        let (name, value) = <[u8]>::split_at_checked(line, LOGIN_HEADER.len())?;
        name.eq_ignore_ascii_case(LOGIN_HEADER).then_some(value)
    };
    let found: Vec<String> = head
        .split(|byte| *byte == b'\n')
        .filter_map(value)
        .flat_map(elements)
        .filter_map(scheme)
        .take(MOST_SCHEMES)
        .collect();
    found.join(", ")
}

/// What stands between the commas of a header's value. A comma in a quoted text separates nothing.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    value.split(move |byte| {
        let was_escaped = is_escaped;
        is_escaped = is_quoted && !was_escaped && *byte == b'\\';
        is_quoted ^= *byte == b'"' && !was_escaped;
        *byte == b',' && !is_quoted
    })
}

/// The word with which an element begins a new way to log in. An element `realm="x"` belongs to the way
/// before it.
fn scheme(element: &[u8]) -> Option<String> {
    let element = element.trim_ascii();
    let end = element.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'=')).unwrap_or(element.len());
    let (word, rest) = element.split_at(end);
    (!word.is_empty() && !rest.trim_ascii_start().starts_with(b"=")).then(|| shown(word))
}

/// The beginning of a text, safe to log.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES)]);
    one_line(text.trim()).into_owned()
}

/// How every answer begins (RFC 9112, section 2.3).
const VERSION: &[u8] = b"HTTP/1.";
const LOGIN_HEADER: &[u8] = b"Proxy-Authenticate:";
/// Ways to log in that are told.
const MOST_SCHEMES: usize = 8;
/// Bytes of a text of the proxy that are told.
const SHOWN_BYTES: usize = 60;
