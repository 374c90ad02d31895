//! Hostile peers against running federations: real processes, real certificates, one misdeed after the other.
//! Whatever a hostile peer does, the others' rounds go on, the sum is right, and the aggregator logs what it
//! refused.
#![allow(clippy::unwrap_used, reason = "a test's failure is its panic")]

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use fl_host_tools::{demo::Federation, workspace::set_key};
use fl_tests::{
    federation::{Process, federation_over, history, synthetic},
    over_each_link,
};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);
/// Most resident memory of an aggregator with a 400 KB model, whatever its peers do. 16 MiB were measured.
const MEMORY: u64 = 32 << 20;

/// `one` and `two` are honest, and enough for a round. `three` is not honest.
fn tolerant(link: &str, name: &str, rounds: u32, deadline: &str) -> Federation {
    federation_over(link, name, 3, &|plan| {
        let plan = synthetic(plan, 100_000, rounds);
        let quorum = format!("{{count: {{min: 2}}, time: {{min: 0s, max: {deadline}}}}}");
        let plan = set_key(&plan, "quorum", &quorum, "tasks");
        set_key(&plan, "exact", "{value_bits: 16, weight_bits: 20}", "schema")
    })
}

over_each_link! {
    bad_updates_and_broken_protocol_are_refused_by_name_and_hold_nobody_up
    update_counts_once_and_floods_are_neither_loud_nor_large
    text_of_a_peer_changes_no_line_for_people
    slow_silent_and_vanishing_peers_cost_a_round_its_deadline_and_no_more
}

struct Running {
    aggregator: Process,
    honest: Vec<Process>,
}

impl Running {
    fn start(federation: &Federation) -> Self {
        let aggregator = Process::aggregator(federation);
        aggregator.event("listening", SOON);
        let honest = ["one", "two"].map(|name| Process::collaborator(federation, name)).into();
        Self { aggregator, honest }
    }

    /// Waits for the end, and checks memory, exit code and log. Returns the aggregator's lines.
    fn end(self, memory: u64) -> Vec<(Instant, Value)> {
        self.ended(memory, 0)
    }

    /// Stops a run that has rounds left, and checks as [`Self::end`].
    fn stop(self, memory: u64) -> Vec<(Instant, Value)> {
        for process in self.honest.iter().chain([&self.aggregator]) {
            process.signal("TERM");
        }
        self.ended(memory, 14)
    }

    fn ended(mut self, memory: u64, code: i32) -> Vec<(Instant, Value)> {
        let lines = self.aggregator.timed_to_the_end();
        let status = self.aggregator.ended(SOON);
        let log = self.aggregator.log();
        assert_eq!(status.code(), Some(code), "{log}");
        for process in &mut self.honest {
            assert_eq!(process.ended(SOON).code(), Some(code), "{}", process.log());
        }
        assert!(memory < MEMORY, "{} MiB", memory >> 20);
        let bad = |line: &&str| line.contains("\"level\":\"error\"") || line.contains("panicked");
        assert_eq!(log.lines().find(bad), None);
        lines
    }
}

/// Rounds of an aggregator's lines, each with its length from the line before.
fn rounds(lines: &[(Instant, Value)]) -> Vec<(Duration, &Value)> {
    let rounds: Vec<_> = lines.iter().filter(|(_, line)| line["event"] == "round").collect();
    rounds.windows(2).map(|pair| (pair[1].0.duration_since(pair[0].0), &pair[1].1)).collect()
}

fn contributors(round: &Value) -> Vec<&str> {
    let all = round["contributors"].as_array().unwrap();
    all.iter().map(|c| c["collaborator"].as_str().unwrap()).collect()
}

/// What the aggregator answered to one misdeed: the field `field` of each `event`.
fn told<'a>(lines: &'a [(Instant, Value)], misdeed: &str, event: &str, field: &str) -> Vec<&'a str> {
    let of = lines.iter().filter(|(_, line)| line["misdeed"] == misdeed && line["event"] == event);
    of.map(|(_, line)| line[field].as_str().unwrap_or("")).collect()
}

fn code(lines: &[(Instant, Value)], misdeed: &str) -> Option<u64> {
    let closed = lines.iter().find(|(_, line)| line["misdeed"] == misdeed && line["event"] == "closed");
    closed.and_then(|(_, line)| line["code"].as_u64())
}

/// Misdeeds that are refused, and the refusal's words.
const REFUSED: &[(&str, &str)] = &[
    ("lying-length", "the update has 18446744073709551615 bytes; an update of this plan has 400000"),
    ("wrong-layout", "the update has 400004 bytes; an update of this plan has 400000"),
    ("heavy", "weight 1048576 is outside the plan's range"),
    ("stale-round", "the update is for another round: the open round is"),
    ("stale-incarnation", "the update is for another round: the open round is"),
    ("wrong-base", "the update is for another round: the open round is"),
    ("unknown-task", "task steal is not assigned"),
    ("truncated", "the update has 200000 bytes; an update of this plan has 400000"),
    ("oversized", "the update has 400001 bytes; an update of this plan has 400000"),
    ("nan", "the update has a value that is not finite, in tensor \"w.weight\" at element 99998"),
    ("infinity", "not finite, in tensor \"w.weight\" at element 99998"),
    ("minus-infinity", "not finite, in tensor \"w.weight\" at element 99998"),
    ("out-of-range", "the update has a value outside the plan's range (exact.value_bits), in tensor"),
    ("wrong-root", "the hash of the update is not the hash that was offered"),
    ("other-header", "task send is not assigned"),
    ("dropped", "the collaborator stopped sending the update after"),
];

/// Misdeeds that end the link with "protocol broken", and the reason.
const BROKEN: &[(&str, &str)] = &[
    ("zero-weight", "message of kind 8 cannot be decoded"),
    ("huge-weight", "message of kind 8 cannot be decoded"),
    ("undecodable", "message of kind 8 cannot be decoded"),
    ("trailing", "the message of kind 8 has 4 bytes too many"),
    ("empty-envelope", "a message of 0 bytes is too short to have a kind"),
    ("unknown-even", "a message of kind 900 is not known to this version"),
    ("second-hello", "may not send this message after its Hello"),
    ("aggregators-words", "may not send this message after its Hello"),
    ("model-header", "the stream's header does not name an update"),
    ("bad-header", "cannot be decoded"),
    ("big-header", "the peer announced 1025 bytes, but may send at most 1024"),
];

/// Misdeeds that are rejected at the hello, and the answer.
const TURNED_AWAY: &[(&str, &str)] = &[
    ("wrong-plan", "the aggregator runs plan"),
    ("wrong-federation", "this is the aggregator of federation demo"),
    ("wrong-version", "protocol versions 1 to 1"),
    ("later-roster", "older than this collaborator's roster"),
    ("long-evidence", "32769 evidence bytes; at most 32768"),
    // Last: a key whose evidence was refused has one try in ten seconds.
    ("most-evidence", "not admitted: the evidence has version 9; this program reads version 1"),
];

fn bad_updates_and_broken_protocol_are_refused_by_name_and_hold_nobody_up(link: &str) {
    let federation = tolerant(link, "refused", 400, "20s");
    let running = Running::start(&federation);
    let names = |table: &[(&'static str, &str)]| table.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let misdeeds = [names(REFUSED), names(BROKEN), vec!["big-envelope"], names(TURNED_AWAY)];
    let mut hostile = Process::hostile(&federation, "three", &misdeeds.concat());
    let heard = hostile.timed_to_the_end();
    assert!(hostile.ended(SOON).success(), "{}", hostile.log());
    let memory = running.aggregator.peak_memory();

    for (misdeed, words) in REFUSED {
        let why = told(&heard, misdeed, "refused", "why");
        assert!(why.len() == 1 && why[0].contains(words), "{misdeed}: {why:?}");
        // The client itself leaves.
        assert_eq!(code(&heard, misdeed), Some(0), "{misdeed}");
    }
    for (misdeed, words) in BROKEN {
        let why = told(&heard, misdeed, "closed", "reason");
        assert!(why.len() == 1 && why[0].contains(words), "{misdeed}: {why:?}");
        assert_eq!(code(&heard, misdeed), Some(3), "{misdeed}");
    }
    for (misdeed, words) in TURNED_AWAY {
        let why = told(&heard, misdeed, "rejected", "why");
        assert!(why.len() == 1 && why[0].contains(words), "{misdeed}: {why:?}");
    }
    assert!(told(&heard, "big-envelope", "closed", "reason")[0].contains("announced 4294967295 bytes"));
    // The name is that of the certificate, whatever the client says.
    let welcomes = heard.iter().filter(|(_, line)| line["event"] == "welcome");
    assert!(welcomes.clone().count() > REFUSED.len() && welcomes.clone().all(|(_, w)| w["name"] == "three"));

    let lines = running.end(memory);
    let rounds = rounds(&lines);
    assert_eq!(rounds.len(), 399);
    for (length, round) in &rounds {
        assert!(*length < Duration::from_secs(2), "{length:?}: {round}");
        assert_eq!(contributors(round), ["one", "two"], "{round}");
        assert_ne!(round["closed"], "deadline", "{round}");
    }
    // The history on disk and the rounds' events name each refused update and its collaborator.
    let facts = history(&federation);
    let printed: Vec<Value> = lines.iter().map(|(_, line)| line.clone()).collect();
    for told in [facts, printed] {
        let refused: Vec<&Value> = told.iter().filter_map(|f| f["refused"].as_array()).flatten().collect();
        assert_eq!(refused.len(), REFUSED.len());
        for (refused, (misdeed, words)) in refused.iter().zip(REFUSED) {
            assert_eq!(refused["collaborator"], "three");
            assert!(refused["reason"].as_str().unwrap().contains(words), "{misdeed}: {refused}");
        }
    }
}

fn update_counts_once_and_floods_are_neither_loud_nor_large(link: &str) {
    let federation = tolerant(link, "floods", 200, "20s");
    let running = Running::start(&federation);
    // What the first flood says is logged; then the lines about `three` are rationed.
    let floods = ["failed-flood", "offer-flood", "report-flood", "ungranted", "abandoned-streams"];
    let misdeeds = [["duplicate", "unknown-odd", "odd-metrics"].as_slice(), &floods, &["deaf"]].concat();
    let mut hostile = Process::hostile(&federation, "three", &misdeeds);
    let heard = hostile.timed_to_the_end();
    assert!(hostile.ended(SOON).success(), "{}", hostile.log());
    let memory = running.aggregator.peak_memory();

    let why = told(&heard, "duplicate", "refused", "why");
    assert!(why.len() == 1 && why[0].starts_with("this collaborator already has an update"), "{why:?}");
    for misdeed in ["duplicate", "unknown-odd", "odd-metrics"] {
        assert_eq!(told(&heard, misdeed, "received", "").len(), 1, "{misdeed}");
    }
    for flood in floods {
        // The flood ends, or the aggregator cuts the client off. The aggregator itself has no fault.
        assert!(
            matches!(code(&heard, flood), Some(0 | 4)),
            "{flood}: {:?}",
            told(&heard, flood, "lost", "why")
        );
    }
    assert_eq!(code(&heard, "abandoned-streams"), Some(0));
    assert_eq!(code(&heard, "deaf"), Some(4));

    let log = running.aggregator.log();
    // Lines about `three` are rationed, however many messages it sends. Lines about rounds are not.
    let about = log.lines().filter(|line| line.contains("\"collaborator\":\"three\"")).count();
    assert!((1..50).contains(&about), "{about} lines");
    assert!(log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "a line is broken");
    // What it said stands escaped in the log on standard error and in the log file.
    let file = fs::read_to_string(federation.aggregator.join("logs/aggregator.log")).unwrap();
    for text in [&log, &file] {
        assert!(
            text.contains("all is lost \\\\u{1b}[2J\\\\u{9b}2J\\\\u{202e}\\\\u{7f}\\\\u{2028}"),
            "{text}"
        );
        assert_eq!(text.lines().find_map(fl_engine::printable::unprintable), None);
    }
    let ignored = "ignored the metrics of three for task send: it claims 18446744073709551615 rows";
    assert!(log.contains(ignored), "{log}");
    let lines = running.end(memory);
    let counted = rounds(&lines).into_iter().filter(|(_, r)| contributors(r).contains(&"three")).count();
    assert!((2..=3).contains(&counted), "{counted}: one of each, or the first round's");
    for (length, round) in rounds(&lines) {
        assert!(length < Duration::from_secs(4), "{length:?}: {round}");
        let honest = contributors(round).into_iter().filter(|name| *name != "three");
        assert!(honest.eq(["one", "two"]), "{round}");
        let refused = round["refused"].as_array().unwrap().len();
        assert!(refused <= 8, "{refused}");
    }
}

fn text_of_a_peer_changes_no_line_for_people(link: &str) {
    let federation = tolerant(link, "painted", 60, "20s");
    let start = |name: &str, folder: &std::path::Path, args: &[&str]| Process::start(name, folder, args, &[]);
    let mut aggregator = start("aggregator", &federation.aggregator, &["aggregator"]);
    aggregator.says("listens on", 1, SOON);
    let mut honest = ["one", "two"]
        .map(|name| start(name, &federation.dir.join(name), &["-v", "collaborator", "-n", name]));
    let mut hostile = Process::hostile(&federation, "three", &["failed-flood"]);
    hostile.timed_to_the_end();
    assert!(hostile.ended(SOON).success(), "{}", hostile.log());
    assert_eq!(aggregator.ended(SOON).code(), Some(0), "{}", aggregator.log());
    honest.iter_mut().for_each(|process| assert!(process.ended(SOON).success(), "{}", process.log()));
    let log = aggregator.log();
    let file = fs::read_to_string(federation.aggregator.join("logs/aggregator.log")).unwrap();
    for text in [&log, &file] {
        assert!(text.contains("\\u{d}\\u{a}2026 error all is lost \\u{1b}[2J\\u{9b}2J\\u{202e}"), "{text}");
        assert_eq!(text.lines().find_map(fl_engine::printable::unprintable), None);
        // No line begins with what the peer said.
        assert!(!text.lines().any(|line| line.starts_with("2026 error")), "{text}");
    }
}

fn slow_silent_and_vanishing_peers_cost_a_round_its_deadline_and_no_more(link: &str) {
    let federation = tolerant(link, "slow", 1_000_000, "1s");
    let running = Running::start(&federation);
    let mut strangers = Process::hostile(&federation, "two", &["silent"]);
    let mut hostile = Process::hostile(&federation, "three", &["drip"]);
    let dripped = hostile.timed_to_the_end();
    assert!(hostile.ended(SOON).success(), "{}", hostile.log());
    assert_eq!(code(&dripped, "drip"), Some(0));

    let vanishing = Process::hostile(&federation, "three", &["vanishing"]);
    vanishing.event("halfway", SOON);
    vanishing.signal("KILL");
    // The aggregator has not noticed that the peer is dead. The next link replaces the dead one.
    thread::sleep(Duration::from_millis(1500));
    let mut half_open = Process::hostile(&federation, "three", &["half-open"]);
    let heard = half_open.timed_to_the_end();
    assert!(half_open.ended(SOON).success(), "{}", half_open.log());
    assert_eq!(code(&heard, "half-open"), Some(0), "{heard:?}");
    let heard = strangers.timed_to_the_end();
    assert!(strangers.ended(SOON).success(), "{}", strangers.log());
    assert_eq!(told(&heard, "silent", "done", "misdeed"), ["silent"]);

    let memory = running.aggregator.peak_memory();
    let lines = running.stop(memory);
    let rounds = rounds(&lines);
    let at_deadline = rounds.iter().filter(|(_, round)| round["closed"] == "deadline").count();
    // The drip took place in the first round, whose length is not known. After its second miss, rounds wait
    // for this member only now and then.
    assert!((1..20).contains(&at_deadline), "{at_deadline} of {}", rounds.len());
    for (length, round) in &rounds {
        assert!(*length < Duration::from_millis(1600), "{length:?}: {round}");
        assert_eq!(contributors(round), ["one", "two"], "{round}");
    }
}
