//! Whether a plan makes sense: ranges, names that have to exist, parts that have to fit together.
//!
//! Works on the [`PlanDraft`], so the YAML and the canonical bytes meet the same rules. The checks of each
//! key stand with the key's type; here is their order.

use std::ops::Deref;

use serde::Serialize;

use super::{
    PlanDraft, aggregation, best, data, exact, groups, keep, keys::KEYS, quorum, release, resources, stop,
    task,
};
use crate::{
    ByteCount, limits,
    model::ModelError,
    settings::{Checked, Fault, Setting, Takes, check as within, number_of},
};

/// The experiment, checked. The type is the proof: a plan is made by [`Plan::parse`],
/// [`Plan::from_canonical`], [`Plan::edited`] or [`PlanDraft::check`], which all run the same checks, and
/// nobody can change a field of a plan.
///
/// ```compile_fail,E0594
/// fn lengthen(plan: &mut fl_engine::plan::Plan) {
///     plan.rounds = 2_000_000;
/// }
/// ```
///
/// ```
/// fn lengthen(plan: &mut fl_engine::plan::PlanDraft) {
///     plan.rounds = 2_000_000;
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan(PlanDraft);

impl Plan {
    /// A copy with these changes.
    ///
    /// # Errors
    /// As [`PlanDraft::check`].
    pub fn edited(&self, change: impl FnOnce(&mut PlanDraft)) -> Result<Self, Fault> {
        let mut draft = self.0.clone();
        change(&mut draft);
        draft.check()
    }
}

impl Deref for Plan {
    type Target = PlanDraft;

    fn deref(&self) -> &PlanDraft {
        &self.0
    }
}

impl PlanDraft {
    /// The plan that the draft says.
    ///
    /// # Errors
    /// The first [`Fault`] in the plan's order.
    pub fn check(self) -> Result<Plan, Fault> {
        check(&self)?;
        Ok(Plan(self))
    }
}

fn check(plan: &PlanDraft) -> Checked {
    within(KEYS, "rounds", &plan.rounds)?;
    let payload = model(plan)?;
    data::check_in(plan)?;
    task::check_in(plan)?;
    aggregation::check_in(plan)?;
    groups::check_in(plan)?;
    quorum::check_in(plan)?;
    exact::check_range(plan.exact)?;
    resources::check_rows(plan)?;
    aggregation::check_needs(plan)?;
    best::check_in(plan)?;
    release::check_in(plan)?;
    keep::check_in(plan)?;
    stop::check_in(plan)?;
    if plan.memory_budget < payload {
        let (memory, payload) = (plan.memory_budget.0, payload.0);
        let message = format!("limits.memory is {memory} B; one model of this plan takes {payload} B");
        return Err(Fault::new("limits/memory", message));
    }
    resources::check_threads(plan.threads)
}

/// Bytes of one model.
fn model(plan: &PlanDraft) -> Result<ByteCount, Fault> {
    let prefix = || Some("a final * stands for any ending: one entry may hold out many tensors".to_owned());
    number_of("hold_out", plan.hold_out.len(), limits::HOLD_OUT).map_err(|fault| fault.hint(prefix()))?;
    for (index, layer) in plan.model.layers.iter().enumerate() {
        layer.check(&Takes::Flag, &format!("model/layers/{index}"))?;
    }
    let layout = plan.layout().map_err(|error| {
        let path = match &error {
            ModelError::Input(_) => "model/input".to_owned(),
            ModelError::Layers(_) => "model/layers".to_owned(),
            ModelError::Shape { layer, .. }
            | ModelError::Setting { layer, .. }
            | ModelError::Inputs { layer, .. }
            | ModelError::Unused(layer)
            | ModelError::FieldName(layer)
            | ModelError::Reserved(layer)
            | ModelError::Duplicate { second: layer, .. }
            | ModelError::TooLarge { layer } => format!("model/layers/{}", layer.index),
            ModelError::HoldOut { pattern, .. } => {
                let index = plan.hold_out.iter().position(|p| p == pattern).unwrap_or(0);
                format!("hold_out/{index}")
            }
            ModelError::From => "model/layers".to_owned(),
            ModelError::NoParameters | ModelError::OtherModel | ModelError::Layout(_) => "model".to_owned(),
        };
        Fault::new(path, error.to_string()).hint(error.hint())
    })?;
    Ok(ByteCount(layout.byte_len() as u64))
}
