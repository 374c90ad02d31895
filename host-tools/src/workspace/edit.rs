//! Edits of a YAML file that keep its comments: one top-level `key: value` line at a time.

/// Sets a top-level key to a plain scalar, keeping everything else, the line's own comment included.
///
/// A missing key is added after the top-level line of `after`, or at the end. Values that YAML would read as
/// something else than the text must be quoted by the caller.
#[must_use]
pub fn set_key(text: &str, key: &str, value: &str, after: &str) -> String {
    let mut out = String::with_capacity(text.len() + value.len());
    let mut set = false;
    for line in text.split_inclusive('\n') {
        match line.strip_prefix(key).and_then(|rest| rest.strip_prefix(':')) {
            Some(rest) if !set && rest.starts_with([' ', '\t', '\r', '\n']) || line == format!("{key}:") => {
                let comment = line.find(" #").map_or("", |at| line[at..].trim_end());
                out.push_str(&format!("{key}: {value}{comment}\n"));
                set = true;
            }
            _ => out.push_str(line),
        }
    }
    if set {
        return out;
    }
    let anchor = out.split_inclusive('\n').scan(0, |end, line| {
        *end += line.len();
        Some((*end, line))
    });
    let prefix = format!("{after}:");
    let at = anchor.into_iter().find(|(_, line)| line.starts_with(&prefix)).map_or(out.len(), |(end, _)| end);
    let newline = if out[..at].is_empty() || out[..at].ends_with('\n') { "" } else { "\n" };
    out.insert_str(at, &format!("{newline}{key}: {value}\n"));
    out
}

/// Adds lines to a top-level map: `key: value` as its first entry if the map stands in braces, else after the
/// line of its key `after`. `None` if the map or that line is not found. `value` may have several lines, each
/// indented by itself.
#[must_use]
pub fn insert_in(text: &str, map: &str, key: &str, value: &str, after: &str) -> Option<String> {
    let head = format!("{map}:");
    let start = text.split_inclusive('\n').scan(0, |at, line| {
        let here = *at;
        *at += line.len();
        Some((here, line))
    });
    let mut inside = false;
    for (at, line) in start {
        if !inside {
            let Some(rest) = line.strip_prefix(&head) else { continue };
            if let Some(brace) = rest.find('{').filter(|brace| rest[..*brace].trim().is_empty()) {
                let at = at + head.len() + brace + 1;
                let edited = format!("{}{key}: {value}, {}", &text[..at], &text[at..]);
                return Some(edited);
            }
            inside = true;
            continue;
        }
        let (entry, blank) = (line.trim_start(), line.trim().is_empty());
        if !blank && entry.len() == line.len() && !entry.starts_with('#') {
            return None;
        }
        if entry.strip_prefix(after).is_some_and(|rest| rest.starts_with(':')) {
            let indent = &line[..line.len() - entry.len()];
            let end = at + line.len();
            let newline = if line.ends_with('\n') { "" } else { "\n" };
            let value = value.replace('\n', &format!("\n{indent}"));
            return Some(format!("{}{newline}{indent}{key}: {value}\n{}", &text[..end], &text[end..]));
        }
    }
    None
}

/// Puts `lines`, which begin with `key:`, in the place of a top-level key and all that belongs to it. A
/// missing key is added at the end. Comments above the key and above the next one stay.
#[must_use]
pub fn replace_section(text: &str, key: &str, lines: &str) -> String {
    let head = format!("{key}:");
    let (mut before, mut after) = (String::new(), String::new());
    let (mut inside, mut waiting) = (false, String::new());
    let mut found = false;
    for line in text.split_inclusive('\n') {
        if !found && line.starts_with(&head) {
            (inside, found) = (true, true);
        } else if !inside {
            if found { after.push_str(line) } else { before.push_str(line) }
        } else if line.trim().is_empty() || line.starts_with('#') {
            // Of the section only if more of the section follows.
            waiting.push_str(line);
        } else if line.starts_with([' ', '\t', '}', ']']) {
            waiting.clear();
        } else {
            inside = false;
            after.push_str(&std::mem::take(&mut waiting));
            after.push_str(line);
        }
    }
    let newline = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    format!("{before}{newline}{lines}{waiting}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_is_replaced_and_comments_stay() {
        let text = "# plan\nfederation: x # ours\nca:   # set by initialize\n  # deeper\nrounds: 3\n";
        let edited = set_key(text, "ca", "\"ab\"", "federation");
        assert_eq!(
            edited,
            "# plan\nfederation: x # ours\nca: \"ab\" # set by initialize\n  # deeper\nrounds: 3\n"
        );
        assert_eq!(set_key(&edited, "ca", "\"ab\"", "federation"), edited);
        assert_eq!(set_key("ca:", "ca", "1", ""), "ca: 1\n");
    }

    #[test]
    fn entry_is_added_to_a_map_of_lines_or_in_braces() {
        let lines = "a: 1\ndata:\n  loader: csv\n  # which\n  label: y # ours\n  classes: 2\nb: 2\n";
        assert_eq!(
            insert_in(lines, "data", "features", "[a,\n  b]", "label").unwrap(),
            lines.replace("# ours\n", "# ours\n  features: [a,\n    b]\n")
        );
        assert_eq!(
            insert_in("data: {loader: csv,\n label: y}\n", "data", "features", "[a]", "label").unwrap(),
            "data: {features: [a], loader: csv,\n label: y}\n"
        );
        assert_eq!(insert_in("data:\n  loader: csv\nlabel: y\n", "data", "features", "[a]", "label"), None);
        assert_eq!(insert_in("b: 1\n", "data", "features", "[a]", "label"), None);
    }

    #[test]
    fn section_is_replaced_with_all_that_is_indented() {
        let new = "model: new\n";
        for (old, expected) in [
            ("a: 1\n# m\nmodel: {x: 1}\n\n# b\nb: 2\n", "a: 1\n# m\nmodel: new\n\n# b\nb: 2\n"),
            ("model:\n  x:\n\n  # in\n  y: 1\n# b\nb: 2\n", "model: new\n# b\nb: 2\n"),
            ("model: {x: 1,\n  y: 2\n}\nb: 2", "model: new\nb: 2"),
            ("models: 1\nmodel:\n  x: 1", "models: 1\nmodel: new\n"),
            ("a: 1", "a: 1\nmodel: new\n"),
        ] {
            assert_eq!(replace_section(old, "model", new), expected);
        }
    }

    #[test]
    fn missing_key_is_added_after_its_neighbour_or_at_the_end() {
        assert_eq!(set_key("a: 1\nb: 2\n", "ca", "3", "a"), "a: 1\nca: 3\nb: 2\n");
        assert_eq!(set_key("a: 1", "ca", "3", "z"), "a: 1\nca: 3\n");
        assert_eq!(set_key("cab: 1\n x: {ca: 2}\n", "ca", "3", "cab"), "cab: 1\nca: 3\n x: {ca: 2}\n");
    }
}
