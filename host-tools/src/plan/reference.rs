//! What each key of `plan.yaml` takes: for a terminal, and as the manual's chapter.
//!
//! The engine's tables say it; here it is only written out.

use std::fmt::Write as _;

use fl_engine::{
    name::nearest,
    plan::{Absent, KeyReference, reference},
};

use crate::exit::{Exit, Failure};

/// The keys that `key` names, and the keys below them; all keys without one. `key` is a path
/// (`tasks.train.rule`) or its end (`rule`).
///
/// # Errors
/// [`Exit::Usage`] for a key that no plan has, with the nearest one.
pub fn find(key: Option<&str>) -> Result<Vec<KeyReference>, Failure> {
    let all = reference();
    let Some(key) = key else { return Ok(all) };
    let asked: Vec<&str> = key.split('.').collect();
    let found: Vec<KeyReference> = all.iter().filter(|known| names(&known.path, &asked)).cloned().collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let ends = all.iter().filter_map(|known| known.path.rsplit('.').next());
    let near = nearest(asked.last().unwrap_or(&""), ends.filter(|end| *end != "*"));
    let near = near.map(|near| format!("did you mean {near:?}? ")).unwrap_or_default();
    Err(Failure::new(Exit::Usage, format!("a plan has no key {key:?}"))
        .hint(format!("{near}`fl-host plan reference` lists every key")))
}

/// Whether the path has the asked parts one after another, at its end or before keys below. `*` stands for
/// any name.
fn names(path: &str, asked: &[&str]) -> bool {
    let parts: Vec<&str> = path.split('.').collect();
    let same = |(part, asked): (&&str, &&str)| part.trim_end_matches("[]") == *asked || *part == "*";
    parts.windows(asked.len()).any(|window| {
        // A name alone is asked for nowhere.
        window[0] != "*" && window.iter().zip(asked).all(same)
    })
}

/// One block a key.
#[must_use]
pub fn text(keys: &[KeyReference]) -> String {
    let mut out = String::new();
    for key in keys {
        let _ = writeln!(out, "{}\n    {}", key.path, key.meaning);
        let mut lines =
            vec![("takes", takes(key)), ("default", default(key)), ("example", format!("`{}`", key.example))];
        lines.extend(only_with(key).map(|with| ("allowed", with)));
        for (name, text) in lines {
            let _ = writeln!(out, "    {name:<10}{text}");
        }
        let width = key.words.iter().map(|word| word.word.len()).max().unwrap_or(0);
        for word in &key.words {
            let _ = writeln!(out, "    - {:<width$}  {}", word.word, word.meaning);
        }
        out.push('\n');
    }
    format!("{}\n", out.trim_end())
}

/// The chapter `plan_reference`.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::from(INTRODUCTION);
    let mut told: Vec<KeyReference> = Vec::new();
    for key in reference() {
        let level = if key.path.contains('.') { "###" } else { "##" };
        let _ = writeln!(out, "\n{level} `{}`\n\n{}\n", key.path, escaped(&key.meaning));
        let _ =
            write!(out, "Takes: {}. Default: {}. Example: `{}`.", takes(&key), default(&key), key.example);
        if let Some(with) = only_with(&key) {
            let _ = write!(out, " Allowed {with}.");
        }
        out.push('\n');
        // A choice that several keys share is listed once.
        match told.iter().find(|other| !key.words.is_empty() && other.words == key.words) {
            Some(other) => {
                let _ = writeln!(
                    out,
                    "\nThe words are in the table of the first section `{}` of this chapter.",
                    other.path
                );
            }
            None => words(&mut out, &key),
        }
        told.push(key);
    }
    out
}

fn words(out: &mut String, key: &KeyReference) {
    if key.words.is_empty() {
        return;
    }
    // A word that decides about other keys stands alone in a plan.
    let settings = key.words.iter().any(|word| word.example != word.word) && key.example.contains(['{', ' ']);
    let (heading, rule) = if settings { (" example |", "---|") } else { ("", "") };
    let _ = writeln!(out, "\n| word | meaning |{heading}\n|---|---|{rule}");
    for word in &key.words {
        let example = if settings { format!(" `{}` |", word.example) } else { String::new() };
        let _ = writeln!(out, "| `{}` | {} |{example}", word.word, escaped(&word.meaning));
    }
}

/// Brackets outside of code would be a link.
fn escaped(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let parts = parts.map(|(at, part)| if at % 2 == 0 { part.replace('[', "\\[") } else { part.to_owned() });
    parts.collect::<Vec<_>>().join("`")
}

/// `whole number of threads, 1 to 64`.
fn takes(key: &KeyReference) -> String {
    let mut out = key.kind.to_owned();
    if let Some(unit) = key.unit {
        let joint = if key.kind == "whole number" { "of" } else { "in" };
        let _ = write!(out, " {joint} {unit}");
    }
    if let Some(range) = &key.range {
        let _ = write!(out, ", {range}");
    }
    out
}

fn default(key: &KeyReference) -> String {
    match key.absent {
        Absent::Refused => "none (required)".to_owned(),
        Absent::Default(value) => format!("`{value}`"),
        Absent::Means(words) => format!("none ({words})"),
    }
}

/// Beside which other settings the key is allowed; `None` for always.
fn only_with(key: &KeyReference) -> Option<String> {
    let of = |with: &String| match with.strip_prefix("no ") {
        Some(other) => format!("without `{other}`"),
        None => format!("with `{with}`"),
    };
    let all: Vec<String> = key.only_with.iter().map(of).collect();
    (!all.is_empty()).then(|| format!("only {}", all.join(" or ")))
}

const INTRODUCTION: &str = "\
# Plan reference

Every key of `plan/plan.yaml` with what it takes, its default, its meaning and an example.

`fl-host plan reference KEY` prints the part about one key. `fl-host plan show` prints a plan with all defaults filled in,
and `fl-host plan check` names the first mistake with line and column. The file is YAML. In the names of keys below, `*`
stands for a name that you choose, and `[]` for each entry of a list. Write a size and a time with their unit: `512MiB`,
`10m`.
";

#[cfg(test)]
mod tests {
    use fl_runtime::manual::CHAPTERS;

    use super::*;

    fn paths(key: &str) -> Vec<String> {
        find(Some(key)).unwrap().into_iter().map(|key| key.path).collect()
    }

    #[test]
    fn chapter_is_the_one_that_the_tables_give() {
        let chapter = CHAPTERS.iter().find(|chapter| chapter.name == "plan_reference").unwrap();
        let hint = "write it anew: fl-host plan reference --markdown > runtime/src/manual/plan_reference.md";
        assert!(chapter.text == markdown(), "{hint}");
    }

    #[test]
    fn key_is_found_by_its_path_by_its_end_and_below_a_name_of_the_plan() {
        assert_eq!(find(None).unwrap(), reference());
        assert_eq!(paths("rounds"), ["rounds"]);
        assert_eq!(paths("limits"), ["limits", "limits.memory", "limits.spill", "limits.rows"]);
        assert_eq!(paths("spill"), ["limits.spill"]);
        let of_rule = paths("rule");
        assert!(of_rule.contains(&"tasks.*.rule.trimmed_mean.trim".to_owned()), "{of_rule:?}");
        assert_eq!(of_rule, paths("tasks.train.rule"));
        assert_eq!(of_rule, paths("tasks.*.rule"));
        assert!(of_rule.iter().all(|path| path.starts_with("tasks.*.rule")), "{of_rule:?}");
    }

    #[test]
    fn key_that_no_plan_has_is_answered_with_the_nearest() {
        let refused = find(Some("limits.memry")).unwrap_err();
        assert_eq!(refused.exit, Exit::Usage);
        assert_eq!(refused.error, "a plan has no key \"limits.memry\"");
        assert!(refused.hint.unwrap().starts_with("did you mean \"memory\"? `fl-host plan reference`"));
        assert_eq!(find(Some("zzz")).unwrap_err().hint.unwrap(), "`fl-host plan reference` lists every key");
    }
}
