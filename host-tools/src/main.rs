//! fl-host: workspaces, plans, keys and reports.

use std::process::ExitCode;

use fl_host_tools::cli;
use fl_runtime::internal::observe;

fn main() -> ExitCode {
    let args: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    observe::report_panics(args.contains(&"--json"));
    let said = cli::run(&args);
    observe::say(said.out);
    observe::complain(said.err);
    ExitCode::from(said.exit as u8)
}
