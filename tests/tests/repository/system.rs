//! The few files of the runtime that may read a clock, open a file, draw randomness or start a thread.
//!
//! Everything else is handed what it needs, so that a test or a simulation can hand down something else.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use fl_source::code::{code_only, lines_with_path, test_modules, without_tests};

use super::{module_file, read, rust_files};

/// What a file does with the machine, and the paths in its code that show it.
const DOES: [(&str, &[&str]); 4] = [
    ("clock", &["Instant::now", "SystemTime::now", "UtcDateTime::now", "OffsetDateTime::now_utc", "elapsed"]),
    ("files", &["std::fs", "std::os::unix::fs", "tokio::fs", "File::open", "File::create"]),
    ("randomness", &["SystemRandom", "getrandom", "OsRng"]),
    ("threads", &["thread::Builder", "thread::spawn", "thread::scope", "task::spawn_blocking"]),
];

/// The crates that this list is about.
const SOURCES: [&str; 3] = ["runtime/src", "runtime/learn/src", "runtime/engine/src"];

/// Files or folders, what each one does with the machine, and why it does so itself.
const PLACES: [(&str, &[&str], &str); 19] = [
    ("runtime/learn/src/data/folder.rs", &["files"], "a site's data"),
    ("runtime/src/actors/aggregator/acceptor.rs", &["clock"], "lines of the log that are rationed"),
    ("runtime/src/actors/aggregator/aggregation_task.rs", &["clock"], "times of a round"),
    ("runtime/src/actors/aggregator/coordinator.rs", &["clock"], "times of a round"),
    ("runtime/src/actors/aggregator/peers.rs", &["clock"], "lines of the log that are rationed"),
    ("runtime/src/actors/aggregator/round_report.rs", &["clock"], "times of a round"),
    ("runtime/src/actors/aggregator/session.rs", &["clock"], "times of a round"),
    (
        "runtime/src/actors/aggregator/store_thread.rs",
        &["clock", "threads"],
        "the store's thread and its times",
    ),
    ("runtime/src/actors/collaborator/dialler.rs", &["clock"], "time between two lines of the log"),
    ("runtime/src/actors/collaborator/model_receiver.rs", &["threads"], "copies of models"),
    ("runtime/src/files.rs", &["files"], "every file of the runtime"),
    ("runtime/src/memory/slots.rs", &["files"], "updates beyond the slots in memory"),
    (
        "runtime/src/memory/spill.rs",
        &["files", "randomness"],
        "updates beyond the slots in memory, and their key",
    ),
    ("runtime/src/net/payload.rs", &["clock"], "deadlines of a payload"),
    ("runtime/src/observe/log/file.rs", &["files"], "the log's copy"),
    ("runtime/src/pool.rs", &["threads"], "the CPU pool"),
    ("runtime/src/system/clock.rs", &["clock"], "the real clock"),
    ("runtime/src/system/random.rs", &["randomness"], "real randomness"),
    ("runtime/src/system/threads.rs", &["threads"], "real threads"),
];

#[test]
fn only_the_listed_files_touch_clock_files_randomness_and_threads() {
    let mut found = BTreeSet::new();
    let mut refused = Vec::new();
    for (path, code) in product() {
        for (what, paths) in DOES {
            let lines: BTreeSet<usize> = paths.iter().flat_map(|name| lines_with_path(&code, name)).collect();
            let Some(line) = lines.first() else { continue };
            found.insert((path.display().to_string(), what));
            let listed =
                |(file, does, _): &(&str, &[&str], &str)| path.starts_with(file) && does.contains(&what);
            if !PLACES.iter().any(listed) {
                refused.push(format!("{}:{line}: {what}", path.display()));
            }
        }
    }
    assert!(found.len() > 3, "the sources were not read: {found:?}");
    assert!(refused.is_empty(), "take these from what `main` hands down (`System`):\n{}", refused.join("\n"));
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
