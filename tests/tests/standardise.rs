//! `standardise: federated`: the statistics of the sites before the first round, with real processes.
#![allow(clippy::unwrap_used, reason = "a test's failure is its panic")]

use std::{fs, path::Path, time::Duration};

use fl_engine::{model::safetensors, plan::Standardise};
use fl_host_tools::{demo::Federation, workspace::set_key};
use fl_tests::federation::{Process, ends, federation, set_block, table};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);
const LATER: Duration = Duration::from_secs(90);

/// The plan of the template, whose statistics come from the sites. A round needs two sites.
fn federated(name: &str, sites: usize, rounds: u32, standardise: &str) -> Federation {
    federation(name, sites, &|plan| {
        let data = format!(
            "{{loader: csv, file: data.csv, header: true, label: diagnosis, classes: 2, standardise: {standardise}}}"
        );
        let plan = set_block(plan, "data", &data);
        let plan = set_key(&plan, "rounds", &rounds.to_string(), "schema");
        set_key(&plan, "quorum", "{count: {min: 2}, time: {min: 0s, max: 10m}}", "tasks")
    })
}

/// Gives the sites rows of different distributions, and returns all rows.
fn sort_out(federation: &Federation, sites: &[&str]) -> Vec<Vec<f64>> {
    let mut header = String::new();
    let mut rows: Vec<Vec<f64>> = Vec::new();
    for name in sites {
        let text = fs::read_to_string(table(federation, name)).unwrap();
        let (first, rest) = text.split_once('\n').unwrap();
        header = first.to_owned();
        rows.extend(rest.lines().map(|row| row.split(',').map(|cell| cell.parse().unwrap()).collect()));
    }
    rows.sort_by(|a, b| a[0].total_cmp(&b[0]));
    let each = rows.len().div_ceil(sites.len());
    for (name, part) in sites.iter().zip(rows.chunks(each)) {
        let line = |row: &Vec<f64>| row.iter().map(f64::to_string).collect::<Vec<_>>().join(",") + "\n";
        let text: String = part.iter().map(line).collect();
        fs::write(table(federation, name), format!("{header}\n{text}")).unwrap();
    }
    rows
}

/// The statistics that a model file states.
fn stated(path: &Path) -> Standardise {
    let (_, texts) = safetensors::inspect(&fs::read(path).unwrap()).unwrap();
    Standardise::from_text(&texts["standardise"]).unwrap()
}

/// The lines of the history, and those of them with statistics.
fn history(federation: &Federation) -> (Vec<String>, Vec<String>) {
    let text = fs::read_to_string(federation.aggregator.join("save/demo_history.jsonl")).unwrap_or_default();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let statistics = lines.iter().filter(|line| line.contains("\"standardise\"")).cloned().collect();
    (lines, statistics)
}

#[test]
fn sites_of_different_distributions_train_with_a_plan_alone_and_a_late_one_joins_in() {
    let federation = federated("trains", 3, 12, "federated");
    let rows = sort_out(&federation, &["one", "two"]);
    let mut aggregator = Process::aggregator(&federation);
    let mut sites =
        vec![Process::collaborator(&federation, "one"), Process::collaborator(&federation, "two")];
    aggregator.event("round", LATER);
    sites.push(Process::collaborator(&federation, "three"));
    let last = aggregator.events_to_the_end("round").pop().unwrap();
    assert_eq!(last["updates"], 3, "{last}");
    ends(&mut aggregator, 0);
    for site in &mut sites {
        ends(site, 0);
        assert!(site.log().contains("scaled by the statistics of the data of all sites"), "{}", site.log());
    }

    let found = stated(&federation.last_model());
    for at in 0..30 {
        let column: Vec<f64> = rows.iter().map(|row| row[at]).collect();
        let mean = column.iter().sum::<f64>() / column.len() as f64;
        let variance = column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / column.len() as f64;
        assert!((found.mean_of(at) - mean).abs() < 1e-4 * variance.sqrt(), "{at}");
        assert!((found.std_of(at) / variance.sqrt() - 1.0).abs() < 1e-6, "{at}");
    }
    let (lines, statistics) = history(&federation);
    assert_eq!((lines.len(), statistics.len(), &lines[0]), (13, 1, &statistics[0]));
    assert!(lines[0].contains("\"collaborators\":[\"one\",\"two\"]"), "{}", lines[0]);
    let best = federation.aggregator.join("save/demo_best.safetensors");
    let kept = federation.dir.join("three/save/released/demo_three_final.safetensors");
    for path in [best, kept] {
        assert_eq!(stated(&path), found, "{}", path.display());
    }
    let is_accuracy = |metric: &&Value| metric["metric"] == "accuracy";
    let accuracy = last["metrics"].as_array().unwrap().iter().find(is_accuracy).unwrap();
    assert!(accuracy["value"].as_f64().unwrap() > 0.9, "{last}");
}

#[test]
fn restarts_before_the_first_round_and_in_mid_run_do_not_ask_again() {
    let federation = federated("restarts", 2, 8, "federated");
    sort_out(&federation, &["one", "two"]);
    let mut aggregator = Process::aggregator(&federation);
    let mut sites =
        vec![Process::collaborator(&federation, "one"), Process::collaborator(&federation, "two")];
    // The first round cannot end while one of its two sites stands still.
    sites[1].says("sending count, sum and sum of squares of 30 of 30 columns", 1, LATER);
    sites[1].signal("STOP");
    sites[0].says("scaled by the statistics of the data of all sites", 1, LATER);
    aggregator.signal("KILL");
    let _ = aggregator.ended(SOON);
    let (lines, before) = history(&federation);
    assert_eq!((lines.len(), before.len()), (1, 1));

    let mut aggregator = Process::aggregator(&federation);
    aggregator.event("listening", SOON);
    sites[1].signal("CONT");
    for _ in 0..2 {
        aggregator.event("round", LATER);
    }
    aggregator.signal("KILL");
    let _ = aggregator.ended(SOON);
    let mut aggregator = Process::aggregator(&federation);
    ends(&mut aggregator, 0);
    for site in &mut sites {
        ends(site, 0);
        let log = site.log();
        assert_eq!(log.matches("sending count, sum").count(), 1, "{log}");
        assert_eq!(log.matches("scaled by the statistics").count(), 1, "{log}");
    }
    assert_eq!(history(&federation).1, before);
}

#[test]
fn column_that_no_site_has_enough_of_ends_the_run_on_both_sides_by_its_name() {
    let federation = federated("few", 2, 3, "{federated: {least: 100000}}");
    let mut aggregator = Process::aggregator(&federation);
    let mut sites =
        vec![Process::collaborator(&federation, "one"), Process::collaborator(&federation, "two")];
    ends(&mut aggregator, 7);
    let words = "column mean_radius: no site has 100000 rows with a value of it, the least count of the plan's data.standardise";
    assert!(aggregator.log().contains(words), "{}", aggregator.log());
    for site in &mut sites {
        ends(site, 7);
        let log = site.log();
        assert!(log.contains(words) && log.contains("sum of squares of 0 of 30 columns"), "{log}");
        assert!(log.contains("this site has fewer than 100000 rows with a value of column"), "{log}");
    }
    assert_eq!(history(&federation).0.len(), 0);
}

#[test]
fn hostile_sums_and_old_programs_are_refused_by_name_and_the_run_goes_on() {
    let federation = federated("hostile", 3, 2, "federated");
    let mut aggregator = Process::aggregator(&federation);
    let mut one = Process::collaborator(&federation, "one");
    let misdeeds = [
        "too-long-sums",
        "too-wide-sums",
        "sums-of-none",
        "sums-of-too-many",
        "impossible-sums",
        "no-features",
    ];
    let mut hostile = Process::hostile(&federation, "three", &misdeeds);
    let closed = hostile.event("closed", LATER).to_string();
    assert!(closed.contains("13 digits of a sum"), "{closed}");
    let rejected = hostile.event("rejected", LATER)["why"].to_string();
    assert!(rejected.contains("the aggregator speaks protocol versions 1 to 1 only"), "{rejected}");
    assert!(hostile.ended(SOON).success(), "{}", hostile.log());
    let mut two = Process::collaborator(&federation, "two");
    for process in [&mut aggregator, &mut one, &mut two] {
        ends(process, 0);
    }
    let log = aggregator.log();
    for words in [
        "three was rejected: its program cannot send the sums of its data",
        "refused the statistics of three: the sums have 31 columns; the plan's data has 30",
        "refused the statistics of three: the sums of column 1 are the sums of no numbers",
        "refused the statistics of three: column 1 has 1099511627776 values; one site may have at most",
    ] {
        assert!(log.contains(words), "{words}: {log}");
    }
    assert!(history(&federation).0[0].contains("\"collaborators\":[\"one\",\"two\"]"));
}
