//! Stays with a program under Gramine and passes signals on to it.
//!
//! Gramine ends its program cleanly at SIGTERM and knows no other signal for it. As the first process of a
//! container it does not even see Ctrl-C. So the launcher stays the first process, keeps Ctrl-C away from
//! Gramine, and passes each signal that asks for a stop on as SIGTERM.

use std::{
    io,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Command, ExitStatus},
};

use fl_sys::signals::{self, HeldSignals};

/// Runs the program to its end. Returns its exit code; 128 and the signal's number where a signal ended it,
/// as shells do.
///
/// # Errors
/// When the program cannot be started, or signals cannot be waited for.
pub fn stay(command: &mut Command) -> io::Result<u8> {
    let signals = HeldSignals::hold()?;
    // A group of its own: a terminal sends Ctrl-C to the group in front, which is the launcher's.
    let mut child = command.process_group(0).spawn()?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(code(status));
        }
        if signals.asks_to_stop()? {
            signals::terminate(child.id())?;
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader},
        process::{Child, Stdio},
    };

    use super::*;

    #[test]
    #[ignore = "child of the tests below"]
    fn stays_with_a_script() {
        let script = std::env::var("SCRIPT").unwrap();
        std::process::exit(stay(Command::new("sh").args(["-c", &script])).unwrap().into());
    }

    /// A process that stays with a script. All its threads hold the signals, as the one thread of the
    /// launcher does.
    fn staying(script: &str) -> Child {
        Command::new("env")
            .args(["INT", "TERM", "QUIT", "HUP", "CHLD"].map(|signal| format!("--block-signal={signal}")))
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "stay::tests::stays_with_a_script", "--ignored", "--nocapture"])
            .env("SCRIPT", script)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    #[test]
    fn every_signal_that_asks_for_a_stop_arrives_as_sigterm() {
        for signal in ["INT", "TERM", "QUIT", "HUP"] {
            // It dies of SIGINT, as a program under Gramine would.
            let mut child = staying("trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done");
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            assert!(lines.map_while(Result::ok).any(|line| line.ends_with("ready")));
            let sent = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status();
            assert!(sent.unwrap().success());
            assert_eq!(child.wait().unwrap().code(), Some(7), "{signal}");
        }
    }

    #[test]
    fn code_is_the_programs_or_the_signals() {
        for (script, code) in [("exit 0", 0), ("exit 14", 14), ("kill -KILL $$", 137)] {
            assert_eq!(staying(script).wait().unwrap().code(), Some(code), "{script}");
        }
    }
}
