//! Every bench runs: with its smallest shape it ends well and prints figures that are figures.

use std::{path::Path, process::Command};

use serde_json::Value;

/// The lines of a bench, each a JSON object.
fn lines(program: &str, arguments: &[&str]) -> Vec<Value> {
    let output = Command::new(program).args(arguments).arg("--json").output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}\n{out}\n{err}");
    let object = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(value.is_object(), "{line}");
        value
    };
    out.lines().filter(|line| !line.is_empty()).map(object).collect()
}

/// Lines that have `key`, which is a number above zero in each.
fn figures(lines: &[Value], key: &str) -> usize {
    let found: Vec<&Value> = lines.iter().filter(|line| line.get(key).is_some()).collect();
    for line in &found {
        assert!(line[key].as_f64().is_some_and(|figure| figure > 0.0), "{key} of {line}");
    }
    found.len()
}

#[test]
fn aggregate_prints_its_rows() {
    let arguments = ["--params", "20000", "--repetitions", "2"];
    let lines = lines(env!("CARGO_BIN_EXE_aggregate"), &arguments);
    assert!(figures(&lines, "cpu_ms") > 5, "{lines:?}");
}

#[test]
fn aggregation_latency_measures_every_rule_in_both_arrivals() {
    let lines = lines(env!("CARGO_BIN_EXE_aggregation_latency"), &["--quick"]);
    assert_eq!(figures(&lines, "p50_ms"), 2 * fl_benches::rules::WORDS.len(), "{lines:?}");
    figures(&lines, "cpu_s");
    figures(&lines, "peak_bytes");
    let none = lines.iter().filter(|line| line.get("skipped").is_some()).count();
    assert_eq!(none, 0, "{lines:?}");
}

#[test]
fn codec_and_pieces_print_their_rows() {
    for (program, least) in [(env!("CARGO_BIN_EXE_codec"), 14), (env!("CARGO_BIN_EXE_pieces"), 6)] {
        let lines = lines(program, &["--quick"]);
        assert!(figures(&lines, "wall_ms") >= least, "{lines:?}");
    }
}

/// Whether PyTorch is installed or not.
#[test]
fn training_prints_a_row_for_each_network_number_of_threads_and_backend() {
    let lines = lines(env!("CARGO_BIN_EXE_training"), &["--quick", "--backend", "own", "--backend", "burn"]);
    let ours =
        lines.iter().filter(|line| line["system"].as_str().is_some_and(|s| s.starts_with("fl-runtime")));
    assert_eq!(ours.count(), 8, "{lines:?}");
    assert!(figures(&lines, "wall_ms") >= 8);
    figures(&lines, "gflop_s");
    figures(&lines, "peak_bytes");
}

#[test]
fn link_measures_each_socket() {
    let lines = lines(env!("CARGO_BIN_EXE_link"), &["--mib", "1", "--rounds", "1"]);
    assert!(lines.len() > 2, "{lines:?}");
}

/// Whether other systems are installed or not.
#[test]
fn peers_shows_this_system_and_says_which_others_are_missing() {
    let lines = lines(env!("CARGO_BIN_EXE_peers"), &["--quick", "--repetitions", "1"]);
    let ours = lines.iter().filter(|line| line["system"] == "fl-runtime").count();
    assert_eq!(ours, 4, "{lines:?}");
    figures(&lines, "latency_s");
    for script in ["run_numpy.py", "run_flower.py", "run_nvflare.py", "run_openfl.py"] {
        let skipped = lines.iter().any(|line| line["script"] == script && line["skipped"].is_string());
        let measured = lines.iter().any(|line| line["system"] != "fl-runtime" && line["cpu_s"].is_number());
        assert!(skipped || measured, "{script}: {lines:?}");
    }
}

/// Needs the program beside the benches, where a test run of the whole workspace has put it.
#[test]
fn whole_rounds_and_crowds_are_measured_over_real_processes() {
    let benches =
        [(env!("CARGO_BIN_EXE_round_trip"), "round_ms", 3), (env!("CARGO_BIN_EXE_scale"), "idle_bytes", 1)];
    for (program, figure, rows) in benches {
        if !Path::new(program).with_file_name("fl-runtime").exists() {
            eprintln!("not run: fl-runtime is not built");
            return;
        }
        let lines = lines(program, &["--quick"]);
        assert_eq!(figures(&lines, figure), rows, "{lines:?}");
    }
}
