//! What operators read of a run: a line for each round, the traffic of the whole run, and where log lines go.
//!
//! Most of it is pure formatting: the callers measure times and count. [`log::init`] sets the log up, and the
//! functions here write to standard output and standard error.

pub mod log;
mod member_line;
mod metric_json;
mod round_line;
mod traffic;

pub use member_line::{done_line, task_line};
pub use metric_json::MetricJson;
pub use round_line::{RoundLine, Timeline};
pub use traffic::Traffic;

use std::{fmt::Display, io::Write as _};

/// Writes a JSON object as a line to standard output; see [`say`].
pub(crate) fn say_event(event: &serde_json::Value) {
    say(format_args!("{event}\n"));
}

/// Writes to standard output. Text that cannot be written is lost: a closed pipe or a full disk does not end
/// a run.
pub(crate) fn say(text: impl Display) {
    let _ = write!(std::io::stdout(), "{text}");
}

/// Writes to standard error. Text that cannot be written is lost.
pub(crate) fn complain(text: impl Display) {
    let _ = write!(std::io::stderr(), "{text}");
}
