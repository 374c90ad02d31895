//! The keys of `data` that say how a table is read.

use super::*;
use crate::plan::{
    Category, Coding, CsvSpec, Decimal, Federated, Fill, LabelCode, NamedNumber, PlanDraft, Separator,
    Standardise,
};

/// The small plan with other keys after `loader: csv`.
fn with(keys: &str) -> String {
    SMALL.replace("input: [4]", "input: [2]").replace(
        "data: {loader: csv, file: a.csv, label: y, classes: 2}",
        &format!("data: {{loader: csv, file: a.csv, label: y, classes: 2, {keys}}}"),
    )
}

fn csv(keys: &str) -> CsvSpec {
    match &Plan::parse(&with(keys)).unwrap().data.loader {
        Loader::Csv(spec) => spec.clone(),
        other => panic!("{other:?}"),
    }
}

/// The refusal without its place, and its hint.
fn refusal(keys: &str) -> (String, String) {
    let error = Plan::parse(&with(keys)).unwrap_err();
    (error.message.clone(), error.hint().unwrap_or_default().to_owned())
}

fn named(name: &str, number: f64) -> NamedNumber {
    NamedNumber { name: name.to_owned(), number }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn keys_of_a_table_are_read_as_they_are_meant() {
    let spec = csv("features: [a, \"b c\"], ignore: [\"\", \"x*\"], separator: tab, decimal: comma, skip: 2");
    assert_eq!(spec.features, Some(texts(&["a", "b c"])));
    assert!(spec.ignores("") && spec.ignores("x1") && !spec.ignores("y"));
    assert_eq!((spec.separator, spec.decimal, spec.skip), (Separator::Tab, Decimal::Comma, 2));
    for (text, separator) in [
        ("\";\"", Separator::Semicolon),
        ("\",\"", Separator::Comma),
        ("pipe", Separator::Pipe),
        ("\" \"", Separator::Space),
    ] {
        assert_eq!(csv(&format!("separator: {text}")).separator, separator, "{text}");
    }
    let spec = csv("labels: {M: 1, B: 0, 2: 1}, label_file: l.csv");
    let codes: Vec<(&str, u32)> =
        spec.labels.iter().map(|LabelCode { text, class }| (text.as_str(), *class)).collect();
    assert_eq!(codes, [("2", 1), ("B", 0), ("M", 1)]);
    assert_eq!(spec.label_file.as_deref(), Some("l.csv"));
    let spec = csv("categories: {b: {yes: 1, no: 0}}");
    let numbers = Coding::Numbers(vec![named("no", 0.0), named("yes", 1.0)]);
    assert_eq!(spec.categories, [Category { column: "b".to_owned(), coding: numbers }]);
    let spec = csv("categories: {a: [z, y]}, features: [a]");
    assert_eq!(spec.coding("a"), Some(&Coding::OneHot(texts(&["z", "y"]))));
    assert_eq!(csv("missing: {fill: 0}").missing.fill, Some(Fill::Number(0.0)));
    let missing = csv("missing: {fill: {b: 2.5}, drop_row: 7}").missing;
    assert_eq!((missing.fill, missing.drop_row), (Some(Fill::Columns(vec![named("b", 2.5)])), 7));
    let mean = csv("missing: {fill: mean}, standardise: {mean: 0, std: 1}").missing;
    assert_eq!(mean.fill, Some(Fill::Mean));
    assert_eq!(csv("missing: refuse"), csv(""));
}

#[test]
fn order_of_keys_in_a_map_changes_no_hash() {
    let hash = |keys: &str| Plan::parse(&with(keys)).unwrap().hash();
    assert_eq!(hash("labels: {M: 1, B: 0}"), hash("labels: {B: 0, M: 1}"));
    assert_eq!(
        hash("categories: {a: {x: 1, y: 2}, b: {z: 3}}"),
        hash("categories: {b: {z: 3}, a: {y: 2, x: 1}}")
    );
    assert_ne!(hash("features: [a, b]"), hash("features: [b, a]"));
    for keys in ["labels: {M: 1, B: 0}", "features: [a, b], missing: {fill: {a: 1}}"] {
        let plan = Plan::parse(&with(keys)).unwrap();
        assert_eq!(Plan::from_canonical(&plan.canonical()), Ok(plan));
    }
}

#[test]
fn keys_that_do_not_fit_each_other_are_refused() {
    let message = |keys: &str| refusal(keys).0;
    for (keys, expected) in [
        ("features: [a, a]", "data.features has the column \"a\" twice"),
        ("features: [a, y]", "data.features has the column \"y\", which is the label"),
        ("features: []", "data.features is empty; it takes at least one column"),
        ("features: [a]", "data.features gives 1 values a sample; model.input [2] takes 2"),
        ("features: [a, b], header: false", "data.features names columns, but data.header is false"),
        ("ignore: [a], header: false", "data.ignore names columns, but data.header is false"),
        ("decimal: comma", "data.decimal is comma, and data.separator is comma, too"),
        ("labels: {M: 2, B: 0}", "data.labels.M is 2; the classes are 0 to 1"),
        ("labels: {M: 1}", "no label of data.labels is the class 0; data.classes is 2"),
        ("features: [a, b], ignore: [c, a]", "data.ignore has the column \"a\", which the plan reads"),
        ("ignore: [y]", "data.ignore has the column \"y\", which the plan reads"),
        (
            "standardise: {mean: 1e300, std: 1}",
            "data.standardise.mean is 1e300; it takes a number below 3.4e38",
        ),
        ("header: false", "data.label is the column's name \"y\", but data.header is false"),
        (
            "label_file: a.csv",
            "data.label_file is \"a.csv\", and so is data.file: the label would be a feature, too",
        ),
        (
            "categories: {b: [x]}, missing: {fill: {b: 3}}",
            "data.missing.fill has a number for the column \"b\", each text of which is a feature of 0 or 1",
        ),
        ("skip: 1.0", "data.skip is 1.0; it takes a whole number of 0 to 1000"),
        ("labels: {1: 0, \"1.0\": 1}", "data.labels has \"1\" and \"1.0\", which are one number"),
        ("labels: {a: 1, \"1e1\": 0, 10: 1}", "data.labels has \"10\" and \"1e1\", which are one number"),
        (
            "categories: {a: {\"-0\": 1, 0: 2}}",
            "data.categories.a has \"-0\" and \"0\", which are one number",
        ),
        (
            "categories: {a: [\"2\", x, \"02\"]}",
            "data.categories.a has \"2\" and \"02\", which are one number",
        ),
        ("categories: {y: {a: 1}}", "data.categories has the column \"y\", which is the label"),
        ("categories: {a: {}}", "data.categories.a is empty; it takes at least one category"),
        ("categories: {a: [x, x]}", "data.categories.a has \"x\" twice"),
        (
            "features: [age, b], categories: {aeg: {a: 1}}",
            "data.categories has the column \"aeg\", which is not in data.features",
        ),
        (
            "missing: {fill: mean}",
            "data.missing.fill is mean, but the plan has no data.standardise with the means",
        ),
        (
            "features: [a, b], missing: {fill: {c: 1}}",
            "data.missing.fill has the column \"c\", which is not in data.features",
        ),
        (
            "missing: keep",
            "data.missing is the text \"keep\"; it takes refuse, or a map with the keys fill and drop_row",
        ),
        (
            "separator: colon",
            "data.separator is \"colon\"; it takes one of comma, semicolon, tab, space, pipe",
        ),
    ] {
        assert_eq!(message(keys), expected, "{keys}");
    }
    assert_eq!(refusal("features: [age, b], categories: {aeg: {a: 1}}").1, "did you mean \"age\"?");
    let regression = with("labels: {M: 1, B: 0}").replace(", classes: 2", "");
    assert!(Plan::parse(&regression).unwrap_err().message.contains("data.labels needs the key classes"));
}

#[test]
fn mean_that_f32_cannot_hold_keeps_its_rest_and_others_their_bytes() {
    let statistics = |mean: &str, std: &str| {
        let plan = Plan::parse(&with(&format!("standardise: {{mean: {mean}, std: {std}}}"))).unwrap();
        assert_eq!(Plan::from_canonical(&plan.canonical()).as_ref(), Ok(&plan));
        plan.data.standardise.clone().unwrap()
    };
    let time = statistics("[1600000001, 0.1]", "[10, 1]");
    assert_eq!((time.mean_of(0), time.mean[0]), (1_600_000_001.0, 1_600_000_000.0));
    // A rest that is small beside the deviation is not written: such plans keep their hash.
    let date = statistics("20200131", "3000");
    assert_eq!((date.mean_of(1), date.mean_rest.len()), (20_200_132.0, 0));
    assert!(statistics("[0.1, 14.1273]", "1").mean_rest.is_empty());
    let mut twice = Standardise::new(&[1.0], &[1.0]);
    twice.mean_rest = vec![0.0];
    let mut plan = PlanDraft::parse(&with("")).unwrap();
    plan.data.standardise = Some(twice);
    assert!(Plan::from_canonical(&plan.canonical()).is_err());
}

#[test]
fn sites_can_be_asked_for_the_statistics_and_other_plans_keep_their_bytes() {
    let of = |keys: &str| Plan::parse(&with(keys)).unwrap();
    let declared = of("standardise: {mean: 0, std: 1}");
    for (keys, least) in [
        ("standardise: federated", 10),
        ("standardise: {federated: {}}", 10),
        ("standardise: {federated: {least: 20}}, missing: {fill: mean}", 20),
    ] {
        let plan = of(keys);
        assert_eq!((plan.data.federated, &plan.data.standardise), (Some(Federated { least }), &None));
        assert_eq!(Plan::from_canonical(&plan.canonical()).as_ref(), Ok(&plan));
        assert_ne!(plan.hash(), declared.hash());
        let scaled = plan.edited(|p| p.data = p.data.scaled_by(&Standardise::new(&[0.0], &[1.0]))).unwrap();
        assert_eq!(scaled.data.standardise, declared.data.standardise);
    }
    for (keys, expected) in [
        (
            "standardise: sites",
            "data.standardise is the text \"sites\"; it takes the word federated, or a map with the keys mean and std",
        ),
        ("standardise: {mean: 1}", "the key \"std\" is missing in data.standardise"),
        (
            "standardise: {mean: 1, std: 1, federated: {}}",
            "data.standardise.mean is beside federated; write one of them",
        ),
        (
            "standardise: {federated: {least: 1}}",
            "data.standardise.federated.least is 1; it takes a whole number of 2 to 1000000",
        ),
    ] {
        assert_eq!(refusal(keys).0, expected, "{keys}");
    }
    let wide = of("standardise: federated").edited(|p| p.model.input = vec![5000]).unwrap_err();
    assert!(wide.message.contains("a sample has 5000 features; it takes 4096"), "{}", wide.message);
}

#[test]
fn statistics_are_read_back_from_their_text_with_the_same_bits() {
    for (mean, std) in [(1_600_000_000.25, 1.0), (0.1, 0.3), (-3.0e-38, 2.0e-38), (1e36, 1e36)] {
        let found = Standardise::from_values(&[mean, 0.5], &[std, 2.0]).unwrap();
        let text = found.to_text();
        assert_eq!(Standardise::from_text(&text), Some(found.clone()), "{text}");
        let plan = Plan::parse(&with(&format!("standardise: {text}"))).unwrap();
        assert_eq!(plan.data.standardise, Some(found));
    }
    for text in [
        "",
        "{}",
        "{\"mean\":[1],\"std\":[0]}",
        "{\"mean\":[1],\"std\":[1,1]}",
        "{\"mean\":[NaN],\"std\":[1]}",
    ] {
        assert_eq!(Standardise::from_text(text), None, "{text}");
    }
}
