//! What leaves a federation of real processes: to members, to a key, to the host, and nothing else.
#![allow(clippy::unwrap_used, reason = "a test's failure is its panic")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use fl_engine::{model::safetensors, tensor::root_of};
use fl_host_tools::{
    demo::Federation,
    exit::Exit,
    model::sealed::{self, Opened},
    workspace::set_key,
};
use fl_tests::federation::{Process, federation, history, set_block, synthetic};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);
const LATER: Duration = Duration::from_secs(60);

/// A federation of two whose rounds are synthetic, with this `release`; and a folder for what its owner
/// keeps.
fn releasing(name: &str, rounds: u32, release: &str) -> Federation {
    federation(name, 2, &|plan| set_block(&synthetic(plan, 70_000, rounds), "release", release))
}

fn key(name: &str) -> (PathBuf, String) {
    let path = std::env::temp_dir().join(format!("fl-release-{}-{name}.pem", std::process::id()));
    let _ = fs::remove_file(&path);
    let public = sealed::new_key(&path).unwrap();
    (path, public.to_string())
}

/// Runs the federation to its end. Returns the aggregator's last event.
fn run(federation: &Federation) -> Value {
    let mut aggregator = Process::aggregator(federation);
    let mut collaborators: Vec<Process> = Process::collaborators(federation);
    let ended = aggregator.event("ended", LATER);
    assert_eq!(ended["reason"], "completed", "{}", aggregator.log());
    assert!(aggregator.ended(SOON).success(), "{}", aggregator.log());
    let kept = fs::read_to_string(federation.aggregator.join("logs/aggregator.log")).unwrap();
    assert_eq!(kept, aggregator.log(), "the log in the workspace is not what it said");
    for process in &mut collaborators {
        assert!(process.ended(SOON).success(), "{}", process.log());
    }
    ended
}

fn files(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn released_at(federation: &Federation, name: &str) -> Vec<String> {
    files(&federation.dir.join(name).join("save/released"))
}

/// The root of a plain file's tensors.
fn root_in(path: &Path, federation: &Federation) -> String {
    let layout = federation.plan.layout().unwrap();
    let (state, _) = safetensors::read(&fs::read(path).unwrap(), &layout).unwrap();
    let mut payload = Vec::new();
    state.write_bytes(&mut payload);
    root_of(layout.hash(), &payload).to_string()
}

#[test]
fn model_sealed_to_a_key_is_the_runs_last_and_opens_with_that_key_alone() {
    let (private, public) = key("sealed");
    let federation = releasing("sealed", 3, &format!("{{what: last, to: key:{public}}}"));
    // A run that was stopped before its last round releases nothing.
    let mut aggregator = Process::aggregator(&federation);
    aggregator.event("listening", SOON);
    aggregator.signal("TERM");
    assert_eq!(aggregator.event("ended", SOON)["released"], Value::Null);
    aggregator.ended(SOON);
    let folder = federation.aggregator.join("save/released");
    assert_eq!(files(&folder), [""; 0]);

    let ended = run(&federation);
    assert_eq!(files(&folder), ["demo_last.sealed"]);
    let file = folder.join("demo_last.sealed");
    assert!(ended["released"].as_str().unwrap().ends_with("save/released/demo_last.sealed"), "{ended}");
    let output = federation.dir.join("opened.safetensors");
    let Opened { label, texts, .. } = sealed::open(&file, &private, &output).unwrap();
    assert_eq!((label.plan, label.rounds), (federation.plan.hash(), 3));
    assert_eq!(ended["root"], label.root.to_string());
    assert_eq!(root_in(&output, &federation), label.root.to_string());
    assert_eq!(texts["root"], label.root.to_string());
    assert_eq!(fs::read(&output).unwrap(), fs::read(federation.last_model()).unwrap());
    // The file reveals nothing of the model, and no member keeps a model.
    let (plain, sealed_bytes) = (fs::read(&output).unwrap(), fs::read(&file).unwrap());
    let piece = &plain[plain.len() - 32..];
    assert!(!sealed_bytes.windows(piece.len()).any(|window| window == piece));
    for name in &federation.names {
        let save = files(&federation.dir.join(name).join("save"));
        assert!(!save.iter().any(|file| file.contains("final")), "{save:?}");
        assert_eq!(released_at(&federation, name), [""; 0]);
    }

    let (other, _) = key("other");
    fs::remove_file(&output).unwrap();
    assert_eq!(sealed::open(&file, &other, &output).unwrap_err().exit, Exit::Trust);
    let mut changed = sealed_bytes;
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    fs::write(&file, changed).unwrap();
    assert_eq!(sealed::open(&file, &private, &output).unwrap_err().exit, Exit::Model);
    assert!(!output.exists(), "nothing is left of what did not open");
    [private, other].iter().for_each(|path| fs::remove_file(path).unwrap());
}

#[test]
fn members_keep_each_rounds_model_where_the_plan_gives_them_each() {
    let federation = releasing("each", 3, "{what: each, to: members}");
    let ended = run(&federation);
    assert_eq!(ended["released"], Value::Null, "the aggregator itself releases nothing");
    assert_eq!(released_at(&federation, "aggregator"), [""; 0]);
    let lines = history(&federation);
    for name in &federation.names {
        let expected = [1, 2, 3].map(|n| format!("demo_{name}_round_000000{n}.safetensors"));
        assert_eq!(released_at(&federation, name), expected);
        for (file, line) in expected.iter().zip(&lines) {
            let path = federation.dir.join(name).join("save/released").join(file);
            assert_eq!(line["root"], root_in(&path, &federation), "{file}");
        }
    }
}

#[test]
fn members_keep_the_best_model_where_it_is_not_the_last() {
    let federation = federation("best", 2, &|plan| {
        let plan = set_block(plan, "release", "{what: best, to: members}");
        // Training lowers the loss, so the greatest is never the last model's.
        let best = "{task: aggregated_model_validation, metric: loss, direction: max, against_habit: true}";
        set_key(&set_block(&plan, "best", best), "rounds", "3", "schema")
    });
    let best = federation.aggregator.join("save/demo_best.safetensors");
    let mut roots = Vec::new();
    for start in ["the run", "a later start, which finds every round run"] {
        let ended = run(&federation);
        assert_eq!(ended["released"], Value::Null, "the aggregator itself releases nothing");
        let root = root_in(&best, &federation);
        assert_ne!(ended["root"], root, "{start}: the best is the last, which proves nothing");
        for name in &federation.names {
            let expected = format!("demo_{name}_best.safetensors");
            assert_eq!(released_at(&federation, name), [&*expected], "{start}");
            let path = federation.dir.join(name).join("save/released").join(expected);
            assert_eq!(root_in(&path, &federation), root, "{start}");
            fs::remove_file(path).unwrap();
        }
        roots.push(root);
    }
    assert_eq!(roots[0], roots[1]);
}

#[test]
fn last_model_is_released_with_a_warning_where_nothing_measured_the_best() {
    for (to, aggregator, member) in [("members", None, Some("best")), ("host", Some("last"), None)] {
        let federation = federation(&format!("unmeasured-{to}"), 2, &|plan| {
            let plan = set_block(plan, "release", &format!("{{what: best, to: {to}}}"));
            let best = "{task: aggregated_model_validation, metric: auc}";
            let plan = set_key(&set_block(&plan, "best", best), "rounds", "2", "schema");
            plan.replacen("metrics: [accuracy, loss]", "metrics: [auc]", 1)
        });
        // Rows of one class have no area under a curve.
        for name in &federation.names {
            let path = federation.dir.join(name).join("data").join(name).join("data.csv");
            let text = fs::read_to_string(&path).unwrap();
            let rows: Vec<String> = text
                .lines()
                .enumerate()
                .map(|(at, row)| match row.rsplit_once(',') {
                    Some((features, _)) if at > 0 => format!("{features},1"),
                    _ => row.to_owned(),
                })
                .collect();
            fs::write(&path, rows.join("\n") + "\n").unwrap();
        }
        let ended = run(&federation);
        let log = fs::read_to_string(federation.aggregator.join("logs/aggregator.stderr")).unwrap();
        assert_eq!(log.matches("the last model is released in place of the best").count(), 1, "{log}");
        let folder = federation.aggregator.join("save/released");
        let file = |kind: &str| format!("demo_{kind}.safetensors");
        let expected: Vec<String> = aggregator.map(file).into_iter().collect();
        assert_eq!(files(&folder), expected);
        let told = aggregator.map(|kind| format!("save/released/{}", file(kind)));
        assert_eq!(ended["released"].as_str(), told.as_deref());
        if let Some(kind) = aggregator {
            assert_eq!(ended["root"], root_in(&folder.join(file(kind)), &federation));
        }
        for name in &federation.names {
            let expected: Vec<String> =
                member.map(|kind| file(&format!("{name}_{kind}"))).into_iter().collect();
            assert_eq!(released_at(&federation, name), expected);
            for file in expected {
                let path = federation.dir.join(name).join("save/released").join(file);
                assert_eq!(ended["root"], root_in(&path, &federation));
            }
        }
    }
}

#[test]
fn host_gets_plain_files_of_each_round_and_members_none() {
    let federation = releasing("host", 2, "{what: each, to: host}");
    let ended = run(&federation);
    let folder = federation.aggregator.join("save/released");
    let expected = [1, 2].map(|n| format!("demo_round_000000{n}.safetensors"));
    assert_eq!(files(&folder), expected);
    assert_eq!(ended["root"], root_in(&folder.join(&expected[1]), &federation));
    for name in &federation.names {
        assert_eq!(released_at(&federation, name), [""; 0]);
    }
}
