//! The tensors of a plan's model and their first values.

use std::sync::Arc;

use super::{Optimiser, OptimiserState, PlanDraft, TaskKind, pattern::matches};
use crate::{
    model::{self, ModelError, Remembers},
    name::nearest,
    tensor::{Combine, Layout, ModelState, TensorSpec},
};

impl PlanDraft {
    /// The layout of the plan's model ([`model::layout`]), with the tensors that the plan holds out of
    /// aggregation marked [`Combine::Keep`], and with the optimiser's state behind it where the plan has it
    /// travel (`optimiser_state: continue_global`): `optimiser.TASK.momentum.fc1.weight` of SGD, `first`,
    /// `second` and one `optimiser.TASK.steps` of Adam. The state of a tensor that is held out is held out
    /// too; `hold_out` names the model's tensors alone.
    ///
    /// # Errors
    /// As [`model::layout`]; [`ModelError::HoldOut`] for an entry of `hold_out` that matches no tensor.
    pub fn layout(&self) -> Result<Arc<Layout>, ModelError> {
        let mut tensors = model::tensors(&self.model)?;
        for pattern in &self.hold_out {
            let mut matched = false;
            for tensor in tensors.iter_mut().filter(|t| matches(pattern, &t.name)) {
                tensor.combine = Combine::Keep;
                matched = true;
            }
            if !matched {
                let names = tensors.iter().map(|t| t.name.as_str());
                return Err(ModelError::HoldOut {
                    pattern: pattern.clone(),
                    nearest: nearest(pattern, names),
                });
            }
        }
        if self.optimiser_state == OptimiserState::ContinueGlobal {
            let state = |task: &super::TaskSpec| match &task.kind {
                TaskKind::Train(spec) => {
                    model::state_tensors(&task.name, spec.optimiser.remembers(), &tensors)
                }
                _ => Vec::new(),
            };
            let state: Vec<TensorSpec> = self.tasks.iter().flat_map(state).collect();
            tensors.extend(state);
        }
        Ok(Layout::new(tensors)?)
    }

    /// First values of the plan's model from the plan's seed, over [`Self::layout`]; optimiser state starts
    /// at 0.
    ///
    /// # Errors
    /// As [`Self::layout`].
    pub fn initial_state(&self) -> Result<ModelState, ModelError> {
        model::fill(self.layout()?, &self.model, self.seed)
    }

    /// A state over [`Self::layout`] with the values of `model`, a state of the plan's model alone; optimiser
    /// state starts at 0.
    ///
    /// # Errors
    /// As [`Self::layout`]; [`ModelError::OtherModel`] when `model` has other tensors than the plan's.
    pub fn state_of(&self, model: &ModelState) -> Result<ModelState, ModelError> {
        let same =
            |a: &TensorSpec, b: &TensorSpec| (&a.name, &a.shape, a.dtype) == (&b.name, &b.shape, b.dtype);
        let (own, given) = (model::tensors(&self.model)?, model.layout().tensors());
        if own.len() != given.len() || !own.iter().zip(given).all(|(a, b)| same(a, b)) {
            return Err(ModelError::OtherModel);
        }
        let mut state = ModelState::zeros(self.layout()?);
        state.f32[..model.f32.len()].copy_from_slice(&model.f32);
        state.i64[..model.i64.len()].copy_from_slice(&model.i64);
        Ok(state)
    }
}

impl Optimiser {
    fn remembers(self) -> Remembers {
        match self {
            Self::Sgd { momentum: 0.0, .. } => Remembers::Nothing,
            Self::Sgd { .. } => Remembers::Momentum,
            Self::Adam { .. } | Self::AdamW { .. } => Remembers::Moments,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::model::tests::every_layer;
    use crate::model::{Layer, OptimiserPlaces, init, optimiser_places};
    use crate::plan::{DataSpec, Loader, Split};
    use crate::tensor::Dtype;

    /// A plan of every layer, with this optimiser.
    fn plan(optimiser: Optimiser) -> PlanDraft {
        let data = DataSpec {
            loader: Loader::Custom { name: "none".to_owned() },
            standardise: None,
            split: Split { train: 1.0, validation: 0.0, test: 0.0 },
            classes: Some(2),
            federated: None,
        };
        let mut plan = PlanDraft::trial("a", every_layer(), data).unwrap();
        plan.optimiser_state = OptimiserState::ContinueGlobal;
        for task in &mut plan.tasks {
            if let TaskKind::Train(spec) = &mut task.kind {
                spec.optimiser = optimiser;
            }
        }
        plan
    }

    fn sgd(momentum: f64) -> Optimiser {
        Optimiser::Sgd { learning_rate: 0.1, momentum, weight_decay: 0.0 }
    }

    /// Tensors after the model's.
    fn added(plan: &PlanDraft) -> Vec<TensorSpec> {
        plan.layout().unwrap().tensors()[10..].to_vec()
    }

    #[test]
    fn each_optimiser_adds_the_tensors_that_it_remembers() {
        assert_eq!(added(&plan(sgd(0.0))), []);
        let names = |plan: &PlanDraft| added(plan).into_iter().map(|t| t.name).collect::<Vec<_>>();
        let momentum = [
            "optimiser.train.momentum.conv.weight",
            "optimiser.train.momentum.conv.bias",
            "optimiser.train.momentum.norm.weight",
            "optimiser.train.momentum.norm.bias",
            "optimiser.train.momentum.up.weight",
            "optimiser.train.momentum.fc1.weight",
            "optimiser.train.momentum.fc1.bias",
            "optimiser.train.momentum.fc2.weight",
        ];
        assert_eq!(names(&plan(sgd(0.9))), momentum);
        let moment = |part: &str| momentum.map(|name| name.replace("momentum", part));
        let steps = ["optimiser.train.steps".to_owned()];
        let adam = [moment("first").as_slice(), &moment("second"), &steps].concat();
        for optimiser in [
            Optimiser::Adam { learning_rate: 0.1 },
            Optimiser::AdamW { learning_rate: 0.1, weight_decay: 0.1 },
        ] {
            assert_eq!(names(&plan(optimiser)), adam);
        }
        let last = added(&plan(Optimiser::Adam { learning_rate: 0.1 })).pop().unwrap();
        assert_eq!((last.shape.len(), last.dtype, last.combine), (0, Dtype::I64, Combine::Max));
    }

    #[test]
    fn model_keeps_its_values_and_state_starts_at_zero() {
        let adam = plan(Optimiser::Adam { learning_rate: 0.1 });
        let (state, model) = (adam.initial_state().unwrap(), init(&adam.model, adam.seed).unwrap());
        let (head, tail) = state.f32.split_at(model.f32.len());
        assert_eq!(head, model.f32);
        assert!(tail.len() > 2 * head.len() - 20 && tail.iter().all(|v| v.to_bits() == 0));
        assert_eq!(state.i64, [0]);
        assert_eq!(adam.state_of(&model).unwrap(), state);
        assert_eq!(adam.state_of(&state), Err(ModelError::OtherModel));
    }

    #[test]
    fn layouts_hash_tells_whether_state_travels() {
        let global = plan(sgd(0.9));
        let with = |state| PlanDraft { optimiser_state: state, ..global.clone() }.layout().unwrap().hash();
        assert_eq!(with(OptimiserState::Reset), with(OptimiserState::ContinueLocal));
        assert_ne!(with(OptimiserState::Reset), with(OptimiserState::ContinueGlobal));
    }

    #[test]
    fn state_of_a_tensor_that_is_held_out_is_held_out() {
        let mut plan = plan(sgd(0.9));
        plan.hold_out = vec!["norm.*".to_owned()];
        let kept: Vec<String> =
            added(&plan).into_iter().filter(|t| t.combine == Combine::Keep).map(|t| t.name).collect();
        assert_eq!(kept, ["optimiser.train.momentum.norm.weight", "optimiser.train.momentum.norm.bias"]);
        plan.hold_out = vec!["optimiser.*".to_owned()];
        assert!(matches!(plan.layout(), Err(ModelError::HoldOut { .. })));
    }

    #[test]
    fn places_pair_each_trained_tensor_with_its_state() {
        let adam = plan(Optimiser::Adam { learning_rate: 0.1 });
        let layout = adam.layout().unwrap();
        let places = optimiser_places(&layout, &adam.tasks[1].name);
        assert_eq!((places.first.len(), places.second.len(), places.steps), (8, 8, Some(0)));
        let name = |range: &Range<usize>| {
            let at = (0..layout.tensors().len()).find(|i| layout.place(*i) == *range).unwrap();
            layout.tensors()[at].name.clone()
        };
        for place in &places.second {
            assert_eq!(name(&place.at), format!("optimiser.train.second.{}", name(&place.of)));
        }
        assert_eq!(optimiser_places(&layout, &adam.tasks[0].name), OptimiserPlaces::default());
    }

    #[test]
    fn layer_called_optimiser_is_refused() {
        for name in ["optimiser", "optimiser.train"] {
            let mut plan = plan(sgd(0.9));
            plan.model.layers[9] = Layer::Linear { name: name.to_owned(), out: 4, bias: true };
            plan.optimiser_state = OptimiserState::Reset;
            let refusal = plan.layout().unwrap_err();
            let expected = format!(
                "layers[9] (linear {name:?}): names that begin with optimiser are reserved for optimiser state"
            );
            assert_eq!(refusal.to_string(), expected);
            assert_eq!(refusal.hint().unwrap(), "give the layer another field name");
        }
    }

    #[test]
    fn held_out_tensors_are_kept_and_an_entry_without_a_match_is_named() {
        let data = DataSpec {
            loader: Loader::Custom { name: "none".to_owned() },
            standardise: None,
            split: Split { train: 1.0, validation: 0.0, test: 0.0 },
            classes: None,
            federated: None,
        };
        let mut plan = PlanDraft::trial("a", every_layer(), data).unwrap();
        plan.hold_out = vec!["norm.*".to_owned(), "fc1.bias".to_owned()];
        let layout = plan.layout().unwrap();
        let kept: Vec<&str> =
            layout.tensors().iter().filter(|t| t.combine == Combine::Keep).map(|t| t.name.as_str()).collect();
        assert_eq!(kept, ["norm.weight", "norm.bias", "norm.running_mean", "norm.running_var", "fc1.bias"]);
        assert_eq!(plan.initial_state().unwrap().f32, init(&plan.model, plan.seed).unwrap().f32);
        plan.hold_out = vec!["fc1.bais".to_owned()];
        let refusal = plan.layout().unwrap_err();
        assert_eq!(refusal.to_string(), "hold_out \"fc1.bais\" matches no tensor of the model");
        assert_eq!(refusal.hint().unwrap(), "did you mean \"fc1.bias\"? A final * stands for any ending");
    }
}
