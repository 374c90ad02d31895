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
    fn missing_key_is_added_after_its_neighbour_or_at_the_end() {
        assert_eq!(set_key("a: 1\nb: 2\n", "ca", "3", "a"), "a: 1\nca: 3\nb: 2\n");
        assert_eq!(set_key("a: 1", "ca", "3", "z"), "a: 1\nca: 3\n");
        assert_eq!(set_key("cab: 1\n x: {ca: 2}\n", "ca", "3", "cab"), "cab: 1\nca: 3\n x: {ca: 2}\n");
    }
}
