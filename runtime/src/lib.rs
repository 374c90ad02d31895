//! fl-runtime: federated learning inside Intel SGX enclaves, as a library.

pub mod data;
pub mod memory;
pub mod net;
pub mod pool;
pub mod task;
#[cfg(feature = "train")]
mod train;
pub mod trust;
