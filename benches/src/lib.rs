//! Benchmarks of fl-runtime, each a ratio against a limit measured in the same run.

pub mod front;
pub mod limits;
pub mod machine;
pub mod report;
pub mod resident;
pub mod rules;
pub mod shape;
pub mod timing;
pub mod updates;
