//! Habits of one file: one `use` for each root, constants at the bottom, names of tests without possessives.

use std::collections::BTreeSet;

use crate::code::{code_only, is_word, without_tests};

/// `use` statements at the top level whose root has one already: their line and the root.
pub(super) fn repeated_roots(source: &str) -> Vec<(usize, String)> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for item in items(source) {
        let Some(path) = item.text.strip_prefix("use ").filter(|_| !item.has_attribute) else { continue };
        let root = path.split(|c| !is_word(c)).next().unwrap_or_default().to_owned();
        if !root.is_empty() && !seen.insert(root.clone()) {
            found.push((item.line, root));
        }
    }
    found
}

/// Constants at the top level that stand above a type or a function: their line and their name.
pub(super) fn early_constants(source: &str) -> Vec<(usize, String)> {
    let items = items(source);
    let constant = |text: &str| {
        let rest = without_visibility(text);
        let name = rest.strip_prefix("const ").or_else(|| rest.strip_prefix("static "))?;
        let name = name.split(|c| !is_word(c)).next().unwrap_or_default();
        (!matches!(name, "fn" | "unsafe" | "async" | "_")).then(|| name.to_owned())
    };
    let defines = |text: &str| {
        let rest = without_visibility(text);
        [
            "struct ",
            "enum ",
            "union ",
            "trait ",
            "impl ",
            "impl<",
            "fn ",
            "const fn ",
            "async fn ",
            "type ",
            "unsafe ",
        ]
        .iter()
        .any(|word| rest.starts_with(word))
    };
    let last = items.iter().rposition(|item| defines(&item.text)).unwrap_or(0);
    items[..last].iter().filter_map(|item| constant(&item.text).map(|name| (item.line, name))).collect()
}

/// Tests whose names hold the rest of a possessive: `image_s_model`.
pub(super) fn possessive_names(source: &str) -> Vec<(usize, String)> {
    let code = code_only(source);
    let mut found = Vec::new();
    let mut after_test = false;
    for (index, line) in code.lines().enumerate() {
        let line = line.trim();
        after_test |= line.starts_with("#[") && line.contains("test") && !line.contains("cfg");
        if let Some((_, rest)) = line.split_once("fn ") {
            let name = rest.split(['(', '<']).next().unwrap_or_default();
            if after_test && name.contains("_s_") {
                found.push((index + 1, name.to_owned()));
            }
            after_test = false;
        }
    }
    found
}

/// An item of the product at the top level of a file.
struct Item {
    line: usize,
    /// From its first word on, on one line.
    text: String,
    has_attribute: bool,
}

fn items(source: &str) -> Vec<Item> {
    let code = without_tests(&code_only(source));
    let (mut items, mut text) = (Vec::new(), String::new());
    let (mut depth, mut line, mut first, mut has_attribute) = (0_usize, 1, 1, false);
    for c in code.chars() {
        if text.is_empty() {
            first = line;
        }
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        line += usize::from(c == '\n');
        if !c.is_whitespace() {
            text.push(c);
        } else if !text.is_empty() && !text.ends_with(' ') {
            text.push(' ');
        }
        if depth == 0 && c == ']' && text.starts_with('#') {
            has_attribute |= !text.starts_with("#!");
            text.clear();
        } else if depth == 0 && (c == ';' || c == '}') {
            // A group of a `use` ends with its semicolon.
            let open = c == '}' && without_visibility(&text).starts_with("use ");
            if !open {
                items.push(Item { line: first, text: std::mem::take(&mut text), has_attribute });
                has_attribute = false;
            }
        }
    }
    items
}

fn without_visibility(text: &str) -> &str {
    let Some(rest) = text.strip_prefix("pub") else { return text };
    let rest = rest.trim_start();
    rest.strip_prefix('(')
        .and_then(|inside| inside.split_once(')'))
        .map_or(rest, |(_, rest)| rest.trim_start())
}
