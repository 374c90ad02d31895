//! A plan made by code: for tests, benches and simulations, which have no `plan.yaml`.

use super::{DataSpec, PlanDraft, PlanError};
use crate::model::ModelSpec;

impl PlanDraft {
    /// Ten rounds of one epoch each for everybody, with the usual three tasks, a quorum of one and a deadline
    /// of a minute; everything else has the default of a `plan.yaml`. The caller changes what it needs and
    /// checks the draft ([`Self::check`]).
    ///
    /// # Errors
    /// [`PlanError`] when `federation` is not a name.
    pub fn trial(federation: &str, model: ModelSpec, data: DataSpec) -> Result<Self, PlanError> {
        let (metric, loss) =
            if data.classes.is_some() { ("accuracy", "cross_entropy") } else { ("rmse", "mse") };
        let text = TRIAL.replace("METRIC", metric).replace("LOSS", loss).replace("NAME", federation);
        Ok(Self { model, data, ..Self::parse(&text)? })
    }
}

/// The model and the data are replaced.
const TRIAL: &str = "
schema: 1
federation: \"NAME\"
rounds: 10
seed: 7
model: {network: mlp, input: [1], outputs: 1}
data: {loader: custom, name: none}
tasks:
  aggregated_model_validation: {kind: validate, model: aggregated, metrics: [METRIC, loss]}
  train: {kind: train, epochs: 1, batch: 16, optimiser: {sgd: {learning_rate: 0.1, momentum: 0.9}}, loss: LOSS,
          metrics: [loss]}
  locally_tuned_model_validation: {kind: validate, model: locally_tuned, metrics: [METRIC]}
quorum: {time: {max: 1m}}
";
