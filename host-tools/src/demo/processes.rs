//! The federation's processes: started, read from, waited for, and never left behind.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Lines},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

use super::Federation;
use crate::{
    exit::{Exit, Failure},
    files,
};

/// An aggregator and its collaborators.
pub(super) struct Processes {
    aggregator: Child,
    collaborators: Vec<(String, Child)>,
    lines: Lines<BufReader<ChildStdout>>,
    logs: PathBuf,
}

/// How they ended.
pub(super) struct Ended {
    pub(super) aggregator_exit: i32,
    /// A sentence for each collaborator that failed.
    pub(super) lost: Vec<String>,
}

impl Processes {
    /// Starts all of them; collaborators wait until the aggregator listens.
    pub(super) fn start(federation: &Federation) -> Result<Self, Failure> {
        let program = program()?;
        let logs = federation.dir.join("logs");
        files::make_folder(&logs)?;
        let spawn = |name: &str, folder: &PathBuf, args: &[&str]| {
            let log = logs.join(format!("{name}.log"));
            let file = File::create(&log).map_err(|e| files::unwritten(&log, &e))?;
            Command::new(&program)
                .args(args)
                .current_dir(folder)
                .stdin(Stdio::null())
                .stdout(if name == AGGREGATOR { Stdio::piped() } else { Stdio::null() })
                .stderr(file)
                .spawn()
                .map_err(|e| Failure::new(Exit::Failed, format!("cannot start {}: {e}", program.display())))
        };
        let mut aggregator = spawn(AGGREGATOR, &federation.aggregator, &["--json", "aggregator", "start"])?;
        let Some(output) = aggregator.stdout.take() else {
            return Err(Failure::new(Exit::Failed, "cannot read the aggregator's standard output"));
        };
        let lines = BufReader::new(output).lines();
        let mut processes = Self { aggregator, collaborators: Vec::new(), lines, logs: logs.clone() };
        for name in &federation.names {
            let folder = federation.dir.join(name);
            let child = spawn(name, &folder, &["collaborator", "start", "-n", name])?;
            processes.collaborators.push((name.clone(), child));
        }
        Ok(processes)
    }

    /// The aggregator's next line; `None` once it has closed its output.
    pub(super) fn next_line(&mut self) -> Option<String> {
        self.lines.next()?.ok()
    }

    /// Every process's number, the aggregator's first.
    pub(super) fn pids(&self) -> Vec<u32> {
        let collaborators = self.collaborators.iter().map(|(_, child)| child.id());
        std::iter::once(self.aggregator.id()).chain(collaborators).collect()
    }

    pub(super) fn names_and_pids(&self) -> Value {
        let mut object = serde_json::Map::new();
        object.insert(AGGREGATOR.to_owned(), json!(self.aggregator.id()));
        for (name, child) in &self.collaborators {
            object.insert(name.clone(), json!(child.id()));
        }
        Value::Object(object)
    }

    /// Waits for all of them.
    pub(super) fn wait(&mut self) -> Ended {
        let aggregator_exit = self.aggregator.wait().ok().and_then(|s| s.code()).unwrap_or(-1);
        let mut lost = Vec::new();
        for (name, child) in &mut self.collaborators {
            match child.wait() {
                Ok(status) if status.success() => {}
                Ok(status) => lost.push(format!("collaborator {name} ended early ({status})")),
                Err(error) => lost.push(format!("cannot tell how the collaborator {name} ended: {error}")),
            }
        }
        Ended { aggregator_exit, lost }
    }

    /// Whether the aggregator has ended without an error.
    pub(super) fn ended_well(&mut self) -> bool {
        self.aggregator.wait().is_ok_and(|status| status.success())
    }

    /// Why fewer rounds were run than planned: the last error of the aggregator's log.
    pub(super) fn failure(&mut self, rounds: usize, planned: u32) -> Failure {
        let status = self.aggregator.wait().map_or_else(|e| e.to_string(), |s| s.to_string());
        let log = std::fs::read_to_string(self.logs.join("aggregator.log")).unwrap_or_default();
        let last = log
            .lines()
            .rev()
            .find(|line| line.contains("error"))
            .unwrap_or("the aggregator's log has no error")
            .trim();
        let error = format!("the aggregator ended after {rounds} of {planned} rounds ({status}): {last}");
        Failure::new(Exit::Failed, error)
            .hint(format!("read the log of each process in {}", self.logs.display()))
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        let children = std::iter::once(&mut self.aggregator)
            .chain(self.collaborators.iter_mut().map(|(_, child)| child));
        for child in children {
            if let Ok(None) = child.try_wait() {
                // It may have ended in between.
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

/// `fl-runtime`, beside this program.
fn program() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()
        .map_err(|e| Failure::new(Exit::Failed, format!("cannot find this program's own path: {e}")))?;
    // A test's program lies one folder deeper.
    let near = own.ancestors().skip(1).take(2).map(|folder| folder.join("fl-runtime"));
    near.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        Failure::new(Exit::File, format!("there is no fl-runtime in the folder of {}", own.display()))
            .hint("build both programs with `cargo build --release`")
    })
}

const AGGREGATOR: &str = "aggregator";
