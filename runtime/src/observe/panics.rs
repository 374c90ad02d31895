//! What is printed of a panic: one line, through the filter as every other text, into the log once there is a
//! log. Rust's own report would write a peer's or a file's control characters to the terminal as they are.

use std::panic::{PanicHookInfo, set_hook};

use fl_engine::printable::one_line;
use serde_json::json;

use super::{complain, json_line};

/// From here on this process prints panics as its other lines. `json`: as a JSON object while there is no
/// log, whose lines have a form of their own.
pub fn report_panics(json: bool) {
    set_hook(Box::new(move |panic| report(panic, json)));
}

fn report(panic: &PanicHookInfo<'_>, json: bool) {
    let thread = std::thread::current();
    // `panicked at FILE:LINE:COLUMN:`, a line feed, the message.
    let what = panic.to_string().replacen(":\n", ": ", 1);
    let line = format!("internal error: thread {} {what}", thread.name().unwrap_or("without a name"));
    if tracing::dispatcher::has_been_set() {
        tracing::error!("{line}");
    } else if json {
        complain(json_line(&json!({"error": line, "hint": HINT})));
    } else {
        complain(format_args!("error: {}\nhint: {HINT}\n", one_line(&line)));
    }
}

const HINT: &str = "this is a defect of the program: please report this line";

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::PathBuf,
        process::{Command, Output},
        sync::Arc,
    };

    use fl_engine::printable::unprintable;
    use tracing::Level;

    use crate::{
        observe::{self, log::LogFile},
        system::System,
    };

    const PAINT: &str = "\u{1b}[1A\u{1b}[2K\u{9b}2Jpainted\u{202e}\u{7f}\r\nerror: all is well";
    /// A workspace for the process that panics; `json` or `text` comes before its path.
    const FOLDER: &str = "FL_TEST_PANIC";

    /// Runs the test below in a process of its own, where it panics.
    fn panics(words: &str) -> Output {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "observe::panics::tests::process_that_panics", "--ignored", "--nocapture"])
            .env(FOLDER, words)
            .output()
            .unwrap()
    }

    #[test]
    #[ignore = "the process that the other test starts"]
    fn process_that_panics() {
        let Ok(words) = std::env::var(FOLDER) else { return };
        let (form, folder) = words.split_once(' ').unwrap();
        observe::report_panics(form == "json");
        if !folder.is_empty() {
            let system = System::real();
            let file = LogFile::open(&system.files, folder.as_ref(), "role").unwrap().map(Arc::new);
            observe::log::init(form == "json", Level::INFO, file, system.clock).unwrap();
        }
        let thread = std::thread::Builder::new().name("work\u{1b}[2J".to_owned());
        let _ = thread.spawn(|| panic!("{PAINT}")).unwrap().join();
    }

    #[test]
    fn panic_is_one_printable_line_in_text_json_and_log_file() {
        for form in ["text", "json"] {
            let folder: PathBuf =
                std::env::temp_dir().join(format!("fl-panics-{}-{form}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(folder.join("plan")).unwrap();
            for with_log in [false, true] {
                let path = folder.display().to_string();
                let said = panics(&format!("{form} {}", if with_log { &*path } else { "" }));
                let text = String::from_utf8(said.stderr).unwrap();
                assert_eq!(text.lines().find_map(unprintable), None, "{text:?}");
                let line = text.lines().find(|line| line.contains("painted")).unwrap();
                assert!(line.contains("panicked at runtime/src/observe/panics.rs"), "{line}");
                assert!(line.contains("\\u{1b}[1A") || line.contains("\\\\u{1b}[1A"), "{line}");
                assert!(!text.lines().any(|line| line.starts_with("error: all is well")), "{text}");
                if form == "json" {
                    serde_json::from_str::<serde_json::Value>(line).unwrap();
                }
                if with_log {
                    let log = fs::read_to_string(folder.join("logs/role.log")).unwrap();
                    assert_eq!(log.trim_end(), line);
                }
            }
        }
    }
}
