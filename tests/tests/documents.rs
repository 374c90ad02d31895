//! The documents: every file and folder of the repository that they name exists, and the README stays short.
//!
//! `ci/docs` checks the links between them.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}

fn documents() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> =
        ["README.md", ".github/CONTRIBUTING.md", ".github/SECURITY.md", "benches/README.md"]
            .iter()
            .map(PathBuf::from)
            .collect();
    let chapters = std::fs::read_dir(root().join("runtime/src/manual")).into_iter().flatten().flatten();
    let names = chapters.map(|entry| Path::new("runtime/src/manual").join(entry.file_name()));
    all.extend(names.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    assert!(all.len() > 10, "{all:?}");
    all
}

/// `a/{b,c}/d` as `a/b/d` and `a/c/d`.
fn alternatives(path: &str) -> Vec<String> {
    match path.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?))) {
        Some((before, (middle, after))) => {
            middle.split(',').map(|part| format!("{before}{part}{after}")).collect()
        }
        None => vec![path.to_owned()],
    }
}

/// Paths of the repository that stand in backticks.
fn named(text: &str) -> BTreeSet<String> {
    let tops = ["runtime/", "host-tools/", "tests/", "ci/", "benches/", "manifests/", ".github/", ".ci/"];
    let is_path = |word: &&str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-{},".contains(c);
        tops.iter().any(|top| word.starts_with(top)) && word.chars().all(plain)
    };
    // Every second piece stands between backticks.
    text.split('`').skip(1).step_by(2).filter(is_path).flat_map(alternatives).collect()
}

#[test]
fn files_and_folders_that_documents_name_exist() {
    let mut found = 0;
    let mut missing = Vec::new();
    for document in documents() {
        let text = std::fs::read_to_string(root().join(&document)).unwrap();
        // A fence is three backticks: with it, pieces would no longer alternate.
        let prose: Vec<&str> = text.split("```").step_by(2).collect();
        for path in prose.into_iter().flat_map(named) {
            found += 1;
            if !root().join(&path).exists() {
                missing.push(format!("{}: {path}", document.display()));
            }
        }
    }
    assert!(found > 50, "{found}");
    assert!(missing.is_empty(), "named and not there:\n{}", missing.join("\n"));
}

#[test]
fn alternatives_in_braces_are_paths_of_their_own() {
    let text = "`ci/docs` and `runtime/{a,b}.rs`, not `fl-host/x` nor `ci/docs site`";
    assert_eq!(named(text).into_iter().collect::<Vec<_>>(), ["ci/docs", "runtime/a.rs", "runtime/b.rs"]);
}

#[test]
fn readme_has_at_most_150_lines() {
    let lines = std::fs::read_to_string(root().join("README.md")).unwrap().lines().count();
    assert!(lines <= 150, "{lines}");
}
