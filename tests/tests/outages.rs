//! Outages that end: after each of them, every healthy role goes on by itself. Nobody without a key ends a
//! collaborator, and no wrong clock does.
#![allow(clippy::unwrap_used, reason = "a test's failure is its panic")]

use std::{
    fs,
    net::UdpSocket,
    os::unix::fs::{PermissionsExt as _, chown},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use fl_host_tools::{demo::Federation, workspace::set_key};
use fl_tests::{
    federation::{Process, all_end_well, federation_over, rounds_in_order, synthetic},
    forger::Forger,
    over_each_link,
    shim::preload,
};

const SOON: Duration = Duration::from_secs(20);

over_each_link! {
    forged_close_of_nobody_ends_no_collaborator
    wrong_clock_of_the_aggregator_costs_time_and_no_collaborator
    wrong_clock_of_a_collaborator_costs_time_and_no_restart
    crash_of_the_aggregator_costs_less_than_two_seconds
    every_round_is_run_once_and_in_order_under_kills_of_both_roles
}

/// Rounds that need both members, and as much time as they want.
fn pair(link: &str, name: &str, rounds: u32) -> Federation {
    federation_over(link, name, 2, &|plan| {
        let plan = synthetic(plan, 20_000, rounds);
        set_key(&plan, "quorum", "{count: {min: 2}, time: {min: 0s, max: 10m}}", "tasks")
    })
}

fn forged_close_of_nobody_ends_no_collaborator(link: &str) {
    let federation = pair(link, "forged", 3);
    let mut members = Process::collaborators(&federation);
    let port = Forger::listen(federation.port, link == "tcp", SOON).unwrap();
    // Alerts about this side's certificate, about the other side's, about the protocol, and an inner error.
    for alert in [48, 48, 45, 43, 44, 46, 51, 116, 120, 40, 80] {
        while !port.forge_close(alert).unwrap() {}
    }
    drop(port);
    let mut aggregator = Process::aggregator(&federation);
    all_end_well(&mut aggregator, &mut members);
    let log = members[0].log();
    assert!(log.contains("no aggregator at 127.0.0.1") && !log.contains("\"exit\""), "{log}");
}

/// A library that moves the time of day of a process by the number of seconds in a file.
struct WrongClock {
    preload: String,
    file: PathBuf,
}

impl WrongClock {
    fn new(federation: &Federation, days: i64) -> Self {
        let clock = Self { preload: preload(&federation.dir, "clock"), file: federation.dir.join("clock") };
        clock.set(days);
        clock
    }

    fn set(&self, days: i64) {
        fs::write(&self.file, (days * 86_400).to_string()).unwrap();
    }

    fn start(&self, federation: &Federation, name: &str) -> Process {
        let file = format!("FL_TEST_CLOCK={}", self.file.display());
        let wrapper = ["env", &self.preload, &file];
        match name {
            "aggregator" => Process::aggregator_in(federation, &wrapper),
            name => Process::collaborator_in(federation, name, &wrapper),
        }
    }
}

fn wrong_clock_of_the_aggregator_costs_time_and_no_collaborator(link: &str) {
    let federation = pair(link, "aggregators-clock", 3);
    let clock = WrongClock::new(&federation, 0);
    let mut aggregator = clock.start(&federation, "aggregator");
    aggregator.event("listening", SOON);
    let one = Process::collaborator(&federation, "one");
    one.says("connected as one", 1, SOON);
    clock.set(3 * 366);
    // An open link ends with its certificate. A new one is refused.
    aggregator.says("closed the link of one: this collaborator's certificate expired at", 1, SOON);
    let two = Process::collaborator(&federation, "two");
    two.says("expired, or not valid yet by the peer's clock", 1, SOON);
    one.says("expired, or not valid yet by the peer's clock", 1, SOON);
    clock.set(0);
    all_end_well(&mut aggregator, &mut [one, two]);
    rounds_in_order(&federation, 3);
}

fn wrong_clock_of_a_collaborator_costs_time_and_no_restart(link: &str) {
    let federation = pair(link, "collaborators-clock", 3);
    let clock = WrongClock::new(&federation, 0);
    let mut aggregator = Process::aggregator(&federation);
    aggregator.event("listening", SOON);
    let one = clock.start(&federation, "one");
    one.says("connected as one", 1, SOON);
    clock.set(3 * 366);
    // The collaborator looks at its clock while the link is open, as the aggregator does.
    one.says("the peer's certificate expired", 1, SOON);
    clock.set(0);
    let two = Process::collaborator(&federation, "two");
    all_end_well(&mut aggregator, &mut [one, two]);
}

#[test]
fn ends_of_certificate_and_roster_are_warned_of_from_the_start() {
    let federation = pair("auto", "ends", 1);
    let clock = WrongClock::new(&federation, 340);
    let mut aggregator = clock.start(&federation, "aggregator");
    aggregator.event("listening", SOON);
    aggregator.says("the certificate of fl://demo/aggregator/aggregator ends at", 1, SOON);
    aggregator.says("the roster ends at", 1, SOON);
    let one = clock.start(&federation, "one");
    one.says("the certificate of fl://demo/collaborator/one ends at", 1, SOON);
    one.says("this machine's time is", 1, SOON);
    let two = Process::collaborator(&federation, "two");
    all_end_well(&mut aggregator, &mut [one, two]);
}

fn crash_of_the_aggregator_costs_less_than_two_seconds(link: &str) {
    let federation = pair(link, "crash", 4000);
    let mut members = Process::collaborators(&federation);
    let mut costs = Vec::new();
    for _ in 0..5 {
        let aggregator = Process::aggregator(&federation);
        let began = Instant::now();
        aggregator.event("round", SOON);
        costs.push(began.elapsed());
        // Killed at another moment of a round each time.
        thread::sleep(Duration::from_millis(37 * costs.len() as u64));
    }
    // The first start found no link that a crash had cut.
    let mut costs = costs.split_off(1);
    costs.sort();
    println!("from the start of the next process to its first round: {costs:?}");
    assert!(costs[1] < Duration::from_secs(2), "{costs:?}");
    assert!(costs[3] < Duration::from_secs(6), "{costs:?}");
    members.clear();
}

/// Kills the aggregator `of_aggregator` times and collaborators `of_members` times, at moments that `seed`
/// draws.
fn kills(link: &str, name: &str, rounds: u32, of_aggregator: u32, of_members: u32, seed: u64) {
    let federation = federation_over(link, name, 3, &|plan| {
        let plan = synthetic(plan, 20_000, rounds);
        set_key(&plan, "quorum", "{count: {min: 3}, time: {min: 0s, max: 10m}}", "tasks")
    });
    let mut draw = seed;
    let mut draw = |below: u64| {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (draw >> 33) % below
    };
    let mut aggregator = Process::aggregator(&federation);
    let mut members = Process::collaborators(&federation);
    let (mut left_aggregator, mut left_members) = (of_aggregator, of_members);
    while left_aggregator + left_members > 0 {
        aggregator.event("round", Duration::from_secs(60));
        thread::sleep(Duration::from_millis(draw(60)));
        if left_aggregator > 0 && draw(2) == 0 || left_members == 0 {
            left_aggregator -= 1;
            drop(aggregator);
            aggregator = Process::aggregator(&federation);
        } else {
            left_members -= 1;
            let who = draw(3) as usize;
            let name = federation.names[who].to_string();
            members.remove(who);
            members.insert(who, Process::collaborator(&federation, &name));
        }
    }
    assert!(aggregator.ended(Duration::from_secs(300)).success(), "{}", aggregator.log());
    for member in &mut members {
        assert!(member.ended(SOON).success(), "{}", member.log());
    }
    rounds_in_order(&federation, rounds.into());
    for process in members.iter().chain([&aggregator]) {
        assert!(!process.log().contains("panicked"), "{}", process.log());
    }
}

fn every_round_is_run_once_and_in_order_under_kills_of_both_roles(link: &str) {
    kills(link, "kills", 400, 4, 4, 7);
}

#[test]
#[ignore = "minutes: ci/long runs it"]
fn every_round_is_run_once_and_in_order_under_many_kills() {
    for (seed, link) in (0..4).zip(["quic", "tcp"].into_iter().cycle()) {
        kills(link, "many-kills", 3000, 12, 10, seed);
    }
}

#[test]
fn second_aggregator_on_another_port_is_kept_out_of_save() {
    let federation = pair("auto", "shared", 200);
    let mut aggregator = Process::aggregator(&federation);
    aggregator.event("listening", SOON);
    let site = federation.aggregator.join("plan/site.yaml");
    let own = fs::read_to_string(&site).unwrap();
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    fs::write(&site, set_key(&own, "port", &port.to_string(), "address")).unwrap();
    let args = ["--json", "aggregator"];
    let mut second = Process::start("second", &federation.aggregator, &args, &[]);
    assert_eq!(second.ended(SOON).code(), Some(3), "{}", second.log());
    let words = format!("another aggregator uses save (process {} since ", aggregator.id());
    assert!(second.log().contains(&words), "{}", second.log());
    let mut fresh = Process::start("fresh", &federation.aggregator, &["aggregator", "--fresh"], &[]);
    assert_eq!(fresh.ended(SOON).code(), Some(3), "{}", fresh.log());
    let mut members = Process::collaborators(&federation);
    all_end_well(&mut aggregator, &mut members);
    rounds_in_order(&federation, 200);
}

#[test]
fn collaborator_that_cannot_keep_its_model_says_so_before_it_trains() {
    let federation = pair("auto", "unwritable", 3);
    let site = federation.dir.join("one");
    fs::set_permissions(site.join("save"), fs::Permissions::from_mode(0o555)).unwrap();
    let key = site.join("cert/col_one.key");
    // Nothing keeps the superuser out of a folder.
    let is_root = fs::metadata(&key).is_ok_and(|about| std::os::unix::fs::MetadataExt::uid(&about) == 0);
    let mut wrapper: &[&str] = &[];
    if is_root {
        chown(&key, Some(65_534), Some(65_534)).unwrap();
        wrapper = &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    }
    let mut one = Process::start("one", &site, &["collaborator", "-n", "one"], wrapper);
    let status = one.ended(SOON);
    fs::set_permissions(site.join("save"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(status.code(), Some(3), "{}", one.log());
    assert!(
        one.log().contains("this site keeps the model in save/released, but cannot write there"),
        "{}",
        one.log()
    );
    assert!(!one.log().contains("connecting to"), "{}", one.log());
}
