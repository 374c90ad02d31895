//! The rounds that the plan keeps, beside the last two.

use fl_engine::plan::Keep;

use super::*;

fn keeping(most: Option<u32>) -> Plan {
    plan().edited(|plan| plan.keep = Some(Keep { every: 2, most })).unwrap()
}

fn open(dir: &Scratch, layout: &Arc<Layout>, plan: &Plan) -> Store {
    Store::open(&System::real(), &dir.0, "w", plan, PLAN, layout).unwrap().0
}

/// Stores and keeps rounds; round 1 and each round after it measures a better model.
fn run(store: &mut Store, layout: &Layout, rounds: std::ops::Range<u32>) {
    for n in rounds {
        if n > 0 {
            let base = model(layout, n - 1);
            let root = root_of(layout.hash(), &base);
            store.put_best(RoundNo(n), root, f64::from(n), &[], &base).unwrap();
        }
        store.put_round(&facts(layout, n), &model(layout, n), None).unwrap();
        store.keep_round(&facts(layout, n), &model(layout, n), None).unwrap();
    }
}

#[test]
fn rounds_that_the_plan_keeps_stay_whole_with_the_best_model_of_their_time() {
    let (dir, layout) = prepared();
    let plan = keeping(None);
    run(&mut open(&dir, &layout, &plan), &layout, 0..6);
    let kept = ["w-0000000.fl", "w-0000002.fl", "w-0000004.fl"];
    let bests = ["w_best_0000002.safetensors", "w_best_0000004.safetensors"];
    assert_eq!(files(&dir.path("kept")), [&kept[..], &bests[..]].concat());
    let same = |a: &str, b: &str| fs::read(dir.path(a)).unwrap() == fs::read(dir.path(b)).unwrap();
    assert!(same("kept/w-0000004.fl", "generations/w-0000004.fl"));
    // Opening writes what a crash has left out, and nothing else.
    let mut store = open(&dir, &layout, &plan);
    run(&mut store, &layout, 6..7);
    drop(store);
    let whole = fs::read(dir.path("kept/w-0000006.fl")).unwrap();
    fs::write(dir.path("kept/w-0000006.fl"), &whole[..whole.len() / 2]).unwrap();
    open(&dir, &layout, &plan);
    assert_eq!(fs::read(dir.path("kept/w-0000006.fl")).unwrap(), whole);
    assert_eq!(files(&dir.path("kept")).len(), 7);
    // `--fresh` begins without any of them.
    Store::forget(&System::real().files, &dir.0, "w").unwrap();
    assert!(files(&dir.path("kept")).is_empty());
}

#[test]
fn kept_round_keeps_its_best_model_after_a_crash_that_came_behind_a_newer_one() {
    let (dir, layout) = prepared();
    let plan = keeping(None);
    let mut store = open(&dir, &layout, &plan);
    run(&mut store, &layout, 0..5);
    let kept = fs::read(dir.path("kept/w-0000004.fl")).unwrap();
    // Round 5 measures a better model, and the crash comes before that round is stored.
    let base = model(&layout, 4);
    store.put_best(RoundNo(5), root_of(layout.hash(), &base), 5.0, &[], &base).unwrap();
    drop(store);
    open(&dir, &layout, &plan);
    assert!(fs::read(dir.path("kept/w-0000004.fl")).unwrap() == kept);
}

#[test]
fn oldest_kept_round_gives_way_and_a_best_model_stays_while_a_kept_round_names_it() {
    let (dir, layout) = prepared();
    let plan = keeping(Some(2));
    let mut store = open(&dir, &layout, &plan);
    run(&mut store, &layout, 0..3);
    // From here on nothing is better.
    for n in 3..9 {
        store.put_round(&facts(&layout, n), &model(&layout, n), None).unwrap();
        store.keep_round(&facts(&layout, n), &model(&layout, n), None).unwrap();
    }
    let left = ["w-0000006.fl", "w-0000008.fl", "w_best_0000002.safetensors"];
    assert_eq!(files(&dir.path("kept")), left);
    let best = fs::read(dir.path("kept/w_best_0000002.safetensors")).unwrap();
    assert_eq!(best, fs::read(dir.path("w_best.safetensors")).unwrap());
}

#[test]
fn plan_without_the_key_keeps_nothing_more() {
    let (dir, layout) = prepared();
    run(&mut open(&dir, &layout, &plan()), &layout, 0..4);
    assert!(!dir.path("kept").exists());
}
