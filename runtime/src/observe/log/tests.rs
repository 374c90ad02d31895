//! Lines, pinned; and a process whose environment asks for more than its command line.

use std::process::Command;

use super::*;
use crate::system::System;

/// The line of one event, through a subscriber of its own.
pub(crate) fn caught(json: bool, emit: impl FnOnce()) -> String {
    use std::sync::{Arc, Mutex};
    struct Catch(bool, Arc<Mutex<String>>);
    impl<S: Subscriber> tracing_subscriber::Layer<S> for Catch {
        fn on_event(&self, event: &Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
            let line = line(self.0, NOW, event.metadata().level(), |visit| event.record(visit));
            self.1.lock().unwrap().push_str(&line);
        }
    }
    let text = Arc::new(Mutex::new(String::new()));
    let subscriber = tracing_subscriber::registry().with(Catch(json, Arc::clone(&text)));
    tracing::subscriber::with_default(subscriber, emit);
    let text = text.lock().unwrap();
    text.clone()
}

#[test]
fn line_is_time_level_words_and_fields() {
    let emit = || tracing::warn!(peer = "two", bytes = 7, error = %"a\nb", "link {}\u{1b}[2J", "broke");
    assert_eq!(
        caught(false, emit),
        r"2026-11-24T20:31:14Z warn  link broke\u{1b}[2J  bytes=7  error=a\u{a}b  peer=two"
    );
    assert_eq!(
        caught(true, emit),
        r#"{"bytes":7,"error":"a\nb","level":"warn","message":"link broke\\u{1b}[2J","peer":"two","time":"2026-11-24T20:31:14Z"}"#
    );
}

#[test]
fn time_is_utc_to_the_second() {
    let now = time(&System::real().clock);
    assert!(now.len() == 20 && now.starts_with("20") && now.ends_with('Z') && &now[10..11] == "T", "{now}");
}

#[test]
#[ignore = "child of environment_has_no_say"]
fn says_a_few_things() {
    init(false, Level::INFO, None, System::real().clock).unwrap();
    tracing::info!("round 3");
    tracing::debug!("detail");
    tracing::info!(target: "quinn", "library");
    tracing::warn!(target: "quinn", "library warns");
    init(true, Level::TRACE, None, System::real().clock).unwrap_err();
}

#[test]
fn environment_has_no_say() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "observe::log::tests::says_a_few_things", "--ignored", "--nocapture"])
        .env("RUST_LOG", "trace")
        .env("CLICOLOR_FORCE", "1")
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let words: Vec<&str> =
        stderr.lines().filter_map(|line| line.split_once("Z ")).map(|(_, rest)| rest).collect();
    assert_eq!(words, ["info  round 3", "warn  library warns"], "{stderr}");
    assert!(output.status.success());
}

const NOW: &str = "2026-11-24T20:31:14Z";
