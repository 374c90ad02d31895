//! Memory does not grow with the number of rounds: a process holds as much at round 50 as hundreds of
//! rounds later.
//!
//! `FL_ROUNDS` sets the number of rounds. `ci/long` runs more rounds than a check of every change can wait
//! for.
#![allow(clippy::unwrap_used, reason = "a test's failure is its panic")]

use std::time::Duration;

use fl_tests::federation::{Process, federation, set_block, synthetic};

/// Parameters of the model: a payload of 40 KB.
const PARAMETERS: u32 = 10_000;
/// Rounds after which every buffer and pool has its size.
const WARM: u64 = 50;
/// Rounds without `FL_ROUNDS`.
const ROUNDS: u64 = 200;
/// Bytes by which a process may have grown in the end, for any number of rounds, because the allocator's use
/// varies. A payload that is kept in each round adds up to fifteen times as much after 150 rounds.
const SLACK: u64 = 400_000;
const LATER: Duration = Duration::from_secs(60);

#[test]
fn memory_of_a_late_round_is_that_of_round_50() {
    let rounds = std::env::var("FL_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    assert!(rounds > 2 * WARM, "FL_ROUNDS of {rounds} shows nothing");
    let federation = federation("flat", 2, &|plan| {
        let plan = synthetic(plan, PARAMETERS, u32::try_from(rounds).unwrap());
        set_block(&plan, "quorum", "{count: {min: 2}, time: {min: 0s, max: 10m}}")
    });
    let aggregator = Process::aggregator(&federation);
    aggregator.event("listening", LATER);
    let members: Vec<_> = Process::collaborators(&federation);
    let everybody = || -> Vec<u64> { members.iter().chain([&aggregator]).map(Process::memory).collect() };

    let mut warm = Vec::new();
    // In the last rounds a process may already be ending.
    for round in 0..rounds - 5 {
        let line = aggregator.event("round", LATER);
        assert_eq!((&line["round"], &line["updates"]), (&round.into(), &2.into()), "{line}");
        if round == WARM {
            warm = everybody();
        }
    }
    let late = everybody();
    drop((members, aggregator));
    println!("{warm:?} bytes at round {WARM}, {late:?} at round {}", rounds - 5);
    for (warm, late) in warm.iter().zip(&late) {
        assert!(*warm > 0 && *late > 0, "a process has ended early");
        assert!(*late < warm + SLACK, "memory grows with the rounds: {warm} bytes, then {late}");
    }
    let _ = std::fs::remove_dir_all(&federation.dir);
}
