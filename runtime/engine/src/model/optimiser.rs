//! The optimiser's state as tensors of the federation's layout (`optimiser_state: continue_global`).
//!
//! [`super::plan_layout`] appends them to the model's tensors, training code finds its own with
//! [`optimiser_places`], and everything between moves and aggregates them like any other tensor:
//!
//! | optimiser | tensors, for each trained tensor `fc1.weight` | scalar |
//! |---|---|---|
//! | SGD | none | |
//! | SGD with momentum | `optimiser.TASK.momentum.fc1.weight` | |
//! | Adam, AdamW | `optimiser.TASK.first.fc1.weight`, `optimiser.TASK.second.fc1.weight` | `optimiser.TASK.steps` |
//!
//! They are f32 and combined by the task's rule, so moments are weighted means like the weights that they belong to;
//! `steps` is i64 and the largest wins. The state of a tensor that the plan holds out is held out with it: a site's
//! own normalisation goes on with its own moments. Running statistics have no state. Where two groups train by two
//! tasks, an update carries the base's values of the other task's state, as it does for all that it did not train.
//!
//! # What the exact sum does to small moments
//!
//! Adam's second moments are squares of gradients, and many lie below the 2⁻³⁵ from which a mean is correctly rounded
//! (with the default `exact`; see [`crate::aggregate`]). There each term is rounded to a grid first, which moves the
//! mean by at most 2⁻⁵⁹ / w̄ for a mean weight w̄: 1.7·10⁻¹⁸ for updates of one row each, 1.7·10⁻²⁰ for a hundred rows. Adam
//! divides by `√v / √(1 − β₂ᵗ) + 10⁻⁸`, and `√(v + δ) − √v ≤ √δ`: with a hundred rows a member and from step 100
//! on (`√(1 − β₂ᵗ) ≥ 0.308`), the divisor moves by at most 1.3·10⁻¹⁰ / 0.308 = 4.3·10⁻¹⁰, a twentieth of the 10⁻⁸ that is added
//! to it. The worst is one row a member and one step, where 1.3·10⁻⁹ / 0.0316 = 4.2·10⁻⁸ is four times as much, for
//! gradients of the order of 10⁻⁹ alone. Moments of `2^value_bits` and more are refused like any such value:
//! by default, second moments of gradients that stay above 256.

use std::collections::HashMap;
use std::ops::Range;

use super::is_statistic;
use crate::Name;
use crate::plan::{Optimiser, OptimiserState, Plan, TaskKind};
use crate::tensor::{Combine, Dtype, Layout, TensorSpec};

/// First part of the names of all tensors that hold optimiser state; no layer may be called so.
pub(super) const OPTIMISER: &str = "optimiser";

/// Where one training task's state lies in a state over [`super::plan_layout`]; empty for a task without any there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OptimiserPlaces {
    /// Momentum, or the first moment.
    pub first: Vec<StatePlace>,
    /// The second moment.
    pub second: Vec<StatePlace>,
    /// Index in the i64 segment.
    pub steps: Option<usize>,
}

/// One trained tensor and one tensor of state of its length, as elements of the f32 segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatePlace {
    /// The trained tensor.
    pub of: Range<usize>,
    /// Its state.
    pub at: Range<usize>,
}

/// Whether a tensor of this name holds optimiser state rather than a part of the model.
#[must_use]
pub fn is_optimiser_tensor(name: &str) -> bool {
    name.split('.').next() == Some(OPTIMISER)
}

/// Finds the state of `task` in `layout`.
#[must_use]
pub fn optimiser_places(layout: &Layout, task: &Name) -> OptimiserPlaces {
    let tensors = layout.tensors();
    let named: HashMap<&str, usize> = tensors.iter().enumerate().map(|(i, t)| (t.name.as_str(), i)).collect();
    let places = |part: &str| {
        let pair = |(index, tensor): (usize, &TensorSpec)| {
            let state = *named.get(state_name(task, part, &tensor.name).as_str())?;
            Some(StatePlace { of: layout.place(index), at: layout.place(state) })
        };
        tensors.iter().enumerate().filter_map(pair).collect::<Vec<_>>()
    };
    let momentum = places(MOMENTUM);
    let steps = named.get(steps_name(task).as_str()).map(|&index| layout.place(index).start);
    OptimiserPlaces {
        first: if momentum.is_empty() { places(FIRST) } else { momentum },
        second: places(SECOND),
        steps,
    }
}

/// The tensors that the plan's training tasks add to its `model`'s.
pub(super) fn tensors(plan: &Plan, model: &[TensorSpec]) -> Vec<TensorSpec> {
    let mut tensors = Vec::new();
    if plan.optimiser_state != OptimiserState::ContinueGlobal {
        return tensors;
    }
    let trained = || model.iter().filter(|t| !is_statistic(&t.name));
    for task in &plan.tasks {
        let TaskKind::Train(spec) = &task.kind else { continue };
        let parts: &[&str] = match spec.optimiser {
            Optimiser::Sgd { momentum: 0.0, .. } => &[],
            Optimiser::Sgd { .. } => &[MOMENTUM],
            Optimiser::Adam { .. } | Optimiser::AdamW { .. } => &[FIRST, SECOND],
        };
        for part in parts {
            tensors.extend(
                trained().map(|t| TensorSpec {
                    name: state_name(&task.name, part, &t.name),
                    ..TensorSpec::clone(t)
                }),
            );
        }
        if parts.contains(&SECOND) {
            let name = steps_name(&task.name);
            tensors.push(TensorSpec { name, shape: vec![], dtype: Dtype::I64, combine: Combine::Max });
        }
    }
    tensors
}

fn state_name(task: &Name, part: &str, tensor: &str) -> String {
    format!("{OPTIMISER}.{task}.{part}.{tensor}")
}

fn steps_name(task: &Name) -> String {
    format!("{OPTIMISER}.{task}.steps")
}

const MOMENTUM: &str = "momentum";
const FIRST: &str = "first";
const SECOND: &str = "second";

#[cfg(test)]
mod tests {
    use super::super::{ModelError, init, plan_init, plan_layout, plan_state, tests::every_layer};
    use super::*;
    use crate::plan::{DataSpec, Layer, Loader, Split};

    /// A plan of every layer, with this optimiser.
    fn plan(optimiser: Optimiser) -> Plan {
        let data = DataSpec {
            loader: Loader::Custom { name: "none".to_owned() },
            standardise: None,
            split: Split { train: 1.0, validation: 0.0, test: 0.0 },
            classes: Some(2),
        };
        let mut plan = Plan::trial("a", every_layer(), data).unwrap();
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
    fn added(plan: &Plan) -> Vec<TensorSpec> {
        plan_layout(plan).unwrap().tensors()[10..].to_vec()
    }

    #[test]
    fn each_optimiser_adds_the_tensors_that_it_remembers() {
        assert_eq!(added(&plan(sgd(0.0))), []);
        let names = |plan: &Plan| added(plan).into_iter().map(|t| t.name).collect::<Vec<_>>();
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
        let (state, model) = (plan_init(&adam).unwrap(), init(&adam.model, adam.seed).unwrap());
        let (head, tail) = state.f32.split_at(model.f32.len());
        assert_eq!(head, model.f32);
        assert!(tail.len() > 2 * head.len() - 20 && tail.iter().all(|v| v.to_bits() == 0));
        assert_eq!(state.i64, [0]);
        assert_eq!(plan_state(&adam, &model).unwrap(), state);
        assert_eq!(plan_state(&adam, &state), Err(ModelError::OtherModel));
    }

    #[test]
    fn layouts_hash_tells_whether_state_travels() {
        let global = plan(sgd(0.9));
        let with = |state| plan_layout(&Plan { optimiser_state: state, ..global.clone() }).unwrap().hash();
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
        assert!(matches!(plan_layout(&plan), Err(ModelError::HoldOut { .. })));
    }

    #[test]
    fn places_pair_each_trained_tensor_with_its_state() {
        let adam = plan(Optimiser::Adam { learning_rate: 0.1 });
        let layout = plan_layout(&adam).unwrap();
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
            let refusal = plan_layout(&plan).unwrap_err();
            let expected =
                format!("layers[9] (linear {name:?}): tensors under optimiser. hold optimiser state");
            assert_eq!(refusal.to_string(), expected);
            assert_eq!(refusal.hint().unwrap(), "give the layer another field name");
        }
    }
}
