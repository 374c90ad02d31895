//! fl-host: workspaces, plans, keys and reports.

use std::{io::Write as _, process::ExitCode};

use fl_host_tools::cli;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let said = cli::run(&args);
    // A closed pipe is the reader's choice, not a failure.
    let _ = std::io::stdout().write_all(said.out.as_bytes());
    let _ = std::io::stderr().write_all(said.err.as_bytes());
    ExitCode::from(said.exit as u8)
}
