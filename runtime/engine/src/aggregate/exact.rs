//! The two-bin exact accumulator.
//!
//! A term `weight × value` is exact in f64 (29 + 24 = 53 bits). It is split by two f64 additions with magic
//! constants into an integer part and a remainder rounded once to a fixed grid; both parts are added as
//! wrapping integers, so the sum is exact, associative and commutative. This is the pre-rounding of
//! Demmel and Nguyen, "Parallel Reproducible Summation", IEEE Trans. Computers 64 (2015), with the bins fixed
//! in advance by the plan's range in place of a first pass over the data.
//!
//! With `|x| < 2^a`, `w < 2^b` and `a + b + k = 51`, an element's sum is `hi · 2^52 + lo` in units of
//! `2^-(k + 52)`. Up to 4094 terms fit between two normalisations. A mean over values that are 0 or at least
//! `2^(23 - 52 - k)` is the correctly rounded f32 of the exact rational mean; below, each term is first
//! rounded to the grid.

use std::ops::Range;

use super::kernel::{self, Divisor, Scaled, pow2};
use crate::{Weight, plan::ExactRange};

/// Sums of a run of elements, each in two i64 bins (16 bytes an element).
///
/// Passes over the elements go from the first to the last. What the first pass finds after a start, a
/// [`Self::clear`] or a mean taken is written over and never read, so no time is spent on zeros.
#[derive(Clone, Debug)]
pub struct Bins {
    hi: Vec<i64>,
    lo: Vec<i64>,
    /// Elements before this one hold a sum; the bins of the others hold anything, and their sum is zero.
    filled: usize,
    /// Terms since the last normalisation.
    terms: u32,
    /// `b`: bits of a weight.
    weight_bits: u32,
    /// `k`: fraction bits of the upper bin.
    fraction: u32,
}

/// A run of elements of one update, little-endian f32 that were checked, and its weight, below
/// `2^weight_bits`; a weight of 0 adds nothing.
pub type Weighted<'a> = (&'a [[u8; 4]], u32);

impl Bins {
    /// Zero sums of `len` elements.
    #[must_use]
    pub fn zeros(len: usize, range: ExactRange) -> Self {
        let ExactRange { value_bits, weight_bits } = range;
        let fraction = 51 - value_bits - weight_bits;
        Self { hi: vec![0; len], lo: vec![0; len], filled: 0, terms: 0, weight_bits, fraction }
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hi.len()
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hi.is_empty()
    }

    /// Back to zero, keeping the memory. It takes no time: the next pass writes over what is there.
    pub fn clear(&mut self) {
        (self.filled, self.terms) = (0, 0);
    }

    /// Makes room for `terms` more terms an element; call it before [`Self::add`].
    ///
    /// # Panics
    /// With 4094 terms or more.
    pub fn reserve(&mut self, terms: u32) {
        assert!(terms < MOST_TERMS, "a batch of {terms} terms does not fit between two normalisations");
        if self.terms + terms > MOST_TERMS {
            self.normalise();
        }
        self.terms += terms;
    }

    /// Adds `weight × value` of up to [`MOST_AT_ONCE`] updates for the elements from `start` on, in one pass.
    ///
    /// # Panics
    /// When the values reach past the last element, an update is shorter than the first, or there are more
    /// updates.
    pub fn add(&mut self, start: usize, updates: &[Weighted<'_>]) {
        let run = start..start + updates.first().map_or(0, |(values, _)| values.len());
        let empty = run.start >= self.filled && !updates.is_empty();
        if empty {
            // Elements that the pass has left out.
            self.fill_to(run.start);
            self.filled = run.end;
        }
        self.fill_to(run.end);
        let mut all = [([].as_slice(), 0.0); MOST_AT_ONCE];
        let updates = scaled(updates, self.fraction, &mut all);
        let (hi, lo) = (&mut self.hi[run.clone()], &mut self.lo[run]);
        match (updates, empty) {
            ([], _) => {}
            ([a], true) => kernel::add::<1, true>(hi, lo, [*a]),
            ([a], false) => kernel::add::<1, false>(hi, lo, [*a]),
            ([a, b], true) => kernel::add::<2, true>(hi, lo, [*a, *b]),
            ([a, b], false) => kernel::add::<2, false>(hi, lo, [*a, *b]),
            ([a, b, c], true) => kernel::add::<3, true>(hi, lo, [*a, *b, *c]),
            ([a, b, c], false) => kernel::add::<3, false>(hi, lo, [*a, *b, *c]),
            ([a, b, c, d], true) => kernel::add::<4, true>(hi, lo, [*a, *b, *c, *d]),
            ([a, b, c, d], false) => kernel::add::<4, false>(hi, lo, [*a, *b, *c, *d]),
            // `all` holds no more.
            _ => unreachable!("more than {MOST_AT_ONCE} updates in one pass"),
        }
    }

    /// Adds `times` terms of one update's values and weight: what that many [`Self::add`] would, bit for bit.
    ///
    /// # Panics
    /// When the values reach past the last element.
    pub fn add_times(&mut self, start: usize, values: &[[u8; 4]], weight: u32, times: u32) {
        let run = start..start + values.len();
        self.fill_to(run.end);
        let scaled = f64::from(weight) * pow2(self.fraction as i32);
        kernel::add_times(&mut self.hi[run.clone()], &mut self.lo[run], (values, scaled), times.into());
    }

    /// Carries whole units from `lo` to `hi`.
    pub fn normalise(&mut self) {
        kernel::carry(&mut self.hi[..self.filled], &mut self.lo[..self.filled]);
        self.terms = self.terms.min(1);
    }

    /// Writes the correctly rounded means of the elements from `start` on, little-endian f32: the sums and
    /// the terms of up to [`MOST_AT_ONCE`] further updates over `total`, which has those in it. Of these
    /// elements the sums are spent: [`Self::emptied`] follows the last run.
    ///
    /// # Panics
    /// When `out` reaches past the last element, an update is shorter than `out`, there are more updates, or
    /// `total` is zero.
    pub fn take_mean(&mut self, start: usize, updates: &[Weighted<'_>], total: u64, out: &mut [[u8; 4]]) {
        assert!(total > 0, "a mean needs a weight");
        let run = start..start + out.len();
        let Some(divisor) = Divisor::new(total, self.weight_bits, self.fraction) else {
            self.add(start, updates);
            self.fill_to(run.end);
            kernel::carry(&mut self.hi[run.clone()], &mut self.lo[run.clone()]);
            return self.divide(run, total, out);
        };
        let empty = run.start >= self.filled;
        if !empty {
            self.fill_to(run.end);
        }
        let mut all = [([].as_slice(), 0.0); MOST_AT_ONCE];
        let updates = scaled(updates, self.fraction, &mut all);
        let (hi, lo) = (&self.hi[run.clone()], &self.lo[run]);
        match (updates, empty) {
            ([], true) => out.fill([0; 4]),
            ([], false) => kernel::mean::<0, false>(hi, lo, [], divisor, out),
            ([a], true) => kernel::mean::<1, true>(hi, lo, [*a], divisor, out),
            ([a], false) => kernel::mean::<1, false>(hi, lo, [*a], divisor, out),
            ([a, b], true) => kernel::mean::<2, true>(hi, lo, [*a, *b], divisor, out),
            ([a, b], false) => kernel::mean::<2, false>(hi, lo, [*a, *b], divisor, out),
            ([a, b, c], true) => kernel::mean::<3, true>(hi, lo, [*a, *b, *c], divisor, out),
            ([a, b, c], false) => kernel::mean::<3, false>(hi, lo, [*a, *b, *c], divisor, out),
            ([a, b, c, d], true) => kernel::mean::<4, true>(hi, lo, [*a, *b, *c, *d], divisor, out),
            ([a, b, c, d], false) => kernel::mean::<4, false>(hi, lo, [*a, *b, *c, *d], divisor, out),
            // `all` holds no more.
            _ => unreachable!("more than {MOST_AT_ONCE} updates in one pass"),
        }
    }

    /// Marks all sums as consumed by [`Self::take_mean`]: the sums are zero, with room for 4094 terms.
    pub fn emptied(&mut self) {
        self.clear();
    }

    /// Writes the correctly rounded means of the elements from `start` on, little-endian f32: sum over
    /// `total`. The sums stay.
    ///
    /// # Panics
    /// When `out` reaches past the last element or `total` is zero.
    pub fn mean(&mut self, start: usize, total: u64, out: &mut [[u8; 4]]) {
        self.fill_to(start + out.len());
        self.take_mean(start, &[], total, out);
    }

    /// Writes zeros so that every element before `end` holds a sum.
    fn fill_to(&mut self, end: usize) {
        if end > self.filled {
            self.hi[self.filled..end].fill(0);
            self.lo[self.filled..end].fill(0);
            self.filled = end;
        }
    }

    /// The mean of normalised bins for any total: in f64 with a guard band, and by integers where the band
    /// holds a boundary between two floats.
    fn divide(&self, run: Range<usize>, total: u64, out: &mut [[u8; 4]]) {
        let divisor = total as f64;
        let unit = pow2(-(self.fraction as i32) - 52);
        let (hi, lo) = (&self.hi[run.clone()], &self.lo[run]);
        for ((out, hi), lo) in
            out.chunks_mut(GUARD_BLOCK).zip(hi.chunks(GUARD_BLOCK)).zip(lo.chunks(GUARD_BLOCK))
        {
            let mut differ = false;
            for ((out, hi), lo) in out.iter_mut().zip(hi).zip(lo) {
                let (below, above) = guarded(*hi, *lo, divisor, unit);
                differ |= below.to_bits() != above.to_bits();
                // A sum of zero is +0, whatever the zeros' signs were.
                *out = (below + 0.0).to_le_bytes();
            }
            if differ {
                for ((out, hi), lo) in out.iter_mut().zip(hi).zip(lo) {
                    let (below, above) = guarded(*hi, *lo, divisor, unit);
                    if below.to_bits() != above.to_bits() {
                        let decided = decide(below, above, *hi, *lo, total, self.fraction);
                        *out = (decided + 0.0).to_le_bytes();
                    }
                }
            }
        }
    }
}

/// Bits of an integer weight that is no collaborator's claim but a rule's own: as many as the bins leave
/// beside the plan's values, at most 29.
#[must_use]
pub fn share_bits(exact: ExactRange) -> u32 {
    Weight::BITS.min(51 - exact.value_bits)
}

/// Updates with their weights on the bins' scale, in `all`.
fn scaled<'a, 'b>(
    updates: &[Weighted<'a>],
    fraction: u32,
    all: &'b mut [Scaled<'a>; MOST_AT_ONCE],
) -> &'b [Scaled<'a>] {
    let all = &mut all[..updates.len()];
    for (scaled, (values, weight)) in all.iter_mut().zip(updates) {
        *scaled = (values, f64::from(*weight) * pow2(fraction as i32));
    }
    all
}

/// The mean in f64 with a relative error under 2^-51, rounded from just below and just above.
#[inline(always)]
fn guarded(hi: i64, lo: i64, divisor: f64, unit: f64) -> (f32, f32) {
    let mean = (hi as f64 * pow2(52) + lo as f64) / divisor * unit;
    ((mean * (1.0 - pow2(-50))) as f32, (mean * (1.0 + pow2(-50))) as f32)
}

/// Which of two adjacent floats the exact mean rounds to: compares the sum with the midpoint in integers.
#[cold]
fn decide(below: f32, above: f32, hi: i64, lo: i64, total: u64, fraction: u32) -> f32 {
    let sum = (i128::from(hi) << 52) + i128::from(lo);
    let magnitude = sum.unsigned_abs();
    let (small, large) = match below.abs() <= above.abs() {
        true => (below.abs(), above.abs()),
        false => (above.abs(), below.abs()),
    };
    // (small + large) / 2 is exact in f64: two adjacent f32.
    let midpoint = (f64::from(small) + f64::from(large)) / 2.0;
    let bits = midpoint.to_bits();
    let exponent = (bits >> 52) as i32 - 1075;
    let mantissa = (bits & ((1 << 52) - 1)) | 1 << 52;
    // 25 significant bits: drop the zeros so that the products below stay inside u128.
    let zeros = mantissa.trailing_zeros();
    let (mantissa, exponent) = (mantissa >> zeros, exponent + zeros as i32);
    // magnitude · 2^-(fraction + 52)  against  mantissa · 2^exponent · total
    let shift = exponent + fraction as i32 + 52;
    let (left, right) = (magnitude, u128::from(mantissa) * u128::from(total));
    let order = match shift {
        0.. => left.cmp(&(right << shift)),
        _ => (left << -shift).cmp(&right),
    };
    let chosen = match order {
        std::cmp::Ordering::Less => small,
        std::cmp::Ordering::Greater => large,
        std::cmp::Ordering::Equal if small.to_bits() & 1 == 0 => small,
        std::cmp::Ordering::Equal => large,
    };
    if sum < 0 { -chosen } else { chosen }
}

/// Updates that one pass adds.
pub const MOST_AT_ONCE: usize = 4;
/// Terms that `lo` holds for certain, with the half unit that a carry adds before it cuts: 4095 · 2^51 <
/// 2^63.
pub(crate) const MOST_TERMS: u32 = 4094;
/// Elements between two branches of the general division.
const GUARD_BLOCK: usize = 64;
