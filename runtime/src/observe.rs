//! What operators read of a run: a line for each round, counters, and where log lines go.
//!
//! Pure formatting, one function that sets the log up, with its copy in the workspace, and those that write. Whoever runs a
//! round hands its summary and the durations in; nothing here measures time, or keeps anything but counters.

mod counters;
pub mod log;
mod measured;
mod member_line;
mod round_line;

pub use counters::{Counters, Snapshot};
pub use measured::Measured;
pub use member_line::{done_line, task_line};
pub use round_line::{RoundLine, Timeline};

use std::{fmt::Display, io::Write as _};

/// Writes an object and the end of its line to standard output, see [`say`].
pub(crate) fn say_event(event: &serde_json::Value) {
    say(format_args!("{event}\n"));
}

/// Writes to standard output. A reader that has gone, or a full disk, is no reason to end a run: what cannot be written
/// is lost.
pub(crate) fn say(text: impl Display) {
    let _ = write!(std::io::stdout(), "{text}");
}

/// Writes to standard error; what cannot be written is lost.
pub(crate) fn complain(text: impl Display) {
    let _ = write!(std::io::stderr(), "{text}");
}
