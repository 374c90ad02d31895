//! The plan that tests of both sides run.

use fl_engine::{
    model::{Layer, ModelSpec},
    plan::{DataSpec, Loader, Plan, PlanDraft, Rows, Split, TaskKind, TaskSpec, When},
};

/// One synthetic task over 2,000 floats and a bit.
pub(crate) fn plan(rounds: u32) -> Plan {
    let linear = |name: &str, out| Layer::Linear { name: name.to_owned(), out, bias: true };
    let model = ModelSpec::chain(vec![30], vec![linear("fc1", 60), Layer::Relu, linear("fc2", 2)]);
    let data = DataSpec {
        loader: Loader::Custom { name: "none".to_owned() },
        standardise: None,
        split: Split { train: 1.0, validation: 0.0, test: 0.0 },
        classes: Some(2),
        federated: None,
    };
    let mut plan = PlanDraft::trial("trial", model, data).unwrap();
    plan.rounds = rounds;
    plan.tasks = vec![TaskSpec {
        name: "send".parse().unwrap(),
        kind: TaskKind::Synthetic { weight: 5, rule: None },
        metrics: vec![],
        server: None,
        threshold: None,
        rows: Rows::Validation,
        when: When::Always,
        loss: None,
    }];
    plan.groups[0].tasks = vec!["send".parse().unwrap()];
    plan.best.task = "send".parse().unwrap();
    plan.check().unwrap()
}
