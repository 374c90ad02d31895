//! Norm clipping as integer weights (Sun et al., arXiv:1911.07963).
//!
//! An update `x` at a distance `d` from the base counts as `base + c (x - base)` with `c = min(1, norm / d)`.
//! The mean of these is `[Σ uᵢ xᵢ + (W - Σ uᵢ) base] / W` with `W = Σ wᵢ 2^F` and `uᵢ = floor(wᵢ 2^F cᵢ)`:
//! the base gets the weight that the clipped updates lose. All factors are integers, so the sum is the exact
//! sum of [`super::Bins`] and does not depend on any order. `c` is rounded down to a multiple of `2^-F / wᵢ`,
//! so no update counts with a larger norm than the plan's.

use super::share_bits;
use crate::{Weight, plan::ExactRange};

/// Cuts updates to a largest distance from the base.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clip {
    norm: f64,
    /// `F`.
    shift: u32,
}

impl Clip {
    /// Cuts to the Euclidean distance `norm` (above 0), for weights within `exact`.
    #[must_use]
    pub fn new(norm: f64, exact: ExactRange) -> Self {
        Self { norm, shift: share_bits(exact).saturating_sub(exact.weight_bits) }
    }

    /// The range of the sum that the clipped weights go into.
    #[must_use]
    pub fn range(exact: ExactRange) -> ExactRange {
        ExactRange { value_bits: exact.value_bits, weight_bits: share_bits(exact) }
    }

    /// `wᵢ 2^F`: what an update adds to the divisor.
    #[must_use]
    pub fn full(&self, weight: Weight) -> Weight {
        // A plan's weights are below 2^(29 - F); others would be cut to the bound.
        let full = u64::from(weight.value()) << self.shift;
        Weight::new(full.min(MOST)).unwrap_or(weight)
    }

    /// `uᵢ`: the weight of an update at this squared distance from the base; `None` for a weight of 0.
    #[must_use]
    pub fn weight(&self, weight: Weight, distance_squared: f64) -> Option<Weight> {
        let full = self.full(weight);
        let distance = distance_squared.sqrt();
        if distance <= self.norm {
            return Some(full);
        }
        // An update at an infinite distance, or at NaN, has the weight 0.
        Weight::new((f64::from(full.value()) * (self.norm / distance)) as u64).ok()
    }

    /// The weights, each within the sum's range, by which the base is absorbed for a residual of `W - Σ uᵢ`.
    pub fn pieces(residual: u64) -> impl Iterator<Item = Weight> {
        let piece = move |i: u64| Weight::new((residual - i * MOST).min(MOST)).ok();
        (0..residual.div_ceil(MOST)).filter_map(piece)
    }
}

/// The largest weight.
const MOST: u64 = (1 << Weight::BITS) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    const EXACT: ExactRange = ExactRange { value_bits: 16, weight_bits: 19 };

    fn weight(w: u64) -> Weight {
        Weight::new(w).unwrap()
    }

    #[test]
    fn updates_within_the_norm_count_in_full_and_others_with_their_share() {
        let clip = Clip::new(2.0, EXACT);
        assert_eq!(clip.full(weight(3)), weight(3 << 10));
        assert_eq!(clip.weight(weight(3), 4.0), Some(weight(3 << 10)));
        assert_eq!(clip.weight(weight(3), 16.0), Some(weight(3 << 9)));
        assert_eq!(clip.weight(weight(3), 36.0), Some(weight(3 * 1024 / 3)));
        assert_eq!(clip.weight(weight(1), 1e40), None);
        assert_eq!(clip.weight(weight(1), f64::INFINITY), None);
        assert_eq!(clip.weight(weight(1), f64::NAN), None);
        // Just above the norm: rounded down, never up.
        assert_eq!(clip.weight(weight(1), 4.0_f64.next_up()), Some(weight(1024)));
        assert_eq!(clip.weight(weight(1), 4.001), Some(weight(1023)));
        assert_eq!(Clip::range(EXACT), ExactRange { value_bits: 16, weight_bits: 29 });
    }

    #[test]
    fn the_bases_weight_is_absorbed_in_pieces() {
        let pieces = |residual| Clip::pieces(residual).map(|w| u64::from(w.value())).collect::<Vec<_>>();
        let most = (1 << 29) - 1;
        assert_eq!(pieces(0), [0u64; 0]);
        assert_eq!(pieces(7), [7]);
        assert_eq!(pieces(most), [most]);
        assert_eq!(pieces(2 * most + 1), [most, most, 1]);
    }
}
