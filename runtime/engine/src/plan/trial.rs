//! A plan made by code: for tests, benches and simulations, which have no `plan.yaml`.

use super::{
    BestModel, DataSpec, Direction, ExactRange, Loss, Metric, MetricsTo, ModelUnderTest, Optimiser,
    OptimiserState, Plan, Quorum, Rule, Seal, TaskGroup, TaskKind, TaskSpec, Threads, TrainLength, TrainSpec,
};
use crate::{ByteCount, Millis, Name, model::ModelSpec, name::NameError};

impl Plan {
    /// Ten rounds of one epoch each for everybody, with the usual three tasks, a quorum of one and a deadline of a
    /// minute. Every field may be changed; nothing is checked.
    ///
    /// # Errors
    /// [`NameError`] when `federation` is not a name.
    pub fn trial(federation: &str, model: ModelSpec, data: DataSpec) -> Result<Self, NameError> {
        let train = TrainSpec {
            length: TrainLength::Epochs(1),
            batch: 16,
            optimiser: Optimiser::Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0 },
            loss: if data.classes.is_some() { Loss::CrossEntropy } else { Loss::Mse },
            fedprox_mu: 0.0,
            rule: Rule::WeightedMean,
        };
        let measure = if data.classes.is_some() { Metric::Accuracy } else { Metric::Rmse };
        let task = |name: &str, kind, metrics: &[Metric]| {
            Ok(TaskSpec {
                name: name.parse()?,
                kind,
                metrics: metrics.to_vec(),
                server: None,
                threshold: None,
            })
        };
        let tasks = vec![
            task(BEFORE, TaskKind::Validate(ModelUnderTest::Aggregated), &[measure, Metric::Loss])?,
            task("train", TaskKind::Train(train), &[Metric::Loss])?,
            task(AFTER, TaskKind::Validate(ModelUnderTest::LocallyTuned), &[measure])?,
        ];
        let names: Vec<Name> = tasks.iter().map(|task: &TaskSpec| task.name.clone()).collect();
        Ok(Self {
            federation: federation.parse()?,
            ca: None,
            rounds: 10,
            seed: 7,
            model,
            data,
            tasks,
            groups: vec![TaskGroup { name: "all".parse()?, collaborators: None, tasks: names }],
            quorum: Quorum { count_min: 1, count_max: None, time_min: Millis(0), time_max: Millis(60_000) },
            sample: None,
            optimiser_state: OptimiserState::Reset,
            hold_out: Vec::new(),
            exact: ExactRange { value_bits: 16, weight_bits: 29 },
            best: BestModel {
                task: BEFORE.parse()?,
                metric: measure,
                direction: if measure == Metric::Rmse { Direction::Min } else { Direction::Max },
            },
            memory_budget: ByteCount(512 << 20),
            spill_budget: ByteCount(4 << 30),
            threads: Threads { link: 2, cpu: 2 },
            metrics: MetricsTo::Members,
            release: None,
            seal: Seal::Enclave,
        })
    }
}

const BEFORE: &str = "aggregated_model_validation";
const AFTER: &str = "locally_tuned_model_validation";
