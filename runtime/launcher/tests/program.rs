//! The program itself, outside an image: what it says, and how it ends.
#![allow(clippy::unwrap_used, reason = "a test's failure is its panic")]

use std::process::{Command, Output};

fn run(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fl-launcher")).args(words).output().unwrap()
}

#[test]
fn mistakes_are_answered_with_error_hint_and_code() {
    for (words, code, error) in [
        (&["collaborator", "start"][..], 2, "error: a collaborator needs its name\nhint: "),
        (&["aggregator", "start", "-n", "one"], 2, "error: an aggregator takes no name\nhint: "),
        (&["--version"], 3, "error: cannot start /fl/fl-runtime: "),
    ] {
        let output = run(words);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        assert!(said.starts_with(error), "{said}");
        assert_eq!(said.lines().count(), 2, "{said}");
    }
}

#[test]
fn container_without_a_certificate_volume_is_told_what_it_lacks() {
    // This machine has no volume at /workspace/cert.
    let output = run(&["aggregator", "start"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.starts_with("error: no volume at /workspace/cert"), "{said}");
    assert!(said.contains("hint: start the container with --volume="), "{said}");
}

#[test]
fn code_is_the_same_where_nothing_can_be_said() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fl-launcher"));
    let ended = command.args(["collaborator", "start"]).stderr(full).status().unwrap();
    assert_eq!(ended.code(), Some(2));
}
