//! The geometric median by smoothed Weiszfeld iterations (RFA: Pillutla et al., arXiv:1912.13445).
//!
//! Every iterate is a mean of the updates, so it is kept as its weights, and its distances to the updates
//! follow from the dot products of the first pass: no iteration reads an update again.

use super::{Chosen, Products, RuleError, ScoreRule, Then, share_bits};
use crate::{
    Weight,
    plan::{ExactRange, Scope},
};

/// The point with the least weighted sum of distances to the updates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GeometricMedian {
    iterations: u32,
    smoothing: f64,
    scope: Scope,
    /// Bits of the largest weight.
    bits: u32,
}

impl GeometricMedian {
    /// At most `iterations` (with none, the weighted mean); `smoothing` is the smallest distance that an
    /// update counts with, above 0; `scope` says whether the model's updates have one median, or each tensor
    /// its own; `exact` is the plan's.
    #[must_use]
    pub fn new(iterations: u32, smoothing: f64, scope: Scope, exact: ExactRange) -> Self {
        Self { iterations, smoothing, scope, bits: share_bits(exact) }
    }
}

impl ScoreRule for GeometricMedian {
    fn choose(&self, products: &Products, weights: &[Weight]) -> Result<Chosen, RuleError> {
        let original: Vec<f64> = weights.iter().map(|w| f64::from(w.value())).collect();
        let mut shares = normalised(&original);
        let mut distances = distances(products, &shares);
        let mut objective = objective(&original, &distances);
        for _ in 0..self.iterations {
            let pulls = original.iter().zip(&distances).map(|(w, d)| w / d.max(self.smoothing));
            shares = normalised(&pulls.collect::<Vec<_>>());
            distances = self::distances(products, &shares);
            let before = std::mem::replace(&mut objective, self::objective(&original, &distances));
            if (before - objective).abs() < STILL * objective {
                break;
            }
        }
        if !shares.iter().all(|share| share.is_finite()) {
            return Err(RuleError::Failed("the updates are too far apart to be weighed".to_owned()));
        }
        // 2^11 of the largest weights can be summed; more updates leave each as many bits less.
        let crowd = weights.len().next_power_of_two().ilog2().saturating_sub(11);
        let most = f64::from((1u32 << self.bits.saturating_sub(crowd).max(1)) - 1);
        let largest = shares.iter().copied().fold(0.0, f64::max);
        let weights = shares.iter().map(|share| (share / largest * most).round() as u32).collect();
        Ok(Chosen { weights, then: Then::Mean })
    }

    fn scope(&self) -> Scope {
        self.scope
    }
}

fn normalised(weights: &[f64]) -> Vec<f64> {
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|w| w / sum).collect()
}

/// Distances of all updates from their mean with these shares: `|v - xᵢ|² = aᵀGa - 2 (Ga)ᵢ + Gᵢᵢ`.
fn distances(products: &Products, shares: &[f64]) -> Vec<f64> {
    let towards = |i: usize| shares.iter().enumerate().map(|(j, a)| a * products.product(i, j)).sum::<f64>();
    let towards: Vec<f64> = (0..shares.len()).map(towards).collect();
    let of_mean: f64 = shares.iter().zip(&towards).map(|(a, t)| a * t).sum();
    let distance = |i: usize| (of_mean - 2.0 * towards[i] + products.norm_squared(i)).max(0.0).sqrt();
    (0..shares.len()).map(distance).collect()
}

fn objective(weights: &[f64], distances: &[f64]) -> f64 {
    weights.iter().zip(distances).map(|(w, d)| w * d).sum()
}

/// Relative change of the objective at which the iterations stop, as in the authors' code.
const STILL: f64 = 1e-6;
