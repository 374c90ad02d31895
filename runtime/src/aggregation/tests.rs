//! Rounds with a server's step, by rules of both kinds, against the engine's own results.

use std::sync::Arc;

use fl_engine::{
    Weight,
    aggregate::{Chosen, Products, RuleError, ScoreRule, ServerStep, Then, combine_payloads},
    plan::{Rule, Scope, Server},
    tensor::root_of,
};

use super::{
    fixture::{EXACT, Rig, base, given, layout, method_of},
    *,
};

/// A user's rule that chooses only the update nearest to the base model.
#[derive(Debug)]
struct Nearest;

impl ScoreRule for Nearest {
    fn choose(&self, products: &Products, weights: &[Weight]) -> Result<Chosen, RuleError> {
        let norm = |i: &usize| products.norm_squared(*i);
        let nearest = (0..products.updates()).min_by(|a, b| norm(a).total_cmp(&norm(b)));
        let weights = (0..weights.len()).map(|i| u32::from(Some(i) == nearest)).collect();
        Ok(Chosen { weights, then: Then::Mean })
    }
}

/// Three rounds with a step that has a state.
#[tokio::test]
async fn step_and_its_state_are_the_engines_for_sums_and_for_rules_over_all() {
    let servers = [
        Server::FedAvgM { learning_rate: 0.5, momentum: 0.9 },
        Server::FedYogi { learning_rate: 0.1, beta1: 0.9, beta2: 0.99, tau: 1e-3 },
        Server::Smoothing { keep: 0.25 },
    ];
    let methods = [
        method_of(&Rule::WeightedMean),
        method_of(&Rule::Median),
        method_of(&Rule::GeometricMedian { iterations: 3, smoothing: 1e-6, scope: Scope::Model }),
        Method::Scored(Arc::new(Nearest)),
    ];
    for server in servers {
        for method in &methods {
            let rig = Rig::new(1, (3, 4), |_, _| ());
            let (mut resumed, mut expected_base) = (None, base().as_slice().to_vec());
            let step = ServerStep::new(server, layout(), EXACT).unwrap();
            let mut expected_state = Vec::new();
            if let Some(state) = step.initial_state() {
                state.write_bytes(&mut expected_state);
            }
            for (round, threads) in [2, 3, 1].into_iter().enumerate() {
                // Each round has a new aggregation, as after a restart.
                let payloads = PayloadPool::new(layout());
                let optimiser =
                    ServerOptimiser::new(server, layout(), EXACT, resumed.as_deref()).await.unwrap();
                let pool = Pool::new(&crate::system::System::real().threads, threads).unwrap();
                let mut aggregation =
                    Aggregation::new(pool, payloads, EXACT, method.clone(), Some(optimiser));
                let given = given(7, 20 + round as u64);
                let base = Payload::new(&layout(), expected_base.clone().into()).unwrap();
                let mut staged = rig.stage(&given);
                let last = staged.split_off(4);
                aggregation.absorb(staged, &base).await.unwrap();
                let made = aggregation.finish(last, &base).await.unwrap();

                let updates: Vec<_> = given.iter().map(|g| (g.payload.as_slice(), g.weight)).collect();
                let mut expected =
                    combine_payloads(method, &layout(), EXACT, &updates, base.as_slice()).unwrap();
                let (old, floats) = (expected_state.clone(), layout().f32_len() * 4);
                let runs = step.state_runs(0..layout().f32_len());
                let (first, second) = (runs.first.len() * 4, runs.second.len() * 4);
                let (m, v) = expected_state.split_at_mut(first);
                let old = [&old[..first], &old[first..first + second]];
                step.run(0, &base.as_slice()[..floats], &mut expected[..floats], old, [m, v]).unwrap();

                assert!(made.model.as_slice() == expected, "{server:?}, {method:?}, round {round}");
                assert_eq!(made.model.root(), root_of(layout().hash(), &expected));
                assert!(made.state.as_deref().unwrap_or_default() == expected_state);
                (resumed, expected_base) = (made.state.map(|state| state.to_vec()), expected);
            }
        }
    }
}

#[tokio::test]
async fn failed_round_leaves_the_steps_state_as_it_was() {
    let server = Server::FedAvgM { learning_rate: 1e9, momentum: 0.5 };
    let rig = Rig::new(1, (4, 0), |_, _| ());
    for rule in [Rule::WeightedMean, Rule::Median] {
        let optimiser = ServerOptimiser::new(server, layout(), EXACT, None).await.unwrap();
        let before = optimiser.state().unwrap().to_vec();
        let (pool, payloads) =
            (Pool::new(&crate::system::System::real().threads, 2).unwrap(), PayloadPool::new(layout()));
        let mut aggregation =
            Aggregation::new(pool, payloads.clone(), EXACT, method_of(&rule), Some(optimiser));
        let failed = aggregation.finish(rig.stage(&given(3, 30)), &base()).await.unwrap_err();
        assert!(failed.to_string().contains("outside the plan's range"), "{failed}");
        assert_eq!((rig.store.free(), payloads.free()), ((4, 0), PayloadPool::MOST_LIVE));
        assert!(aggregation.state().unwrap() == before);
        assert!(aggregation.finish(rig.stage(&given(3, 30)), &base()).await.is_err());
    }
}
