//! Files that import each other in a loop have to be read together. There are none.

use std::path::{Path, PathBuf};

use fl_source::imports::{Import, imports, loops};

use super::{root, rust_files};

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
fn no_files_import_each_other_in_a_loop() {
    let mut report = String::new();
    let mut all = 0;
    for crate_root in crate_roots() {
        let crate_imports = imports(&crate_root, &text).found;
        all += crate_imports.len();
        for group in loops(&crate_imports) {
            report.push_str(&described(&group, &crate_imports));
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
