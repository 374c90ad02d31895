//! The few files of the runtime that may read a clock, open a file, draw randomness or start a thread.
//!
//! All other files take what they need from the value `System`, which `main` hands down. A test or a
//! simulation can hand down another one.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use fl_source::code::{code_only, lines_with_path, test_modules, without_tests};

use super::{module_file, read, rust_files};

/// What a file does with the machine, and the paths in its code that show it.
const DOES: [(&str, &[&str]); 6] = [
    ("clock", &["Instant::now", "SystemTime::now", "UtcDateTime::now", "OffsetDateTime::now_utc", "elapsed"]),
    ("files", &["std::fs", "std::os::unix::fs", "tokio::fs", "File::open", "File::create"]),
    ("randomness", &["SystemRandom", "getrandom", "OsRng"]),
    ("threads", &["thread::Builder", "thread::spawn", "thread::scope", "task::spawn_blocking"]),
    ("environment", &["std::env"]),
    ("real system", &["System::real"]),
];

/// The crates that this list is about.
const SOURCES: [&str; 3] = ["runtime/src", "runtime/learn/src", "runtime/engine/src"];

/// Files, what each one does with the machine, and why it does so itself.
const PLACES: [(&str, &str, &str); 15] = [
    ("runtime/learn/src/data/folder.rs", "files", "the one place that opens a site's data"),
    (
        "runtime/learn/src/task/trainer/training/ahead.rs",
        "threads",
        "reads the next batch of pictures beside a batch",
    ),
    ("runtime/src/actors/attestation.rs", "clock", "ages by tokio's clock, which a test can stop"),
    ("runtime/src/actors/greeting.rs", "clock", "a minute by tokio's clock, which a test can stop"),
    (
        "runtime/src/actors/collaborator/model_receiver.rs",
        "threads",
        "tokio runs the copy of a model beside its tasks",
    ),
    ("runtime/src/roles/resumption.rs", "threads", "tokio runs the look for a kept model beside the run"),
    ("runtime/src/cli.rs", "environment", "the name that a host gives, its proxy, and the word for Gramine"),
    ("runtime/src/files.rs", "files", "every file of the runtime"),
    ("runtime/src/extend.rs", "environment", "the command line"),
    ("runtime/src/extend.rs", "real system", "the value that main hands down"),
    ("runtime/src/net/payload.rs", "clock", "a deadline by tokio's clock, which a test can stop"),
    ("runtime/src/net/places.rs", "clock", "ages by tokio's clock, which a test can stop"),
    ("runtime/src/system/clock.rs", "clock", "the real clock"),
    ("runtime/src/system/random.rs", "randomness", "the real randomness"),
    ("runtime/src/system/threads.rs", "threads", "the real threads"),
];

#[test]
fn only_the_listed_files_touch_clock_files_randomness_and_threads() {
    let mut found = BTreeSet::new();
    let mut refused = Vec::new();
    for (path, code) in product() {
        for (what, paths) in DOES {
            let lines: BTreeSet<usize> = paths.iter().flat_map(|name| lines_with_path(&code, name)).collect();
            let Some(line) = lines.first() else { continue };
            let file = path.display().to_string();
            if !PLACES.iter().any(|(listed, does, _)| *listed == file && *does == what) {
                refused.push(format!("{file}:{line}: {what}"));
            }
            found.insert((file, what));
        }
    }
    assert!(refused.is_empty(), "take these from what `main` hands down (`System`):\n{}", refused.join("\n"));
    let idle: Vec<_> =
        PLACES.iter().filter(|(file, what, _)| !found.contains(&((*file).to_owned(), *what))).collect();
    assert!(idle.is_empty(), "these files no longer do this: take them off PLACES: {idle:?}");
}

/// Code of the runtime's crates without tests, by file.
fn product() -> Vec<(PathBuf, String)> {
    let is_source = |path: &PathBuf| SOURCES.iter().any(|folder| path.starts_with(folder));
    let sources: Vec<_> = rust_files()
        .into_iter()
        .filter(is_source)
        .map(|path| (path.clone(), code_only(&read(&path))))
        .collect();
    let tests: BTreeSet<PathBuf> = sources
        .iter()
        .flat_map(|(path, code)| test_modules(code).into_iter().map(move |name| module_file(path, &name)))
        .collect();
    let is_test =
        |path: &Path| tests.iter().any(|test| path == test || path.starts_with(test.with_extension("")));
    sources
        .into_iter()
        .filter(|(path, _)| !is_test(path))
        .map(|(path, code)| (path, without_tests(&code)))
        .collect()
}
