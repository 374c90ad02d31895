//! Reads Rust source the way the rules of the repository need it: without comments, literals and test
//! modules.
//!
//! Used by `tests/repository.rs`. It lexes and never parses: macros that build paths from pieces are beyond
//! it, which is why the engine's purity rests on clippy and on the dependency list as well.

mod spans;

pub use spans::{Part, Span, spans};

/// The source with comments and the insides of string and character literals replaced by spaces; lines keep
/// their numbers.
pub fn code_only(source: &str) -> String {
    let mut code: Vec<char> = source.chars().collect();
    for span in spans(&code.clone()) {
        for c in code[span.start..span.end].iter_mut().filter(|c| **c != '\n') {
            *c = ' ';
        }
    }
    code.into_iter().collect()
}

/// The code (see [`code_only`]) without any item under `#[cfg(test)]`; lines keep their numbers.
pub fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(start) = out.find("#[cfg(test)]") {
        let end = start + item_len(&out[start..]);
        let blank: String = out[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(start..end, &blank);
    }
    out
}

/// Names of the modules that live in their own file and are compiled for tests only
/// (`#[cfg(test)] mod tests;`).
pub fn test_modules(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = code;
    while let Some(start) = rest.find("#[cfg(test)]") {
        let item = &rest[start..start + item_len(&rest[start..])];
        if let Some(name) = item.trim_end().strip_suffix(';').and_then(|item| item.rsplit("mod ").next()) {
            names.push(name.trim().to_owned());
        }
        rest = &rest[start + item.len()..];
    }
    names
}

/// Every path that starts at `root`, groups taken apart: `std::{fs, time::Instant}` gives `std::fs` and
/// `std::time::Instant`, each with its line, counted from one.
pub fn paths_from(code: &str, root: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(offset) = code[from..].find(root) {
        let start = from + offset;
        from = start + root.len();
        let before = code[..start].chars().next_back();
        let inside_word = before.is_some_and(is_word);
        if !inside_word && code[from..].trim_start().starts_with("::") {
            let line = code[..start].matches('\n').count() + 1;
            let mut paths = Vec::new();
            take_path(&code[from..], root.to_owned(), &mut paths);
            found.extend(paths.into_iter().map(|path| (line, path)));
        }
    }
    found
}

/// Lines, counted from one, on which `word` stands alone (`unsafe`, not `unsafe_code`).
pub fn lines_with_word(code: &str, word: &str) -> Vec<usize> {
    let has_word = |line: &str| line.split(|c| !is_word(c)).any(|part| part == word);
    code.lines().enumerate().filter(|(_, line)| has_word(line)).map(|(index, _)| index + 1).collect()
}

/// Lines, counted from one, on which `path` stands: `Instant::now` is found in `std::time::Instant::now()`
/// and in `Instant::now()`, but not in `MyInstant::now()`. A `use` is taken apart, so that `std::fs` is found
/// in `use std::{fs::File, io};`.
pub fn lines_with_path(code: &str, path: &str) -> Vec<usize> {
    let mut lines: Vec<usize> = paths_from(code, path.split("::").next().unwrap_or(path))
        .into_iter()
        .filter(|(_, found)| {
            found.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        })
        .map(|(line, _)| line)
        .collect();
    if !path.contains("::") {
        lines.extend(lines_with_word(code, path));
    }
    lines.sort_unstable();
    lines.dedup();
    lines
}

pub(crate) fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Reads `::a::{b, c::d}` after `prefix`; returns what is left.
fn take_path<'a>(mut rest: &'a str, mut prefix: String, found: &mut Vec<String>) -> &'a str {
    while let Some(next) = rest.trim_start().strip_prefix("::") {
        let next = next.trim_start();
        if let Some(mut group) = next.strip_prefix('{') {
            loop {
                group = group.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
                if group.is_empty() {
                    return group;
                }
                if let Some(after) = group.strip_prefix('}') {
                    return after;
                }
                let len = word_len(group);
                if len == 0 {
                    return group;
                }
                let name = &group[..len];
                let path = if name == "self" { prefix.clone() } else { format!("{prefix}::{name}") };
                group = take_path(&group[len..], path, found);
                // A renaming: `a as b`.
                let until = group.find([',', '}']).unwrap_or(group.len());
                group = &group[until..];
            }
        }
        let len = word_len(next);
        if len == 0 {
            break;
        }
        prefix = format!("{prefix}::{}", &next[..len]);
        rest = &next[len..];
    }
    found.push(prefix);
    rest
}

fn word_len(text: &str) -> usize {
    if text.starts_with('*') {
        return 1;
    }
    text.find(|c| !is_word(c)).unwrap_or(text.len())
}

/// Length of the item that `text` starts with: to its closing brace, or to its semicolon.
pub(crate) fn item_len(text: &str) -> usize {
    let mut depth = 0usize;
    // `[u8; 4]` among the parameters of a function ends nothing.
    let mut brackets = 0usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            ';' if depth == 0 && brackets == 0 => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_kept() {
        let source = "a // unsafe\nb /* unsafe /* x */ unsafe */ c\n\"unsafe \\\" unsafe\" r#\"unsafe \" \"# 'u' '\\'' 'a d";
        let code = code_only(source);
        assert!(lines_with_word(&code, "unsafe").is_empty(), "{code}");
        assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "b", "c", "'a", "d"]);
        assert_eq!(code.lines().count(), 3);
    }

    #[test]
    fn word_is_found_alone_only() {
        assert_eq!(lines_with_word("forbid(unsafe_code)\nunsafe { }\n", "unsafe"), [2]);
    }

    #[test]
    fn groups_are_taken_apart() {
        let code = "use std::{fs, time::{Duration, Instant as I}, net::*};\nlet a = my_std::env::x; std :: env::var(1);\n";
        let paths: Vec<_> =
            paths_from(code, "std").into_iter().map(|(line, path)| format!("{line} {path}")).collect();
        assert_eq!(
            paths,
            [
                "1 std::fs",
                "1 std::time::Duration",
                "1 std::time::Instant",
                "1 std::net::*",
                "2 std::env::var"
            ]
        );
    }

    #[test]
    fn path_is_found_whole_in_groups_and_behind_other_names() {
        let code = "use std::{io, fs::{self, File}};\nstd::time::Instant::now();\nMyInstant::now();\nInstant::nowhere();\nuse ring::SystemRandom;\n";
        assert_eq!(lines_with_path(code, "std::fs"), [1]);
        assert_eq!(lines_with_path(code, "Instant::now"), [2]);
        assert_eq!(lines_with_path(code, "SystemRandom"), [5]);
    }

    #[test]
    fn group_with_self_names_the_module() {
        let paths = paths_from("use std::time::{self, Duration};", "std");
        assert_eq!(paths, [(1, "std::time".to_owned()), (1, "std::time::Duration".to_owned())]);
    }

    #[test]
    fn test_items_are_left_out_and_test_files_named() {
        let code = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { std::fs::x }\n}\nfn c() {}\n#[cfg(test)]\nmod script;\n";
        let product = without_tests(code);
        assert!(paths_from(&product, "std").is_empty());
        assert!(product.contains("fn a") && product.contains("fn c"));
        assert_eq!(test_modules(code), ["script"]);
    }
}
