//! Whole federations of real processes over bad paths: UDP that is dropped, connections of TCP that are cut,
//! lost, late, slow, large and overtaken packets, new addresses, and machines that sleep.
//!
//! A round has 200 kB for each site each way. `FL_PARAMETERS` asks for another number of parameters of 4
//! bytes: `ci/long paths` takes a million. Where this machine makes no network namespace, the tests print
//! that they did not run. With `FL_BAD_PATHS=true` such a test fails.
#![allow(clippy::unwrap_used, reason = "a test's failure is its panic")]

use std::{
    thread,
    time::{Duration, Instant},
};

use fl_host_tools::{demo::Federation, workspace::set_key};
use fl_tests::{
    federation::{Process, all_end_well, federation_over, rounds_of_all, start, synthetic},
    relay::Relay,
};
use serde_json::Value;

/// Rounds that need both sites.
fn pair(link: &str, name: &str, rounds: u32) -> Federation {
    federation_over(link, name, 2, &|plan| {
        let plan = synthetic(plan, parameters(), rounds);
        set_key(&plan, "quorum", "{count: {min: 2}, time: {min: 0s, max: 2h}}", "tasks")
    })
}

fn parameters() -> u32 {
    std::env::var("FL_PARAMETERS").ok().and_then(|number| number.parse().ok()).unwrap_or(50_000)
}

/// Longest time of a run: a line of one megabit needs most.
fn longest() -> Duration {
    Duration::from_secs(90).max(Duration::from_millis(u64::from(parameters()) * 3))
}

/// A federation whose packets take a bad path.
struct Trial {
    name: &'static str,
    link: &'static str,
    rounds: u32,
    federation: Federation,
    relay: Relay,
    aggregator: Process,
    sites: Vec<Process>,
    started: Instant,
}

impl Trial {
    /// Starts all roles. `None` where this machine makes no bad paths.
    fn start(name: &'static str, link: &'static str, faults: &str, rounds: u32) -> Option<Self> {
        let mut relay = match Relay::start() {
            Ok(relay) => relay,
            Err(why) => {
                let words =
                    format!("{name}: this machine makes no network namespace with a TUN device: {why}");
                let is_needed = std::env::var_os("FL_BAD_PATHS").is_some_and(|value| value == "true");
                assert!(!is_needed, "FL_BAD_PATHS=true, but {words}");
                println!("NOT RUN: {words}");
                return None;
            }
        };
        let folder = name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
        let federation = pair(link, &folder, rounds);
        relay.join(&federation);
        relay.set(faults);
        let aggregator = relay.aggregator(&federation);
        aggregator.event("listening", SOON);
        let started = Instant::now();
        let sites = relay.collaborators(&federation);
        Some(Self { name, link, rounds, federation, relay, aggregator, sites, started })
    }

    /// Waits for the end: each round has run once, in order, with the updates of both sites. Prints the
    /// seconds of each round. Returns what the path has done.
    fn ends_well(mut self) -> Ended {
        let status = self.aggregator.ended(longest().saturating_sub(self.started.elapsed()));
        assert!(status.success(), "{}", self.aggregator.log());
        let rounds = self.aggregator.events_to_the_end("round");
        for site in &mut self.sites {
            assert!(site.ended(SOON).success(), "{}", site.log());
        }
        rounds_of_all(&self.federation, self.rounds.into());
        let path = self.relay.set("");
        // The time of a round is known when the next one begins.
        let seconds = rounds.iter().filter_map(|round| round["millis"]["whole"].as_f64());
        let seconds: Vec<String> = seconds.map(|millis| format!("{:.2}", millis / 1e3)).collect();
        let logs: Vec<String> = self.sites.iter().map(Process::log).collect();
        let carriers =
            ["QUIC", "TCP"].map(|carrier| (carrier, of_all(&logs, &format!("goes over {carrier}"))));
        let carriers: Vec<&str> =
            carriers.iter().filter(|(_, times)| *times > 0).map(|(carrier, _)| *carrier).collect();
        let links = of_all(&logs, "connected as ");
        println!(
            "{}: link: {} over {}, {} kB for each of 2 sites each way: {} s a round, {:.1} s in all, {links} links; path {path}",
            self.name,
            self.link,
            carriers.join(" and "),
            parameters() * 4 / 1000,
            seconds.join(" "),
            self.started.elapsed().as_secs_f64(),
        );
        Ended { path, links, carriers: carriers.join(" ") }
    }
}

/// How often the words stand in the logs.
fn of_all(logs: &[String], words: &str) -> usize {
    logs.iter().map(|log| log.matches(words).count()).sum()
}

/// What a trial ends with.
struct Ended {
    /// What the path has done since the last change of its faults.
    path: Value,
    /// Links of both sites, one after the other.
    links: usize,
    /// What has carried the links.
    carriers: String,
}

/// Runs a federation over QUIC and another one over TCP, each with a path of its own, side by side.
fn over_both(run: impl Fn(&'static str) + Sync) {
    let run = &run;
    thread::scope(|scope| {
        let running = ["quic", "tcp"].map(|link| scope.spawn(move || run(link)));
        for one in running {
            if let Err(panic) = one.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

/// Three rounds over a path with faults that lose packets or do not.
fn finishes(name: &'static str, faults: &str, loses: bool) {
    over_both(|link| {
        let Some(trial) = Trial::start(name, link, faults, 3) else { return };
        let Ended { path, carriers, .. } = trial.ends_well();
        assert_eq!(carriers, link.to_uppercase());
        assert_eq!(path["lost"].as_u64().unwrap() > 20, loses, "{path}");
    });
}

#[test]
fn blocked_udp_costs_a_link_less_than_three_seconds() {
    let Some(trial) = Trial::start("UDP is dropped", "auto", "no-udp", 3) else { return };
    for site in &trial.sites {
        site.says("goes over TCP: QUIC has not answered", 1, SOON);
    }
    let cost = trial.started.elapsed();
    println!("UDP is dropped: a link over TCP after {:.2} s", cost.as_secs_f64());
    assert!(cost < Duration::from_secs(3), "{cost:?}");
    trial.ends_well();
}

#[test]
fn update_survives_the_reset_of_its_connection_in_mid_upload() {
    let half = parameters() * 2;
    let faults = format!("reset={half} resets=2");
    let Some(trial) = Trial::start("TCP is reset", "tcp", &faults, 3) else { return };
    let Ended { path, links, .. } = trial.ends_well();
    assert_eq!((path["cut"].as_u64(), links), (Some(2), 4), "{path}");
}

#[test]
fn rounds_finish_where_a_fifth_of_the_packets_is_lost() {
    finishes("20 % are lost", "loss=20", true);
}

#[test]
fn rounds_finish_behind_a_delay_of_300_milliseconds() {
    finishes("300 ms each way", "delay=300", false);
}

#[test]
fn rounds_finish_on_a_line_of_one_megabit() {
    over_both(|link| {
        let Some(trial) = Trial::start("1 Mbit/s", link, "rate=1000000", 2) else { return };
        trial.ends_well();
    });
}

#[test]
fn rounds_finish_where_large_packets_vanish() {
    over_both(|link| {
        let Some(trial) = Trial::start("over 1280 bytes vanish", link, "most=1280", 3) else {
            return;
        };
        trial.ends_well();
    });
}

#[test]
fn rounds_finish_where_packets_overtake_each_other() {
    finishes("25 % are overtaken", "overtaken=25", false);
}

#[test]
fn rounds_finish_where_all_of_this_comes_together() {
    finishes(
        "2 % lost, 100 ms, 10 % overtaken, 8 Mbit/s",
        "loss=2 delay=100 overtaken=10 rate=8000000",
        true,
    );
}

#[test]
fn link_survives_a_new_address_behind_a_nat() {
    over_both(|link| {
        let Some(mut trial) = Trial::start("NAT forgets", link, "", MANY) else { return };
        trial.aggregator.event("round", SOON);
        trial.relay.set("seen=2");
        let Ended { links, .. } = trial.ends_well();
        // QUIC's links move with the address. TCP's links are made again.
        assert_eq!(links, if link == "quic" { 2 } else { 4 });
    });
}

#[test]
fn link_survives_a_new_address_of_the_site() {
    over_both(|link| {
        let Some(trial) = Trial::start("sites move", link, "", MANY) else { return };
        trial.aggregator.event("round", SOON);
        trial.relay.move_sites();
        trial.ends_well();
    });
}

#[test]
fn site_that_sleeps_for_twenty_seconds_goes_on() {
    over_both(|link| {
        let federation = pair(link, "sleep", MANY);
        let (mut aggregator, mut sites) = start(&federation);
        aggregator.event("round", SOON);
        sites[0].signal("STOP");
        thread::sleep(Duration::from_secs(20));
        let woken = Instant::now();
        sites[0].signal("CONT");
        let lines = aggregator.timed_to_the_end();
        all_end_well(&mut aggregator, &mut sites);
        let round = lines.iter().find(|(at, line)| line["event"] == "round" && *at > woken);
        let cost = round.unwrap().0 - woken;
        println!("sleep of 20 s: link: {link}: a round {:.2} s after waking", cost.as_secs_f64());
        assert_eq!(sites[0].log().matches("connected as ").count(), 2, "{}", sites[0].log());
        rounds_of_all(&federation, MANY.into());
    });
}

const SOON: Duration = Duration::from_secs(30);
/// Rounds of a run in whose midst something happens. A round can take a tenth of a second.
const MANY: u32 = 60;
