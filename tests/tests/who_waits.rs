//! Who waits and who exits: each event of the manual's page, played with real processes over real links.
#![allow(clippy::unwrap_used, reason = "a test's failure is its panic")]

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use fl_host_tools::{demo::Federation, workspace::set_key};
use fl_tests::{
    federation::{
        Process, all_end_well, change_rows, ends, federation, federation_over, history, set_block, start,
        synthetic,
    },
    over_each_link,
};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);
const LATER: Duration = Duration::from_secs(60);

over_each_link! {
    too_few_updates_at_a_deadline_open_the_round_again_until_a_site_comes
    too_few_updates_at_a_deadline_end_the_run_where_the_plan_says_so
    run_ends_at_once_with_the_causes_when_every_site_fails
    run_ends_at_once_with_range_and_cure_when_every_update_is_refused
    site_that_fails_in_every_round_ends_with_a_code_of_its_own_and_the_others_go_on
    repaired_site_is_asked_again_as_soon_as_it_is_back
    silent_member_costs_two_deadlines_and_is_asked_in_every_round
    pause_of_the_aggregators_machine_ends_nobody_and_costs_no_deadline
    killed_aggregator_goes_on_and_its_sites_with_it
    site_that_is_stopped_ends_with_14_and_the_others_go_on
    second_process_of_a_name_takes_the_place_of_the_first
}

/// Rounds of one synthetic task that need `least` updates.
fn quorum_of(link: &str, name: &str, sites: usize, rounds: u32, quorum: &str) -> Federation {
    federation_over(link, name, sites, &|plan| {
        set_key(&synthetic(plan, 1000, rounds), "quorum", quorum, "tasks")
    })
}

/// Rounds of real training.
fn training(link: &str, name: &str, sites: usize, rounds: u32, quorum: &str) -> Federation {
    federation_over(link, name, sites, &|plan| {
        let plan = set_key(plan, "rounds", &rounds.to_string(), "schema");
        set_key(&plan, "quorum", quorum, "tasks")
    })
}

/// Makes the features of a site so large that its training fails.
fn spoil(federation: &Federation, name: &str) {
    change_rows(federation, name, &|label, cells| {
        cells.iter_mut().enumerate().filter(|(at, _)| *at != label).for_each(|(_, c)| *c = "1e30".to_owned());
    });
}

fn too_few_updates_at_a_deadline_open_the_round_again_until_a_site_comes(link: &str) {
    let federation = quorum_of(link, "again", 2, 400, "{count: {min: 2}, time: {min: 0s, max: 2s}}");
    let (mut aggregator, mut sites) = start(&federation);
    aggregator.event("round", LATER);
    sites[1].signal("STOP");
    for times in 1..=2 {
        let reopened = aggregator.event("reopened", LATER);
        assert_eq!((&reopened["times"], &reopened["needed"]), (&Value::from(times), &Value::from(2)));
    }
    assert!(aggregator.log().contains("no answer of two"), "{}", aggregator.log());
    sites[1].signal("CONT");
    all_end_well(&mut aggregator, &mut sites);
    assert_eq!(history(&federation).len(), 400);
}

fn too_few_updates_at_a_deadline_end_the_run_where_the_plan_says_so(link: &str) {
    let federation =
        quorum_of(link, "ends", 2, 400, "{count: {min: 2}, time: {min: 0s, max: 2s}, short: end}");
    let (mut aggregator, mut sites) = start(&federation);
    aggregator.event("round", LATER);
    sites[1].signal("STOP");
    ends(&mut aggregator, 13);
    ends(&mut sites[0], 13);
    assert!(aggregator.log().contains("quorum: {short: wait}"), "{}", aggregator.log());
}

fn run_ends_at_once_with_the_causes_when_every_site_fails(link: &str) {
    let federation = training(link, "failing", 2, 5, "{count: {min: 2}, time: {min: 0s, max: 10m}}");
    federation.names.iter().for_each(|name| spoil(&federation, name));
    let began = Instant::now();
    let (mut aggregator, mut sites) = start(&federation);
    ends(&mut aggregator, 15);
    for site in &mut sites {
        ends(site, 15);
        let log = site.log();
        assert!(log.contains("was not run: train failed"), "{log}");
        assert!(!log.contains("put a train task before"), "the hint of another cause: {log}");
        assert!(log.contains("counted in 0 of the 1 round that asked"), "{log}");
    }
    assert!(began.elapsed() < LATER);
    let log = aggregator.log();
    for name in &federation.names {
        assert!(log.contains(&format!("{name}: its task train failed: ")), "{log}");
    }
}

fn run_ends_at_once_with_range_and_cure_when_every_update_is_refused(link: &str) {
    let federation = federation_over(link, "refused", 2, &|plan| {
        let plan = set_key(plan, "quorum", "{count: {min: 2}, time: {min: 0s, max: 10m}}", "tasks");
        // Values of 2 and more: every update of training has some.
        let plan = set_key(&plan, "exact", "{value_bits: 1, weight_bits: 29}", "schema");
        plan.replace("learning_rate: 0.1", "learning_rate: 1.5")
    });
    let (mut aggregator, mut sites) = start(&federation);
    ends(&mut aggregator, 15);
    let log = aggregator.log();
    assert!(log.contains("one: its update was refused: ") && log.contains("raise exact.value_bits"), "{log}");
    for site in &mut sites {
        ends(site, 15);
        let log = site.log();
        assert!(log.contains("exact.value_bits 1 takes values between -2 and 2"), "{log}");
        assert!(log.contains("raise exact.value_bits"), "{log}");
    }
}

fn site_that_fails_in_every_round_ends_with_a_code_of_its_own_and_the_others_go_on(link: &str) {
    let federation = training(link, "one-fails", 3, 2, "{count: {min: 2}, time: {min: 0s, max: 10m}}");
    spoil(&federation, "three");
    let (mut aggregator, mut sites) = start(&federation);
    ends(&mut aggregator, 0);
    ends(&mut sites[0], 0);
    ends(&mut sites[1], 0);
    assert!(sites[0].log().contains("counted in 2 of the 2 rounds"), "{}", sites[0].log());
    ends(&mut sites[2], 15);
    let log = sites[2].log();
    assert!(log.contains("no update of this site counted: round 1, task train: "), "{log}");
}

fn repaired_site_is_asked_again_as_soon_as_it_is_back(link: &str) {
    let federation = training(link, "repaired", 2, 1, "{count: {min: 2}, time: {min: 0s, max: 10m}}");
    let path = federation.dir.join("two/data/two/data.csv");
    let good = fs::read_to_string(&path).unwrap();
    spoil(&federation, "two");
    let (mut aggregator, mut sites) = start(&federation);
    aggregator.says("two could not finish task train", 1, LATER);
    fs::write(path, good).unwrap();
    sites[1].signal("TERM");
    ends(&mut sites[1], 14);
    sites[1] = Process::collaborator(&federation, "two");
    all_end_well(&mut aggregator, &mut sites);
}

fn silent_member_costs_two_deadlines_and_is_asked_in_every_round(link: &str) {
    let federation = quorum_of(link, "silent", 3, 12, "{count: {min: 2}, time: {min: 0s, max: 1s}}");
    let mut aggregator = Process::aggregator(&federation);
    aggregator.event("listening", SOON);
    let silent = Process::hostile(&federation, "three", &["idle"]);
    silent.event("welcome", SOON);
    let mut sites = ["one", "two"].map(|name| Process::collaborator(&federation, name));
    let rounds = aggregator.events_to_the_end("round");
    let at_deadline: Vec<&Value> =
        rounds.iter().filter(|round| round["closed"] == "deadline").map(|round| &round["round"]).collect();
    assert_eq!(at_deadline, [0, 1], "{}", aggregator.log());
    assert_eq!(rounds.len(), 12);
    assert!(rounds.iter().all(|round| round["missing"][0] == "three"));
    ends(&mut aggregator, 0);
    assert!(aggregator.log().contains("three has missed 2 deadlines in a row"), "{}", aggregator.log());
    sites.iter_mut().for_each(|site| ends(site, 0));
}

fn pause_of_the_aggregators_machine_ends_nobody_and_costs_no_deadline(link: &str) {
    let federation =
        quorum_of(link, "paused", 2, 400, "{count: {min: 2}, time: {min: 0s, max: 5s}, short: end}");
    let (mut aggregator, mut sites) = start(&federation);
    // A site that stands still keeps the round open until the pause.
    aggregator.event("round", LATER);
    sites[0].signal("STOP");
    thread::sleep(Duration::from_millis(500));
    aggregator.signal("STOP");
    thread::sleep(Duration::from_secs(8));
    sites[0].signal("CONT");
    aggregator.signal("CONT");
    all_end_well(&mut aggregator, &mut sites);
    assert!(aggregator.log().contains("this program stood still for"), "{}", aggregator.log());
}

fn killed_aggregator_goes_on_and_its_sites_with_it(link: &str) {
    let federation = quorum_of(link, "killed", 2, 400, "{count: {min: 2}, time: {min: 0s, max: 10m}}");
    let (aggregator, mut sites) = start(&federation);
    aggregator.event("round", LATER);
    aggregator.signal("KILL");
    drop(aggregator);
    let mut again = Process::aggregator(&federation);
    all_end_well(&mut again, &mut sites);
}

fn site_that_is_stopped_ends_with_14_and_the_others_go_on(link: &str) {
    let federation = quorum_of(link, "left", 3, 400, "{count: {min: 2}, time: {min: 0s, max: 10m}}");
    let (mut aggregator, mut sites) = start(&federation);
    aggregator.event("round", LATER);
    sites[2].signal("TERM");
    ends(&mut sites[2], 14);
    ends(&mut aggregator, 0);
    ends(&mut sites[0], 0);
    ends(&mut sites[1], 0);
}

fn second_process_of_a_name_takes_the_place_of_the_first(link: &str) {
    let federation = quorum_of(link, "twice", 2, 2, "{count: {min: 2}, time: {min: 0s, max: 10m}}");
    let mut aggregator = Process::aggregator(&federation);
    aggregator.event("listening", SOON);
    let mut first = Process::collaborator(&federation, "one");
    aggregator.says("one connected", 1, SOON);
    let mut second = Process::collaborator(&federation, "one");
    ends(&mut first, 12);
    let mut two = Process::collaborator(&federation, "two");
    for process in [&mut aggregator, &mut second, &mut two] {
        ends(process, 0);
    }
}

#[test]
fn waits_are_said_twice_a_minute_by_both_sides() {
    let federation = quorum_of("auto", "told", 2, 1, "{count: {min: 2}, time: {min: 0s, max: 10m}}");
    let (aggregator, mut sites) = start(&federation);
    drop(sites.pop());
    let words = "waiting for collaborators for 3";
    aggregator.says(words, 1, LATER);
    assert!(
        aggregator.log().contains("1 connected, a round needs 2; not connected: two"),
        "{}",
        aggregator.log()
    );
    sites[0].says("waiting for the aggregator's next round, for 3", 1, LATER);
}

#[test]
fn finished_run_that_is_started_again_changes_nothing_and_serves_who_comes() {
    let federation = training("auto", "finished", 2, 2, "{count: {min: 2}, time: {min: 0s, max: 10m}}");
    let (mut aggregator, mut sites) = start(&federation);
    ends(&mut aggregator, 0);
    sites.iter_mut().for_each(|site| ends(site, 0));
    let kept = ["demo_last.safetensors", "demo_best.safetensors", "demo_history.jsonl"];
    let read = || kept.map(|file| fs::read(federation.aggregator.join("save").join(file)).unwrap());
    let before = read();

    let began = Instant::now();
    let mut alone = Process::aggregator(&federation);
    ends(&mut alone, 0);
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    assert!(before == read(), "a finished run was changed by a start without collaborators");

    let released = federation.dir.join("one/save/released/demo_one_final.safetensors");
    let model = fs::read(&released).unwrap();
    fs::remove_file(&released).unwrap();
    let mut again = Process::aggregator(&federation);
    again.event("listening", SOON);
    let mut one = Process::collaborator(&federation, "one");
    let began = Instant::now();
    ends(&mut one, 0);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}: {}", began.elapsed(), one.log());
    assert_eq!(fs::read(&released).unwrap(), model);
    assert!(!again.log().contains("aggregated_model_validation"), "{}", again.log());
    ends(&mut again, 0);
    assert!(before == read(), "a finished run was changed by one site");
}

#[test]
fn rounds_that_were_removed_are_missed() {
    let federation = quorum_of("auto", "removed", 1, 3, "{count: {min: 1}, time: {min: 0s, max: 10m}}");
    let (mut aggregator, mut sites) = start(&federation);
    ends(&mut aggregator, 0);
    ends(&mut sites[0], 0);
    let history = federation.aggregator.join("save/demo_history.jsonl");
    let lines = fs::read_to_string(&history).unwrap();
    let first: String = lines.lines().take(1).map(|line| format!("{line}\n")).collect();
    fs::write(&history, first).unwrap();
    let again = Process::aggregator(&federation);
    again.event("listening", SOON);
    assert!(again.log().contains("has no line for round 1"), "{}", again.log());
    drop(again);

    // A folder that cannot be read says nothing about the rounds in it.
    fs::write(&history, lines).unwrap();
    let generations = federation.aggregator.join("save/generations");
    fs::rename(&generations, generations.with_extension("away")).unwrap();
    fs::write(&generations, "").unwrap();
    ends(&mut Process::aggregator(&federation), 3);
    fs::remove_file(&generations).unwrap();
    let mut refused = Process::aggregator(&federation);
    ends(&mut refused, 6);
    assert!(refused.log().contains("the history says that 3 rounds were run"), "{}", refused.log());
    let args = ["--json", "aggregator", "--fresh"];
    let fresh = Process::start("aggregator", &federation.aggregator, &args, &[]);
    assert_eq!(fresh.event("listening", SOON)["round"], 0);
    assert!(federation.aggregator.join("save/demo_history.1.jsonl").is_file());
}

#[test]
fn site_with_more_rows_than_the_plan_allows_ends_at_its_start() {
    let federation =
        federation("rows", 2, &|plan| set_block(plan, "limits", "{memory: 512MiB, spill: 4GiB, rows: 50}"));
    let mut site = Process::collaborator(&federation, "one");
    ends(&mut site, 7);
    let log = site.log();
    assert!(log.contains("limits.rows of the plan allows one site at most 50 rows"), "{log}");
}
