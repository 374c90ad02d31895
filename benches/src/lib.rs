//! Benchmarks of fl-runtime, each a ratio against a limit measured in the same run.

pub mod crowd;
pub mod enrolment;
pub mod front;
pub mod gramine;
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

/// The exit code of a bench. An error is printed on standard error.
#[must_use]
pub fn ended(outcome: Result<(), Failure>) -> std::process::ExitCode {
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
