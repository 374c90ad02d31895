//! fl-runtime: an aggregator or a collaborator, by its first argument.

use std::process::ExitCode;

use fl_runtime::registry::Registry;

fn main() -> ExitCode {
    fl_runtime::run(&Registry::new())
}
