//! Benchmarks of fl-runtime, each a ratio against a limit measured in the same run.

pub mod crowd;
pub mod enrolment;
pub mod front;
pub mod limits;
pub mod loopback;
pub mod machine;
pub mod process;
pub mod report;
pub mod resident;
pub mod rules;
pub mod shape;
pub mod timing;
pub mod updates;

/// Why a bench cannot go on.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
