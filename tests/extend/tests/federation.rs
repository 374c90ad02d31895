//! Federations of the program of this crate: real processes over real QUIC, with an own loader, task and
//! rule.
#![allow(clippy::unwrap_used, reason = "a test's failure is its panic")]

use std::{fs, path::Path, time::Duration};

use fl_engine::model::safetensors;
use fl_tests::federation::{Process, federation, set_block};

const SOON: Duration = Duration::from_secs(20);
const LATER: Duration = Duration::from_secs(90);

/// Readings, slope and intercept of each site. The instrument of the last one is broken.
const SITES: [(u32, f32, f32); 4] = [(10, 2.0, 1.0), (20, 3.0, 1.0), (30, 4.0, 0.0), (40, 100.0, -50.0)];

/// Slope and intercept that two rounds of the four sites end with under `rule`.
fn line(rule: &str) -> [f32; 2] {
    let federation = federation(rule, SITES.len(), &|plan| {
        let task =
            format!("{{kind: custom, name: fit_line, metrics: [loss], rule: {{custom: {{name: {rule}}}}}}}");
        let mut plan = plan.to_owned();
        for (key, value) in [
            ("rounds", "2"),
            ("model", "{input: [1], layers: [{linear: {name: line, out: 1, bias: true}}]}"),
            ("data", "{loader: custom, name: readings, split: {train: 1, validation: 0, test: 0}}"),
            ("tasks", &format!("{{fit: {task}}}")),
            ("best", "{task: fit, metric: loss, direction: min}"),
            ("quorum", "{count: {min: 4}, time: {min: 0s, max: 5m}}"),
        ] {
            plan = set_block(&plan, key, value);
        }
        plan
    });
    for (name, (readings, w, b)) in federation.names.iter().zip(SITES) {
        let text: String = (0..readings).map(|x| format!("{x} {}\n", w * x as f32 + b)).collect();
        fs::write(federation.dir.join(name).join("data").join(name).join("readings.txt"), text).unwrap();
    }
    let start = |name: &str, folder: &Path, args: &[&str]| Process::spawn(PROGRAM, name, folder, args, &[]);
    let mut aggregator = start("aggregator", &federation.aggregator, &["--json", "aggregator", "start"]);
    let _collaborators: Vec<Process> = federation
        .names
        .iter()
        .map(|name| start(name, &federation.dir.join(name), &["--json", "collaborator", "-n", name, "start"]))
        .collect();
    assert_eq!(aggregator.event("ended", LATER)["reason"], "completed");
    assert!(aggregator.ended(SOON).success());
    let layout = federation.plan.layout().unwrap();
    let model = safetensors::read(&fs::read(federation.last_model()).unwrap(), &layout).unwrap().0;
    model.f32.try_into().unwrap()
}

#[track_caller]
fn close(found: [f32; 2], expected: [f32; 2]) {
    let near = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-3);
    assert!(near, "{found:?} where {expected:?} was expected");
}

#[test]
fn own_column_rule_combines_lines_that_an_own_task_fits_to_rows_of_an_own_loader() {
    close(line("midrange"), [(2.0 + 100.0) / 2.0, (1.0 - 50.0) / 2.0]);
}

#[test]
fn own_score_rule_leaves_the_broken_instrument_out() {
    close(line("without_the_farthest"), [200.0 / 60.0, 30.0 / 60.0]);
}

const PROGRAM: &str = "fl-tests-extend";
