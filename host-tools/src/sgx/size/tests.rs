//! The sums, line by line.

use std::time::{Duration, Instant};

use fl_engine::{
    model::{Layer, ModelSpec},
    plan::{Backend, LabelCode, PictureLabel, PictureSpec, PlanDraft, Threads},
};

use super::*;
use crate::plan;

fn of(role: Role, change: impl FnOnce(&mut PlanDraft)) -> Result<EnclaveSize, Failure> {
    let plan = Plan::parse(include_str!("../../templates/breast_cancer/plan.yaml")).unwrap();
    let plan = plan.edited(change).unwrap();
    let layout = plan.layout().unwrap();
    let loaded = plan::Loaded { hash: plan.hash(), plan, layout };
    enclave_size(role, &loaded.plan, &plan::memory(&loaded), &Gramine::NEWEST)
}

#[test]
fn sums_are_shown_term_by_term() {
    let aggregator = of(Role::Aggregator, |_| {}).unwrap();
    let shown = "\
limits.memory                  512 MiB
stacks of 8 threads             16 MiB
Gramine                         64 MiB
measured pages of 12 threads  4320 KiB
sum                            596 MiB
sgx.enclave_size                    1G
sgx.max_threads                     12  1 main, the actors + 2 link + 2 cpu + 2 host names + 1 store + 3 Gramine + 1 spare";
    assert_eq!(aggregator.to_string(), shown);
    let collaborator = of(Role::Collaborator, |_| {}).unwrap();
    let shown = "\
7 models                         14 KiB
128 rows at a time               98 KiB
rows (limits.memory)            512 MiB
program                          64 MiB
stacks of 7 threads              14 MiB
Gramine                          64 MiB
measured pages of 11 threads   3960 KiB
sum                             657 MiB
sgx.enclave_size                     1G
sgx.max_threads                      11  1 main, the actors + 2 link + 2 cpu + 2 host names + 3 Gramine + 1 spare";
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(squeezed(&collaborator.to_string()), squeezed(shown));
}

#[test]
fn every_thread_and_byte_of_the_plan_is_in_the_sum() {
    let threads = |link, cpu| of(Role::Aggregator, |plan| plan.threads = Threads { link, cpu }).unwrap();
    assert_eq!(threads(4, 2).max_threads() - threads(2, 2).max_threads(), 2);
    assert_eq!(threads(2, 9).max_threads() - threads(2, 2).max_threads(), 7);
    let memory = |mib: u64| of(Role::Aggregator, |plan| plan.memory_budget = ByteCount(mib << 20));
    assert_eq!(memory(1024).unwrap().sum().0 - memory(512).unwrap().sum().0, 512 << 20);
    assert_eq!(memory(1024).unwrap().word(), "2G");
    assert_eq!(memory(100).unwrap().word(), "256M");
    assert!(memory(1).unwrap_err().error.starts_with("limits.memory of the plan is too small:\n2 models"));
    assert!(memory(1 << 21).unwrap_err().error.contains("Gramine allows at most"));
    let batch = |n| {
        of(Role::Collaborator, |plan| {
            for task in &mut plan.tasks {
                if let TaskKind::Train(spec) = &mut task.kind {
                    spec.batch = n;
                }
            }
        })
    };
    assert!(batch(256).unwrap().sum() > batch(16).unwrap().sum());
    assert!(batch(1_000_000).unwrap().sum().0 - batch(32).unwrap().sum().0 > 256 << 20);
    let accumulated = |batches| {
        of(Role::Collaborator, |plan| {
            for task in &mut plan.tasks {
                if let TaskKind::Train(spec) = &mut task.kind {
                    spec.accumulate = batches;
                }
            }
        })
    };
    assert_eq!(accumulated(1).unwrap().terms[0].name, "7 models");
    assert_eq!(accumulated(2).unwrap().terms[0].name, "8 models");
}

#[test]
fn rows_at_a_time_are_those_of_a_validation_if_a_batch_is_smaller() {
    let batch = |backend| of(Role::Collaborator, |plan| plan.backend = backend).unwrap().terms.swap_remove(1);
    assert_eq!(
        batch(Backend::Burn),
        Term { name: "128 rows at a time (estimate)".to_owned(), bytes: ByteCount(23552) }
    );
    assert_eq!(
        batch(Backend::Own),
        Term { name: "128 rows at a time".to_owned(), bytes: ByteCount(100_352) }
    );
}

/// The memory of the rows of a step, with this model on burn.
fn rows_of(model: &str) -> u64 {
    let size = of(Role::Collaborator, |plan| {
        plan.model = ModelSpec::parse(model).unwrap();
        plan.backend = Backend::Burn;
        plan.data.standardise = None;
    });
    size.unwrap().terms[1].bytes.0
}

#[test]
fn recurrent_layers_and_attentions_have_the_memory_of_each_step_and_of_the_scores() {
    let recurrent = |word: &str, length: u32| {
        let layer = format!("{word}: {{name: r, hidden: 128, layers: 2, take: last}}");
        rows_of(&format!("{{input: [{length}, 8], layers: [{{{layer}}}, {{linear: {{name: f, out: 2}}}}]}}"))
    };
    for word in ["lstm", "gru"] {
        let [short, long] = [2000, 4000].map(|length| recurrent(word, length));
        assert!((19..=21).contains(&(long * 10 / short)), "{word}: {short} and {long}");
        // 16 rows with 25 values of 4 bytes a step, layer and number of the state.
        assert!(recurrent(word, 200) > 16 * 25 * 4 * 200 * 2 * 128, "{word}");
    }
    let attention = |length: u32| {
        rows_of(&format!(
            "{{input: [{length}, 16], layers: [{{attention: {{name: a, heads: 8}}}}, {{select: {{axis: 0, index: 0}}}}, \
             {{linear: {{name: f, out: 2}}}}]}}"
        ))
    };
    let [short, long] = [1024, 2048].map(attention);
    assert!((38..=41).contains(&(long * 10 / short)), "{short} and {long}");
    assert!(short > 16 * 4 * 8 * 1024 * 1024, "{short}");
}

#[test]
fn model_with_a_parameter_has_a_size() {
    let model = "{input: [30], layers: [{linear: {name: f, out: 2}, as: f}, {parameter: {name: p, shape: [2]}, as: p}, \
                 {add: , from: [f, p]}]}";
    assert!(rows_of(model) > 0);
}

#[test]
fn layer_that_is_too_large_is_refused_before_memory_is_reserved() {
    let size = |layer: &str| {
        of(Role::Collaborator, |plan| {
            let text = format!(
                "{{input: [1, 60, 60], layers: [{layer}, flatten, {{linear: {{name: f, out: 2}}}}]}}"
            );
            plan.model = ModelSpec::parse(&text).unwrap();
            plan.data.standardise = None;
        })
    };
    let begin = Instant::now();
    let stride = size("{conv2d: {name: c, out: 1, kernel: 3, stride: 4294967295}}").unwrap();
    assert!(stride.terms[1].bytes.0 < 1 << 30, "{}", stride.terms[1].bytes);
    let padded = "{conv2d: {name: c, out: 1, kernel: 3, stride: 4294967295, padding: 4294967295}}";
    let error = size(padded).unwrap_err().error;
    assert!(error.contains("Gramine allows at most"), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[test]
fn pictures_have_the_memory_that_the_plan_gives_their_cache() {
    let rows = |cache: u64| {
        let size = of(Role::Collaborator, |plan| {
            plan.model.input = vec![3, 1, 10];
            plan.model.layers.insert(0, Layer::Flatten);
            let mut pictures = PictureSpec::new(PictureLabel::Folders);
            let code = |text: &str, class| LabelCode { text: text.to_owned(), class };
            pictures.labels = vec![code("benign", 0), code("malignant", 1)];
            pictures.cache = ByteCount(cache << 20);
            plan.data.standardise = None;
            plan.data.loader = Loader::Pictures(pictures);
        });
        size.unwrap().terms.swap_remove(2)
    };
    let term = |name: &str, mib: u64| Term { name: name.to_owned(), bytes: ByteCount(mib << 20) };
    assert_eq!(rows(100), term("rows (limits.memory)", 512));
    assert_eq!(rows(2048), term("pictures (data.cache)", 2048));
}
