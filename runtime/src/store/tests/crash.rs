//! The store in processes that are killed, or that have no room.
//!
//! Each test starts this test binary again with one ignored test, which is the child.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use super::*;

/// A model that takes a disk some milliseconds.
fn large() -> Arc<Layout> {
    Layout::new(vec![TensorSpec::f32("a", [256, 512])]).unwrap()
}

fn child(dir: &Scratch, test: &str, before: &str) -> Child {
    let program = std::env::current_exe().unwrap();
    let run = format!("{before} exec \"$0\" \"$@\"");
    Command::new("sh")
        .args(["-c", &run])
        .arg(program)
        .args(["--exact", &format!("store::tests::crash::{test}"), "--ignored", "--nocapture"])
        .env(FOLDER, &dir.0)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The child's folder; `None` when somebody runs ignored tests by hand.
fn folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

fn many_rounds() -> Plan {
    plan().edited(|plan| plan.rounds = 1_000_000).unwrap()
}

/// Rounds that a line of the child speaks of as durable.
fn durable(line: &str) -> Option<u32> {
    Some(line.rsplit_once("durable ")?.1.parse::<u32>().ok()? + 1)
}

#[test]
#[ignore = "child of killed_run_goes_on_after_its_last_durable_round"]
fn rounds_without_end() {
    let Some(dir) = folder() else { return };
    let layout = large();
    let (mut store, resume) = Store::open(&System::real(), &dir, "w", &many_rounds(), PLAN, &layout).unwrap();
    for n in resume.round.0.. {
        store.put_round(&facts(&layout, n), &model(&layout, n), None).unwrap();
        println!("durable {n}");
        std::io::stdout().flush().unwrap();
    }
}

#[test]
fn killed_run_goes_on_after_its_last_durable_round() {
    let (dir, layout) = (Scratch::new(), large());
    write_init(&dir, &layout, &[]);
    let mut before = 0;
    for n in 0..36u64 {
        let mut child = child(&dir, "rounds_without_end", "");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        // Every third is killed while it opens the store, the others in or between later rounds.
        let first = if n % 3 == 0 { None } else { lines.find_map(|line| durable(&line)) };
        thread::sleep(Duration::from_micros(n * 7_919 % 20_000));
        child.kill().unwrap();
        let told = lines.filter_map(|line| durable(&line)).last().or(first).unwrap_or(before);
        child.wait().unwrap();
        let (_, resume) = Store::open(&System::real(), &dir.0, "w", &many_rounds(), PLAN, &layout).unwrap();
        let found = resume.round.0;
        // A round may be durable that the child had no time to tell of.
        assert!(found == told || found == told + 1, "told of {told} rounds, found {found}");
        let made = found.checked_sub(1).unwrap_or(1000);
        assert_eq!(resume.root, root_of(layout.hash(), &model(&layout, made)));
        assert_eq!(root_of(layout.hash(), &resume.payload), resume.root);
        let rounds: Vec<_> = history(&dir).iter().map(|line| line["round"].as_u64().unwrap()).collect();
        assert_eq!(rounds, (0..u64::from(found)).collect::<Vec<_>>());
        before = found;
    }
    assert!(before >= 24, "{before} rounds in all");
}

#[test]
#[ignore = "child of run_without_room_says_so_and_loses_nothing"]
fn one_round_too_large() {
    let Some(dir) = folder() else { return };
    let layout = large();
    let (mut store, _) = Store::open(&System::real(), &dir, "w", &many_rounds(), PLAN, &layout).unwrap();
    let error = store.put_round(&facts(&layout, 1), &model(&layout, 1), None).unwrap_err();
    println!("said {}", said(&error));
}

#[test]
fn run_without_room_says_so_and_loses_nothing() {
    let (dir, layout) = (Scratch::new(), large());
    write_init(&dir, &layout, &[]);
    let plan = many_rounds();
    let (mut store, _) = Store::open(&System::real(), &dir.0, "w", &plan, PLAN, &layout).unwrap();
    put(&mut store, &layout, 0..1);
    // Half of what a generation has at most (a shell counts in 512 or 1024 bytes); a signal that is ignored
    // stays so.
    let child = child(&dir, "one_round_too_large", "trap '' XFSZ; ulimit -f 500;");
    let output = child.wait_with_output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let error = output.lines().find_map(|line| line.split_once("said ")).unwrap().1;
    let shown = error.replace(dir.0.to_str().unwrap(), "save");
    assert_eq!(
        shown,
        "cannot write save/generations/w-0000001.fl: File too large (os error 27) | raise the limit on the size of a \
         file (`ulimit -f`)"
    );
    assert_eq!(files(&dir.path("generations")), ["w-0000000.fl"]);
    let (_, resume) = Store::open(&System::real(), &dir.0, "w", &plan, PLAN, &layout).unwrap();
    assert_eq!((resume.round, resume.payload), (RoundNo(1), model(&layout, 0)));
    assert_eq!(history(&dir).len(), 1);
}

#[test]
fn folder_that_is_no_folder_is_refused_before_the_first_round() {
    let (dir, layout) = prepared();
    fs::write(dir.path("generations"), b"").unwrap();
    let error = open(&dir, &layout).unwrap_err();
    assert!(
        said(&error).contains("save") || said(&error).contains("generations: File exists"),
        "{}",
        said(&error)
    );
    fs::remove_file(dir.path("generations")).unwrap();
    fs::create_dir(dir.path("w_history.jsonl")).unwrap();
    let error = open(&dir, &layout).unwrap_err();
    assert!(said(&error).contains("w_history.jsonl: Is a directory"), "{}", said(&error));
}

/// Where the child finds its folder.
const FOLDER: &str = "FL_STORE_TEST_FOLDER";
