//! fl-runtime: federated learning inside Intel SGX enclaves, as a library.

pub mod data;
pub mod memory;
pub mod net;
pub mod observe;
pub mod payload;
pub mod pool;
pub mod registry;
pub mod store;
pub mod summing;
pub mod task;
#[cfg(feature = "train")]
mod train;
pub mod trust;
