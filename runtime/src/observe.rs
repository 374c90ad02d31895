//! What operators read of a run: a line for each round, the traffic of the whole run, and where log lines go.
//!
//! Most of it is pure formatting: the callers measure times and count. [`log::init`] sets the log up. Both
//! programs write to standard output and standard error here and nowhere else, so that no text passes the one
//! filter by: control characters become `\u{…}` ([`fl_engine::printable`]).

pub mod log;
mod member_line;
mod metric_json;
mod panics;
mod round_line;
mod traffic;
mod waiting_line;
mod why_early;

pub use member_line::{done_line, epoch_line, task_line};
pub use metric_json::MetricJson;
pub use panics::report_panics;
pub use round_line::{RoundLine, Timeline};
pub use traffic::Traffic;
pub use waiting_line::{after_words, names, waiting_line};
pub use why_early::why_early;

use std::{fmt::Display, io::Write as _};

use fl_engine::printable;

/// Writes a JSON object as a line to standard output; see [`say`].
pub fn say_event(event: &serde_json::Value) {
    say(json_line(event));
}

/// Writes to standard output. Text that cannot be written is lost: a closed pipe or a full disk does not end
/// a run.
pub fn say(text: impl Display) {
    let _ = std::io::stdout().write_all(printable::printable(&text.to_string()).as_bytes());
}

/// Writes to standard error. Text that cannot be written is lost.
pub fn complain(text: impl Display) {
    let _ = std::io::stderr().write_all(printable::printable(&text.to_string()).as_bytes());
}

/// A JSON value as a line: valid JSON, and printable.
#[must_use]
pub fn json_line(value: &serde_json::Value) -> String {
    let mut line = printable::json(&value.to_string()).into_owned();
    line.push('\n');
    line
}
