//! What a registry holds is found; what it does not hold is refused with a hint.

use fl_engine::aggregate::Median;
use ndarray::ArrayD;

use super::*;
use crate::fixture::{self, name, rows};

fn plan(rule: Rule) -> Plan {
    let plan = fixture::plan().edited(|plan| {
        plan.quorum.count_min = rule.least_updates().max(1) as u32;
        fixture::only_send(plan, TaskKind::Synthetic { weight: 1, rule: Some(rule) });
    });
    plan.unwrap()
}

#[test]
fn rule_is_found_by_its_name_and_the_hint_for_an_unknown_name_lists_the_known_ones() {
    let custom = |name: &str| plan(Rule::Custom { name: name.to_owned() });
    let registry = Registry::new().with_rule("mine", Arc::new(Median)).with_rule("other", Arc::new(Median));
    assert!(matches!(registry.method(&custom("mine")), Ok(Method::Columns(_))));
    assert!(matches!(registry.method(&plan(Rule::Krum { byzantine: 1 })), Ok(Method::Scored(_))));
    let unknown = registry.method(&custom("mien")).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "the plan needs the aggregation rule \"mien\", which this program does not have"
    );
    assert_eq!(unknown.hint().unwrap(), "this program has the rules mine, other");
    let unknown = Registry::new().method(&custom("mine")).unwrap_err();
    assert!(unknown.hint().unwrap().contains("`with_rule`"));
}

#[test]
fn registered_loader_reads_the_folder_and_its_rows_are_checked() {
    let planes = |folder: &Path| {
        let mut rows = rows(100, 1);
        rows.labels[[0]] = if folder.ends_with("bad") { 7.0 } else { 0.0 };
        rows
    };
    let columns = move |folder: &Path| {
        let Dataset { features, labels, .. } = planes(folder);
        let values = features.t().iter().copied().collect();
        let features = ArrayD::from_shape_vec(vec![4, 100], values).unwrap().reversed_axes();
        Dataset::new(features, labels)
    };
    let infinite = move |folder: &Path| {
        let mut rows = planes(folder);
        rows.features[[99, 3]] = f32::INFINITY;
        rows
    };
    let registry = Registry::new()
        .with_loader("planes", move |folder| Ok(planes(folder)))
        .with_loader("columns", move |folder| Ok(columns(folder)))
        .with_loader("infinite", move |folder| Ok(infinite(folder)));
    let load = |loader: &str, folder: &str| {
        let loader = Loader::Custom { name: loader.to_owned() };
        let plan = fixture::plan().edited(|plan| plan.data.loader = loader).unwrap();
        registry.load_data(&plan, Path::new(folder), &name("one"))
    };
    let data = load("planes", "good").unwrap();
    assert_eq!((data.train.rows(), data.validation.rows()), (80, 20));
    let refusal = load("planes", "bad").unwrap_err().to_string();
    assert!(refusal.contains("row 1 has the label 7, but the plan's classes are 0 to 1"), "{refusal}");
    assert_eq!(load("columns", "good").unwrap(), data);
    let refusal = load("infinite", "good").unwrap_err().to_string();
    assert!(refusal.ends_with("loader \"infinite\" gives a value that is not finite"), "{refusal}");
    let unknown = load("plans", "good").unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "the plan needs the data loader \"plans\", which this program does not have"
    );
    assert!(unknown.hint().unwrap().starts_with("did you mean \"planes\", a loader"));
    assert!(load("csv", "good").unwrap_err().hint().unwrap().contains("with_loader"));
}
