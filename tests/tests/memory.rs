//! The aggregator's memory, as its plan counts it, under a hard limit: a process that takes more is killed by its own
//! allocator.
#![allow(clippy::unwrap_used, reason = "a test's failure is its panic")]

use std::time::Duration;

use fl_engine::{Bytes, aggregate::footprint, model, plan::Plan};
use fl_host_tools::demo::Federation;
use fl_tests::federation::{Process, federation, set_block, synthetic};

/// Parameters of the model: 40 MB.
const PARAMETERS: u32 = 10_000_000;
/// Updates that the plan's memory holds at once.
const SLOTS: u64 = 2;
const LATER: Duration = Duration::from_secs(180);

/// Address space of an aggregator whose model is nothing: program, libraries, stacks of its fixed threads.
fn idle() -> u64 {
    let federation = federation("idle", 3, &|plan| synthetic(plan, 10, 1));
    let aggregator = start(&federation, None);
    aggregator.event("listening", LATER);
    let status = std::fs::read_to_string(format!("/proc/{}/status", aggregator.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// The aggregator, with an address space of at most `limit` bytes.
fn start(federation: &Federation, limit: Option<u64>) -> Process {
    // One arena: glibc reserves 64 MiB of address space a thread for others; the static binary has none.
    let set = limit.map_or(String::new(), |limit| format!("ulimit -v {}; ", limit / 1024));
    let script = format!("{set}MALLOC_ARENA_MAX=1 exec \"$0\" \"$@\"");
    let args = ["--json", "aggregator", "start"];
    Process::start("aggregator", &federation.aggregator, &args, &["sh", "-c", &script])
}

/// What the plan's memory has to be for [`SLOTS`] updates.
fn budget(plan: &Plan, collaborators: usize) -> Bytes {
    let layout = model::plan_layout(plan).unwrap();
    let need = footprint(plan, &layout, u32::try_from(collaborators).unwrap());
    Bytes(need.least().0 + (SLOTS - 1) * layout.byte_len() as u64)
}

fn large(collaborators: usize) -> Federation {
    let name = format!("large-{collaborators}");
    let edit = |plan: &str| {
        let plan = set_block(&synthetic(plan, PARAMETERS, 2), "limits", "{memory: 4GiB, spill: 4GiB}");
        let parsed = Plan::parse(&plan).unwrap();
        let memory = budget(&parsed, collaborators).0.div_ceil(1 << 20);
        set_block(&plan, "limits", &format!("{{memory: {memory}MiB, spill: 4GiB}}"))
    };
    federation(&name, collaborators, &edit)
}

/// Two models, the accumulator, the slots and 30 MB over an idle aggregator's own, however many take part.
fn limit() -> u64 {
    let parameters = u64::from(PARAMETERS);
    let (model, accumulator) = (4 * parameters, 16 * parameters);
    idle() + 2 * model + accumulator + SLOTS * model + 30_000_000
}

fn runs_within(collaborators: usize) {
    let limit = limit();
    let federation = large(collaborators);
    let mut aggregator = start(&federation, Some(limit));
    aggregator.event("listening", LATER);
    let members: Vec<_> =
        federation.names.iter().map(|name| Process::collaborator(&federation, name)).collect();
    let rounds = aggregator.events_to_the_end("round");
    assert!(aggregator.ended(LATER).success(), "{}", aggregator.log());
    assert_eq!(rounds.len(), 2);
    assert!(rounds.iter().all(|round| round["updates"] == collaborators), "{rounds:?}");
    drop(members);
    let _ = std::fs::remove_dir_all(&federation.dir);
}

#[test]
fn three_collaborators_live_in_the_plans_memory() {
    runs_within(3);
}

#[test]
fn thirty_collaborators_live_in_the_same_memory() {
    runs_within(30);
}

#[test]
fn limit_without_room_for_the_slots_kills() {
    let federation = large(3);
    let mut aggregator = start(&federation, Some(limit() - SLOTS * 4 * u64::from(PARAMETERS)));
    let members: Vec<_> =
        federation.names.iter().map(|name| Process::collaborator(&federation, name)).collect();
    assert!(!aggregator.ended(LATER).success());
    drop(members);
    let _ = std::fs::remove_dir_all(&federation.dir);
}
