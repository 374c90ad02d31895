//! Where log lines go: to standard error and a [`LogFile`], as plain lines or as JSON objects, from the level
//! that the command line gives.
//!
//! The environment is not read (no `RUST_LOG`): the host controls the environment of an enclave, and log
//! lines leave the enclave.

mod file;

use std::{
    fmt,
    io::{self, Write},
    sync::Arc,
};

use fl_engine::printable::one_line;
use serde_json::{Map, Value, json};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer as _,
    filter::Targets,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::{SubscriberInitExt as _, TryInitError},
};

use crate::system::Clock;

pub use file::LogFile;

/// Sets the process's log up, once. Lines of our own crates are written from `level` on, lines of libraries
/// from warnings on.
///
/// # Errors
/// When a log was set up already.
pub fn init(json: bool, level: Level, file: Option<Arc<LogFile>>, clock: Clock) -> Result<(), TryInitError> {
    let targets = OURS.iter().fold(Targets::new().with_default(Level::WARN.min(level)), |targets, name| {
        targets.with_target(*name, level)
    });
    // A line that cannot be written is lost. Reporting that on standard error could end the process.
    let lines = tracing_subscriber::fmt::layer()
        .event_format(Lines { json, clock: clock.clone() })
        .log_internal_errors(false)
        .with_writer(Arc::new(Both { json, file, clock }));
    tracing_subscriber::registry().with(lines.with_filter(targets)).try_init()
}

/// Standard error and the file. A failure of the file is reported on standard error alone.
struct Both {
    clock: Clock,
    json: bool,
    file: Option<Arc<LogFile>>,
}

impl Write for &Both {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(lines);
        if let Some(file) = &self.file
            && let Err(error) = file.append(&text)
        {
            let message = format!(
                "cannot write to {}: {error}; the log goes on without this copy",
                file.path().display()
            );
            let line =
                Fields { message, ..Fields::default() }.line(self.json, &time(&self.clock), &Level::WARN);
            super::complain(format_args!("{line}\n"));
        }
        super::complain(&text);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `2026-11-24T20:31:14Z info  round 3 …`; no colour, whether stderr is a terminal or not.
struct Lines {
    clock: Clock,
    json: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let line = line(self.json, &time(&self.clock), event.metadata().level(), |visit| event.record(visit));
        writeln!(writer, "{line}")
    }
}

/// One event's line.
fn line(json: bool, time: &str, level: &Level, record: impl FnOnce(&mut dyn Visit)) -> String {
    let mut fields = Fields::default();
    record(&mut fields);
    fields.line(json, time, level)
}

/// UTC, to the second: the host's clock, for people.
fn time(clock: &Clock) -> String {
    clock.wall().to_string()
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn line(self, json: bool, time: &str, level: &Level) -> String {
        let level = level.as_str().to_ascii_lowercase();
        if json {
            let mut object = self.others;
            object.insert("time".to_owned(), json!(time));
            object.insert("level".to_owned(), json!(level));
            object.insert("message".to_owned(), json!(self.message));
            return super::json_line(&Value::Object(object)).trim_end().to_owned();
        }
        let mut line = format!("{time} {level:<5} {}", one_line(&self.message));
        for (name, value) in &self.others {
            let value = value.as_str().map_or_else(|| value.to_string().into(), one_line);
            line.push_str(&format!("  {name}={value}"));
        }
        line
    }

    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => {
                self.others.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, json!(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, json!(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, json!(value));
    }
}

/// Targets whose lines follow the given level. A target is a module path, and covers every module below.
const OURS: [&str; 2] = ["fl_runtime", "fl_engine"];

#[cfg(test)]
pub(crate) mod tests;
