//! Sites whose tables have their columns in another order, as real processes: refused by name where the plan
//! lists no columns, and the same model bit by bit where the plan does.
#![allow(clippy::unwrap_used, reason = "a test's failure is its panic")]

use std::fs;

use fl_engine::{Digest, tensor::ModelState};
use fl_host_tools::{cli, demo::Federation, workspace::set_key};
use fl_tests::federation::{all_end_well, ends, federation, history, last_model, start, table};

/// Two rounds of real training. `features`: whether the plan lists the columns, as `fl-host plan initialize`
/// writes them where the owner has a sample.
fn training(name: &str, sites: usize, features: bool) -> Federation {
    let federation = federation(name, sites, &|plan| {
        let plan = set_key(plan, "rounds", "2", "schema");
        set_key(&plan, "quorum", "{count: {min: 2}, time: {min: 0s, max: 10m}}", "tasks")
    });
    let sites = federation.names.iter().map(|name| federation.dir.join(name));
    for folder in sites.chain([federation.aggregator.clone()]).filter(|_| !features) {
        let path = folder.join("plan/plan.yaml");
        let plan = fs::read_to_string(&path).unwrap();
        let (before, list) = plan.split_once("  features: [").unwrap();
        let (_, after) = list.split_once("]\n").unwrap();
        fs::write(&path, format!("{before}{after}")).unwrap();
        let accepted = cli::run(&["plan", "accept", "--workspace", &folder.display().to_string()]);
        assert_eq!(accepted.err, "");
    }
    federation
}

/// Swaps the first two columns of a site's table, with their names.
fn swap(federation: &Federation, name: &str) {
    let path = table(federation, name);
    let text = fs::read_to_string(&path).unwrap();
    let swapped = text.lines().map(|line| {
        let mut cells: Vec<&str> = line.split(',').collect();
        cells.swap(0, 1);
        cells.join(",") + "\n"
    });
    fs::write(&path, swapped.collect::<String>()).unwrap();
}

/// Runs a federation to its end and returns its last model.
fn trained(federation: &Federation) -> ModelState {
    let (mut aggregator, mut sites) = start(federation);
    all_end_well(&mut aggregator, &mut sites);
    last_model(federation)
}

#[test]
fn site_with_other_columns_than_most_is_refused_by_name_and_the_others_go_on() {
    let federation = training("odd-columns", 3, false);
    swap(&federation, "three");
    let (mut aggregator, mut sites) = start(&federation);
    ends(&mut aggregator, 0);
    ends(&mut sites[0], 0);
    ends(&mut sites[1], 0);
    ends(&mut sites[2], 15);
    let (log, own) = (aggregator.log(), sites[2].log());
    assert!(log.contains("refused an update from three: the columns of the sites differ: "), "{log}");
    assert!(
        own.contains("the columns of the sites differ: the names at this site have the digest "),
        "{own}"
    );
    assert!(own.contains("list the columns in the plan's key data.features"), "{own}");
    for line in history(&federation) {
        assert_eq!(line["contributions"].as_array().unwrap().len(), 2, "{line}");
        assert!(
            line["metrics"].as_array().unwrap().iter().all(|metric| metric["collaborators"] == 2),
            "{line}"
        );
    }
    // A name of a column never leaves its site.
    assert!(!log.contains("mean_radius"), "{log}");
    assert!(
        !fs::read_to_string(federation.aggregator.join("save/demo_history.jsonl"))
            .unwrap()
            .contains("mean_radius")
    );
}

#[test]
fn run_of_two_sites_with_other_columns_ends_at_once_with_both_causes() {
    let federation = training("two-columns", 2, false);
    swap(&federation, "two");
    let (mut aggregator, mut sites) = start(&federation);
    ends(&mut aggregator, 15);
    sites.iter_mut().for_each(|site| ends(site, 15));
    let log = aggregator.log();
    for site in ["one", "two"] {
        assert!(
            log.contains(&format!("{site}: its update was refused: the columns of the sites differ")),
            "{log}"
        );
    }
    assert!(log.contains("list the columns in the plan's key data.features"), "{log}");
    assert!(!federation.last_model().exists());
}

#[test]
fn listed_columns_are_found_by_name_and_make_the_same_model_in_any_order() {
    let (straight, swapped) = (training("straight", 2, true), training("swapped", 2, true));
    swap(&swapped, "two");
    assert_ne!(
        Digest::of(&fs::read(table(&straight, "two")).unwrap()),
        Digest::of(&fs::read(table(&swapped, "two")).unwrap())
    );
    assert_eq!(trained(&straight), trained(&swapped));
}
