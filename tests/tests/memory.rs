//! The aggregator runs under a hard limit of the memory that its plan counts. The allocator ends a process
//! that takes more. A collaborator's memory is compared with what its plan counts.
#![allow(clippy::unwrap_used, reason = "a test's failure is its panic")]

use std::{
    fs,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use fl_engine::{ByteCount, aggregate::footprint, model::safetensors, plan::Plan};
use fl_host_tools::{
    demo::Federation,
    sgx::{gramine_version::Gramine, size::enclave_size},
    templates::{self, TrialData},
    workspace::set_key,
};
use fl_runtime::internal::trust::Role;
use fl_tests::{
    crowd,
    federation::{Process, federation, federation_of, set_block, synthetic},
};

/// Parameters of the model: 40 MB.
const PARAMETERS: u32 = 10_000_000;
/// Updates that the plan's memory holds at once.
const SLOTS: u64 = 2;
const LATER: Duration = Duration::from_secs(180);

/// Address space of an aggregator with a tiny model: program, libraries, stacks of its fixed threads.
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
    // One arena: for each further arena, glibc reserves 64 MiB of address space. The static binary has no
    // arenas.
    let set = limit.map_or(String::new(), |limit| format!("ulimit -v {}; ", limit / 1024));
    let script = format!("{set}MALLOC_ARENA_MAX=1 exec \"$0\" \"$@\"");
    let args = ["--json", "aggregator", "start"];
    Process::start("aggregator", &federation.aggregator, &args, &["sh", "-c", &script])
}

/// What the plan's memory has to be for [`SLOTS`] updates.
fn budget(plan: &Plan, collaborators: usize) -> ByteCount {
    let layout = plan.layout().unwrap();
    let need = footprint(plan, &layout, u32::try_from(collaborators).unwrap());
    ByteCount(need.least().0 + (SLOTS - 1) * layout.byte_len() as u64)
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

/// Two models, the accumulator, the slots, and 30 MB more than an idle aggregator, for any number of
/// collaborators.
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
    let members: Vec<_> = Process::collaborators(&federation);
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
    let members: Vec<_> = Process::collaborators(&federation);
    assert!(!aggregator.ended(LATER).success());
    drop(members);
    let _ = std::fs::remove_dir_all(&federation.dir);
}

/// The memory for 64 collaborators and ten million parameters under a rule that needs all updates.
const ALL_UPDATES: ByteCount = ByteCount(250_000_000);
/// Longest round on a loaded machine, with its preparation and its end.
const LATEST: Duration = Duration::from_secs(660);
/// Time between two readings of a process's memory.
const LOOK: Duration = Duration::from_millis(20);

/// A federation under the median, whose updates are on disk, except for those that the memory holds.
fn median(collaborators: usize) -> Federation {
    federation(&format!("median-{collaborators}"), collaborators, &|plan| {
        let plan = synthetic(plan, PARAMETERS, 1);
        let plan = set_block(&plan, "tasks", "{send: {kind: synthetic, weight: 7, rule: median}}");
        let quorum = format!("{{count: {{min: {collaborators}}}, time: {{min: 0s, max: 10m}}}}");
        let plan = set_key(&plan, "quorum", &quorum, "tasks");
        set_block(&plan, "limits", &format!("{{memory: {}MiB, spill: 4GiB}}", ALL_UPDATES.0 >> 20))
    })
}

/// The largest resident memory of a process, which is known when the process has ended.
fn peak_of(process: &Process) -> JoinHandle<u64> {
    let status = format!("/proc/{}/status", process.id());
    thread::spawn(move || {
        let mut peak = 0;
        while let Ok(status) = fs::read_to_string(&status) {
            // A process that has ended has no such line.
            let Some(line) = status.lines().find_map(|line| line.strip_prefix("VmHWM:")) else { break };
            peak = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024;
            thread::sleep(LOOK);
        }
        peak
    })
}

/// The outcome with an address space of at most `limit` bytes, and the largest resident memory.
fn median_within(federation: &Federation, limit: u64) -> (bool, u64) {
    let initial = fs::read(federation.aggregator.join("save/demo_init.safetensors")).unwrap();
    let root = safetensors::inspect(&initial).unwrap().1["root"].clone();
    drop(initial);
    let mut aggregator = start(federation, Some(limit));
    let looking = peak_of(&aggregator);
    let _crowd = Process::crowd(federation, &root);
    let success = aggregator.ended(LATEST).success();
    let said = aggregator.events_to_the_end("round");
    if success {
        assert_eq!(said[0]["updates"], federation.names.len(), "{said:?}");
        println!("{}", said[0]);
    } else {
        println!("{}", aggregator.log());
    }
    (success, looking.join().unwrap())
}

fn median_lives_in_the_plans_memory(collaborators: usize) {
    let federation = median(collaborators);
    let layout = federation.plan.layout().unwrap();
    let need = footprint(&federation.plan, &layout, u32::try_from(collaborators).unwrap());
    assert!(need.total() <= ALL_UPDATES && need.slots < 4, "{need}");
    let limit = idle() + need.total().0 - OF_IDLE;
    let (success, peak) = median_within(&federation, limit);
    println!(
        "{collaborators} collaborators: {} MB resident, of {}",
        peak / 1_000_000,
        need.total().0 / 1_000_000
    );
    assert!(success);
    assert!((1..ALL_UPDATES.0).contains(&peak), "{peak} bytes");

    let bytes = fs::read(federation.last_model()).unwrap();
    let (model, _) = safetensors::read(&bytes, &layout).unwrap();
    for at in (0..model.f32.len()).step_by(997) {
        let mut column: Vec<f32> = (0..collaborators).map(|who| crowd::value(who, at)).collect();
        column.sort_by(f32::total_cmp);
        let middle = f64::from(column[(collaborators - 1) / 2]) + f64::from(column[collaborators / 2]);
        assert_eq!(model.f32[at], (middle / 2.0) as f32, "element {at}");
    }

    let _ = fs::remove_dir_all(federation.aggregator.join("save/generations"));
    // One update more than was counted would not fit either.
    let (success, _) = median_within(&federation, limit - 4 * u64::from(PARAMETERS));
    assert!(!success, "the limit holds more than was counted");
    let _ = fs::remove_dir_all(&federation.dir);
}

/// The part of the fixed overhead that an idle aggregator uses.
const OF_IDLE: u64 = 8_000_000;

#[test]
fn median_of_sixteen_lives_in_the_plans_memory() {
    median_lives_in_the_plans_memory(16);
}

#[test]
#[ignore = "two minutes; ci/long runs it"]
fn median_of_sixty_four_lives_in_the_plans_memory() {
    median_lives_in_the_plans_memory(64);
}

/// The largest difference between a collaborator's memory and what its plan counts.
const DIFFERENCE: f64 = 0.15;
/// Longest round of the largest network.
const LARGEST: Duration = Duration::from_secs(3600);
/// Pictures of each collaborator: a batch to train with, and one to measure with.
const PICTURES: u32 = 5;

#[test]
#[ignore = "minutes and gigabytes; ci/long runs it"]
fn two_collaborators_train_the_network_of_kvasir_in_the_memory_that_the_plan_counts() {
    let data = TrialData::Kvasir { pictures: 2 * PICTURES, test: 1, width: 620, height: 530 };
    let mut template = templates::find("kvasir_unet").unwrap().clone();
    (template.data, template.demo) = (data, &[]);
    let federation = federation_of(&template, "auto", "kvasir", 2, &|plan| {
        let plan = set_key(plan, "  split", "{train: 0.8, validation: 0.2, test: 0}", "data");
        set_block(&plan, "rounds", "1")
    });
    let counted = counted(&federation.plan);
    let mut aggregator = Process::aggregator(&federation);
    aggregator.event("listening", LATER);
    let began = Instant::now();
    let mut members: Vec<_> = Process::collaborators(&federation);
    let peaks: Vec<_> = members.iter().map(peak_of).collect();
    assert!(aggregator.ended(LARGEST).success(), "{}", aggregator.log());
    let took = began.elapsed().as_secs();
    for member in &mut members {
        assert!(member.ended(LATER).success(), "{}", member.log());
    }
    let peaks: Vec<u64> = peaks.into_iter().map(|peak| peak.join().unwrap()).collect();
    println!(
        "{took} s; {} MB counted; peaks {:?} MB",
        counted / 1_000_000,
        peaks.iter().map(|p| p / 1_000_000).collect::<Vec<_>>()
    );
    for peak in peaks {
        let ratio = peak as f64 / counted as f64;
        assert!((ratio - 1.0).abs() < DIFFERENCE, "{peak} bytes, {counted} counted: {ratio}");
    }
    let _ = fs::remove_dir_all(&federation.dir);
}

/// What a plan counts for a collaborator outside of an enclave, with the test's few pictures in place of all
/// that the plan allows.
fn counted(plan: &Plan) -> u64 {
    let need = footprint(plan, &plan.layout().unwrap(), 2);
    let size = enclave_size(Role::Collaborator, plan, &need, &Gramine::NEWEST).unwrap();
    let inside = ["pictures", "rows", "Gramine", "stacks", "measured"];
    let terms = size.terms.iter().filter(|term| !inside.iter().any(|word| term.name.starts_with(word)));
    let pixels = 4 * 4 * 332 * 332 * u64::from(PICTURES);
    terms.map(|term| term.bytes.0).sum::<u64>() + pixels
}
