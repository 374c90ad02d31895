//! The store after every kind of end: clean, cut short, flipped, full, killed.

mod crash;
mod damage;
mod going_back;
mod kept;
mod released;
mod state;
mod statistics;

use std::{
    fs,
    sync::atomic::{AtomicU32, Ordering},
};

use fl_engine::{
    Name, Weight,
    model::{Layer, ModelSpec, safetensors},
    plan::{DataSpec, Loader, Metric, PlanDraft, Split},
    round::{Contribution, RefusalFact},
    tensor::{Combine, Dtype, ModelState, TensorSpec, root_of},
};

use super::*;

/// A folder of this test run, removed when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("fl-store-{}-{n}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn plan() -> Plan {
    let linear = |name: &str, out| Layer::Linear { name: name.to_owned(), out, bias: true };
    let model = ModelSpec::chain(vec![30], vec![linear("fc1", 16), Layer::Relu, linear("fc2", 2)]);
    let data = DataSpec {
        loader: Loader::Custom { name: "none".to_owned() },
        standardise: None,
        split: Split { train: 0.8, validation: 0.2, test: 0.0 },
        classes: Some(2),
        federated: None,
    };
    PlanDraft::trial("trial", model, data).unwrap().check().unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// The model that round `n` makes; no two are alike.
fn model(layout: &Layout, n: u32) -> Vec<u8> {
    let floats = (0..layout.f32_len()).flat_map(|i| (n as f32 + i as f32 / 1024.0).to_le_bytes());
    let integers = (0..layout.i64_len()).flat_map(|_| (-i64::from(n)).to_le_bytes());
    floats.chain(integers).collect()
}

fn facts(layout: &Layout, n: u32) -> RoundFacts {
    let root = |n| root_of(layout.hash(), &model(layout, n));
    let metric = |metric, value| AggregatedMetric {
        task: name("aggregated_model_validation"),
        metric,
        value,
        samples: 284,
        collaborators: 3,
    };
    RoundFacts {
        round: RoundNo(n),
        incarnation: u64::MAX - 5,
        plan: PLAN,
        base: root(n.wrapping_sub(1)),
        root: root(n),
        contributions: vec![Contribution {
            collaborator: name("one"),
            task: name("train"),
            weight: Weight::new(300).unwrap(),
            root: Digest([1; 32]),
        }],
        refused: vec![RefusalFact {
            collaborator: name("two"),
            task: name("train"),
            reason: "late".to_owned(),
        }],
        metrics: vec![metric(Metric::Accuracy, 0.9625), metric(Metric::Loss, 0.1)],
        left_out: vec![],
    }
}

fn write_init(dir: &Scratch, layout: &Arc<Layout>, texts: &[(&str, String)]) {
    let state = ModelState::from_bytes(Arc::clone(layout), &model(layout, 1000)).unwrap();
    let texts = texts.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
    fs::write(dir.path("w_init.safetensors"), safetensors::write(&state, &texts)).unwrap();
}

/// A workspace `w` with its initial model.
fn prepared() -> (Scratch, Arc<Layout>) {
    let (dir, layout) = (Scratch::new(), plan().layout().unwrap());
    let root = root_of(layout.hash(), &model(&layout, 1000));
    write_init(
        &dir,
        &layout,
        &[("plan", PLAN.to_string()), ("root", root.to_string()), ("round", "0".to_owned())],
    );
    (dir, layout)
}

fn open(dir: &Scratch, layout: &Arc<Layout>) -> Result<(Store, Resume), StoreError> {
    Store::open(&System::real(), &dir.0, "w", &plan(), PLAN, layout)
}

fn put(store: &mut Store, layout: &Layout, rounds: std::ops::Range<u32>) {
    for n in rounds {
        store.put_round(&facts(layout, n), &model(layout, n), None).unwrap();
    }
}

/// That opening goes on after round `n`, with its model.
fn resumes_after(dir: &Scratch, layout: &Arc<Layout>, n: u32) -> Store {
    let (store, resume) = open(dir, layout).unwrap();
    assert_eq!((resume.round, resume.from), (RoundNo(n + 1), ResumedFrom::Generation));
    assert_eq!(resume.payload, model(layout, n));
    assert_eq!(resume.root, facts(layout, n).root);
    store
}

fn files(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn history(dir: &Scratch) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(dir.path("w_history.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn texts_of(dir: &Scratch, file: &str) -> safetensors::Texts {
    safetensors::inspect(&fs::read(dir.path(file)).unwrap()).unwrap().1
}

fn said(error: &StoreError) -> String {
    let cause = std::error::Error::source(error).map(|e| format!(": {e}")).unwrap_or_default();
    format!("{error}{cause} | {}", error.hint().unwrap_or_default())
}

#[test]
fn first_run_starts_from_the_initial_model() {
    let (dir, layout) = prepared();
    let (_, resume) = open(&dir, &layout).unwrap();
    let payload = model(&layout, 1000);
    let root = root_of(layout.hash(), &payload);
    assert_eq!(
        resume,
        Resume {
            round: RoundNo(0),
            payload,
            root,
            state: None,
            best: None,
            best_round: RoundNo(0),
            measured: false,
            statistics: None,
            from: ResumedFrom::Init
        }
    );
}

#[test]
fn kept_round_is_where_the_next_run_goes_on() {
    let (dir, layout) = prepared();
    let (mut store, _) = open(&dir, &layout).unwrap();
    put(&mut store, &layout, 0..4);
    drop(store);
    assert_eq!(files(&dir.path("generations")), ["w-0000002.fl", "w-0000003.fl"]);
    let mut store = resumes_after(&dir, &layout, 3);
    put(&mut store, &layout, 4..10);
    // All ten of the plan.
    resumes_after(&dir, &layout, 9);
    assert_eq!(files(&dir.0), ["generations", "w_history.jsonl", "w_init.safetensors", "w_last.safetensors"]);
}

#[test]
fn rounds_are_put_one_after_another_and_in_full() {
    let (dir, layout) = prepared();
    let (mut store, _) = open(&dir, &layout).unwrap();
    let skipped = store.put_round(&facts(&layout, 1), &model(&layout, 1), None).unwrap_err();
    assert_eq!(said(&skipped), "cannot store round 1: round 0 is next | ");
    let short = store.put_round(&facts(&layout, 0), &model(&layout, 0)[4..], None).unwrap_err();
    assert_eq!(said(&short), "cannot store a model of 2116 B: the layout needs 2120 B | ");
    assert!(files(&dir.path("generations")).is_empty());
}

#[test]
fn history_has_a_line_a_round_and_each_names_the_one_before() {
    let (dir, layout) = prepared();
    let (mut store, _) = open(&dir, &layout).unwrap();
    put(&mut store, &layout, 0..2);
    drop(store);
    put(&mut resumes_after(&dir, &layout, 1), &layout, 2..3);
    let text = fs::read_to_string(dir.path("w_history.jsonl")).unwrap();
    let mut previous = Digest([0; 32]);
    for (line, object) in text.lines().zip(history(&dir)) {
        assert_eq!(object["previous"], previous.to_string());
        previous = Digest::of(line.as_bytes());
    }
    let facts = facts(&layout, 2);
    let expected = serde_json::json!({
        "previous": Digest::of(text.lines().nth(1).unwrap().as_bytes()).to_string(),
        "round": 2, "incarnation": "fffffffffffffffa", "plan": "07".repeat(32),
        "base": facts.base.to_string(), "root": facts.root.to_string(),
        "contributions": [{"collaborator": "one", "task": "train", "weight": 300, "root": "01".repeat(32)}],
        "refused": [{"collaborator": "two", "task": "train", "reason": "late"}],
        "metrics": [
            {"task": "aggregated_model_validation", "metric": "accuracy", "value": 0.9625, "samples": 284, "collaborators": 3},
            {"task": "aggregated_model_validation", "metric": "loss", "value": 0.1, "samples": 284, "collaborators": 3},
        ],
    });
    assert_eq!(history(&dir).len(), 3);
    assert_eq!(history(&dir)[2], expected);
}

#[test]
fn copies_for_people_say_what_they_are() {
    let (dir, layout) = prepared();
    let (mut store, _) = open(&dir, &layout).unwrap();
    put(&mut store, &layout, 0..2);
    let of_facts = facts(&layout, 1);
    let json = MetricJson::json(&of_facts.metrics);
    let expected = [
        ("canonical_plan", plan().canonical_text()),
        ("plan", PLAN.to_string()),
        ("root", of_facts.root.to_string()),
        ("round", "2".to_owned()),
        ("round_metrics", json.clone()),
    ];
    let text = |(key, text): (&str, String)| (key.to_owned(), text);
    assert_eq!(texts_of(&dir, "w_last.safetensors"), expected.map(text).into());
    let (state, _) = safetensors::read(&fs::read(dir.path("w_last.safetensors")).unwrap(), &layout).unwrap();
    assert_eq!(state, ModelState::from_bytes(Arc::clone(&layout), &model(&layout, 1)).unwrap());
    let path = store.put_final(of_facts.root, &of_facts.metrics, &model(&layout, 1)).unwrap();
    assert_eq!(path, dir.path("w_last.safetensors"));
    let texts = texts_of(&dir, "w_last.safetensors");
    assert_eq!((texts["round"].as_str(), &texts["metrics"]), ("2", &json));
    assert_eq!(texts["final"], "yes");
    let about = About { plan: PLAN, rounds: 2, root: of_facts.root };
    let path = keep_final(
        &System::real().files,
        &dir.0,
        "w",
        &name("one"),
        (about, &plan(), None),
        &layout,
        &model(&layout, 1),
    )
    .unwrap();
    assert_eq!(path, dir.path("w_one_final.safetensors"));
    assert_eq!(texts_of(&dir, "w_one_final.safetensors")["root"], of_facts.root.to_string());
}

#[test]
fn integers_of_a_model_are_kept_too() {
    let dir = Scratch::new();
    let steps = TensorSpec { dtype: Dtype::I64, combine: Combine::Max, ..TensorSpec::f32("steps", [2]) };
    let layout = Layout::new(vec![TensorSpec::f32("a", [3]), steps]).unwrap();
    write_init(&dir, &layout, &[]);
    let (mut store, resume) = open(&dir, &layout).unwrap();
    assert_eq!(resume.payload, model(&layout, 1000));
    put(&mut store, &layout, 0..1);
    resumes_after(&dir, &layout, 0);
    assert_eq!(
        model_file::examine(&System::real().files, &store.last_model_file(), &layout).unwrap().0,
        facts(&layout, 0).root
    );
}

#[test]
fn best_model_and_its_value_outlive_the_run() {
    let (dir, layout) = prepared();
    let (mut store, _) = open(&dir, &layout).unwrap();
    put(&mut store, &layout, 0..1);
    let (root, value) = (facts(&layout, 0).root, 0.1 + 0.2);
    store.put_best(RoundNo(1), root, value, &[], &model(&layout, 0)).unwrap();
    // A crash here leaves a file that no generation speaks of; its own value counts.
    assert_eq!(open(&dir, &layout).unwrap().1.best, Some(value));
    put(&mut store, &layout, 1..3);
    let (_, resume) = open(&dir, &layout).unwrap();
    assert_eq!(resume.best, Some(value));
    let texts = texts_of(&dir, "w_best.safetensors");
    assert_eq!((texts["round"].as_str(), texts["value"].as_str()), ("1", "0.30000000000000004"));
    Store::forget(&System::real().files, &dir.0, "w").unwrap();
    assert_eq!(open(&dir, &layout).unwrap().1.best, None);
}

#[test]
fn best_model_that_is_lost_does_not_stand_in_the_way_of_the_next() {
    let (dir, layout) = prepared();
    let (mut store, _) = open(&dir, &layout).unwrap();
    // It states a root that its tensors do not have.
    store.put_best(RoundNo(0), Digest([3; 32]), 0.9, &[], &model(&layout, 1000)).unwrap();
    put(&mut store, &layout, 0..1);
    assert_eq!(open(&dir, &layout).unwrap().1.best, None);
    store.put_best(RoundNo(1), facts(&layout, 0).root, 0.9, &[], &model(&layout, 0)).unwrap();
    put(&mut store, &layout, 1..2);
    assert_eq!(open(&dir, &layout).unwrap().1.best, Some(0.9));
    // Lost, so the next model that is measured is kept, good or not.
    fs::remove_file(store.best_model_file()).unwrap();
    assert_eq!(open(&dir, &layout).unwrap().1.best, None);
}

#[test]
fn what_the_final_model_is_known_to_be_is_not_overwritten_by_less() {
    let (dir, layout) = prepared();
    let of = |rounds| self::plan().edited(|plan| plan.rounds = rounds).unwrap();
    let plan = of(2);
    let open = |plan: &Plan| Store::open(&System::real(), &dir.0, "w", plan, PLAN, &layout).unwrap();
    let (mut store, _) = open(&plan);
    put(&mut store, &layout, 0..2);
    let (mut store, resume) = open(&plan);
    assert!(!resume.measured, "the run ended before its closing round");
    let of_facts = facts(&layout, 1);
    store.put_final(of_facts.root, &[], &model(&layout, 1)).unwrap();
    let texts = texts_of(&dir, "w_last.safetensors");
    assert!(texts.contains_key("round_metrics") && !texts.contains_key("metrics"), "{texts:?}");
    let (mut store, resume) = open(&plan);
    assert!(!resume.measured, "nobody has measured it");
    store.put_final(of_facts.root, &of_facts.metrics, &model(&layout, 1)).unwrap();
    let (_, resume) = open(&plan);
    assert!(resume.measured);
    assert!(!open(&of(3)).1.measured, "a round is left");
}

#[test]
fn metrics_shown_to_nobody_are_in_no_text() {
    let (dir, layout) = prepared();
    let plan = plan().edited(|plan| plan.metrics = MetricsTo::None).unwrap();
    let open = || Store::open(&System::real(), &dir.0, "w", &plan, PLAN, &layout).unwrap();
    let (mut store, _) = open();
    let facts_of = facts(&layout, 0);
    store.put_best(RoundNo(0), facts_of.base, 0.9625, &facts_of.metrics, &model(&layout, 1000)).unwrap();
    put(&mut store, &layout, 0..1);
    store.put_final(facts_of.root, &facts_of.metrics, &model(&layout, 0)).unwrap();
    for file in ["w_history.jsonl", "w_best.safetensors", "w_last.safetensors"] {
        let bytes = fs::read(dir.path(file)).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("0.9625") && !text.contains("accuracy"), "{file}");
    }
}

const PLAN: Digest = Digest([7; 32]);
