//! fl-runtime: federated learning inside Intel SGX enclaves, as a library.
//!
//! Programs of users' crates build on [`extend`]. The [`manual`] explains the whole.

// They panic when nobody reads what they print: see `observe::say`.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod actors;
mod aggregation;
mod cli;
mod environment;
mod exit;
pub mod extend;
mod files;
mod image_layout;
#[doc(hidden)]
pub mod internal;
pub mod manual;
mod memory;
mod net;
mod observe;
mod payload;
mod pool;
mod roles;
mod sealed;
mod store;
mod system;
mod trust;
mod version;
