//! fl-host: what a federation's people do on their own machines.

pub mod cli;
pub mod demo;
pub mod exit;
pub mod image;
pub mod model;
pub mod pki;
pub mod plan;
pub mod sgx;
pub mod templates;
pub mod workspace;
