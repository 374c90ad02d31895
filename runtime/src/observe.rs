//! What operators read of a run: a line for each round, counters, and where log lines go.
//!
//! Pure formatting, and one function that sets the log up, with its copy in the workspace. Whoever runs a round hands its summary and the durations in;
//! nothing here measures time, or keeps anything but counters.

mod counters;
pub mod log;
mod measured;
mod member_line;
mod round_line;

pub use counters::{Counters, Snapshot};
pub use measured::Measured;
pub use member_line::{done_line, task_line};
pub use round_line::{RoundLine, Timeline};
