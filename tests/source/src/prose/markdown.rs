//! The paragraphs of a Markdown page, without code, headings and rules of tables.

use std::path::Path;

use super::{Kind, Text, paragraphs};

/// Paragraphs, items of lists and cells of tables, links without their addresses.
pub(super) fn texts(file: &Path, content: &str, kind: Kind) -> Vec<Text> {
    let lines: Vec<(usize, &str)> = content.lines().enumerate().map(|(n, line)| (n + 1, line)).collect();
    let headings = headings(&lines);
    let mut texts = of_lines(file, kind, &lines);
    for text in &mut texts {
        let above = headings.iter().rev().find(|(line, _)| *line < text.line);
        text.before = above.map(|(_, path)| format!("{path}:")).unwrap_or_default();
    }
    texts
}

/// The line of each heading, and the heading below those that it belongs to: `Keys > Files`.
fn headings(lines: &[(usize, &str)]) -> Vec<(usize, String)> {
    let mut in_code = false;
    let (mut path, mut found) = (Vec::<(usize, &str)>::new(), Vec::new());
    for (number, line) in lines {
        in_code ^= line.trim().starts_with("```");
        let name = line.trim_start_matches('#');
        let depth = line.len() - name.len();
        if !in_code && depth > 0 && name.starts_with(' ') {
            path.retain(|(above, _)| *above < depth);
            path.push((depth, name.trim()));
            let names: Vec<&str> = path.iter().map(|(_, name)| *name).collect();
            found.push((*number, names.join(" > ")));
        }
    }
    found
}

/// The same of lines that stand in comments.
pub(super) fn of_lines(file: &Path, kind: Kind, lines: &[(usize, &str)]) -> Vec<Text> {
    let mut in_code = false;
    let (mut rows, mut cells) = (Vec::<(usize, Option<String>)>::new(), Vec::new());
    for (number, line) in lines {
        let text = line.trim();
        if text.starts_with("```") {
            in_code = !in_code;
            rows.push((*number, None));
        } else if in_code || text.is_empty() || text.starts_with(['#', '<']) || is_reference(text) {
            rows.push((*number, None));
        } else if let Some(row) = text.strip_prefix('|') {
            for cell in row.split('|').map(str::trim) {
                let is_rule = cell.chars().all(|c| matches!(c, '-' | ':'));
                let text = Some(without_links(cell)).filter(|_| !is_rule);
                cells.extend([(*number, text), (*number, None)]);
            }
            rows.push((*number, None));
        } else if let Some(item) = item(text) {
            rows.push((*number, None));
            rows.push((*number, Some(without_links(item))));
        } else {
            rows.push((*number, Some(without_links(text.trim_start_matches("> ")))));
        }
    }
    let mut texts = paragraphs(file, kind, &rows);
    // A cell is understood only in its table: it is checked, but never drawn.
    let kind = if kind == Kind::Comment { kind } else { Kind::Other };
    texts.extend(paragraphs(file, kind, &cells));
    texts
}

/// `[name]: address`.
fn is_reference(line: &str) -> bool {
    line.starts_with('[') && line.split_once("]:").is_some_and(|(name, _)| !name[1..].contains(['[', ']']))
}

/// What follows the mark of a list's item.
fn item(line: &str) -> Option<&str> {
    let number = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let numbered = number.strip_prefix(". ").filter(|_| number.len() < line.len());
    line.strip_prefix("- ").or_else(|| line.strip_prefix("* ")).or(numbered)
}

/// `[text](address)` and `[text][name]` become `text`.
fn without_links(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('[') {
        out.push_str(before);
        let Some((text, tail)) = after.split_once(']') else {
            out.push('[');
            rest = after;
            continue;
        };
        out.push_str(text);
        let address = |open: char, close: char| {
            tail.strip_prefix(open).and_then(|address| address.split_once(close)).map(|(_, rest)| rest)
        };
        rest = address('(', ')').or_else(|| address('[', ']')).unwrap_or(tail);
    }
    out + rest
}
