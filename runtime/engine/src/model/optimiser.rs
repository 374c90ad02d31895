//! The optimiser's state as tensors of the federation's layout (`optimiser_state: continue_global`).
//!
//! A plan's layout appends these tensors to the model's tensors. Training code finds its own with
//! [`optimiser_places`]. All other code handles them like any tensor:
//!
//! | optimiser | tensors, for each trained tensor `fc1.weight` | scalar |
//! |---|---|---|
//! | SGD | none | |
//! | SGD with momentum | `optimiser.TASK.momentum.fc1.weight` | |
//! | Adam, AdamW | `optimiser.TASK.first.fc1.weight`, `optimiser.TASK.second.fc1.weight` | `optimiser.TASK.steps` |
//!
//! They are f32 and combined by the task's rule, so moments are weighted means like the weights that they
//! belong to; `steps` is i64 and the largest wins. The state of a tensor that the plan holds out is held out
//! with it: a collaborator's own normalisation goes on with its own moments. Running statistics have no
//! state. Where two groups train in two tasks, an update carries the base's values of the other task's state,
//! as it does for every tensor that it did not train.
//!
//! # What the exact sum does to small moments
//!
//! Adam's second moments are squares of gradients, and many lie below the 2⁻³⁵ from which a mean is correctly
//! rounded (with the default `exact`; see [`crate::aggregate`]). There each term is rounded to a grid first,
//! which moves the mean by at most 2⁻⁵⁹ / w̄ for a mean weight w̄: 1.7·10⁻¹⁸ for updates of one row each,
//! 1.7·10⁻²⁰ for a hundred rows. Adam divides by `√v / √(1 − β₂ᵗ) + 10⁻⁸`, and `√(v + δ) − √v ≤ √δ`: with a
//! hundred rows a member and from step 100 on (`√(1 − β₂ᵗ) ≥ 0.308`), the divisor moves by at most 1.3·10⁻¹⁰
//! / 0.308 = 4.3·10⁻¹⁰, a twentieth of the 10⁻⁸ that is added to it. The worst is one row a member and one
//! step, where 1.3·10⁻⁹ / 0.0316 = 4.2·10⁻⁸ is four times as much, for gradients of the order of 10⁻⁹ alone.
//! Moments of `2^value_bits` and more are refused like any such value: by default, second moments of
//! gradients that stay above 256.

use std::{collections::HashMap, ops::Range};

use super::is_statistic;
use crate::{
    Name,
    tensor::{Combine, Dtype, Layout, TensorSpec},
};

/// What a local optimiser remembers of each trained tensor from step to step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remembers {
    Nothing,
    Momentum,
    /// Two moments, and the number of steps.
    Moments,
}

/// Where one training task's state lies in a state over the plan's layout; empty for a task without any
/// there.
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

/// The tensors of state that `task` adds to its model's `tensors`.
pub(crate) fn state_tensors(task: &Name, remembers: Remembers, tensors: &[TensorSpec]) -> Vec<TensorSpec> {
    let parts: &[&str] = match remembers {
        Remembers::Nothing => &[],
        Remembers::Momentum => &[MOMENTUM],
        Remembers::Moments => &[FIRST, SECOND],
    };
    let trained = || tensors.iter().filter(|tensor| !is_statistic(&tensor.name));
    let state =
        |part: &str, of: &TensorSpec| TensorSpec { name: state_name(task, part, &of.name), ..of.clone() };
    let mut added: Vec<TensorSpec> =
        parts.iter().flat_map(|part| trained().map(move |of| state(part, of))).collect();
    if remembers == Remembers::Moments {
        let name = steps_name(task);
        added.push(TensorSpec { name, shape: vec![], dtype: Dtype::I64, combine: Combine::Max });
    }
    added
}

fn state_name(task: &Name, part: &str, tensor: &str) -> String {
    format!("{OPTIMISER}.{task}.{part}.{tensor}")
}

fn steps_name(task: &Name) -> String {
    format!("{OPTIMISER}.{task}.steps")
}

/// First part of the names of all tensors that hold optimiser state; no layer may be called so.
pub(super) const OPTIMISER: &str = "optimiser";

const MOMENTUM: &str = "momentum";
const FIRST: &str = "first";
const SECOND: &str = "second";
