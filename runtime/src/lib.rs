//! fl-runtime: federated learning inside Intel SGX enclaves, as a library. The [`manual`] explains the whole.

// They panic when nobody reads what they print: see `observe::say`.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

use std::process::ExitCode;

mod actors;
pub mod aggregation;
pub mod cli;
pub mod exit;
mod folder;
pub mod manual;
pub mod memory;
pub mod net;
pub mod observe;
pub mod payload;
pub mod pool;
pub mod release;
mod roles;
pub mod sealed;
pub mod store;
pub mod trust;

pub use fl_learn::{data, registry, task};
pub use folder::image;

/// The environment variable that names a collaborator where the command line does not: the one word that a host says to
/// an enclave. It selects a certificate, and the certificate decides.
pub const NAME_VARIABLE: &str = "FL_COLLABORATOR";

/// The environment variable that is `1` under Gramine and unset elsewhere. A manifest fixes it, so in an enclave it is
/// measured; it chooses how system calls are made ([`fl_sys::syscall`]) and nothing else.
pub const GRAMINE_VARIABLE: &str = "FL_GRAMINE";

/// Runs the program on the process's own arguments: what a `main` does, with what a user's crate adds to the plain one.
#[must_use]
pub fn run(registry: &registry::Registry) -> ExitCode {
    let args: Vec<String> =
        std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    cli::run(&args.iter().map(String::as_str).collect::<Vec<_>>(), registry)
}
