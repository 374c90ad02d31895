//! Federations under other rules than the weighted mean, under server steps and under a threshold: real
//! processes over real QUIC, held bit for bit against the engine's functions on the same updates.
#![allow(clippy::unwrap_used, reason = "a test's failure is its panic")]

use std::{fs, sync::Arc, time::Duration};

use fl_engine::{
    ByteCount, RoundNo, Weight,
    aggregate::{ServerStep, combine_payloads, footprint, method},
    plan::Plan,
    tensor::ModelState,
};
use fl_host_tools::{demo::Federation, workspace::set_key};
use fl_learn::task::{CustomTasks, Runner};
use fl_tests::federation::{self, Process, federation, set_block, start, synthetic};

const SOON: Duration = Duration::from_secs(20);
const LATER: Duration = Duration::from_secs(90);

/// A plan of one synthetic task with these aggregation keys, whose rounds take everybody.
fn ruled(plan: &str, keys: &str, inputs: u32, rounds: u32, collaborators: usize) -> String {
    let plan = synthetic(plan, inputs, rounds);
    let plan = set_block(&plan, "tasks", &format!("{{send: {{kind: synthetic, weight: 7, {keys}}}}}"));
    let quorum = format!("{{count: {{min: {collaborators}}}, time: {{min: 0s, max: 5m}}}}");
    let plan = set_key(&plan, "quorum", &quorum, "tasks");
    // A clipped mean needs this range, and it is enough for the other rules.
    set_key(&plan, "exact", "{value_bits: 16, weight_bits: 19}", "schema")
}

fn last_model(federation: &Federation) -> Vec<u8> {
    payload(&federation::last_model(federation))
}

fn payload(state: &ModelState) -> Vec<u8> {
    let mut bytes = Vec::new();
    state.write_bytes(&mut bytes);
    bytes
}

/// What the plan's rounds make of the synthetic updates, by the engine's functions in one thread.
fn replayed(federation: &Federation) -> Vec<u8> {
    let plan = Arc::new(federation.plan.clone());
    let layout = plan.layout().unwrap();
    let aggregation = plan.aggregation().unwrap();
    let method = method(&aggregation, plan.exact, |_| None).unwrap();
    let step = aggregation.server.map(|s| ServerStep::new(s, Arc::clone(&layout), plan.exact).unwrap());
    let mut state =
        step.as_ref().and_then(ServerStep::initial_state).map(|s| payload(&s)).unwrap_or_default();
    let mut base = plan.initial_state().unwrap();
    let mut names = federation.names.clone();
    names.sort();
    for round in 0..plan.rounds {
        let update = |name: &String| -> (Vec<u8>, Weight) {
            let (member, custom) = (name.parse().unwrap(), CustomTasks::new());
            let runner = Runner::new(Arc::clone(&plan), Arc::clone(&layout), &member, None, custom);
            let task = "send".parse().unwrap();
            let output = runner.unwrap().run(&task, RoundNo(round), &base, &|| false).unwrap();
            output.update.map(|(state, weight)| (payload(&state), weight)).unwrap()
        };
        let updates: Vec<_> = names.iter().map(update).collect();
        let updates: Vec<_> = updates.iter().map(|(payload, weight)| (payload.as_slice(), *weight)).collect();
        let before = payload(&base);
        let mut next = combine_payloads(&method, &layout, plan.exact, &updates, &before).unwrap();
        if let Some(step) = &step {
            let floats = layout.f32_len() * 4;
            let old = state.clone();
            let first = step.state_runs(0..layout.f32_len()).first.len() * 4;
            let (m, v) = state.split_at_mut(first);
            let old = old.split_at(first);
            step.run(0, &before[..floats], &mut next[..floats], [old.0, old.1], [m, v]).unwrap();
        }
        base = ModelState::from_bytes(Arc::clone(&layout), &next).unwrap();
    }
    payload(&base)
}

/// Runs the federation to its end.
fn runs_as_replayed(name: &str, collaborators: usize, keys: &str) {
    let federation = federation(name, collaborators, &|plan| ruled(plan, keys, 3000, 2, collaborators));
    let (mut aggregator, _collaborators) = start(&federation);
    let rounds = aggregator.events_to_the_end("round");
    assert!(aggregator.ended(LATER).success(), "{keys}: {}", aggregator.log());
    assert!(rounds.iter().all(|round| round["updates"] == collaborators), "{rounds:?}");
    assert!(last_model(&federation) == replayed(&federation), "{keys}");
    let _ = fs::remove_dir_all(&federation.dir);
}

#[test]
fn rules_over_columns_make_the_engines_models() {
    runs_as_replayed("median", 4, "rule: median");
    runs_as_replayed("trimmed", 5, "rule: {trimmed_mean: {trim: 0.2}}");
}

#[test]
fn rules_by_distance_make_the_engines_models() {
    runs_as_replayed("krum", 5, "rule: {multi_krum: {byzantine: 1}}");
    runs_as_replayed("geometric", 3, "rule: {geometric_median: {iterations: 4, smoothing: 1e-5}}");
}

#[test]
fn clipped_mean_makes_the_engines_models() {
    runs_as_replayed("clipped", 3, "rule: {clipped_mean: {norm: 0.1}}");
}

#[test]
fn servers_step_follows_any_rule() {
    runs_as_replayed("fedadam", 3, "server: {fedadam: {learning_rate: 0.01}}");
    runs_as_replayed("smoothed", 3, "rule: median, server: {smoothing: {keep: 0.5}}");
}

#[test]
fn left_out_updates_are_named_in_the_log() {
    let keys = "rule: {krum: {byzantine: 1}}";
    let federation = federation("chosen", 5, &|plan| ruled(plan, keys, 300, 1, 5));
    let (mut aggregator, _collaborators) = start(&federation);
    assert!(aggregator.ended(LATER).success(), "{}", aggregator.log());
    let log = aggregator.log();
    let line = log.lines().find(|line| line.contains("the rule left out")).unwrap();
    let named = federation.names.iter().filter(|name| line.contains(name.as_str())).count();
    assert_eq!(named, 4, "{line}");
}

#[test]
fn rule_that_the_binary_does_not_know_is_refused_at_the_start() {
    let keys = "rule: {custom: {name: mine}}";
    let federation = federation("unknown", 1, &|plan| ruled(plan, keys, 100, 1, 1));
    let mut aggregator = Process::aggregator(&federation);
    assert_eq!(aggregator.ended(SOON).code(), Some(7), "{}", aggregator.log());
    let log = aggregator.log();
    assert!(log.contains("which this program does not have"), "{log}");
    assert!(log.contains("start your own program, which adds the rule"), "{log}");
}

/// Most updates are in spill files. The model is the same.
#[test]
fn spilled_updates_make_the_engines_median() {
    let keys = "rule: median";
    let collaborators = 5;
    let federation = federation("spilled", collaborators, &|plan| {
        let plan =
            set_block(&ruled(plan, keys, 300_000, 2, collaborators), "limits", "{memory: 1GiB, spill: 1GiB}");
        let parsed = Plan::parse(&plan).unwrap();
        let layout = parsed.layout().unwrap();
        let least = footprint(&parsed, &layout, 5).least();
        let memory = (least.0 + layout.byte_len() as u64).div_ceil(1 << 20);
        let plan = set_block(&plan, "limits", &format!("{{memory: {memory}MiB, spill: 1GiB}}"));
        let slots = footprint(&Plan::parse(&plan).unwrap(), &layout, 5).slot_memory();
        assert!(slots < ByteCount(3 * layout.byte_len() as u64), "{slots} for updates in memory");
        plan
    });
    let (mut aggregator, _collaborators) = start(&federation);
    assert!(aggregator.ended(LATER).success(), "{}", aggregator.log());
    assert!(last_model(&federation) == replayed(&federation));
    assert_eq!(fs::read_dir(federation.aggregator.join("save/spill")).unwrap().count(), 0);
    let _ = fs::remove_dir_all(&federation.dir);
}

/// The aggregator is killed, not stopped. The step's state is on disk together with its model, or neither is.
#[test]
fn killed_aggregator_goes_on_with_the_steps_state() {
    let rounds = 40;
    let keys = "server: {fedyogi: {learning_rate: 0.01}}";
    let federation = federation("yogi", 2, &|plan| ruled(plan, keys, 50_000, rounds, 2));
    let (aggregator, _collaborators) = start(&federation);
    for round in 0..3 {
        assert_eq!(aggregator.event("round", LATER)["round"], round);
    }
    aggregator.signal("KILL");
    drop(aggregator);
    let mut again = Process::aggregator(&federation);
    let from = again.event("listening", SOON)["round"].as_u64().unwrap();
    assert!((1..u64::from(rounds)).contains(&from), "killed after round {from}");
    assert!(again.ended(LATER).success(), "{}", again.log());
    assert!(last_model(&federation) == replayed(&federation), "killed after round {from}");
    let _ = fs::remove_dir_all(&federation.dir);
}

/// The trained template, one round.
fn trained(plan: &str, threshold: &str) -> String {
    let plan = plan.replace("rounds: 10", "rounds: 1");
    plan.replacen("    kind: train\n", &format!("    kind: train\n{threshold}"), 1)
}

/// The accuracy of the initial model at each site, as the site's own log has it.
fn accuracies(collaborators: &[Process]) -> Vec<f64> {
    let of = |process: &Process| {
        let log = process.log();
        let line = log.lines().find(|line| line.contains("round 0  aggregated_model_validation")).unwrap();
        let number = line.split("accuracy ").nth(1).unwrap();
        let end = number.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(number.len());
        number[..end].parse().unwrap()
    };
    collaborators.iter().map(of).collect()
}

#[test]
fn update_below_the_threshold_is_refused_and_changes_nothing() {
    let plain = federation("plain", 3, &|plan| trained(plan, ""));
    let (mut aggregator, mut collaborators) = start(&plain);
    assert!(aggregator.ended(LATER).success(), "{}", aggregator.log());
    collaborators.iter_mut().for_each(|process| assert!(process.ended(SOON).success()));
    let accuracies = accuracies(&collaborators);
    let worst = (0..3).min_by(|a, b| accuracies[*a].total_cmp(&accuracies[*b])).unwrap();
    let second = (0..3).filter(|i| *i != worst).map(|i| accuracies[i]).fold(f64::MAX, f64::min);
    assert!(second > accuracies[worst], "the sites cannot be told apart: {accuracies:?}");
    let bound = (second + accuracies[worst]) / 2.0;
    let threshold =
        format!("    threshold: {{task: aggregated_model_validation, metric: accuracy, min: {bound}}}\n");

    let with = federation("threshold", 3, &|plan| trained(plan, &threshold));
    assert!(with.plan.aggregation().unwrap().threshold.is_some());
    let (mut aggregator, _collaborators) = start(&with);
    let line = aggregator.event("round", LATER);
    assert!(aggregator.ended(LATER).success(), "{}", aggregator.log());
    assert_eq!(line["updates"], 2, "{line}");
    assert_eq!(line["refused"].as_array().unwrap().len(), 1, "{line}");
    assert_eq!(line["refused"][0]["collaborator"], with.names[worst].as_str());

    // The same federation without this collaborator.
    let without = federation("without", 3, &|plan| trained(plan, ""));
    let mut aggregator = Process::aggregator(&without);
    let here = without.names.iter().enumerate().filter(|(i, _)| *i != worst);
    let _here: Vec<_> = here.map(|(_, name)| Process::collaborator(&without, name)).collect();
    assert!(aggregator.ended(LATER).success(), "{}", aggregator.log());
    assert!(last_model(&with) == last_model(&without));
    assert!(last_model(&with) != last_model(&plain));
}
