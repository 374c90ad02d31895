//! Federations of real processes: prepared with the commands that people use, started, watched, killed.
//!
//! Each federation has its own folder among the temporary files and its own UDP port, so that tests run side
//! by side. Every process is killed when its handle is dropped.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use fl_engine::{model::safetensors, tensor::ModelState};
use fl_host_tools::{
    cli,
    demo::{Federation, Request, prepare},
    exit::Exit,
    templates::{self, Template},
    workspace::set_key,
};
use serde_json::Value;

/// A federation of `collaborators` members in a fresh folder called `name`; `edit` changes the owner's plan.
/// The variable `FL_LINK` chooses what carries the links: `auto` (the default), `quic` or `tcp`.
///
/// # Panics
/// When a step fails.
#[must_use]
pub fn federation(name: &str, collaborators: usize, edit: &dyn Fn(&str) -> String) -> Federation {
    let link = std::env::var("FL_LINK").unwrap_or_else(|_| "auto".to_owned());
    federation_over(&link, name, collaborators, edit)
}

/// The same, all of whose links are carried by `link`: `auto`, `quic` or `tcp`.
///
/// # Panics
/// When a step fails.
#[must_use]
pub fn federation_over(
    link: &str,
    name: &str,
    collaborators: usize,
    edit: &dyn Fn(&str) -> String,
) -> Federation {
    let template = templates::find("breast_cancer").unwrap_or_else(|| panic!("no template"));
    federation_of(template, link, name, collaborators, edit)
}

/// The same, with the plan and the data of `template`.
///
/// # Panics
/// When a step fails.
#[must_use]
pub fn federation_of(
    template: &Template,
    link: &str,
    name: &str,
    collaborators: usize,
    edit: &dyn Fn(&str) -> String,
) -> Federation {
    // One process may run several tests at once.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = format!("fl-federation-{}-{number}-{name}-{link}", std::process::id());
    let dir = std::env::temp_dir().join(folder);
    let _ = std::fs::remove_dir_all(&dir);
    let request = Request { dir, template, collaborators, rounds: None, link, edit: Some(edit) };
    match prepare(&request, &cli::result, &mut |_| {}) {
        Ok(federation) => federation,
        Err(failure) => panic!("{failure:?}"),
    }
}

/// A plan whose rounds are one synthetic task over a model of `inputs × 1` parameters: link, sum and store
/// without training.
#[must_use]
pub fn synthetic(plan: &str, inputs: u32, rounds: u32) -> String {
    let model = format!("{{input: [{inputs}], layers: [{{linear: {{name: w, out: 1, bias: false}}}}]}}");
    synthetic_with(plan, &model, rounds)
}

/// The same plan over another model: `model` is a block of a plan.
#[must_use]
pub fn synthetic_with(plan: &str, model: &str, rounds: u32) -> String {
    let plan = set_block(plan, "model", model);
    let plan = set_block(&plan, "tasks", "{send: {kind: synthetic, weight: 7}}");
    let plan = set_block(
        &plan,
        "data",
        "{loader: csv, file: data.csv, header: true, label: diagnosis, split: {train: 1, validation: 0, test: 0}}",
    );
    let plan = set_block(&plan, "best", "{task: send, metric: loss, direction: min}");
    set_key(&plan, "rounds", &rounds.to_string(), "schema")
}

/// Replaces a top-level key with all that is under it.
#[must_use]
pub fn set_block(plan: &str, key: &str, value: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for line in plan.split_inclusive('\n') {
        let top = line.starts_with(|c: char| c.is_ascii_alphabetic());
        if top {
            inside = line.starts_with(&format!("{key}:"));
            if inside {
                out.push_str(&format!("{key}: {value}\n"));
            }
        }
        if !inside || line.starts_with('#') {
            out.push_str(line);
        }
    }
    out
}

/// The lines of the aggregator's history: one for each finished round, in order.
///
/// # Panics
/// Without a history, or with a line that is not JSON.
#[must_use]
pub fn history(federation: &Federation) -> Vec<Value> {
    let path = federation.aggregator.join("save/demo_history.jsonl");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

/// The same lines; each round stands there once, in order.
///
/// # Panics
/// When the rounds are not 0 to `rounds`, without the last.
pub fn rounds_in_order(federation: &Federation, rounds: u64) -> Vec<Value> {
    let lines = history(federation);
    let found: Vec<Option<u64>> = lines.iter().map(|line| line["round"].as_u64()).collect();
    assert_eq!(found, (0..rounds).map(Some).collect::<Vec<_>>());
    lines
}

/// Checks that each round stands once in the history, in order, with the updates of all collaborators.
///
/// # Panics
/// When this is not the case.
pub fn rounds_of_all(federation: &Federation, rounds: u64) {
    for line in rounds_in_order(federation, rounds) {
        let updates = line["contributions"].as_array().map(Vec::len);
        assert_eq!(updates, Some(federation.names.len()), "{line}");
    }
}

/// The model that the aggregator has stored last.
///
/// # Panics
/// Without the file, or when the file does not fit the plan.
pub fn last_model(federation: &Federation) -> ModelState {
    let read = || -> Result<ModelState, Box<dyn std::error::Error>> {
        let bytes = std::fs::read(federation.last_model())?;
        Ok(safetensors::read(&bytes, &federation.plan.layout()?)?.0)
    };
    read().unwrap_or_else(|e| panic!("{}: {e}", federation.last_model().display()))
}

/// A collaborator's table, `data.csv` of the template.
#[must_use]
pub fn table(federation: &Federation, name: &str) -> PathBuf {
    federation.dir.join(name).join("data").join(name).join("data.csv")
}

/// Changes the cells of each row of a collaborator's table. `change` is given the place of the label.
///
/// # Panics
/// When the table cannot be read or written, or has no column "diagnosis".
pub fn change_rows(federation: &Federation, name: &str, change: &dyn Fn(usize, &mut [String])) {
    let path = table(federation, name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let (header, rows) = text.split_once('\n').unwrap_or((&text, ""));
    let label = header.split(',').position(|column| column == "diagnosis");
    let label = label.unwrap_or_else(|| panic!("{}: {header}", path.display()));
    let rows = rows.lines().map(|row| {
        let mut cells: Vec<String> = row.split(',').map(str::to_owned).collect();
        change(label, &mut cells);
        cells.join(",") + "\n"
    });
    let changed = format!("{header}\n{}", rows.collect::<String>());
    std::fs::write(&path, changed).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// Runs `fl-host` with these words and returns what it printed.
///
/// # Panics
/// When the command fails.
pub fn host(args: &[&str]) -> Value {
    let said = cli::run(&[&["--json"], args].concat());
    assert_eq!(said.exit, Exit::Done, "{args:?}: {}", said.err);
    serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{}: {e}", said.out))
}

/// Starts the aggregator, waits until it listens, and starts all collaborators.
///
/// # Panics
/// When the aggregator does not listen within 20 seconds.
#[must_use]
pub fn start(federation: &Federation) -> (Process, Vec<Process>) {
    let aggregator = Process::aggregator(federation);
    aggregator.event("listening", Duration::from_secs(20));
    (aggregator, Process::collaborators(federation))
}

/// Waits until all have ended without an error: the aggregator within a minute, each member 20 seconds later.
///
/// # Panics
/// When one does not.
pub fn all_end_well(aggregator: &mut Process, members: &mut [Process]) {
    assert!(aggregator.ended(Duration::from_secs(60)).success(), "{}", aggregator.log());
    for member in members {
        assert!(member.ended(Duration::from_secs(20)).success(), "{}", member.log());
    }
}

/// Waits for the end of a process, for a minute, and checks its exit code.
///
/// # Panics
/// When it does not end, or ends with another code.
pub fn ends(process: &mut Process, code: i32) {
    assert_eq!(process.ended(Duration::from_secs(60)).code(), Some(code), "{}", process.log());
}

/// Sets a key in the site file of the workspace `folder`.
///
/// # Panics
/// When the file cannot be changed.
pub fn set_site(folder: &Path, key: &str, value: &str) {
    let file = folder.join("plan/site.yaml");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let changed = std::fs::write(&file, set_key(&text, key, value, "address"));
    changed.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
}

/// Sets what carries the links of all members: `auto`, `quic` or `tcp`.
///
/// # Panics
/// When a site file cannot be changed.
pub fn set_links(federation: &Federation, link: &str) {
    federation.names.iter().for_each(|name| set_site(&federation.dir.join(name), "link", link));
}

/// A running role.
pub struct Process {
    child: Child,
    /// Standard output, line by line, each with the time of its arrival.
    lines: Receiver<(Instant, String)>,
    log: PathBuf,
    name: String,
}

impl Process {
    /// Starts the aggregator.
    #[must_use]
    pub fn aggregator(federation: &Federation) -> Self {
        Self::aggregator_in(federation, &[])
    }

    /// The same, wrapped in `wrapper` as [`Self::start`] wraps a program.
    #[must_use]
    pub fn aggregator_in(federation: &Federation, wrapper: &[&str]) -> Self {
        Self::start("aggregator", &federation.aggregator, &["--json", "aggregator", "start"], wrapper)
    }

    /// Starts the collaborator `name`.
    #[must_use]
    pub fn collaborator(federation: &Federation, name: &str) -> Self {
        Self::collaborator_in(federation, name, &[])
    }

    /// The same, wrapped in `wrapper` as [`Self::start`] wraps a program.
    #[must_use]
    pub fn collaborator_in(federation: &Federation, name: &str, wrapper: &[&str]) -> Self {
        let args = ["--json", "collaborator", "-n", name, "start"];
        Self::start(name, &federation.dir.join(name), &args, wrapper)
    }

    /// Starts all collaborators of the federation, in the order of its names.
    #[must_use]
    pub fn collaborators(federation: &Federation) -> Vec<Self> {
        federation.names.iter().map(|name| Self::collaborator(federation, name)).collect()
    }

    /// Starts `fl-runtime` with `args` in `folder`, wrapped in `wrapper` (for example `sh -c 'ulimit …'`).
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(name: &str, folder: &Path, args: &[&str], wrapper: &[&str]) -> Self {
        Self::spawn("fl-runtime", name, folder, args, wrapper)
    }

    /// Starts a client that commits these misdeeds, one after the other, with the certificate of `name`.
    #[must_use]
    pub fn hostile(federation: &Federation, name: &str, misdeeds: &[&str]) -> Self {
        let args = [&[".", name], misdeeds].concat();
        Self::spawn("hostile", name, &federation.dir.join(name), &args, &[])
    }

    /// Starts one process that sends the first round's updates of all collaborators ([`crate::crowd`]);
    /// `root` is that of the initial model.
    #[must_use]
    pub fn crowd(federation: &Federation, root: &str) -> Self {
        let names = federation.names.iter().map(String::as_str);
        let folder = federation.dir.display().to_string();
        let args: Vec<&str> = [root, &folder].into_iter().chain(names).collect();
        Self::spawn("crowd", "crowd", &federation.aggregator, &args, &[])
    }

    /// Starts `program_name`, a program of this workspace, with `args` in `folder`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn spawn(program_name: &str, name: &str, folder: &Path, args: &[&str], wrapper: &[&str]) -> Self {
        let program = program(program_name);
        let log = folder.join("logs").join(format!("{name}.stderr"));
        let file = File::options().create(true).append(true).open(&log);
        let file = file.unwrap_or_else(|e| panic!("{}: {e}", log.display()));
        let mut command = match wrapper.split_first() {
            None => Command::new(&program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(&program);
                command
            }
        };
        command.args(args).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{}: {e}", program.display()));
        let (put, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || {
                let lines = BufReader::new(stdout).lines().map_while(Result::ok);
                // The reader of the lines may be gone.
                lines.for_each(|line| drop(put.send((Instant::now(), line))));
            });
        }
        Self { child, lines, log, name: name.to_owned() }
    }

    /// The process's number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next JSON line whose `event` is `event`, skipping others.
    ///
    /// # Panics
    /// When none comes within `within`.
    pub fn event(&self, event: &str, within: Duration) -> Value {
        let until = Instant::now() + within;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok((_, line)) => {
                    let value: Value = serde_json::from_str(&line).unwrap_or_default();
                    if value["event"] == event {
                        return value;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{}: no {event} within {within:?}; its log:\n{}", self.name, self.log())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("{} ended before {event}; its log:\n{}", self.name, self.log())
                }
            }
        }
    }

    /// Every line with this event until the process ends, lines that have arrived before included.
    pub fn events_to_the_end(&self, event: &str) -> Vec<Value> {
        self.timed_to_the_end().into_iter().map(|(_, value)| value).filter(|v| v["event"] == event).collect()
    }

    /// Every line until the process ends, lines that have arrived before included, with its time.
    pub fn timed_to_the_end(&self) -> Vec<(Instant, Value)> {
        self.lines.iter().map(|(at, line)| (at, serde_json::from_str(&line).unwrap_or_default())).collect()
    }

    /// Waits for the end of the process.
    ///
    /// # Panics
    /// When it does not end within `within`.
    pub fn ended(&mut self, within: Duration) -> ExitStatus {
        let until = Instant::now() + within;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return status,
                Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(10)),
                other => panic!("{}: {other:?} after {within:?}; its log:\n{}", self.name, self.log()),
            }
        }
    }

    /// Sends a signal by name, for example `TERM`.
    ///
    /// # Panics
    /// When `kill` cannot be run.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([format!("-{signal}"), self.id().to_string()]).status();
        assert!(status.is_ok_and(|s| s.success()), "kill -{signal} {}", self.id());
    }

    /// What the process has written to standard error.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until `words` occur in [`Self::log`] `times` times.
    ///
    /// # Panics
    /// When they do not within `within`.
    pub fn says(&self, words: &str, times: usize, within: Duration) {
        let started = Instant::now();
        while self.log().matches(words).count() < times {
            assert!(started.elapsed() < within, "no {words:?}:\n{}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Highest resident memory so far, bytes.
    #[must_use]
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// Resident memory now, bytes, that belongs to no file: heap and stacks, without the program.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.status("RssAnon:")
    }

    fn status(&self, key: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program of this workspace, as the test run has built it. `FL_BINARY_DIR` names another folder: the tests
/// on the static binary use it.
///
/// # Panics
/// When the program is missing.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os("FL_BINARY_DIR").map(PathBuf::from)
        && folder.join(name).is_file()
    {
        return folder.join(name);
    }
    let own = std::env::current_exe().unwrap_or_default();
    // target/PROFILE/deps/test-HASH
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not built: run the tests of the whole workspace (ci/test)"))
}
