//! fl-host: what a federation's people do on their own machines.

pub mod attest;
pub mod cli;
pub mod data;
pub mod demo;
pub mod files;
pub mod image;
pub mod machine;
pub mod manual;
pub mod model;
pub mod onnx;
pub mod pki;
pub mod plan;
pub mod sgx;
pub mod synthesise;
pub mod templates;
pub mod transfer;
pub mod workspace;

/// How a command ends; the table is the same as fl-runtime's.
pub use fl_runtime::internal::exit;
