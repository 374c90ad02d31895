//! The manual for a terminal: a chapter's Markdown with fewer marks.
//!
//! Only what the chapters use is handled: headings, paragraphs, lists, tables, fenced code and links.

/// A chapter as a terminal shows it. A link is its text, and code is indented. A table that fits into 100
/// columns of the terminal has columns; another table is one block a row.
#[must_use]
pub fn plain(markdown: &str) -> String {
    let mut out = String::new();
    let mut table: Vec<Vec<String>> = Vec::new();
    let mut in_code = false;
    for line in markdown.lines() {
        if line.starts_with("```") {
            in_code = !in_code;
            continue;
        }
        if in_code {
            out.push_str(format!("    {line}").trim_end());
            out.push('\n');
            continue;
        }
        if let Some(cells) = line.strip_prefix('|') {
            let cells: Vec<String> =
                cells.trim_end_matches('|').split('|').map(|cell| text(cell.trim())).collect();
            if !cells.iter().all(|cell| cell.chars().all(|c| c == '-')) || cells[0].is_empty() {
                table.push(cells);
            }
            continue;
        }
        if !table.is_empty() {
            out.push_str(&self::table(&std::mem::take(&mut table)));
        }
        let (level, words) = (line.len() - line.trim_start_matches('#').len(), line.trim_start_matches('#'));
        if !is_definition(line) {
            let shown = text(words.strip_prefix(' ').filter(|_| level > 0).unwrap_or(words));
            let under = ["", "=", "-"].get(level).unwrap_or(&"").repeat(shown.chars().count());
            out.push_str(&format!("{shown}\n{under}{}", if under.is_empty() { "" } else { "\n" }));
        }
    }
    out.push_str(&self::table(&table));
    format!("{}\n", out.trim_end())
}

/// `[label]: target` at a chapter's foot.
fn is_definition(line: &str) -> bool {
    line.starts_with('[') && line.contains("]: ")
}

/// A line without links and without the marks of emphasis. Backticks stay: they tell commands from words.
fn text(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('[') {
        out.push_str(before);
        // A bracket in code, or after a backslash, is a bracket.
        let code = out.matches('`').count() % 2 == 1;
        let escaped = out.ends_with('\\');
        if escaped {
            out.pop();
        }
        let Some((label, after)) = after.split_once(']').filter(|_| !code && !escaped) else {
            out.push('[');
            rest = after;
            continue;
        };
        out.push_str(label);
        let target = [('(', ')'), ('[', ']')].into_iter().find_map(|(open, close)| {
            let (target, after) = after.strip_prefix(open)?.split_once(close)?;
            let address = if target.starts_with("https:") { format!(" <{target}>") } else { String::new() };
            Some((address, after))
        });
        let (address, after) = target.unwrap_or((String::new(), after));
        out.push_str(&address);
        rest = after;
    }
    out.push_str(rest);
    out.replace("**", "")
}

/// Rows with their headings first.
fn table(rows: &[Vec<String>]) -> String {
    let Some((headings, rows)) = rows.split_first() else { return String::new() };
    let width = |column: usize| {
        let cells = std::iter::once(headings).chain(rows).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut out = String::new();
    if widths.iter().map(|width| width + 2).sum::<usize>() <= WIDTH {
        for row in std::iter::once(headings).chain(rows) {
            let line: String =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}  ")).collect();
            out.push_str(line.trim_end());
            out.push('\n');
        }
        return out;
    }
    for row in rows {
        out.push_str(&row[0]);
        out.push('\n');
        for (heading, cell) in headings.iter().zip(row).skip(1).filter(|(_, cell)| !cell.is_empty()) {
            out.push_str(&wrapped(&format!("{heading}: {cell}")));
        }
    }
    out
}

/// Lines of at most [`WIDTH`], indented.
fn wrapped(text: &str) -> String {
    let mut out = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if line.chars().count() + word.chars().count() + 5 > WIDTH {
            out.push_str(&format!("    {line}\n"));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    format!("{out}    {line}\n")
}

/// Characters of a line.
const WIDTH: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_become_what_a_terminal_shows() {
        let chapter = "# Title\n\n## Part\n\nSee [the files][files], [`Offer`] and [a paper](https://a.org/b).\n`f[0]` and \\[x] stay.\n\n\
                       | a | b |\n|---|---|\n| `x` | **y** |\n| long | |\n\n```sh\nls [a]\n```\n\n[files]: files.md\n";
        let expected = "Title\n=====\n\nPart\n----\n\nSee the files, `Offer` and a paper <https://a.org/b>.\n`f[0]` and [x] stay.\n\n\
                        a     b\n`x`   y\nlong\n\n    ls [a]\n";
        assert_eq!(plain(chapter), expected);
    }

    #[test]
    fn wide_table_is_one_block_a_row() {
        let long = "word ".repeat(30);
        let shown = plain(&format!("| key | meaning | more |\n|---|---|---|\n| a | {long} | |\n"));
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "a");
        assert!(lines[1].starts_with("    meaning: word") && lines.len() == 3, "{shown}");
        assert!(lines.iter().all(|line| line.len() <= WIDTH));
    }
}
