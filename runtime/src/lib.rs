//! fl-runtime: federated learning inside Intel SGX enclaves, as a library. The [`manual`] explains the whole.

// They panic when nobody reads what they print: see `observe::say`.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

use std::process::ExitCode;

mod actors;
pub mod aggregation;
pub mod cli;
mod environment;
pub mod exit;
pub mod files;
pub mod image_layout;
pub mod manual;
pub mod memory;
pub mod net;
pub mod observe;
pub mod payload;
pub mod pool;
mod roles;
pub mod sealed;
pub mod store;
pub mod system;
pub mod trust;
pub mod version;

pub use environment::{GRAMINE_VARIABLE, NAME_VARIABLE};
pub use fl_learn::{data, registry, task};

/// Runs the program on the process's own arguments: what a `main` does, with what a user's crate adds to the
/// plain one.
#[must_use]
pub fn run(registry: &registry::Registry) -> ExitCode {
    let args: Vec<String> =
        std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    cli::run(&args.iter().map(String::as_str).collect::<Vec<_>>(), registry, &system::System::real())
}
