//! fl-runtime: an aggregator or a collaborator, by its first argument.

use std::process::ExitCode;

use fl_runtime::extend::{Registry, run};

fn main() -> ExitCode {
    run(&Registry::new())
}
