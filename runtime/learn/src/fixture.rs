//! What the tests of tasks and of the registry begin with.

use fl_engine::{
    Draws, Name,
    model::ModelSpec,
    plan::{DataSpec, Loader, Metric, Plan, PlanDraft, Rows, Split, TaskKind, TaskSpec, When},
};
use ndarray::{Array1, ArrayD};

use crate::data::Dataset;

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// Four features, two classes, a hidden layer and a batch normalisation.
pub(crate) fn plan() -> Plan {
    let model = ModelSpec::parse(
        "{input: [4], layers: [{linear: {name: fc1, out: 8}}, {batch_norm: {name: norm}}, relu, {dropout: {p: 0.1}},
          {linear: {name: fc2, out: 2}}]}",
    )
    .unwrap();
    let data = DataSpec {
        loader: Loader::Custom { name: "none".to_owned() },
        standardise: None,
        split: Split { train: 0.8, validation: 0.2, test: 0.0 },
        classes: Some(2),
        federated: None,
    };
    PlanDraft::trial("trial", model, data).unwrap().check().unwrap()
}

/// Makes a task of this kind, `send`, the plan's only one.
pub(crate) fn only_send(plan: &mut PlanDraft, kind: TaskKind) {
    let send = TaskSpec {
        name: name("send"),
        kind,
        metrics: vec![],
        server: None,
        threshold: None,
        rows: Rows::Validation,
        when: When::Always,
        loss: None,
    };
    plan.groups[0].tasks = vec![send.name.clone()];
    plan.best.task = send.name.clone();
    (plan.best.metric, plan.best.direction) = (Metric::Loss, Metric::Loss.better());
    plan.tasks = vec![send];
}

/// Points on both sides of a plane, with some noise.
pub(crate) fn rows(count: usize, seed: u64) -> Dataset {
    let mut draws = Draws::new(seed);
    let mut unit = || (2.0 * draws.unit() - 1.0) as f32;
    let features: Vec<f32> = (0..count * 4).map(|_| unit()).collect();
    let side = |x: &[f32]| x[0] + 2.0 * x[1] - x[3];
    let labels = features.chunks(4).map(|x| f32::from(side(x) + 0.1 * unit() > 0.0));
    let labels = Array1::from_iter(labels).into_dyn();
    Dataset::new(ArrayD::from_shape_vec(vec![count, 4], features).unwrap(), labels)
}
