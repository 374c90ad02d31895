//! The plan that tests of both sides run, and evidence that asks for no quote.

use std::sync::Arc;

use fl_engine::{
    Digest,
    model::{Layer, ModelSpec},
    plan::{Attestation as Asked, DataSpec, Loader, Plan, PlanDraft, Rows, Split, TaskKind, TaskSpec, When},
    wire::Side,
};

use super::attestation::Attestation;
use crate::{
    system::System,
    trust::{
        RunKey,
        evidence::{Appraiser, Collaterals, Expected, Root},
        fixture::{Leaf, NOW, TestCa, clock, files},
    },
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

/// What a side shows and judges under a plan without `attestation`.
pub(crate) fn attestation(side: Side) -> Arc<Attestation> {
    let ca = TestCa::new("trial");
    let leaf = match side {
        Side::Aggregator => Leaf::aggregator("aggregator"),
        Side::Collaborator => Leaf::collaborator("one"),
    };
    let credentials = ca.credentials(leaf, &ca);
    let (plan, clock) = (Digest([0; 32]), clock(NOW));
    let run_key = RunKey::make(&System::real().random, &credentials, plan, None).unwrap();
    let collaterals = Arc::new(Collaterals::new(&files(), Root::INTEL, Vec::new(), &clock));
    let expected = Expected { ca: ca.authority().digest(), plan };
    Attestation::new(
        run_key,
        Appraiser::new(side.other(), Asked::NONE, expected, || None, collaterals, &clock),
    )
}
