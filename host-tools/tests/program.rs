//! The program itself: what it prints goes where it should, and it ends with its numbered code.
#![allow(clippy::unwrap_used, reason = "a test's failure is its panic")]

use std::process::{Command, Output};

fn fl_host(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fl-host")).args(args).output().unwrap()
}

#[test]
fn help_goes_to_standard_output_and_mistakes_to_standard_error() {
    let help = fl_host(&["--help"]);
    assert_eq!((help.status.code(), help.stderr.len()), (Some(0), 0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("Usage: fl-host"));

    let mistake = fl_host(&["workspace", "crate"]);
    assert_eq!((mistake.status.code(), mistake.stdout.len()), (Some(2), 0));
    let said = String::from_utf8_lossy(&mistake.stderr).into_owned();
    assert!(said.starts_with("error: ") && said.contains("\nhint: "), "{said}");

    let json = fl_host(&["--json", "workspace", "templates"]);
    assert!(serde_json::from_slice::<serde_json::Value>(&json.stdout).unwrap().is_array());
}
