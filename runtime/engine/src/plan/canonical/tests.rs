use super::{
    value::{Fields, framed, record},
    *,
};
use crate::{
    ByteCount, Millis, Name,
    model::{Layer, ModelSpec},
    plan::{
        Backend, By, Category, Coding, Column, CsvSpec, Decimal, Direction, Federated, Fill, Keep, LabelCode,
        Loader, Loss, Metric, MetricsTo, ModelUnderTest, NamedNumber, OfAggregator, OfCollaborators,
        Optimiser, OptimiserState, PublicKey, Release, ReleaseTo, Released, Rows, Schedule, Seal, Separator,
        Short, Standardise, Stop, TaskGroup, TaskKind, TaskSpec, TrainLength, TrainSpec, When,
    },
};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

#[test]
fn templates_have_the_hashes_of_the_first_release() {
    let hash = |text: &str| Plan::parse(&unreleased(text)).unwrap().hash().to_string();
    assert_eq!(hash(BREAST_CANCER), "704a262f76d0d2f43ea5903a9f38574f0fe7addc07bccf22815b9b13a1439e63");
    assert_eq!(hash(DIGITS), "9ccfcb5e2f36f2119c920273f8c181b08dbb181d793a22fe57979fac16637bdf");
}

/// A template without `release` and `limits.rows`, which the first release did not have.
fn unreleased(template: &str) -> String {
    let text = template.replace("release: {what: last, to: members}\n", "");
    let first = text.replace(", rows: 1000}", "}").replace(", rows: 2000}", "}");
    assert!(text != template && first != text);
    first
}

#[test]
fn templates_have_these_hashes() {
    let hash = |text: &str| Plan::parse(text).unwrap().hash().to_string();
    assert_eq!(hash(BREAST_CANCER), "cae3de092b52e2585994a30eb0ef2b6f3842cd1d544669bd36abc36e313524bc");
    assert_eq!(hash(DIGITS), "a93597b3bdcdd030d6b1d754406c807f96ddbfe920e191e66b3ea51587537bcf");
}

#[test]
fn plan_that_asks_for_no_quotes_has_the_hash_of_one_without_the_key() {
    let with = |lines: &str| Plan::parse(&format!("{BREAST_CANCER}{lines}")).unwrap();
    let plain = with("").hash();
    for none in ["attestation: {}\n", "attestation: {aggregator: none, collaborators: none}\n"] {
        assert_eq!(with(none).hash(), plain, "{none}");
    }
    let asks = with("attestation: {aggregator: required, collaborators: optional}\n");
    assert_ne!(asks.hash(), plain);
    assert_eq!(Plan::from_canonical(&asks.canonical()).as_ref(), Ok(&asks));
    let refused =
        Plan::parse(&format!("{BREAST_CANCER}attestation: {{aggregator: optional}}\n")).unwrap_err();
    assert!(refused.to_string().contains("none, required"), "{refused}");
}

/// The breast cancer template with other lines for its rule, in a round of seven.
fn aggregated(lines: &str) -> Plan {
    let text = unreleased(BREAST_CANCER)
        .replacen("rule: weighted_mean\n", &format!("{lines}\n"), 1)
        .replacen("count: {min: 2, max: 3}", "count: {min: 7, max: 9}", 1)
        .replacen("exact: {value_bits: 16, weight_bits: 29}\n", "", 1);
    Plan::parse(&text).unwrap()
}

#[test]
fn rules_servers_and_thresholds_keep_their_hashes() {
    let plain = aggregated("rule: weighted_mean");
    assert_eq!(aggregated(""), plain, "the default");
    let mut hashes = Vec::new();
    let mut found = String::new();
    for line in AGGREGATIONS.lines() {
        let (lines, _) = line.rsplit_once(" # ").unwrap();
        let plan = aggregated(&lines.replace("; ", "\n    "));
        assert_eq!(Plan::from_canonical(&plan.canonical()).as_ref(), Ok(&plan), "{lines}");
        hashes.push(plan.hash());
        found += &format!("{lines} # {}\n", plan.hash().short());
    }
    assert_eq!(found, AGGREGATIONS);
    let all = hashes.len();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), all, "two plans share a hash");
}

#[test]
fn losses_and_metrics_keep_their_numbers() {
    let bytes = |loss: Loss| {
        let mut out = Vec::new();
        Canonical::write(&loss, &mut out);
        assert_eq!(<Loss as Canonical>::read(&out), Ok(loss));
        out
    };
    assert_eq!(bytes(Loss::cross_entropy()), [0], "as in the first release");
    let weighted = bytes(Loss::CrossEntropy { weights: vec![2.0], smoothing: 0.5 });
    let two = [&[8, 0, 0, 0][..], &2f64.to_le_bytes()].concat();
    let smoothing = [&[2, 8, 0, 0, 0][..], &0.5f64.to_le_bytes()].concat();
    assert_eq!(weighted, [&[0, 1, 12, 0, 0, 0][..], &two, &smoothing].concat());
    let numbers = [Loss::BinaryCrossEntropy, Loss::Mse, Loss::BceDice, Loss::L1].map(|loss| bytes(loss)[0]);
    assert_eq!(numbers, [1, 2, 4, 6]);
    assert_eq!(bytes(Loss::Dice { logits: true }), [3, 1, 1, 0, 0, 0, 1]);
    assert_eq!(
        [bytes(Loss::Focal { gamma: 2.0, alpha: 0.25 })[0], bytes(Loss::Huber { delta: 1.0 })[0]],
        [5, 7]
    );
    for (number, metric) in Metric::ALL.iter().enumerate() {
        let mut out = Vec::new();
        metric.write(&mut out);
        assert_eq!(out, [number as u8]);
    }
}

#[test]
fn canonical_bytes_begin_as_documented() {
    let plan = Plan::parse(DIGITS).unwrap();
    // federation, no ca, rounds, seed, then model: input [1, 8, 8].
    let start = b"\x01\x06\0\0\0digits\x03\x04\0\0\0\x0a\0\0\0\x04\x08\0\0\0\x07\0\0\0\0\0\0\0\x05";
    let bytes = plan.canonical();
    assert_eq!(&bytes[..start.len()], start);
    let input = b"\x01\x18\0\0\0\x04\0\0\0\x01\0\0\0\x04\0\0\0\x08\0\0\0\x04\0\0\0\x08\0\0\0\x02";
    assert_eq!(&bytes[start.len() + 4..][..input.len()], input);
}

/// A plan with at least one of everything that has fields.
fn full() -> PlanDraft {
    let mut plan = PlanDraft::parse(BREAST_CANCER).unwrap();
    plan.ca = Some(Digest::of(b"ca"));
    plan.row_limit = None;
    plan.sample = Some(2);
    plan.hold_out = vec!["fc2.*".to_owned()];
    plan.groups.push(TaskGroup {
        name: name("some"),
        collaborators: Some(vec![name("one"), name("two")]),
        tasks: vec![name("aggregated_model_validation")],
    });
    plan
}

fn release(what: Released, to: ReleaseTo) -> Option<Release> {
    Some(Release { what, to })
}

fn train(plan: &mut PlanDraft) -> &mut TrainSpec {
    let train = plan.tasks.iter_mut().find_map(|task| match &mut task.kind {
        TaskKind::Train(spec) => Some(spec),
        _ => None,
    });
    train.unwrap()
}

fn csv(plan: &mut PlanDraft) -> &mut CsvSpec {
    match &mut plan.data.loader {
        Loader::Csv(spec) => spec,
        other => panic!("{other:?}"),
    }
}

fn named(name: &str, number: f64) -> NamedNumber {
    NamedNumber { name: name.to_owned(), number }
}

fn category(plan: &mut PlanDraft, coding: Coding) {
    csv(plan).categories = vec![Category { column: "a".to_owned(), coding }];
}

#[test]
fn every_field_changes_the_hash() {
    type Change = fn(&mut PlanDraft);
    let layers = |plan: &mut PlanDraft, layer: Layer| plan.model.layers[0] = layer;
    let changes: &[Change] = &[
        |p| p.federation = name("other"),
        |p| p.ca = None,
        |p| p.ca = Some(Digest::of(b"other")),
        |p| p.rounds += 1,
        |p| p.seed += 1,
        |p| p.model.input = vec![31],
        |p| p.model.input = vec![30, 1, 1],
        |p| p.model.layers.truncate(2),
        |p| p.model.layers.swap(0, 2),
        |p| p.model.from = vec![vec![0]],
        |p| p.model.from = vec![vec![1]],
        |p| p.model.from = vec![vec![0, 1]],
        |p| p.model.from = vec![vec![0], vec![1]],
        |p| p.data.loader = Loader::Npy { features: "a".to_owned(), labels: "b".to_owned() },
        |p| p.data.loader = Loader::Npy { features: "b".to_owned(), labels: "a".to_owned() },
        |p| p.data.loader = Loader::Idx { features: "a".to_owned(), labels: "b".to_owned() },
        |p| p.data.loader = Loader::Custom { name: "a".to_owned() },
        |p| p.data.loader = Loader::Custom { name: "b".to_owned() },
        |p| csv(p).file.push('x'),
        |p| csv(p).header = false,
        |p| csv(p).label = Column::Name("other".to_owned()),
        |p| csv(p).label = Column::Index(0),
        |p| csv(p).label = Column::Index(-1),
        |p| csv(p).features = Some(vec!["a".to_owned()]),
        |p| csv(p).features = Some(vec!["a".to_owned(), "b".to_owned()]),
        |p| csv(p).ignore = vec!["a".to_owned()],
        |p| csv(p).separator = Separator::Semicolon,
        |p| csv(p).separator = Separator::Tab,
        |p| csv(p).separator = Separator::Space,
        |p| csv(p).separator = Separator::Pipe,
        |p| csv(p).decimal = Decimal::Comma,
        |p| csv(p).skip = 1,
        |p| csv(p).label_file = Some("a".to_owned()),
        |p| csv(p).labels = vec![LabelCode { text: "a".to_owned(), class: 0 }],
        |p| csv(p).labels = vec![LabelCode { text: "a".to_owned(), class: 1 }],
        |p| csv(p).labels = vec![LabelCode { text: "b".to_owned(), class: 1 }],
        |p| category(p, Coding::Numbers(vec![named("a", 0.0)])),
        |p| category(p, Coding::Numbers(vec![named("a", 1.0)])),
        |p| category(p, Coding::OneHot(vec!["a".to_owned()])),
        |p| csv(p).missing.drop_row = 1,
        |p| csv(p).missing.fill = Some(Fill::Mean),
        |p| csv(p).missing.fill = Some(Fill::Number(0.0)),
        |p| csv(p).missing.fill = Some(Fill::Number(1.0)),
        |p| csv(p).missing.fill = Some(Fill::Columns(vec![named("a", 0.0)])),
        |p| p.data.standardise = None,
        |p| p.data.standardise = Some(Standardise::new(&[0.0], &[1.0])),
        |p| p.data.standardise = Some(Standardise::new(&[0.0], &[2.0])),
        |p| p.data.standardise = Some(Standardise::new(&[1.6e9], &[1.0])),
        |p| p.data.standardise = Some(Standardise::new(&[1.6e9 + 1.0], &[1.0])),
        |p| (p.data.standardise, p.data.federated) = (None, Some(Federated { least: 10 })),
        |p| (p.data.standardise, p.data.federated) = (None, Some(Federated { least: 11 })),
        |p| p.data.split.train = 0.7,
        |p| p.data.split.validation = 0.3,
        |p| p.data.split.test = 0.1,
        |p| p.data.classes = None,
        |p| p.data.classes = Some(3),
        |p| p.tasks.swap(0, 1),
        |p| p.tasks[0].name = name("other"),
        |p| p.tasks[0].kind = TaskKind::Validate(ModelUnderTest::LocallyTuned),
        |p| p.tasks[0].kind = TaskKind::Synthetic { weight: 1, rule: None },
        |p| p.tasks[0].kind = TaskKind::Synthetic { weight: 2, rule: None },
        |p| p.tasks[0].kind = TaskKind::Custom { name: "a".to_owned(), rule: None },
        |p| p.tasks[0].kind = TaskKind::Custom { name: "b".to_owned(), rule: None },
        |p| p.tasks[0].kind = TaskKind::Custom { name: "a".to_owned(), rule: Some(train(p).rule.clone()) },
        |p| p.tasks[0].rows = Rows::Test,
        |p| p.tasks[0].when = When::End,
        |p| p.tasks[0].loss = Some(Loss::Mse),
        |p| p.tasks[0].metrics = vec![Metric::Loss],
        |p| p.tasks[0].metrics = vec![Metric::Loss, Metric::Accuracy],
        |p| p.tasks[0].metrics = vec![Metric::Auc],
        |p| p.tasks[0].metrics = vec![Metric::Rmse],
        |p| {
            p.tasks.push(TaskSpec {
                name: name("x"),
                kind: p.tasks[0].kind.clone(),
                metrics: vec![],
                server: None,
                threshold: None,
                rows: Rows::Validation,
                when: When::Always,
                loss: None,
            })
        },
        |p| train(p).length = TrainLength::Epochs(2),
        |p| train(p).length = TrainLength::Steps(2),
        |p| train(p).batch += 1,
        |p| train(p).optimiser = Optimiser::Sgd { learning_rate: 0.2, momentum: 0.9, weight_decay: 0.0 },
        |p| train(p).optimiser = Optimiser::Sgd { learning_rate: 0.1, momentum: 0.8, weight_decay: 0.0 },
        |p| train(p).optimiser = Optimiser::Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.1 },
        |p| train(p).optimiser = Optimiser::Adam { learning_rate: 0.1 },
        |p| train(p).optimiser = Optimiser::Adam { learning_rate: 0.2 },
        |p| train(p).optimiser = Optimiser::AdamW { learning_rate: 0.1, weight_decay: 0.0 },
        |p| train(p).optimiser = Optimiser::AdamW { learning_rate: 0.2, weight_decay: 0.0 },
        |p| train(p).optimiser = Optimiser::AdamW { learning_rate: 0.1, weight_decay: 0.1 },
        |p| train(p).loss = Loss::BinaryCrossEntropy,
        |p| train(p).loss = Loss::Mse,
        |p| train(p).loss = Loss::CrossEntropy { weights: vec![1.0, 2.0], smoothing: 0.0 },
        |p| train(p).loss = Loss::CrossEntropy { weights: vec![2.0, 1.0], smoothing: 0.0 },
        |p| train(p).loss = Loss::CrossEntropy { weights: vec![], smoothing: 0.1 },
        |p| train(p).loss = Loss::CrossEntropy { weights: vec![], smoothing: 0.2 },
        |p| train(p).loss = Loss::Dice { logits: false },
        |p| train(p).loss = Loss::Dice { logits: true },
        |p| train(p).loss = Loss::BceDice,
        |p| train(p).loss = Loss::Focal { gamma: 2.0, alpha: 0.25 },
        |p| train(p).loss = Loss::Focal { gamma: 1.0, alpha: 0.25 },
        |p| train(p).loss = Loss::Focal { gamma: 2.0, alpha: 0.5 },
        |p| train(p).loss = Loss::L1,
        |p| train(p).loss = Loss::Huber { delta: 1.0 },
        |p| train(p).loss = Loss::Huber { delta: 2.0 },
        |p| train(p).fedprox_mu = 0.1,
        |p| train(p).clip_norm = Some(1.0),
        |p| train(p).clip_norm = Some(2.0),
        |p| train(p).accumulate = 2,
        |p| train(p).freeze = vec!["fc1.bias".to_owned()],
        |p| train(p).freeze = vec!["fc1.weight".to_owned()],
        |p| train(p).schedule = Some(Schedule::Constant { warm_up: 1, by: By::Rounds }),
        |p| train(p).schedule = Some(Schedule::Constant { warm_up: 2, by: By::Rounds }),
        |p| train(p).schedule = Some(Schedule::Constant { warm_up: 1, by: By::Steps }),
        |p| train(p).schedule = Some(Schedule::Step { every: 2, factor: 0.1, warm_up: 1, by: By::Rounds }),
        |p| train(p).schedule = Some(Schedule::Step { every: 3, factor: 0.1, warm_up: 1, by: By::Rounds }),
        |p| train(p).schedule = Some(Schedule::Step { every: 2, factor: 0.5, warm_up: 1, by: By::Rounds }),
        |p| train(p).schedule = Some(Schedule::Cosine { least: 0.0, warm_up: 1, by: By::Rounds }),
        |p| train(p).schedule = Some(Schedule::Cosine { least: 0.1, warm_up: 1, by: By::Rounds }),
        |p| p.groups.swap(0, 1),
        |p| p.groups[1].name = name("other"),
        |p| p.groups[1].collaborators = None,
        |p| p.groups[1].collaborators = Some(vec![]),
        |p| p.groups[1].collaborators = Some(vec![name("two"), name("one")]),
        |p| p.groups[1].tasks = vec![name("train")],
        |p| p.quorum.count_min += 1,
        |p| p.quorum.count_max = None,
        |p| p.quorum.count_max = Some(4),
        |p| p.quorum.time_min = Millis(1),
        |p| p.quorum.time_max = Millis(1),
        |p| p.quorum.short = Short::End,
        |p| p.sample = None,
        |p| p.sample = Some(3),
        |p| p.optimiser_state = OptimiserState::ContinueLocal,
        |p| p.optimiser_state = OptimiserState::ContinueGlobal,
        |p| p.hold_out.clear(),
        |p| p.hold_out.push("fc1.bias".to_owned()),
        |p| p.exact.value_bits -= 1,
        |p| p.exact.weight_bits -= 1,
        |p| p.best.task = name("train"),
        |p| p.best.metric = Metric::Loss,
        |p| p.best.direction = Direction::Min,
        |p| p.best.against_habit = true,
        |p| p.memory_budget = ByteCount(1),
        |p| p.spill_budget = ByteCount(1),
        |p| p.row_limit = Some(1),
        |p| p.row_limit = Some(2),
        |p| p.threads.link += 1,
        |p| p.threads.cpu += 1,
        |p| p.metrics = MetricsTo::Host,
        |p| p.metrics = MetricsTo::None,
        |p| p.release = None,
        |p| p.release = release(Released::Last, ReleaseTo::Host),
        |p| p.release = release(Released::Best, ReleaseTo::Host),
        |p| p.release = release(Released::Each, ReleaseTo::Host),
        |p| p.release = release(Released::Last, ReleaseTo::Key(PublicKey([1; 32]))),
        |p| p.release = release(Released::Last, ReleaseTo::Key(PublicKey([2; 32]))),
        |p| p.seal = Seal::Signer,
        |p| p.backend = Backend::Burn,
        |p| p.attestation.aggregator = OfAggregator::Required,
        |p| p.attestation.collaborators = OfCollaborators::Optional,
        |p| p.attestation.collaborators = OfCollaborators::Required,
        |p| p.keep = Some(Keep { every: 1, most: None }),
        |p| p.keep = Some(Keep { every: 2, most: None }),
        |p| p.keep = Some(Keep { every: 2, most: Some(2) }),
        |p| p.stop = Some(Stop { patience: Some(1), target: None }),
        |p| p.stop = Some(Stop { patience: Some(2), target: None }),
        |p| p.stop = Some(Stop { patience: None, target: Some(0.5) }),
        |p| p.stop = Some(Stop { patience: None, target: Some(0.6) }),
    ];
    let mut hashes = vec![full().hash()];
    for change in changes {
        let mut plan = full();
        change(&mut plan);
        hashes.push(plan.hash());
    }
    let mut every: Vec<String> = Vec::new();
    // Every word with its settings; then again with each setting changed.
    for word in LAYERS.lines() {
        let (word, settings) = word.split_once(": ").unwrap_or((word, ""));
        let keys: Vec<(&str, &str)> = settings.split("; ").filter_map(|key| key.split_once(' ')).collect();
        for changed in 0..=keys.len() {
            let value = |(n, (key, values)): (usize, &(&str, &str))| {
                let (first, other) = values.split_once(" or ").unwrap();
                format!("{key}: {}", if n + 1 == changed { other } else { first })
            };
            let settings: Vec<String> = keys.iter().enumerate().map(value).collect();
            every.push(format!("{{{word}: {{{}}}}}", settings.join(", ")).replace(": {}}", ": }"));
        }
    }
    for layer in every {
        let mut plan = full();
        let spec = ModelSpec::parse(&format!("{{input: [1], layers: [{layer}]}}"));
        layers(&mut plan, spec.unwrap_or_else(|e| panic!("{layer}: {e}")).layers.remove(0));
        hashes.push(plan.hash());
    }
    let all = hashes.len();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), all, "two plans share a hash");
}

#[test]
fn bytes_are_read_back_and_checked() {
    for plan in [full().check().unwrap(), Plan::parse(DIGITS).unwrap()] {
        assert_eq!(Plan::from_canonical(&plan.canonical()), Ok(plan));
    }
    let mut plan = full();
    plan.best.task = name("nobody");
    let refusal = Plan::from_canonical(&plan.canonical()).unwrap_err().to_string();
    assert!(refusal.starts_with("the plan is refused: no task is named \"nobody\""), "{refusal}");
    assert_eq!(
        Plan::from_canonical(&vec![0; limits::CANONICAL_PLAN_BYTES + 1]),
        Err(CanonicalError::TooLong(limits::CANONICAL_PLAN_BYTES + 1))
    );
}

#[test]
fn seal_is_a_later_field() {
    let mut plan = full();
    let before = plan.canonical();
    plan.seal = Seal::Signer;
    let bytes = plan.canonical();
    assert_eq!(bytes, [&before[..], &[20, 1, 0, 0, 0, 1]].concat());
    assert_eq!(Plan::from_canonical(&bytes), Ok(plan.check().unwrap()));
    // The default is written by leaving it out, and in no other way.
    let spelled = [&before[..], &[20, 1, 0, 0, 0, 0]].concat();
    assert_eq!(Plan::from_canonical(&spelled), Err(CanonicalError::Form));
}

#[test]
fn no_other_bytes_give_the_same_plan() {
    let plan = full().check().unwrap();
    let bytes = plan.canonical();
    // A field that may be left out is the last: without it the bytes are another plan's.
    let unreleased = plan.edited(|plan| plan.release = None).unwrap();
    let another = unreleased.canonical().len();
    for end in 0..bytes.len() {
        let expected = if end == another { Ok(unreleased.clone()) } else { Err(CanonicalError::Form) };
        assert_eq!(Plan::from_canonical(&bytes[..end]), expected, "cut at {end}");
    }
    for at in 0..bytes.len() {
        for bit in [1, 0x80] {
            let mut other = bytes.clone();
            other[at] ^= bit;
            assert_ne!(Plan::from_canonical(&other).as_ref(), Ok(&plan), "byte {at}");
        }
    }
    let mut longer = bytes;
    longer.push(0);
    assert_eq!(Plan::from_canonical(&longer), Err(CanonicalError::Form));
}

#[derive(Debug, PartialEq)]
struct Old {
    a: u32,
    z: bool,
}

#[derive(Debug, PartialEq)]
struct New {
    a: u32,
    b: u32,
    c: Option<u32>,
    z: bool,
}

record!(Old { 1 a, 9 z });
record!(New { 1 a, 5 b = 7, 6 c, 9 z });

#[test]
fn later_field_with_its_default_leaves_the_bytes_alone() {
    let bytes = |value: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        value(&mut out);
        out
    };
    let old = bytes(&|out| Old { a: 1, z: true }.write(out));
    let same = New { a: 1, b: 7, c: None, z: true };
    assert_eq!(bytes(&|out| same.write(out)), old);
    assert_eq!(New::read(&old), Ok(same));
    let other = New { a: 1, b: 8, c: Some(0), z: true };
    let new = bytes(&|out| other.write(out));
    assert_eq!(New::read(&new), Ok(other));
    // A program that does not know the field refuses it; it cannot have agreed to it.
    assert_eq!(Old::read(&new), Err(Cut));
}

const BREAST_CANCER: &str = include_str!("../../../../../host-tools/src/templates/breast_cancer/plan.yaml");
const DIGITS: &str = include_str!("../../../../../host-tools/src/templates/digits/plan.yaml");
/// Every kind of layer, with two values of each setting.
const LAYERS: &str = "\
linear: name a or fc9; out 7 or 17; bias true or false
conv2d: name a or b; out 1 or 2; kernel 1 or [1, 2]; stride 1 or [1, 2]; padding 0 or [0, 0, 0, 1]; bias true or false; dilation 1 or 2; groups 1 or 2
conv_transpose2d: name a or b; out 1 or 2; kernel 1 or 2; stride 1 or 2; padding 0 or 1; bias true or false; dilation 1 or 2; groups 1 or 2; output_padding 0 or 1
batch_norm: name a or b; eps 0.00001 or 0.001; momentum 0.1 or 0.2; count false or true
max_pool: kernel 3 or 2; stride 4 or 1; padding 0 or 1; ceil false or true
avg_pool: kernel 3 or 2; stride 4 or 1; padding 0 or 1; ceil false or true; count_pad true or false
dropout: p 0.1 or 0.2
relu
gelu
sigmoid
tanh
flatten
add
sub
mul
concat: axis 0 or 1
pad: by 1 or [1, 2]
pad_to
crop: by 1 or [1, 2]
upsample: mode nearest or bilinear; scale 2 or 3; corners false or true
upsample: mode nearest or bilinear; size 2 or 3
adaptive_avg_pool: size 1 or 2
conv1d: name a or b; out 1 or 2; kernel 1 or 2; stride 1 or 2; padding 0 or [0, 1]; bias true or false; dilation 1 or 2; groups 1 or 2
leaky_relu: slope 0.01 or 0.1
silu
hard_swish
hard_sigmoid
softmax: axis 0 or 1
log_softmax: axis 0 or 1
relu6
elu: alpha 1 or 2
layer_norm: name a or b; axes 1 or 2; eps 0.00001 or 0.001
group_norm: name a or b; groups 1 or 2; eps 0.00001 or 0.001
reshape: shape [1] or [2, 1]
permute: order [0] or [1, 0]
slice: axis 0 or 1; start 0 or 1; end 4 or 5; step 1 or 2
select: axis 0 or 1; index 0 or 1
mean: axes [0] or [0, 1]; keep false or true
max: axes [0] or [0, 1]; keep false or true
scale: by 1 or 2
parameter: name a or b; shape [1] or [2, 1]; batch false or true; start 0 or 1
prelu: name a or b; slopes 1 or 2
matmul
embedding: name a or b; rows 1 or 2; width 1 or 2
gelu_tanh
instance_norm: eps 0.00001 or 0.001
conv_transpose1d: name a or b; out 1 or 2; kernel 1 or 2; stride 1 or 2; padding 0 or 1; bias true or false; dilation 1 or 2; groups 1 or 2; output_padding 0 or 1
lstm: name a or b; hidden 1 or 2; layers 1 or 2; bidirectional false or true; bias true or false; take sequence or last; dropout 0 or 0.5
gru: name a or b; hidden 1 or 2; layers 1 or 2; bidirectional false or true; bias true or false; take sequence or last; dropout 0 or 0.5
attention: name a or b; heads 1 or 2; bias true or false; dropout 0 or 0.5; causal false or true";
const AGGREGATIONS: &str = include_str!("aggregations.txt");
