//! The statistics of all sites: a line of the history before the first round, and a text of every model file.

use fl_engine::{
    plan::{Federated, Standardise},
    round::StatisticsFacts,
};

use super::*;

fn federated() -> Plan {
    plan().edited(|plan| plan.data.federated = Some(Federated { least: 10 })).unwrap()
}

fn open(dir: &Scratch, layout: &Arc<Layout>) -> Result<(Store, Resume), StoreError> {
    Store::open(&System::real(), &dir.0, "w", &federated(), PLAN, layout)
}

fn of(mean: f64) -> StatisticsFacts {
    let statistics = Arc::new(Standardise::from_values(&[mean; 30], &[0.1; 30]).unwrap());
    StatisticsFacts { plan: PLAN, incarnation: 7, collaborators: vec![name("one"), name("two")], statistics }
}

fn texts(path: &Path) -> safetensors::Texts {
    safetensors::inspect(&fs::read(path).unwrap()).unwrap().1
}

#[test]
fn statistics_are_read_back_with_the_same_bits_before_and_after_rounds() {
    let (dir, layout) = prepared();
    let (mut store, resume) = open(&dir, &layout).unwrap();
    assert_eq!(resume.statistics, None);
    let facts = of(1_600_000_000.3);
    store.put_statistics(&facts).unwrap();
    drop(store);
    let (mut store, resume) = open(&dir, &layout).unwrap();
    assert_eq!((resume.round, resume.statistics), (RoundNo(0), Some(Arc::clone(&facts.statistics))));
    put(&mut store, &layout, 0..3);
    let text = facts.statistics.to_text();
    assert_eq!(texts(&store.last_model_file())["standardise"], text);
    let root = root_of(layout.hash(), &model(&layout, 2));
    store.put_best(RoundNo(2), root, 0.5, &[], &model(&layout, 2)).unwrap();
    assert_eq!(texts(&store.best_model_file())["standardise"], text);
    drop(store);
    let (mut store, resume) = open(&dir, &layout).unwrap();
    assert_eq!((resume.round, resume.statistics), (RoundNo(3), Some(facts.statistics)));
    put(&mut store, &layout, 3..4);
    assert_eq!(texts(&store.last_model_file())["standardise"], text);
    let history = fs::read_to_string(dir.path("w_history.jsonl")).unwrap();
    assert_eq!(history.lines().count(), 5);
    assert!(history.lines().next().unwrap().contains("\"collaborators\":[\"one\",\"two\"]"), "{history}");
}

#[test]
fn torn_line_is_asked_for_again_and_a_lost_one_after_rounds_is_refused() {
    let (dir, layout) = prepared();
    let (mut store, _) = open(&dir, &layout).unwrap();
    store.put_statistics(&of(1.0)).unwrap();
    drop(store);
    let path = dir.path("w_history.jsonl");
    let line = fs::read(&path).unwrap();
    fs::write(&path, &line[..line.len() - 9]).unwrap();
    let (mut store, resume) = open(&dir, &layout).unwrap();
    assert_eq!(resume.statistics, None);
    store.put_statistics(&of(2.0)).unwrap();
    put(&mut store, &layout, 0..1);
    drop(store);
    assert_eq!(open(&dir, &layout).unwrap().1.statistics, Some(of(2.0).statistics));
    fs::remove_file(&path).unwrap();
    let refused = open(&dir, &layout).unwrap_err();
    assert!(matches!(refused, StoreError::NoStatistics { .. }), "{refused}");
    assert!(refused.hint().unwrap().contains("restore the history"));
}
