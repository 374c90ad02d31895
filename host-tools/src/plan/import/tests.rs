use fl_engine::plan::Plan;

use super::*;

#[test]
fn real_plan_is_converted_with_a_line_for_each_key() {
    let imported = text(KVASIR).unwrap();
    let notes: String = imported.notes.iter().map(|note| format!("{note}\n")).collect();
    assert_eq!(format!("{notes}---\n{}", imported.text), include_str!("kvasir.txt"));
    // What no file says is refused until a person says it; then the plan is one.
    assert!(Plan::parse(&imported.text).is_err());
    let filled = imported
        .text
        .replace(
            "model: fill_in",
            "model: {input: [3, 4, 4], layers: [{conv2d: {name: outc, out: 1, kernel: 1}}, sigmoid]}",
        )
        .replace("data: fill_in", "data: {loader: npy, features: x.npy, labels: y.npy}")
        .replace("optimiser: fill_in", "optimiser: {adam: {learning_rate: 0.001}}")
        .replace("loss: fill_in", "loss: dice");
    let plan = Plan::parse(&filled).unwrap();
    assert_eq!((plan.rounds, plan.quorum.count_min, plan.quorum.time_max.0), (3, 2, 600_000));
    assert_eq!(plan.hold_out, ["outc.bias"]);
}

#[test]
fn every_aggregation_function_has_its_lines_and_makes_a_plan() {
    let mut found = String::new();
    for function in FUNCTIONS {
        let openfl = format!("tasks: {{train: {{aggregation_type: {function}}}}}");
        let imported = text(&openfl).unwrap();
        found += &format!("# {function}\n");
        for note in imported.notes.iter().filter(|note| note.key.contains("aggregation_type")) {
            found += &format!("{note}\n");
        }
        let keys = imported.text.lines().skip_while(|line| !line.contains("metrics:")).skip(1);
        found +=
            &keys.take_while(|line| line.starts_with("    ")).map(|l| format!("{l}\n")).collect::<String>();
        let filled = imported
            .text
            .replace("model: fill_in", "model: {network: mlp, input: [4], hidden: [], outputs: 2}")
            .replace("data: fill_in", "data: {loader: npy, features: x.npy, labels: y.npy, classes: 2}")
            .replace("optimiser: fill_in", "optimiser: {adam: {learning_rate: 0.001}}")
            .replace("loss: fill_in", "loss: cross_entropy");
        assert!(Plan::parse(&filled).is_ok(), "{function}: {:?}", Plan::parse(&filled));
    }
    assert_eq!(found, include_str!("aggregations.txt"));
    let validation = "tasks: {validate: {aggregation_type: {template: x.Median}}}";
    let notes = text(validation).unwrap().notes;
    assert!(notes.iter().any(|note| note.text == "metrics are always means weighted by rows"), "{notes:?}");
}

#[test]
fn groups_with_names_are_kept_and_drawn_ones_are_not() {
    let fixed = "tasks: {train: {}, validate: {}}\nassigner: {settings: {task_groups: [\
                 {name: A, collaborators: [One], tasks: [train, gone]}, {name: B, collaborators: [two], tasks: [validate]}]}}\n";
    let imported = text(fixed).unwrap().text;
    assert!(imported.contains("  \"a\": {collaborators: [\"one\"], tasks: [\"train\"]}\n"), "{imported}");
    let drawn = fixed
        .replace("collaborators: [One]", "percentage: 0.5")
        .replace("collaborators: [two]", "percentage: 0.5");
    let imported = text(&drawn).unwrap();
    assert!(imported.notes.iter().any(|n| n.verdict == Verdict::Warning && n.text.contains("at random")));
}

#[test]
fn no_yaml_makes_it_fail_otherwise_than_by_a_refusal() {
    for odd in [
        "",
        "~",
        "7",
        "[]",
        "a: [",
        "{}",
        "tasks: 7",
        "tasks: {train: 7}",
        "tasks: {train: {kwargs: [1]}}",
        "tasks: {train: {kwargs: {epochs: -1, batch_size: x, metrics: 7}}}",
        "assigner: {settings: {task_groups: {a: b}}}",
        "assigner: {settings: {task_groups: [1, {name: 7, tasks: 7}]}}",
        "aggregator: {settings: {rounds_to_train: .inf}}",
        "straggler_handling_policy: {settings: {straggler_cutoff_time: .inf, minimum_reporting: -1}}",
        "aggregator: x",
        "\u{e9}: {1: 2}",
        "tasks: {\"tra\\nin\": {}, \"ÄÖtrain\": {}}",
        "a: &a [*a]",
    ] {
        if let Ok(imported) = text(odd) {
            assert!(
                Plan::parse(&imported.text).unwrap_err().message.contains("fill_in"),
                "{odd:?}: {}",
                imported.text
            );
        }
    }
    for end in (0..KVASIR.len()).filter(|end| KVASIR.is_char_boundary(*end)) {
        let _ = text(&KVASIR[..end]);
    }
}

#[test]
fn converted_plan_takes_the_place_of_a_templates_and_keeps_the_federation() {
    let root = crate::files::tests::scratch("import-place").join("hospitals");
    let template = crate::workspace::template("digits").unwrap();
    crate::workspace::create(&root, template, None, &crate::workspace::Trial::default()).unwrap();
    let (from, to) = (root.join("openfl.yaml"), root.join("plan/plan.yaml"));
    std::fs::write(&from, include_str!("kvasir.yaml")).unwrap();
    // As `fl-host plan initialize` leaves the template.
    let plan = crate::plan::with_ca(&std::fs::read_to_string(&to).unwrap(), &fl_engine::Digest([7; 32]));
    std::fs::write(&to, &plan).unwrap();
    let done = file(&from, &to).unwrap();
    assert!(done.text.contains("\nfederation: \"hospitals\"\n"), "{}", done.text);
    assert_eq!(std::fs::read_to_string(&to).unwrap(), done.text);
    // What a person has written is never replaced.
    let refused = file(&from, &to).unwrap_err();
    assert!(refused.error.ends_with("already exists, and somebody has edited it"), "{}", refused.error);
    std::fs::write(&to, plan.replace("rounds: ", "rounds: 1")).unwrap();
    assert!(file(&from, &to).is_err());
}

const KVASIR: &str = include_str!("kvasir.yaml");
/// Classes as a plan names them, with settings.
const FUNCTIONS: [&str; 19] = [
    "{template: openfl.interface.aggregation_functions.WeightedAverage}",
    "{template: openfl.interface.aggregation_functions.Median}",
    "{template: openfl.interface.aggregation_functions.GeometricMedian, settings: {}}",
    "{template: openfl.interface.aggregation_functions.AdagradAdaptiveAggregation}",
    "{template: x.AdamAdaptiveAggregation, settings: {params: null, learning_rate: 0.1, betas: [0.8, 0.99], epsilon: 0.001}}",
    "{template: x.AdamAdaptiveAggregation, settings: {learning_rate: fast, betas: [1, 2], epsilon: -1}}",
    "{template: x.YogiAdaptiveAggregation, settings: {initial_accumulator_value: 0.0}}",
    "{template: src.ClippedAveraging, settings: {ratio: 0.9}}",
    "{template: src.ClippedAveraging, settings: {ratio: 1.5}}",
    "{template: src.ClippedAveraging}",
    "{template: src.ExponentialSmoothingAveraging, settings: {alpha: 0.7}}",
    "{template: src.ExponentialSmoothingAveraging}",
    "{template: src.ConditionalThresholdAveraging, settings: {threshold_fn: x, metric_name: acc}}",
    "{template: src.FedAvgM_Selection, settings: {momentum: 0.5}}",
    "{template: openfl.interface.aggregation_functions.FedCurvWeightedAverage}",
    "{template: openfl.interface.aggregation_functions.SecureWeightedAverage}",
    "{template: src.PrioritizeLeastImproved}",
    "{settings: 7}",
    "7",
];
