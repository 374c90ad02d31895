//! A run that goes back because the owner says so: to which model, once, and whole after each kill.

use std::{
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use fl_engine::plan::{Keep, Release, ReleaseTo, Released, roster::Resumption};

use super::*;

/// Keeps every second round.
fn keeping() -> Plan {
    plan().edited(|plan| plan.keep = Some(Keep { every: 2, most: None })).unwrap()
}

fn order(round: u32, serial: u64) -> Resumption {
    Resumption { round: RoundNo(round), without: vec![name("two")], serial, proof: [7; 64] }
}

fn stored(dir: &Scratch, plan: &Plan, layout: &Arc<Layout>) -> StoredRun {
    StoredRun {
        files: System::real().files,
        save: dir.0.clone(),
        plan: Arc::new(plan.clone()),
        plan_hash: PLAN,
        layout: Arc::clone(layout),
    }
}

fn open(dir: &Scratch, plan: &Plan, layout: &Arc<Layout>) -> (Store, Resume) {
    Store::open(&System::real(), &dir.0, plan.federation.as_str(), plan, PLAN, layout).unwrap()
}

/// Stores and keeps rounds; with `best`, each measures a better model than the round before.
fn run(store: &mut Store, layout: &Layout, rounds: std::ops::Range<u32>, best: bool) {
    for n in rounds {
        if best && n > 0 {
            let base = model(layout, n - 1);
            let root = root_of(layout.hash(), &base);
            store.put_best(RoundNo(n), root, f64::from(n), &[], &base).unwrap();
        }
        store.put_round(&facts(layout, n), &model(layout, n), None).unwrap();
        store.keep_round(&facts(layout, n), &model(layout, n), None).unwrap();
        store.release_round(RoundNo(n), facts(layout, n).root, None, &model(layout, n)).unwrap();
    }
}

/// A folder in which the rounds 0 to 6 were run by this plan.
fn seven_rounds(plan: &Plan) -> (Scratch, Arc<Layout>) {
    let (dir, layout) = (Scratch::new(), plan.layout().unwrap());
    let state = ModelState::from_bytes(Arc::clone(&layout), &model(&layout, 1000)).unwrap();
    fs::write(dir.path("trial_init.safetensors"), safetensors::write(&state, &safetensors::Texts::new()))
        .unwrap();
    run(&mut open(&dir, plan, &layout).0, &layout, 0..7, true);
    (dir, layout)
}

fn lines(dir: &Scratch) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(dir.path("trial_history.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// That the run goes on after round `n`, with the model and the best model of that time.
fn goes_on_after(dir: &Scratch, plan: &Plan, layout: &Arc<Layout>, n: u32, best: Option<f64>) -> Store {
    let (store, resume) = open(dir, plan, layout);
    assert_eq!((resume.round, resume.best), (RoundNo(n + 1), best));
    assert!(resume.payload == model(layout, n));
    let texts = safetensors::inspect(&fs::read(dir.path("trial_last.safetensors")).unwrap()).unwrap().1;
    assert_eq!(texts[text::ROUND], (n + 1).to_string());
    store
}

#[test]
fn run_goes_back_to_a_kept_round_once_and_nothing_is_lost() {
    let plan = keeping();
    let (dir, layout) = seven_rounds(&plan);
    let stored = stored(&dir, &plan, &layout);
    let (last, best) = (dir.path("trial_last.safetensors"), dir.path("trial_best.safetensors"));
    let before = [fs::read(&last).unwrap(), fs::read(&best).unwrap()];
    let best_of_round_2 = fs::read(dir.path("kept/trial_best_0000002.safetensors")).unwrap();
    let GoneBack::Back { from, newest, aside } = stored.go_back(&order(2, 8), Digest([9; 32])).unwrap()
    else {
        panic!("not back")
    };
    assert_eq!((from, newest), (dir.path("kept/trial-0000002.fl"), RoundNo(6)));
    assert_eq!(aside.len(), 8, "{aside:?}");
    assert!(aside.iter().all(|path| path.is_file() && path.to_str().unwrap().contains(".1.")), "{aside:?}");
    let moved = ["trial_last.1.safetensors", "trial_best.1.safetensors"]
        .map(|file| fs::read(dir.path(file)).unwrap());
    assert!(moved == before);
    assert_eq!(fs::read(&best).unwrap(), best_of_round_2);
    assert_eq!(
        files(&dir.path("generations")),
        ["trial-0000002.fl", "trial-0000005.1.fl", "trial-0000006.1.fl"]
    );
    // The line is chained to the others, and names the order.
    let mut store = goes_on_after(&dir, &plan, &layout, 2, Some(2.0));
    let said = lines(&dir).pop().unwrap();
    assert_eq!((&said["round"], &said["root"]), (&2.into(), &facts(&layout, 2).root.to_string().into()));
    let resumed = serde_json::json!({
        "serial": 8, "without": ["two"], "roster": Digest([9; 32]).to_string(), "before": 6,
    });
    assert_eq!(said["resumed"], resumed);
    // Once: not after a restart, nor when later rounds were run, nor by an older order.
    run(&mut store, &layout, 3..5, false);
    drop(store);
    for again in [order(2, 8), order(0, 3)] {
        assert_eq!(stored.go_back(&again, Digest([9; 32])).unwrap(), GoneBack::Before);
        assert!(!stored.can_go_back(&again).unwrap());
    }
    goes_on_after(&dir, &plan, &layout, 4, Some(2.0));
    // The history alone is enough to know that it was done.
    fs::remove_file(dir.path("trial_resumed")).unwrap();
    assert_eq!(stored.go_back(&order(2, 8), Digest([9; 32])).unwrap(), GoneBack::Before);
    // A later order goes back again, to a round that was run since.
    let GoneBack::Back { aside, .. } = stored.go_back(&order(3, 9), Digest([9; 32])).unwrap() else {
        panic!("not back")
    };
    assert!(aside.contains(&dir.path("kept/trial-0000004.2.fl")), "{aside:?}");
    goes_on_after(&dir, &plan, &layout, 3, Some(2.0));
    assert_eq!(lines(&dir).len(), 7 + 1 + 2 + 1);
}

#[test]
fn round_that_is_not_kept_is_refused_with_the_rounds_that_are() {
    let plan = keeping();
    let (dir, layout) = seven_rounds(&plan);
    let stored = stored(&dir, &plan, &layout);
    let refused = |round| {
        let error = stored.go_back(&order(round, 8), Digest([9; 32])).unwrap_err();
        assert_eq!(said(&stored.can_go_back(&order(round, 8)).unwrap_err()), said(&error));
        said(&error)
    };
    assert_eq!(
        refused(3),
        "the roster resumes the run after round 3, but the model of that round is not kept; earlier rounds that are kept: 0, 2 | ask \
         the federation's owner to sign a roster for the nearest earlier round: `fl-host pki resume --round 2 --without two`"
    );
    assert!(
        refused(7).starts_with(
            "the roster resumes the run after round 7, but the newest finished round here is 6 | "
        )
    );
    // A damaged one is not taken.
    let path = dir.path("kept/trial-0000002.fl");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert!(refused(2).contains("rounds that are kept: 0 | "));
    fs::remove_file(dir.path("kept/trial-0000000.fl")).unwrap();
    assert!(refused(2).ends_with("| no earlier model is kept. To begin with the initial model, start the aggregator with --fresh, which \
                                  deletes the stored rounds; copy save/ first to keep them"));
    goes_on_after(&dir, &plan, &layout, 6, Some(6.0));
    assert!(!dir.path("trial_resumed").exists());
    // The one before the newest is there without being kept; while a run goes on, it is kept.
    assert!(stored.can_go_back(&order(5, 8)).unwrap());
    assert!(dir.path("kept/trial-0000005.fl").is_file());
    assert!(matches!(stored.go_back(&order(5, 8), Digest([9; 32])).unwrap(), GoneBack::Back { .. }));
    goes_on_after(&dir, &plan, &layout, 5, None);
}

#[test]
fn released_model_is_gone_back_to_where_the_history_names_its_root() {
    let plan = plan()
        .edited(|plan| plan.release = Some(Release { what: Released::Each, to: ReleaseTo::Host }))
        .unwrap();
    let (dir, layout) = seven_rounds(&plan);
    let stored = stored(&dir, &plan, &layout);
    let (third, fourth) = (
        dir.path("released/trial_round_0000003.safetensors"),
        dir.path("released/trial_round_0000004.safetensors"),
    );
    // The file of another round under the name of this one.
    let whole = fs::read(&third).unwrap();
    fs::copy(&fourth, &third).unwrap();
    let error = stored.go_back(&order(2, 8), Digest([9; 32])).unwrap_err();
    assert!(said(&error).contains("rounds that are kept: 0, 1 | "), "{}", said(&error));
    fs::write(&third, whole).unwrap();
    assert!(matches!(stored.go_back(&order(2, 8), Digest([9; 32])).unwrap(), GoneBack::Back { .. }));
    assert!(!fourth.exists() && dir.path("released/trial_round_0000004.1.safetensors").is_file());
    goes_on_after(&dir, &plan, &layout, 2, None);
}

#[test]
fn folder_without_rounds_has_nothing_to_take_back_now_and_later() {
    let plan = keeping();
    let (dir, layout) = seven_rounds(&plan);
    let stored = stored(&dir, &plan, &layout);
    Store::forget(&System::real().files, &dir.0, "trial").unwrap();
    assert_eq!(stored.go_back(&order(2, 8), Digest([9; 32])).unwrap(), GoneBack::NothingRun);
    run(&mut open(&dir, &plan, &layout).0, &layout, 0..5, true);
    assert_eq!(stored.go_back(&order(2, 8), Digest([9; 32])).unwrap(), GoneBack::Before);
    goes_on_after(&dir, &plan, &layout, 4, Some(4.0));
}

#[test]
fn line_of_an_order_that_lost_its_line_feed_is_written_again() {
    let plan = keeping();
    let (dir, layout) = seven_rounds(&plan);
    let stored = stored(&dir, &plan, &layout);
    stored.go_back(&order(2, 8), Digest([9; 32])).unwrap();
    // As a crash leaves the folder that comes before the line's last byte.
    let history = dir.path("trial_history.jsonl");
    let whole = fs::read(&history).unwrap();
    fs::write(&history, whole.strip_suffix(b"\n").unwrap()).unwrap();
    fs::remove_file(dir.path("trial_resumed")).unwrap();
    assert!(matches!(stored.go_back(&order(2, 8), Digest([9; 32])).unwrap(), GoneBack::Back { .. }));
    goes_on_after(&dir, &plan, &layout, 2, Some(2.0));
    assert_eq!(lines(&dir).iter().filter(|line| line["resumed"].is_object()).count(), 1);
    assert_eq!(stored.go_back(&order(2, 8), Digest([9; 32])).unwrap(), GoneBack::Before);
}

#[test]
#[ignore = "child of kill_at_any_step_leaves_a_run_that_goes_back_at_the_next_start"]
fn goes_back_and_waits() {
    let Some(dir) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let plan = keeping();
    let run = StoredRun {
        files: System::real().files,
        save: dir,
        layout: plan.layout().unwrap(),
        plan: Arc::new(plan),
        plan_hash: PLAN,
    };
    run.go_back(&order(2, 8), Digest([9; 32])).unwrap();
    thread::sleep(Duration::from_secs(60));
}

#[test]
fn kill_at_any_step_leaves_a_run_that_goes_back_at_the_next_start() {
    let plan = keeping();
    let mut cut = 0;
    for n in 0..24_u64 {
        let (dir, layout) = seven_rounds(&plan);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::going_back::goes_back_and_waits", "--ignored", "--nocapture"])
            .env(FOLDER, &dir.0)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // From the first sign of a step on, a little later each time.
        let begun = dir.path("generations/trial-0000002.fl");
        let started = std::time::Instant::now();
        while !begun.exists() && started.elapsed() < Duration::from_secs(20) {
            thread::yield_now();
        }
        thread::sleep(Duration::from_micros(n * 400));
        child.kill().unwrap();
        child.wait().unwrap();
        let done = dir.path("trial_resumed").exists();
        cut += u32::from(!done);
        let again = stored(&dir, &plan, &layout).go_back(&order(2, 8), Digest([9; 32])).unwrap();
        // The history's line is the last step but one.
        assert!(!done || again == GoneBack::Before);
        goes_on_after(&dir, &plan, &layout, 2, Some(2.0));
        let resumed = lines(&dir).iter().filter(|line| line["resumed"].is_object()).count();
        assert_eq!(resumed, 1, "killed after {n} steps of 400 µs");
        // The newest round before the kill, whatever the kill has left of it.
        let before = &lines(&dir).pop().unwrap()["resumed"]["before"];
        assert_eq!(*before, 6, "killed after {n} steps of 400 µs");
        let best = fs::read(dir.path("trial_best.safetensors")).unwrap();
        assert!(best == fs::read(dir.path("kept/trial_best_0000002.safetensors")).unwrap());
    }
    assert!(cut >= 3, "only {cut} kills came before the end");
}

/// Where the child finds its folder.
const FOLDER: &str = "FL_GOING_BACK_FOLDER";
