//! fl-runtime: federated learning inside Intel SGX enclaves, as a library.

pub mod data;
pub mod net;
