//! Files that import each other in a loop have to be read together: none may, beside those of `LOOPS`.

use std::path::{Path, PathBuf};

use fl_source::imports::{Import, imports, loops};

use super::{root, rust_files};

/// The loops that remain: their files, and why each is there.
const LOOPS: [(&[&str], &str); 9] = [
    (
        &[
            "runtime/engine/src/aggregate/clip.rs",
            "runtime/engine/src/aggregate/combiner.rs",
            "runtime/engine/src/aggregate/geometric.rs",
            "runtime/engine/src/aggregate/krum.rs",
            "runtime/engine/src/aggregate/products.rs",
            "runtime/engine/src/aggregate/rule.rs",
            "runtime/engine/src/aggregate/score.rs",
            "runtime/engine/src/aggregate/scratch.rs",
        ],
        "rule.rs holds the rules' error and chooses among the rules",
    ),
    (&["runtime/engine/src/limits.rs", "runtime/engine/src/units.rs"], "a limit of a unit is a unit"),
    (
        &["runtime/engine/src/plan/aggregation.rs", "runtime/engine/src/plan/types.rs"],
        "a threshold names a metric",
    ),
    (
        &["runtime/engine/src/plan/error.rs", "runtime/engine/src/plan/yaml.rs"],
        "an error names a place in YAML",
    ),
    (
        &["runtime/engine/src/plan/read/aggregation.rs", "runtime/engine/src/plan/read/task.rs"],
        "both read the word of a metric",
    ),
    (
        &["runtime/engine/src/wire/envelope.rs", "runtime/engine/src/wire/message.rs"],
        "the envelope holds the messages and their error",
    ),
    (
        &[
            "runtime/src/actors/aggregator/aggregation_task.rs",
            "runtime/src/actors/aggregator/coordinator.rs",
            "runtime/src/actors/aggregator/session.rs",
            "runtime/src/actors/aggregator/store_thread.rs",
        ],
        "messages stand beside the actors that take them",
    ),
    (
        &["runtime/src/actors/collaborator/coordinator.rs", "runtime/src/actors/collaborator/task_runner.rs"],
        "messages stand beside the actors that take them",
    ),
    (
        &["runtime/src/net/link.rs", "runtime/src/net/local.rs", "runtime/src/net/stream.rs"],
        "the link in memory makes the links that it carries",
    ),
];

/// Roots of the workspace's crates: libraries and programs.
pub(crate) fn crate_roots() -> Vec<PathBuf> {
    let is_root = |path: &PathBuf| {
        path.ends_with("src/lib.rs")
            || path.ends_with("src/main.rs")
            || path.parent().is_some_and(|folder| folder.ends_with("src/bin"))
    };
    rust_files().into_iter().filter(is_root).collect()
}

/// The text of a file of the repository, if there is such a file.
pub(crate) fn text(path: &Path) -> Option<String> {
    std::fs::read_to_string(root().join(path)).ok()
}

#[test]
fn files_import_each_other_in_no_loop_but_those_listed() {
    let mut report = String::new();
    let mut all = 0;
    for crate_root in crate_roots() {
        let crate_imports = imports(&crate_root, &text).found;
        all += crate_imports.len();
        for group in loops(&crate_imports) {
            let is_in =
                |listed: &[&str]| group.iter().all(|file| listed.iter().any(|name| file.ends_with(name)));
            if !LOOPS.iter().any(|(listed, _)| is_in(listed)) {
                report.push_str(&described(&group, &crate_imports));
            }
        }
    }
    assert!(all > 1000, "only {all} imports were found: the sources were not read");
    assert!(report.is_empty(), "these files import each other in a loop; cut one of the imports:\n{report}");
}

#[test]
fn every_path_inside_a_crate_leads_to_a_file() {
    let lost: Vec<String> =
        crate_roots().iter().flat_map(|crate_root| imports(crate_root, &text).unresolved).collect();
    assert!(lost.is_empty(), "the finder of loops cannot follow these paths:\n{}", lost.join("\n"));
}

/// The group's files and the imports between them, a line each.
fn described(group: &[PathBuf], imports: &[Import]) -> String {
    let mut lines = format!("{} files:\n", group.len());
    for import in imports.iter().filter(|import| group.contains(&import.from) && group.contains(&import.to)) {
        let (from, line, path, to) = (import.from.display(), import.line, &import.path, import.to.display());
        lines.push_str(&format!("  {from}:{line}: {path} leads to {to}\n"));
    }
    lines
}
