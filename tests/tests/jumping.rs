//! A whole federation whose datagrams go through the entry of a library OS, as under Gramine. A stand-in
//! provides the entry here. `ci/test static` runs this test with the static programs.
#![allow(clippy::unwrap_used, reason = "a test's failure is its panic")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use fl_host_tools::workspace::set_key;
use fl_tests::federation::{Process, federation, history, synthetic};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn datagrams_take_the_entry_of_a_library_os_that_has_one() {
    let ran = run("jumping", "FL_GRAMINE=1", true);
    // 3 × 800 kB each way, in batches of at most 32 datagrams.
    assert!(ran.jumps.iter().all(|&jumps| jumps > 100), "{:?}", ran.jumps);
    assert!(ran.logs.iter().all(|log| !log.contains("FL_GRAMINE")), "{:?}", ran.logs);
    // The native socket is known to fail there, so nothing is said of a socket that was refused.
    assert!(ran.logs.iter().all(|log| !log.contains("native UDP socket")), "{:?}", ran.logs);
}

#[test]
fn nothing_jumps_unless_told() {
    assert_eq!(run("untold", "FL_GRAMINE=0", true).jumps, [0; 3]);
}

#[test]
fn nothing_jumps_where_no_entry_is_and_a_warning_says_so() {
    let ran = run("mistaken", "FL_GRAMINE=1", false);
    assert!(ran.jumps.is_empty());
    for log in ran.logs {
        assert!(log.contains("FL_GRAMINE is set, but this process does not run under Gramine"), "{log}");
    }
}

struct Ran {
    /// The number of jumps of each process that had an entry.
    jumps: Vec<u64>,
    /// The log of each process.
    logs: Vec<String>,
}

/// Runs three rounds of an aggregator and two members over the portable socket, each process with this in its
/// environment.
fn run(name: &str, variable: &str, has_entry: bool) -> Ran {
    let federation = federation(name, 2, &|plan| synthetic(plan, 200_000, 3));
    let stand_in = built(&federation.dir).display().to_string();
    let counter = |name: &str| federation.dir.join(format!("{name}.jumps"));
    let start = |name: &str, folder: &Path, args: &[&str]| {
        let site = folder.join("plan/site.yaml");
        let text = fs::read_to_string(&site).unwrap();
        let socket = if has_entry && variable == "FL_GRAMINE=1" { "auto" } else { "portable" };
        fs::write(&site, set_key(&text, "socket", socket, "mtu")).unwrap();
        let counter = counter(name).display().to_string();
        let wrapper: &[&str] =
            if has_entry { &["env", variable, &stand_in, &counter] } else { &["env", variable] };
        Process::start(name, folder, args, wrapper)
    };
    let aggregator = start("aggregator", &federation.aggregator, &["--json", "aggregator"]);
    assert_eq!(aggregator.event("listening", SOON)["socket"], "portable");
    let members = federation.names.iter();
    let members: Vec<Process> =
        members.map(|name| start(name, &federation.dir.join(name), &["collaborator", "-n", name])).collect();
    let mut logs = Vec::new();
    for mut process in members.into_iter().chain([aggregator]) {
        assert!(process.ended(SOON).success(), "{}", process.log());
        logs.push(process.log());
    }
    assert_eq!(history(&federation).len(), 3);
    let names = std::iter::once("aggregator").chain(federation.names.iter().map(|name| name.as_str()));
    let counters = names.filter_map(|name| fs::read(counter(name)).ok());
    Ran { jumps: counters.map(|page| u64::from_le_bytes(*page.first_chunk().unwrap())).collect(), logs }
}

/// The stand-in, compiled into `folder`. A Rust toolchain links by `cc`, so there is one.
fn built(folder: &Path) -> PathBuf {
    let program = folder.join("entry");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("shim/entry.c");
    let cc = Command::new("cc").args(["-O1", "-o"]).arg(&program).arg(source).output();
    assert!(cc.as_ref().is_ok_and(|cc| cc.status.success()), "{cc:?}");
    program
}
