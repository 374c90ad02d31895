//! Benchmarks of fl-runtime, each a ratio against a limit measured in the same run.

pub mod machine;
pub mod report;
pub mod timing;
