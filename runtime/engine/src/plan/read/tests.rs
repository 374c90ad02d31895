mod data;
mod keys;
mod pictures;

use super::*;
use crate::{
    ByteCount, Millis,
    model::{Layer, ModelSpec},
    plan::{
        Column, CsvSpec, Direction, ExactRange, Loader, Loss, Metric, MetricsTo, ModelUnderTest, Optimiser,
        OptimiserState, Quorum, Release, ReleaseTo, Released, Rows, Rule, Scope, Seal, Server, Short, Split,
        TaskKind, TaskSpec, Threads, TrainLength, TrainSpec, When,
    },
};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

#[test]
fn templates_are_read_as_they_are_meant() {
    let plan = Plan::parse(BREAST_CANCER).unwrap();
    let linear = |name: &str, out| Layer::Linear { name: name.to_owned(), out, bias: true };
    let layers = vec![linear("fc1", 16), Layer::Relu, linear("fc2", 2)];
    assert_eq!(plan.model, ModelSpec::chain(vec![30], layers));
    let csv = Loader::Csv(CsvSpec::new("data.csv", Column::Name("diagnosis".to_owned())));
    assert_eq!(plan.data.loader, csv);
    assert_eq!(plan.data.standardise.as_ref().unwrap().mean[0], 14.1273);
    let train = TrainSpec {
        length: TrainLength::Epochs(1),
        batch: 16,
        optimiser: Optimiser::Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0 },
        loss: Loss::cross_entropy(),
        fedprox_mu: 0.0,
        rule: Rule::WeightedMean,
        schedule: None,
        clip_norm: None,
        accumulate: 1,
        freeze: Vec::new(),
    };
    let kinds: Vec<TaskKind> = plan.tasks.iter().map(|task| task.kind.clone()).collect();
    let before = TaskKind::Validate(ModelUnderTest::Aggregated);
    let after = TaskKind::Validate(ModelUnderTest::LocallyTuned);
    assert_eq!(kinds, [before, TaskKind::Train(train), after]);
    assert_eq!(plan.groups.len(), 1);
    assert_eq!((plan.groups[0].name.as_str(), plan.groups[0].tasks.len()), ("all", 3));
    let quorum = Quorum {
        count_min: 2,
        count_max: Some(3),
        time_min: Millis(0),
        time_max: Millis(600_000),
        short: Short::Wait,
    };
    assert_eq!(plan.quorum, quorum);
    assert_eq!((plan.memory_budget, plan.spill_budget), (ByteCount(512 << 20), ByteCount(4 << 30)));

    let digits = Plan::parse(DIGITS).unwrap();
    let names: Vec<&str> =
        digits.layout().unwrap().tensors().iter().map(|t| t.name.clone().leak() as &str).collect();
    assert_eq!(names, ["conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "fc1.weight", "fc1.bias"]);
    assert_eq!(
        digits.model.layers[2],
        Layer::MaxPool { kernel: 2.into(), stride: None, padding: 0.into(), ceil: false }
    );
    assert_eq!(digits.model.layers[6], Layer::Flatten);
}

#[test]
fn what_is_left_out_has_a_default() {
    let plan = Plan::parse(SMALL).unwrap();
    assert_eq!((plan.ca, plan.seed, plan.sample), (None, 0, None));
    assert_eq!(plan.quorum, QUORUM);
    assert_eq!((plan.exact, plan.threads, plan.metrics), (EXACT, THREADS, MetricsTo::Members));
    assert_eq!(plan.optimiser_state, OptimiserState::Reset);
    assert_eq!(plan.data.split, SPLIT);
    let (metric, direction) = (Metric::Loss, Direction::Min);
    let best = BestModel { task: name("train"), metric, direction, against_habit: false };
    assert_eq!(plan.best, best);
    let spelt = SMALL.replace("kind: train,", "kind: train, fedprox_mu: 0, rule: weighted_mean,")
        + "ca:\nseed: 0\nquorum: {count: {min: 1}, time: {min: 0s, max: 10m}}\noptimiser_state: reset\nhold_out: []\n\
           exact: {value_bits: 16, weight_bits: 29}\nbest: {task: train, metric: loss}\n\
           limits: {memory: 512MiB, spill: 4GiB}\nthreads: {link: 2, cpu: 2}\nmetrics: members\n\
           groups: {all: {tasks: [train]}}\n";
    assert_eq!(Plan::parse(&spelt).unwrap(), plan);
}

#[test]
fn comments_order_and_quotes_change_nothing() {
    let plan = Plan::parse(SMALL).unwrap();
    let other = r#"
# Another hand's.
"data":
    label: 'y'    # the diagnosis
    "file": "a.csv"
    classes: 0x2
    loader: csv
tasks: {train: {metrics: ["loss"], loss: cross_entropy, optimiser: {sgd: {learning_rate: 1e-1}},
        batch: 4, epochs: 1, kind: "train"}}
model: {outputs: 2, hidden: [ 8 ], input: [4,], network: mlp}
rounds: 3
federation: "small"
schema: 1
"#;
    let other = Plan::parse(other).unwrap();
    assert_eq!(other.canonical(), plan.canonical());
    assert_eq!(other.hash(), plan.hash());
}

#[test]
fn every_layer_has_a_spelling() {
    let model = "
model:
  input: [1, 6, 6]
  layers:
    - conv2d: {name: conv, out: 3, kernel: 3, padding: 1}
    - {batch_norm: {name: norm}}
    - relu
    - max_pool: {kernel: 2}
    - conv_transpose2d: {name: up, out: 2, kernel: 2, stride: 2, bias: false}
    - gelu
    - avg_pool: {kernel: 3}
    - dropout: {p: 0.5}
    - flatten
    - linear: {name: fc1, out: 4}
    - tanh:
    - linear: {name: fc2, out: 2, bias: false}
    - {sigmoid: {}}
";
    let text = SMALL.replace("model: {network: mlp, input: [4], hidden: [8], outputs: 2}", model);
    assert_eq!(Plan::parse(&text).unwrap().model, crate::model::tests::every_layer());
}

#[test]
fn every_loader_task_and_optimiser_has_a_spelling() {
    let loader = |text: &str| {
        let data = format!("data: {{{text}, classes: 2}}");
        let text = SMALL.replace("data: {loader: csv, file: a.csv, label: y, classes: 2}", &data);
        Plan::parse(&text).unwrap().data.loader.clone()
    };
    let pair = |features: &str, labels: &str| (features.to_owned(), labels.to_owned());
    let (features, labels) = pair("x.npy", "y.npy");
    assert_eq!(loader("loader: npy, features: x.npy, labels: y.npy"), Loader::Npy { features, labels });
    let (features, labels) = pair("d.npz:x", "d.npz:y");
    assert_eq!(loader("loader: npz, file: d.npz, features: x, labels: y"), Loader::Npy { features, labels });
    let (features, labels) = pair("x.idx", "y.idx");
    assert_eq!(loader("loader: idx, features: x.idx, labels: y.idx"), Loader::Idx { features, labels });
    assert_eq!(loader("loader: custom, name: scans"), Loader::Custom { name: "scans".to_owned() });
    let label = Column::Index(-1);
    let csv = Loader::Csv(CsvSpec { header: false, ..CsvSpec::new("a.csv", label) });
    assert_eq!(loader("loader: csv, file: a.csv, header: false, label: -1"), csv);

    let optimiser = |text: &str| {
        let text = SMALL.replace("{sgd: {learning_rate: 0.1}}", text).replace("epochs: 1", "steps: 9");
        match Plan::parse(&text).unwrap().tasks[0].kind.clone() {
            TaskKind::Train(spec) => {
                assert_eq!(spec.length, TrainLength::Steps(9));
                spec.optimiser
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(optimiser("{adam: {learning_rate: 0.001}}"), Optimiser::Adam { learning_rate: 0.001 });
    let adamw = Optimiser::AdamW { learning_rate: 1.0, weight_decay: 0.5 };
    assert_eq!(optimiser("{adamw: {learning_rate: 1, weight_decay: 0.5}}"), adamw);

    let tasks = "  probe: {kind: synthetic, weight: 5}\n  own: {kind: custom, name: mine, rule: weighted_mean}\n\
                 groups:\n  a: {collaborators: [one], tasks: [probe]}\n  b: {collaborators: [two], tasks: [own]}\n  \
                 c: {tasks: [train]}\nhold_out: [fc1.*]\nsample: 2\n";
    let plan = Plan::parse(&format!("{SMALL}{tasks}")).unwrap();
    let probe = TaskSpec {
        name: name("probe"),
        kind: TaskKind::Synthetic { weight: 5, rule: None },
        metrics: vec![],
        server: None,
        threshold: None,
        rows: Rows::Validation,
        when: When::Always,
        loss: None,
    };
    assert_eq!(plan.tasks[1], probe);
    let own = TaskKind::Custom { name: "mine".to_owned(), rule: Some(Rule::WeightedMean) };
    assert_eq!(plan.tasks[2].kind, own);
    assert_eq!(plan.groups[0].collaborators, Some(vec![name("one")]));
    assert_eq!(plan.group_of(&name("three")).unwrap().name, name("c"));
    assert_eq!((plan.sample, plan.hold_out.len()), (Some(2), 1));
}

/// `SMALL` in rounds of at least 30, with further keys of its task.
fn aggregated(keys: &str) -> Result<Plan, PlanError> {
    let text = SMALL.replace("kind: train,", &format!("kind: train, {keys},"));
    Plan::parse(&(text + "quorum: {count: {min: 30}}\n"))
}

#[test]
fn every_rule_has_a_spelling_and_defaults() {
    let rule = |text: &str| aggregated(&format!("rule: {text}")).unwrap().aggregation().unwrap().rule.clone();
    assert_eq!(rule("weighted_mean"), Rule::WeightedMean);
    assert_eq!(rule("{mean: }"), Rule::Mean);
    assert_eq!(rule("{clipped_mean: {norm: 2}}"), Rule::ClippedMean { norm: 2.0 });
    assert_eq!(rule("{median: {}}"), Rule::Median);
    assert_eq!(rule("weighted_median"), Rule::WeightedMedian);
    assert_eq!(rule("{trimmed_mean: {trim: 0.25}}"), Rule::TrimmedMean { trim: 0.25 });
    assert_eq!(rule("{krum: {byzantine: 13}}"), Rule::Krum { byzantine: 13 });
    let multi_krum = |byzantine, keep| Rule::MultiKrum { byzantine, keep };
    assert_eq!(rule("{multi_krum: {byzantine: 1}}"), multi_krum(1, None));
    assert_eq!(rule("{multi_krum: {byzantine: 1, keep: 29}}"), multi_krum(1, Some(29)));
    assert_eq!(rule("{bulyan: {byzantine: 6}}"), Rule::Bulyan { byzantine: 6 });
    let rfa = |iterations, smoothing, scope| Rule::GeometricMedian { iterations, smoothing, scope };
    assert_eq!(rule("geometric_median"), rfa(4, 1e-5, Scope::Model));
    assert_eq!(rule("{geometric_median: }"), rfa(4, 1e-5, Scope::Model));
    let spelt = "{geometric_median: {iterations: 9, smoothing: 0.5, scope: tensor}}";
    assert_eq!(rule(spelt), rfa(9, 0.5, Scope::Tensor));
    assert_eq!(rule("{custom: {name: mine}}"), Rule::Custom { name: "mine".to_owned() });
}

#[test]
fn every_server_and_threshold_has_a_spelling_and_defaults() {
    let server = |text: &str| aggregated(&format!("server: {text}")).unwrap().aggregation().unwrap().server;
    let (learning_rate, beta1, beta2, tau) = (0.1, 0.9, 0.99, 1e-3);
    let momentum = 0.9;
    assert_eq!(server("{fedavgm: {learning_rate: 0.1}}"), Some(Server::FedAvgM { learning_rate, momentum }));
    let adagrad = Server::FedAdagrad { learning_rate, beta1: 0.0, tau };
    assert_eq!(server("{fedadagrad: {learning_rate: 0.1}}"), Some(adagrad));
    let adam = Server::FedAdam { learning_rate, beta1, beta2, tau };
    assert_eq!(server("{fedadam: {learning_rate: 0.1}}"), Some(adam));
    assert_eq!(server("{fedadam: {learning_rate: 0.1, beta1: 0.9, beta2: 0.99, tau: 0.001}}"), Some(adam));
    let yogi = Server::FedYogi { learning_rate, beta1: 0.5, beta2: 0.75, tau: 0.25 };
    assert_eq!(server("{fedyogi: {learning_rate: 0.1, beta1: 0.5, beta2: 0.75, tau: 0.25}}"), Some(yogi));
    assert_eq!(server("{smoothing: {keep: 0.1}}"), Some(Server::Smoothing { keep: 0.1 }));

    let threshold = |text: &str| {
        let plan = aggregated(&format!("threshold: {{task: train, metric: {text}}}")).unwrap();
        let threshold = plan.aggregation().unwrap().threshold.unwrap().clone();
        (threshold.metric, threshold.bound, threshold.direction)
    };
    assert_eq!(threshold("loss, max: 0.5"), (Metric::Loss, 0.5, Direction::Min));
}

#[test]
fn clipped_mean_leaves_bits_to_the_factors() {
    assert_eq!(
        aggregated("rule: {clipped_mean: {norm: 1}}").unwrap().exact,
        ExactRange { value_bits: 16, weight_bits: 19 }
    );
    assert_eq!(aggregated("rule: mean").unwrap().exact, EXACT);
    let with = |exact: &str| {
        let text = SMALL.replace("kind: train,", "kind: train, rule: {clipped_mean: {norm: 1}},");
        Plan::parse(&format!("{text}exact: {exact}\n")).map(|plan| plan.exact.weight_bits)
    };
    assert_eq!(with("{value_bits: 20}").unwrap(), 19);
    assert_eq!(with("{weight_bits: 21}").unwrap(), 21);
    let refusal = with("{weight_bits: 22}").unwrap_err();
    assert_eq!(
        refusal.message,
        "exact.weight_bits is 22; clipped_mean takes at most 21 beside 16 value bits"
    );
    assert!(refusal.hint().unwrap().contains("leave exact.weight_bits out to get 19"));
    // Large values leave fewer bits to the weights.
    assert!(with("{value_bits: 26}").unwrap_err().message.contains("at most 17"));
    assert_eq!(with("{value_bits: 26, weight_bits: 17}").unwrap(), 17);
}

#[test]
fn a_rounds_least_size_is_what_the_rule_needs() {
    let least = |rule: &str| {
        let fits = |min: u32| {
            let text = SMALL.replace("kind: train,", &format!("kind: train, rule: {rule},"));
            Plan::parse(&format!("{text}quorum: {{count: {{min: {min}}}}}\n")).is_ok()
        };
        let least = (1..100).find(|min| fits(*min)).unwrap();
        assert!((least..100).all(fits), "{rule}");
        least
    };
    assert_eq!(least("{krum: {byzantine: 2}}"), 7);
    assert_eq!(least("{multi_krum: {byzantine: 2}}"), 7);
    assert_eq!(least("{multi_krum: {byzantine: 2, keep: 9}}"), 11);
    assert_eq!(least("{bulyan: {byzantine: 2}}"), 11);
    assert_eq!(least("{trimmed_mean: {trim: 0}}"), 1);
    for (trim, needed) in
        [(0.49, 3), (0.4, 3), (0.3, 4), (0.2, 5), (0.15, 7), (0.1, 10), (0.07, 15), (0.02, 50)]
    {
        assert_eq!(least(&format!("{{trimmed_mean: {{trim: {trim}}}}}")), needed, "{trim}");
        assert!((trim * f64::from(needed)).floor() >= 1.0 && (trim * f64::from(needed - 1)).floor() < 1.0);
    }
    assert_eq!(least("geometric_median"), 1);
}

#[test]
fn rules_servers_and_thresholds_are_told_in_words() {
    let told = |keys: &str| {
        let plan = aggregated(keys).unwrap();
        let aggregation = plan.aggregation().unwrap();
        let server = aggregation.server.map(|s| s.to_string());
        (aggregation.rule.to_string(), server, aggregation.threshold.map(ToString::to_string))
    };
    let rule = |text: &str| told(&format!("rule: {text}")).0;
    assert_eq!(rule("weighted_mean"), "weighted_mean");
    assert_eq!(rule("{trimmed_mean: {trim: 0.2}}"), "trimmed_mean, trim 0.2");
    assert_eq!(rule("{multi_krum: {byzantine: 1}}"), "multi_krum, byzantine 1, keep all but 1");
    assert_eq!(rule("{multi_krum: {byzantine: 1, keep: 3}}"), "multi_krum, byzantine 1, keep 3");
    assert_eq!(rule("geometric_median"), "geometric_median over the model, iterations 4, smoothing 1e-5");
    assert_eq!(rule("{custom: {name: mine}}"), "custom mine");
    let all = "server: {fedadam: {learning_rate: 0.1}}, threshold: {task: train, metric: loss, max: 0.5}";
    let (_, server, threshold) = told(all);
    assert_eq!(server.unwrap(), "fedadam, learning rate 0.1, beta1 0.9, beta2 0.99, tau 0.001");
    assert_eq!(threshold.unwrap(), "loss of train at most 0.5");
}

#[test]
fn every_release_has_a_spelling_and_is_told_in_words() {
    let release = |line: &str| Plan::parse(&format!("{SMALL}{line}\n")).unwrap().release;
    assert_eq!(release(""), None);
    let digits = "0123456789abcdef".repeat(4);
    let key = ReleaseTo::Key(digits.parse().unwrap());
    for (what, to, line) in [
        (Released::Last, ReleaseTo::Members, "release: {to: members}".to_owned()),
        (Released::Last, ReleaseTo::Host, "release: {what: last, to: host}".to_owned()),
        (Released::Best, ReleaseTo::Host, "release: {to: host, what: best}".to_owned()),
        (Released::Each, ReleaseTo::Members, "release: {what: each, to: members}".to_owned()),
        (Released::Best, ReleaseTo::Members, "release: {what: best, to: members}".to_owned()),
        (Released::Best, key, format!("release: {{what: best, to: key:{digits}}}")),
        (Released::Last, key, format!("release:\n  to: \"key:{}\"", digits.to_uppercase())),
    ] {
        assert_eq!(release(&line), Some(Release { what, to }), "{line}");
    }
    let told = Release { what: Released::Each, to: key }.to_string();
    assert_eq!(told, format!("each, to key:{digits}"));
}

#[test]
fn saved_state_belongs_to_one_image_unless_the_plan_gives_it_to_the_signer() {
    let seal = |line: &str| Plan::parse(&format!("{SMALL}{line}\n")).unwrap().seal;
    for line in ["", "enclave: {}", "enclave: {seal: mrenclave}"] {
        assert_eq!(seal(line), Seal::Enclave, "{line}");
    }
    assert_eq!(seal("enclave: {seal: mrsigner}"), Seal::Signer);
    let plan = Plan::parse(&format!("{SMALL}enclave: {{seal: mrenclave}}\n")).unwrap();
    assert_eq!(plan.hash(), Plan::parse(SMALL).unwrap().hash(), "the default changes no hash");
    assert!(Seal::Signer.to_string().starts_with("mrsigner: later images signed by the same key"));
}

#[test]
fn documented_example_is_a_plan() {
    let doc = include_str!("../../plan.rs");
    let yaml = doc.split("```yaml\n").nth(1).unwrap().split("//! ```").next().unwrap();
    let yaml: String = yaml.lines().map(|line| format!("{}\n", &line[4.min(line.len())..])).collect();
    let plan = Plan::parse(&format!("schema: 1\nfederation: doc\nrounds: 1\n{yaml}")).unwrap();
    assert_eq!((plan.model.layers.len(), plan.tasks.len(), plan.groups.len()), (8, 3, 2));
}

/// `SMALL` with one text replaced; the refusal and its hint.
fn refusal(from: &str, to: &str) -> String {
    assert!(SMALL.contains(from), "{from}");
    let error = Plan::parse(&SMALL.replacen(from, to, 1)).unwrap_err();
    let hint = error.hint().map(|hint| format!(" | {hint}")).unwrap_or_default();
    format!("{error}{hint}")
}

#[test]
fn refusal_names_line_column_what_is_allowed_and_the_nearest_name() {
    let unknown = refusal("rounds: 3", "roudns: 3");
    assert!(
        unknown.starts_with("plan/plan.yaml:3:1: unknown key \"roudns\"; allowed here: schema, federation"),
        "{unknown}"
    );
    assert!(unknown.ends_with(" | did you mean \"rounds\"?"), "{unknown}");
    assert_eq!(
        refusal("rounds: 3", "rounds: ten"),
        "plan/plan.yaml:3:9: rounds is the text \"ten\"; it takes a whole number of 1 to 1000000"
    );
    assert_eq!(
        refusal("rounds: 3", "rounds: 3\nrounds: 4"),
        "plan/plan.yaml:4:1: the key \"rounds\" is given twice; first in line 3"
    );
    assert_eq!(
        refusal("metrics: [loss]", "metrics: [loss, acuracy]"),
        "plan/plan.yaml:7:122: tasks.train.metrics[1] is \"acuracy\"; it takes one of accuracy, loss, auc, rmse, dice, iou, f1, sensitivity, specificity, precision, \
             top_2, top_3, top_5, top_10, mae, r2 \
         | did you mean \"accuracy\"?"
    );
    assert_eq!(
        refusal("hidden: [8], outputs: 2", "hidden: [8], outputs: 3"),
        "plan/plan.yaml:7:91: the model's output has the shape [3]; the loss cross_entropy over 2 classes takes [2]"
    );
}

#[test]
fn loss_metrics_and_output_have_to_fit_together() {
    let refusal = |loss: &str, outputs: &str, metrics: &str| {
        let text = SMALL
            .replace("loss: cross_entropy", &format!("loss: {loss}"))
            .replace("outputs: 2", &format!("outputs: {outputs}"))
            .replace("metrics: [loss]", &format!("metrics: [{metrics}]"));
        Plan::parse(&text).unwrap_err().message
    };
    assert_eq!(
        refusal("cross_entropy", "2", "rmse"),
        "the task train cannot report rmse, which needs a regression: the loss mse, l1 or huber"
    );
    assert_eq!(
        refusal("mse", "1", "loss, accuracy"),
        "the task train cannot report accuracy, which needs classes: a cross-entropy loss"
    );
    assert_eq!(
        refusal("mse", "2", "loss"),
        "the model's output has the shape [2]; the loss mse takes [1], or any output without data.classes"
    );
    assert_eq!(
        refusal("binary_cross_entropy", "2", "loss"),
        "the model's output has the shape [2]; the loss binary_cross_entropy takes [1], and 2 classes"
    );
}

#[test]
fn a_plan_that_only_measures_says_by_which_loss() {
    let with = |train: &str, loss: &str| {
        let text = "schema: 1\nfederation: a\nrounds: 1\n\
            model: {input: [1, 4, 4], layers: [{conv2d: {name: a, out: 1, kernel: 1}}, sigmoid]}\n\
            data: {loader: npy, features: x.npy, labels: y.npy}\n\
            tasks:\n  check: {kind: validate, model: aggregated, metrics: [dice], loss: LOSS}\nTRAIN"
            .replace("TRAIN", train)
            .replace("LOSS", loss);
        Plan::parse(&text).map_err(|refusal| refusal.message)
    };
    let plan = with("", "dice").unwrap();
    assert_eq!((plan.loss(), plan.training_rounds()), (Loss::Dice { logits: false }, 0));
    assert_eq!(plan.label_shape().unwrap(), [1, 4, 4]);
    assert!(with("", "mse").unwrap_err().starts_with("the task check cannot report dice"));
    let train =
        "  train: {kind: train, epochs: 1, batch: 1, optimiser: {adam: {learning_rate: 1}}, loss: dice}\n";
    assert!(with(train, "dice").is_ok());
    let refused = with(train, "binary_cross_entropy").unwrap_err();
    assert_eq!(refused, "the task check has the loss binary_cross_entropy, and validations report dice");
}

#[test]
fn a_task_of_the_end_decides_nothing_and_has_rows() {
    let with = |split: &str, task: &str, more: &str| {
        let text = SMALL
            .replace("label: y, classes: 2}", &format!("label: y, classes: 2, split: {split}}}"))
            .replace(
                "tasks:\n",
                &format!("tasks:\n  last: {{kind: validate, metrics: [accuracy], {task}}}\n"),
            );
        Plan::parse(&format!("{text}{more}")).map_err(|refusal| refusal.message)
    };
    let (three, two) = ("{train: 0.6, validation: 0.2, test: 0.2}", "{train: 0.8, validation: 0.2, test: 0}");
    let plan = with(three, "model: aggregated, rows: test, when: end", "").unwrap();
    assert_eq!((plan.tasks[0].rows, plan.tasks[0].when), (Rows::Test, When::End));
    assert_eq!(plan.best.task.as_str(), "train", "the best model is not chosen by a task of the end");
    let refused = with(two, "model: aggregated, rows: test", "").unwrap_err();
    assert_eq!(refused, "data.split.test is 0, and the task last needs test rows");
    let refused = with(three, "model: locally_tuned, when: end", "").unwrap_err();
    assert!(refused.ends_with("measures the locally tuned model, which the end does not have"), "{refused}");
    let best = "best: {task: last, metric: accuracy}\n";
    let refused = with(three, "model: aggregated, when: end", best).unwrap_err();
    assert_eq!(refused, "the task last runs at the end alone, and best compares the models of all rounds");
}

#[test]
fn frozen_tensors_exist_and_leave_something_to_train() {
    let with = |freeze: &str| {
        let text = SMALL.replace("loss: cross_entropy", &format!("loss: cross_entropy, freeze: {freeze}"));
        Plan::parse(&text).map_err(|refusal| (refusal.message, refusal.hint.unwrap()))
    };
    assert!(with("[\"fc1.*\"]").is_ok());
    let (message, hint) = with("[fc1.wieght]").unwrap_err();
    assert_eq!(message, "the model has no tensor \"fc1.wieght\" to freeze");
    assert_eq!(hint, "did you mean \"fc1.weight\"?");
    let (message, _) = with("[\"*\"]").unwrap_err();
    assert_eq!(message, "the task train freezes every tensor: nothing is left to train");
}

#[test]
fn a_warm_up_ends_before_the_run_does() {
    let with = |schedule: &str| {
        let text =
            SMALL.replace("loss: cross_entropy", &format!("loss: cross_entropy, schedule: {schedule}"));
        Plan::parse(&text).map_err(|refusal| (refusal.message, refusal.hint))
    };
    let rounds = Plan::parse(SMALL).unwrap().rounds;
    assert!(with(&format!("{{cosine: {{warm_up: {}}}}}", rounds - 1)).is_ok());
    assert!(with("{step: {every: 2, by: steps, warm_up: 500}}").is_ok());
    let (message, hint) = with(&format!("{{cosine: {{warm_up: {rounds}}}}}")).unwrap_err();
    assert_eq!(message, format!("the warm-up takes {rounds} rounds, and there are {rounds}"));
    assert!(hint.unwrap().starts_with("lower warm_up below"));
    assert!(with("step").unwrap_err().0.ends_with("schedule is step, which needs the keys every"));
    assert!(with("cosin").unwrap_err().1.unwrap().contains("cosine"));
}

#[test]
fn aliases_depth_and_size_are_refused_before_they_cost_anything() {
    let bomb = "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b]\n";
    let refusal = Plan::parse(bomb).unwrap_err();
    assert_eq!((refusal.line, refusal.column), (1, 7));
    assert!(refusal.message.starts_with("anchors (&) and aliases (*) are not allowed"), "{refusal}");
    let merge = Plan::parse("<<: {a: 1}\n").unwrap_err();
    assert_eq!(merge.line, 1);
    let deep = "[".repeat(100_000);
    assert!(Plan::parse(&deep).is_err());
    let long = "#".repeat(crate::limits::PLAN_FILE_BYTES + 1);
    assert_eq!(
        Plan::parse(&long).unwrap_err().to_string(),
        "plan/plan.yaml:1:1: the file has 1048577 bytes; it takes at most 1048576"
    );
    let wide = format!("[{}]", "1,".repeat(400_000));
    assert!(Plan::parse(&wide).unwrap_err().message.contains("more than"));
}

#[test]
fn what_multiplies_is_bounded() {
    let groups: String = (0..=crate::limits::GROUPS).map(|n| format!("  g{n}: {{}}\n")).collect();
    let refusal = Plan::parse(&format!("{SMALL}groups:\n{groups}")).unwrap_err();
    assert_eq!(refusal.message, "groups has 257 entries; it takes at most 256");
    let names = vec!["fc1.*"; crate::limits::HOLD_OUT + 1].join(", ");
    let refusal = Plan::parse(&format!("{SMALL}hold_out: [{names}]\n")).unwrap_err();
    assert_eq!(
        (refusal.line, refusal.message.as_str()),
        (8, "hold_out has 1025 entries; it takes at most 1024")
    );
    let tasks: String = (0..crate::limits::TASKS).map(|n| format!("  t{n}: {{kind: synthetic}}\n")).collect();
    let refusal = Plan::parse(&format!("{SMALL}{tasks}")).unwrap_err();
    assert_eq!(refusal.message, "tasks has 65 entries; it takes at most 64");
}

#[test]
fn no_text_makes_the_parser_panic() {
    for text in [BREAST_CANCER, SMALL] {
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            let _ = Plan::parse(&text[..end]);
        }
    }
    for (at, _) in SMALL.char_indices() {
        for strange in ["\0", "\t", "{", "}", "[", "&", "*", "!", "|", "-", ": ", "é", "\u{feff}", "'", "\n"]
        {
            let mut text = SMALL.to_owned();
            text.replace_range(at..at + 1, strange);
            let _ = Plan::parse(&text);
        }
    }
    for text in ["", "~", "1", "[]", "{}", "---\n---\n", "\u{feff}schema: 1", "? [a]\n: b", "schema: .nan"] {
        assert!(Plan::parse(text).is_err(), "{text:?}");
    }
}

const BREAST_CANCER: &str = include_str!("../../../../../host-tools/src/templates/breast_cancer/plan.yaml");
const DIGITS: &str = include_str!("../../../../../host-tools/src/templates/digits/plan.yaml");
const QUORUM: Quorum = Quorum {
    count_min: 1,
    count_max: None,
    time_min: Millis(0),
    time_max: Millis(600_000),
    short: Short::Wait,
};
const EXACT: ExactRange = ExactRange { value_bits: 16, weight_bits: 29 };
const THREADS: Threads = Threads { link: 2, cpu: 2 };
const SPLIT: Split = Split { train: 0.8, validation: 0.2, test: 0.0 };
/// The least that a plan says.
const SMALL: &str = "\
schema: 1
federation: small
rounds: 3
model: {network: mlp, input: [4], hidden: [8], outputs: 2}
data: {loader: csv, file: a.csv, label: y, classes: 2}
tasks:
  train: {kind: train, epochs: 1, batch: 4, optimiser: {sgd: {learning_rate: 0.1}}, loss: cross_entropy, metrics: [loss]}
";
