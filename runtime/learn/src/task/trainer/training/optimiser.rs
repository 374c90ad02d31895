//! Local optimisers over a model's flat f32 segment, with PyTorch's definitions and defaults.
//!
//! These are not burn's optimisers, because the plan decides what becomes of optimiser state between rounds:
//! reset, kept or aggregated. So the state lies over the model's layout, and a step depends on its arguments
//! alone.

use std::ops::Range;

use fl_engine::{
    model::{OptimiserPlaces, StatePlace},
    plan::Optimiser,
    tensor::ModelState,
};

use crate::task::error::TaskError;

/// What an optimiser remembers from step to step.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Memory {
    /// Momentum, or the first moment.
    first: Vec<f32>,
    /// The second moment.
    second: Vec<f32>,
    /// t: how many steps the moments have seen.
    steps: u64,
    /// β₁ᵗ and β₂ᵗ, by multiplication: `powi` may differ between builds.
    decayed: Option<(f64, f64)>,
}

impl Memory {
    /// Reads the memory that `state` holds at `places`. `len` is the number of the model's elements.
    ///
    /// The state is a mean over what other sites sent. A second moment or a count below 0, which no honest
    /// site sends, is read as 0: the root of a negative moment would be NaN.
    pub(super) fn load(state: &ModelState, places: &OptimiserPlaces, len: usize) -> Self {
        let gather = |places: &[StatePlace], least: f32| {
            let mut values = if places.is_empty() { Vec::new() } else { vec![0.0; len] };
            for StatePlace { of, at } in places {
                let pairs = values[of.clone()].iter_mut().zip(&state.f32[at.clone()]);
                pairs.for_each(|(value, held)| *value = held.max(least));
            }
            values
        };
        let steps = places.steps.map_or(0, |at| u64::try_from(state.i64[at]).unwrap_or(0));
        Self {
            first: gather(&places.first, f32::NEG_INFINITY),
            second: gather(&places.second, 0.0),
            steps,
            decayed: Some((decayed(BETA1, steps), decayed(BETA2, steps))),
        }
    }

    /// Writes the memory to where [`Self::load`] reads it.
    pub(super) fn store(&self, state: &mut ModelState, places: &OptimiserPlaces) {
        for (places, values) in [(&places.first, &self.first), (&places.second, &self.second)] {
            for StatePlace { of, at } in places.iter().filter(|place| place.of.end <= values.len()) {
                state.f32[at.clone()].copy_from_slice(&values[of.clone()]);
            }
        }
        if let Some(at) = places.steps {
            state.i64[at] = i64::try_from(self.steps).unwrap_or(i64::MAX);
        }
    }

    /// Makes one step on the elements in `trained`. `gradient` is as long as `values`.
    pub(super) fn step(
        &mut self,
        optimiser: Optimiser,
        values: &mut [f32],
        gradient: &[f32],
        trained: &[Range<usize>],
    ) -> Result<(), TaskError> {
        match optimiser {
            Optimiser::Sgd { learning_rate, momentum, weight_decay } => {
                let (rate, momentum, decay) = (learning_rate as f32, momentum as f32, weight_decay as f32);
                if momentum == 0.0 {
                    for i in trained.iter().cloned().flatten() {
                        values[i] -= rate * (gradient[i] + decay * values[i]);
                    }
                    return Ok(());
                }
                self.first.resize(values.len(), 0.0);
                for i in trained.iter().cloned().flatten() {
                    let velocity = momentum * self.first[i] + gradient[i] + decay * values[i];
                    self.first[i] = velocity;
                    values[i] -= rate * velocity;
                }
            }
            Optimiser::Adam { learning_rate } => self.adam(learning_rate, 0.0, values, gradient, trained),
            Optimiser::AdamW { learning_rate, weight_decay } => {
                self.adam(learning_rate, weight_decay, values, gradient, trained);
            }
            other => return Err(TaskError::Foreign(format!("optimiser {other:?}"))),
        }
        Ok(())
    }

    /// Algorithm 1 of arXiv:1412.6980, with the decoupled decay of arXiv:1711.05101, algorithm 2.
    fn adam(
        &mut self,
        learning_rate: f64,
        weight_decay: f64,
        values: &mut [f32],
        gradient: &[f32],
        trained: &[Range<usize>],
    ) {
        self.first.resize(values.len(), 0.0);
        self.second.resize(values.len(), 0.0);
        let (decayed1, decayed2) = self.decayed.unwrap_or((1.0, 1.0));
        let (decayed1, decayed2) = (decayed1 * BETA1, decayed2 * BETA2);
        self.decayed = Some((decayed1, decayed2));
        self.steps = self.steps.saturating_add(1);
        let rate = (learning_rate / (1.0 - decayed1)) as f32;
        let root = (1.0 - decayed2).sqrt() as f32;
        let keep = (1.0 - learning_rate * weight_decay) as f32;
        let (beta1, beta2) = (BETA1 as f32, BETA2 as f32);
        for i in trained.iter().cloned().flatten() {
            let g = gradient[i];
            let first = beta1 * self.first[i] + (1.0 - BETA1) as f32 * g;
            let second = beta2 * self.second[i] + (1.0 - BETA2) as f32 * g * g;
            (self.first[i], self.second[i]) = (first, second);
            values[i] = keep * values[i] - rate * first / (second.sqrt() / root + EPSILON);
        }
    }
}

/// Scales a gradient down to the Euclidean norm `most`, over the elements in `trained`, as PyTorch's
/// `clip_grad_norm_` does.
pub(super) fn clip(gradient: &mut [f32], trained: &[Range<usize>], most: f64) {
    let squares: f64 = trained.iter().cloned().flatten().map(|i| f64::from(gradient[i]).powi(2)).sum();
    let scale = most / (squares.sqrt() + 1e-6);
    if scale < 1.0 {
        trained.iter().cloned().flatten().for_each(|i| gradient[i] *= scale as f32);
    }
}

/// Adds the gradient of FedProx's term, μ/2 ‖w − w₀‖² (arXiv:1812.06127, equation 2).
pub(super) fn pull(gradient: &mut [f32], values: &[f32], start: &[f32], range: Range<usize>, mu: f32) {
    for i in range {
        gradient[i] += mu * (values[i] - start[i]);
    }
}

/// `beta` to the power `steps`, by as many multiplications as single steps make. The power is used in
/// `1 − βᵗ` only, which no power below 2⁻⁵⁴ changes: the loop stops there. So the work is bounded, whatever
/// count a peer has sent.
fn decayed(beta: f64, steps: u64) -> f64 {
    let (mut power, mut left) = (1.0, steps);
    while left > 0 && power > f64::EPSILON / 4.0 {
        power *= beta;
        left -= 1;
    }
    power
}

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f32 = 1e-8;

#[cfg(test)]
mod tests {
    use fl_engine::tensor::{Combine, Dtype, Layout, TensorSpec};

    use super::*;

    /// Minimises ½(w − 3)² + … for three steps from (1, −2), the third element not trained.
    fn three_steps(optimiser: Optimiser) -> [f32; 3] {
        let (mut values, mut memory, trained) = ([1.0f32, -2.0, 9.0], Memory::default(), 0..2);
        for _ in 0..3 {
            let gradient = [values[0] - 3.0, 2.0 * values[1], 1.0];
            memory.step(optimiser, &mut values, &gradient, std::slice::from_ref(&trained)).unwrap();
        }
        values
    }

    /// Worked out in Python with f64 from the papers' formulas.
    #[track_caller]
    fn close(found: [f32; 3], expected: [f64; 2]) {
        assert_eq!(found[2], 9.0, "an element that is not trained moved");
        for (found, expected) in found.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} where {expected} was expected");
        }
    }

    #[test]
    fn sgd_with_momentum_and_decay_takes_the_published_steps() {
        let plain = Optimiser::Sgd { learning_rate: 0.1, momentum: 0.0, weight_decay: 0.0 };
        close(three_steps(plain), [1.542000, -1.024000]);
        let all = Optimiser::Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.01 };
        close(three_steps(all), [2.021945, -0.116388]);
    }

    #[test]
    fn adam_and_adamw_take_the_published_steps() {
        close(three_steps(Optimiser::Adam { learning_rate: 0.1 }), [1.299377, -1.700623]);
        close(three_steps(Optimiser::AdamW { learning_rate: 0.1, weight_decay: 0.1 }), [1.266766, -1.644369]);
    }

    #[test]
    fn decay_of_a_claimed_count_is_that_of_single_steps_and_takes_bounded_work() {
        let mut single = 1.0;
        for steps in 0..5_000 {
            assert_eq!(decayed(BETA2, steps), single);
            single *= BETA2;
        }
        assert_eq!(1.0 - decayed(BETA2, u64::MAX), 1.0);
        assert_eq!(decayed(BETA2, u64::MAX), decayed(BETA2, 1_000_000));
    }

    #[test]
    fn state_that_no_honest_site_makes_is_read_as_none() {
        let moment = |name: &str| TensorSpec::f32(name, [2]);
        let steps = TensorSpec { dtype: Dtype::I64, combine: Combine::Max, ..TensorSpec::f32("n", []) };
        let layout = Layout::new(vec![moment("w"), moment("first"), moment("second"), steps]).unwrap();
        let places = OptimiserPlaces {
            first: vec![StatePlace { of: 0..2, at: 2..4 }],
            second: vec![StatePlace { of: 0..2, at: 4..6 }],
            steps: Some(0),
        };
        let mut state = ModelState::zeros(layout);
        state.f32 = vec![7.0, 8.0, -1.0, 2.0, -3.0, 4.0];
        state.i64 = vec![-5];
        let memory = Memory::load(&state, &places, 2);
        assert_eq!(
            (&memory.first[..], &memory.second[..], memory.steps),
            (&[-1.0, 2.0][..], &[0.0, 4.0][..], 0)
        );
        memory.store(&mut state, &places);
        assert_eq!((state.f32, state.i64), (vec![7.0, 8.0, -1.0, 2.0, 0.0, 4.0], vec![0]));
    }

    #[test]
    fn a_long_gradient_is_scaled_to_the_norm_and_a_short_one_stays() {
        // torch.nn.utils.clip_grad_norm_ of [3, 4] to 1.
        let mut gradient = [3.0, 4.0, 9.0];
        clip(&mut gradient, std::slice::from_ref(&(0..2)), 1.0);
        let near = |found: f32, expected: f32| (found - expected).abs() < 1e-6;
        assert!(near(gradient[0], 0.599_999_9) && near(gradient[1], 0.799_999_8), "{gradient:?}");
        assert_eq!(gradient[2], 9.0, "an element that is not trained");
        let mut short = [0.3, 0.4];
        clip(&mut short, std::slice::from_ref(&(0..2)), 1.0);
        assert_eq!(short, [0.3, 0.4]);
    }

    #[test]
    fn proximal_term_pulls_back_to_the_start() {
        let mut gradient = [1.0, 1.0, 1.0];
        pull(&mut gradient, &[3.0, 2.0, 5.0], &[1.0, 2.0, 1.0], 0..2, 0.5);
        assert_eq!(gradient, [2.0, 1.0, 1.0]);
    }
}
