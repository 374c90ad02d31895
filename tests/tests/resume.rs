//! A poisoned or withdrawn site: the owner takes the run back to an earlier model and leaves the site out.
//! Real processes over real QUIC.
#![allow(clippy::unwrap_used, reason = "a test's failure is its panic")]

use std::{fs, path::Path, thread, time::Duration};

use fl_host_tools::{demo::Federation, workspace::set_key};
use fl_tests::federation::{Process, change_rows, ends, federation, history, host, synthetic};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);
const LATER: Duration = Duration::from_secs(120);

/// The owner signs a roster that takes the run back, and the aggregator's folder gets it.
fn resume(federation: &Federation, round: u64, without: &str) {
    let (owner, round) = (federation.owner.to_str().unwrap(), round.to_string());
    host(&["pki", "resume", "--round", &round, "--without", without, "--workspace", owner]);
    publish(federation);
}

fn publish(federation: &Federation) {
    fs::copy(federation.owner.join("plan/cols.yaml"), federation.aggregator.join("plan/cols.yaml")).unwrap();
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &target),
            false => assert!(fs::copy(&path, &target).is_ok(), "{}", path.display()),
        }
    }
}

/// Turns the labels of a site's rows around.
fn poison(federation: &Federation, name: &str) {
    change_rows(federation, name, &|label, cells| {
        cells[label] = if cells[label] == "0" { "1" } else { "0" }.to_owned();
    });
}

fn root_of_the_end(federation: &Federation, mut aggregator: Process, sites: &[&str]) -> String {
    let mut sites: Vec<Process> = sites.iter().map(|name| Process::collaborator(federation, name)).collect();
    let ended = aggregator.event("ended", LATER);
    ends(&mut aggregator, 0);
    sites.iter_mut().for_each(|site| ends(site, 0));
    ended["root"].as_str().unwrap().to_owned()
}

#[test]
fn run_without_the_poisoned_site_is_bit_for_bit_one_that_never_had_it_after_that_round() {
    let federation = federation("poisoned", 3, &|plan| {
        let plan = set_key(plan, "rounds", "16", "schema");
        let plan = set_key(&plan, "quorum", "{count: {min: 2}, time: {min: 0s, max: 1m}}", "tasks");
        set_key(&plan, "keep", "{every: 2}", "schema")
    });
    // Sound rounds, until the site three goes wrong.
    let mut aggregator = Process::aggregator(&federation);
    aggregator.event("listening", SOON);
    let mut sites: Vec<_> =
        ["one", "two", "three"].map(|name| Process::collaborator(&federation, name)).into();
    while aggregator.event("round", SOON)["round"] != 4 {}
    for process in [&mut aggregator].into_iter().chain(&mut sites) {
        process.signal("TERM");
        ends(process, 14);
    }
    let sound = history(&federation).len() as u64;
    assert!((5..14).contains(&sound), "{sound} rounds");
    poison(&federation, "three");
    let aggregator = Process::aggregator(&federation);
    let poisoned = root_of_the_end(&federation, aggregator, &["one", "two", "three"]);
    let whole = history(&federation);
    assert_eq!(whole.len(), 16);

    // The last kept round before the first poisoned one. What a federation makes of it that never had three
    // afterwards: the same files, as if the aggregator had been stopped there.
    let kept = (sound - 1) / 2 * 2;
    let never = federation.dir.join("never");
    copy(&federation.aggregator, &never);
    let name = format!("demo-{kept:07}.fl");
    fs::remove_dir_all(never.join("save/generations")).unwrap();
    fs::create_dir(never.join("save/generations")).unwrap();
    fs::copy(never.join("save/kept").join(&name), never.join("save/generations").join(&name)).unwrap();
    let lines = fs::read_to_string(never.join("save/demo_history.jsonl")).unwrap();
    let lines: String = lines.lines().take(kept as usize + 1).map(|line| format!("{line}\n")).collect();
    fs::write(never.join("save/demo_history.jsonl"), lines).unwrap();
    for file in ["last", "best"] {
        fs::remove_file(never.join(format!("save/demo_{file}.safetensors"))).unwrap();
    }

    let owner = federation.dir.join("owner-of-never");
    copy(&federation.owner, &owner);
    host(&["pki", "revoke", "-n", "three", "--workspace", owner.to_str().unwrap()]);
    fs::copy(owner.join("plan/cols.yaml"), never.join("plan/cols.yaml")).unwrap();

    // The owner names the round. Nothing of this is wrong by a kill: the next start does it.
    resume(&federation, kept, "three");
    for wait in [1, 20, 60, 150] {
        let killed = Process::aggregator(&federation);
        thread::sleep(Duration::from_millis(wait));
        killed.signal("KILL");
    }
    let aggregator = Process::aggregator(&federation);
    assert_eq!(aggregator.event("listening", SOON)["round"], kept + 1);
    let mut three = Process::collaborator(&federation, "three");
    ends(&mut three, 12);
    assert!(three.log().contains("three was revoked: withdrawn by the owner"), "{}", three.log());
    let without = root_of_the_end(&federation, aggregator, &["one", "two"]);
    assert_ne!(without, poisoned);

    // The history tells of it, and no file is lost.
    let told = history(&federation);
    assert_eq!(told[..16], whole);
    let (resumed, again): (Vec<_>, Vec<_>) = told[16..].iter().partition(|line| line["resumed"].is_object());
    assert_eq!((resumed.len(), &resumed[0]["round"]), (1, &kept.into()));
    assert_eq!(resumed[0]["resumed"]["without"], serde_json::json!(["three"]));
    let rounds: Vec<u64> = again.iter().map(|line| line["round"].as_u64().unwrap()).collect();
    assert_eq!(rounds, (kept + 1..16).collect::<Vec<_>>());
    let by_three = |line: &&&Value| line["contributions"].to_string().contains("\"three\"");
    assert_eq!(again.iter().filter(by_three).count(), 0);
    let aside = |file: &str| federation.aggregator.join("save").join(file);
    assert!(aside("demo_last.1.safetensors").is_file() && aside("generations/demo-0000015.1.fl").is_file());

    // A restart goes on, and not back.
    let restarted = Process::aggregator(&federation);
    assert_eq!(restarted.event("listening", SOON)["round"], 16);
    drop(restarted);
    assert_eq!(history(&federation).len(), told.len());

    // The federation that never had three after that round ends with the same bits.
    let never = Process::start("aggregator", &never, &["--json", "aggregator", "start"], &[]);
    assert_eq!(never.event("listening", SOON)["round"], kept + 1);
    assert_eq!(root_of_the_end(&federation, never, &["one", "two"]), without);
}

/// A federation whose rounds last a second each while `four` answers late.
fn paced(name: &str) -> (Federation, Process, Vec<Process>, Process) {
    let federation = federation(name, 4, &|plan| {
        let plan = synthetic(plan, 1000, 40);
        let plan = set_key(&plan, "quorum", "{count: {min: 1}, time: {min: 0s, max: 1s}}", "tasks");
        set_key(&plan, "keep", "{every: 2}", "schema")
    });
    let aggregator = Process::aggregator(&federation);
    aggregator.event("listening", SOON);
    let sites = ["one", "two", "three"].map(|name| Process::collaborator(&federation, name)).into();
    let late = Process::hostile(&federation, "four", &["sluggish"]);
    (federation, aggregator, sites, late)
}

#[test]
fn running_aggregator_goes_back_when_the_roster_says_so_and_its_sites_with_it() {
    let (federation, mut aggregator, mut sites, _late) = paced("running");
    while aggregator.event("round", SOON)["round"] != 5 {}

    // Nobody but the owner can take the run back.
    let file = federation.aggregator.join("plan/cols.yaml");
    let own = fs::read_to_string(&file).unwrap();
    let other = fl_tests::federation::federation("attacker", 3, &|plan| synthetic(plan, 1000, 40));
    resume(&other, 2, "three");
    fs::copy(other.owner.join("plan/cols.yaml"), &file).unwrap();
    aggregator.says("the new roster is refused and the old one stays in force", 1, SOON);
    let line = "resume:\n  round: 2\n  without: [\"three\"]\n  serial: 1\n";
    let at = own.find("signature:").unwrap();
    fs::write(&file, format!("{}{line}{}", &own[..at], &own[at..])).unwrap();
    aggregator.says("the roster's signature does not hold", 2, SOON);

    // A round that is not kept: the order is refused, and the run goes on.
    resume(&federation, 1, "three");
    aggregator.says("the model of that round is not kept; earlier rounds that are kept: 0", 1, SOON);
    aggregator.says("fl-host pki resume --round 0 --without three", 1, SOON);
    let mut three = sites.pop().unwrap();
    ends(&mut three, 12);
    assert!(three.log().contains("three was revoked: withdrawn by the owner"), "{}", three.log());

    // The roster with the nearest earlier round.
    resume(&federation, 4, "three");
    let resumed = aggregator.event("resumed", SOON);
    assert_eq!((&resumed["round"], &resumed["without"][0]), (&4.into(), &"three".into()));
    assert_eq!(aggregator.event("listening", SOON)["round"], 5);
    let rounds = aggregator.events_to_the_end("round");
    assert_eq!(
        rounds.iter().map(|round| round["round"].as_u64().unwrap()).collect::<Vec<_>>(),
        (5..40).collect::<Vec<_>>()
    );
    ends(&mut aggregator, 0);
    let log = aggregator.log();
    assert!(log.contains("resumes the run after round 4 without three"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    for site in &mut sites {
        ends(site, 0);
        let said = "the federation's owner has taken the run back to the model after round 4, without three";
        assert!(site.log().contains(said), "{}", site.log());
    }
}
