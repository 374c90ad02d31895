//! `fl-host manual`: the chapters of the manual, and the reference of a plan's keys.

use argh::FromArgs;
use fl_engine::name::nearest;
use fl_runtime::manual::{CHAPTERS, Chapter};
use serde_json::json;

use super::Answer;
use crate::{
    exit::{Exit, Failure},
    manual,
};

/// Print a chapter of the manual. Without a name, list the chapters.
#[derive(FromArgs)]
#[argh(subcommand, name = "manual")]
pub(super) struct ManualArea {
    /// the chapter's name, for example quick_start
    #[argh(positional)]
    chapter: Option<String>,
}

pub(super) fn run(area: &ManualArea) -> Result<Answer, Failure> {
    let Some(name) = &area.chapter else { return Ok(list()) };
    let Chapter { name, text, .. } =
        CHAPTERS.iter().find(|chapter| chapter.name == name).ok_or_else(|| {
            let near = nearest(name, CHAPTERS.iter().map(|chapter| chapter.name));
            let near = near.map(|near| format!("did you mean {near:?}? ")).unwrap_or_default();
            Failure::new(Exit::Usage, format!("no chapter is named {name:?}"))
                .hint(format!("{near}`fl-host manual` lists the chapters"))
        })?;
    Ok(Answer { text: manual::plain(text), json: json!({"chapter": name, "markdown": text}) })
}

fn list() -> Answer {
    let text = CHAPTERS
        .iter()
        .map(|chapter| format!("{:<20}{}", chapter.name, manual::plain(&chapter.about())))
        .collect();
    let json =
        CHAPTERS.iter().map(|chapter| json!({"name": chapter.name, "about": chapter.about()})).collect();
    Answer { text, json }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;

    #[test]
    fn chapters_are_listed_and_a_wrong_name_is_answered_with_the_nearest() {
        let lines: [&[&str]; 5] = [
            &["manual", "--help"],
            &["manual"],
            &["manual", "quickstart"],
            &["manual", "zzz"],
            &["--json", "manual", "filez"],
        ];
        let answer = |args: &&[&str]| {
            let said = cli::run(args);
            format!("$ fl-host {}\n{}{}=> {}\n", args.join(" "), said.out, said.err, said.exit as u8)
        };
        assert_eq!(lines.iter().map(answer).collect::<String>(), include_str!("manual.txt"));
    }

    #[test]
    fn every_chapter_is_printed_without_a_mark() {
        for chapter in CHAPTERS {
            let said = cli::run(&["manual", chapter.name]);
            assert_eq!(said.exit, Exit::Done, "{}", chapter.name);
            let title = chapter.text.lines().next().unwrap().trim_start_matches("# ");
            assert!(said.out.starts_with(title), "{}", said.out);
            for mark in ["```", "\n# ", "\n## ", "|---", "]: ", "]["] {
                assert!(!said.out.contains(mark), "{} holds {mark:?}", chapter.name);
            }
            let json: serde_json::Value =
                serde_json::from_str(&cli::run(&["--json", "manual", chapter.name]).out).unwrap();
            assert_eq!(json["markdown"], chapter.text);
        }
    }
}
