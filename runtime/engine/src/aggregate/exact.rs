//! The two-bin exact accumulator.
//!
//! A term `weight × value` is exact in f64 (29 + 24 = 53 bits). It is split by two f64 additions with magic
//! constants into an integer part and a remainder rounded once to a fixed grid; both parts are added as
//! wrapping integers, so the sum is exact, associative and commutative. This is the pre-rounding of
//! Demmel and Nguyen, "Parallel Reproducible Summation", IEEE Trans. Computers 64 (2015), with the bins fixed
//! in advance by the plan's range in place of a first pass over the data.
//!
//! With `|x| < 2^a`, `w < 2^b` and `a + b + k = 51`, an element's sum is `hi · 2^52 + lo` in units of
//! `2^-(k + 52)`. Up to 4095 terms fit between two normalisations. A mean over values that are 0 or at least
//! `2^(23 - 52 - k)` is the correctly rounded f32 of the exact rational mean; below, each term is first
//! rounded to the grid.

use crate::plan::ExactRange;

/// Sums of a run of elements, each in two i64 bins (16 bytes an element).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bins {
    hi: Vec<i64>,
    lo: Vec<i64>,
    /// Terms since the last normalisation.
    terms: u32,
    /// `k`: fraction bits of the upper bin.
    fraction: u32,
}

/// Terms that `lo` holds for certain: 4095 · 2^51 < 2^63.
pub(crate) const MOST_TERMS: u32 = 4095;

impl Bins {
    /// Zero sums of `len` elements.
    #[must_use]
    pub fn zeros(len: usize, range: ExactRange) -> Self {
        let fraction = 51 - range.value_bits - range.weight_bits;
        Self { hi: vec![0; len], lo: vec![0; len], terms: 0, fraction }
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

    /// Back to zero, keeping the memory.
    pub fn clear(&mut self) {
        self.hi.fill(0);
        self.lo.fill(0);
        self.terms = 0;
    }

    /// Makes room for `terms` more terms an element; call it before [`Self::add`].
    ///
    /// # Panics
    /// With 4095 terms or more.
    pub fn reserve(&mut self, terms: u32) {
        assert!(terms < MOST_TERMS, "a batch of {terms} terms does not fit between two normalisations");
        if self.terms + terms > MOST_TERMS {
            self.normalise();
        }
        self.terms += terms;
    }

    /// Adds `weight × value` for the elements from `start` on. Values are little-endian f32, checked before.
    ///
    /// # Panics
    /// When the values reach past the last element.
    pub fn add(&mut self, start: usize, values: &[[u8; 4]], weight: u32) {
        let scaled = scale(weight, self.fraction);
        let hi = &mut self.hi[start..start + values.len()];
        let lo = &mut self.lo[start..start + values.len()];
        for ((hi, lo), value) in hi.iter_mut().zip(lo).zip(values) {
            let (h, l) = split(value, scaled);
            *hi = hi.wrapping_add(h.wrapping_sub(HI_ZERO));
            *lo = lo.wrapping_add(l.wrapping_sub(LO_ZERO));
        }
    }

    /// Adds four updates' terms in one pass over the bins.
    ///
    /// # Panics
    /// When the values reach past the last element or the four differ in length.
    pub fn add_four(&mut self, start: usize, values: [&[[u8; 4]]; 4], weights: [u32; 4]) {
        let scaled = weights.map(|w| scale(w, self.fraction));
        let len = values[0].len();
        let [a, b, c, d] = values.map(|v| &v[..len]);
        let hi = &mut self.hi[start..start + len];
        let lo = &mut self.lo[start..start + len];
        for i in 0..len {
            let (mut h, mut l) = (hi[i], lo[i]);
            for (value, scaled) in
                [(&a[i], scaled[0]), (&b[i], scaled[1]), (&c[i], scaled[2]), (&d[i], scaled[3])]
            {
                let (upper, lower) = split(value, scaled);
                h = h.wrapping_add(upper);
                l = l.wrapping_add(lower);
            }
            hi[i] = h.wrapping_sub(HI_ZERO.wrapping_mul(4));
            lo[i] = l.wrapping_sub(LO_ZERO.wrapping_mul(4));
        }
    }

    /// Carries whole units from `lo` to `hi`: the one form of a sum that can be compared.
    pub fn normalise(&mut self) {
        carry(&mut self.hi, &mut self.lo);
        self.terms = self.terms.min(1);
    }

    /// Writes the correctly rounded mean of the elements from `start` on, and leaves their sums at zero. Terms are
    /// still counted: [`Self::emptied`] follows the last run.
    ///
    /// # Panics
    /// As [`Self::mean`].
    pub fn take_mean(&mut self, start: usize, total: u64, out: &mut [f32]) {
        let run = start..start + out.len();
        carry(&mut self.hi[run.clone()], &mut self.lo[run.clone()]);
        self.mean(start, total, out);
        self.hi[run.clone()].fill(0);
        self.lo[run].fill(0);
    }

    /// Says that every element was taken, so that there is room for 4095 terms again.
    pub fn emptied(&mut self) {
        debug_assert!(self.hi.iter().chain(&self.lo).all(|bin| *bin == 0), "a sum was not taken");
        self.terms = 0;
    }

    /// Writes the correctly rounded mean of the elements from `start` on, of normalised bins: sum over `total`.
    ///
    /// # Panics
    /// When `out` reaches past the last element or `total` is zero.
    pub fn mean(&self, start: usize, total: u64, out: &mut [f32]) {
        assert!(total > 0, "a mean needs a weight");
        let divisor = total as f64;
        let unit = pow2(-(self.fraction as i32) - 52);
        let hi = &self.hi[start..start + out.len()];
        let lo = &self.lo[start..start + out.len()];
        for ((out, hi), lo) in
            out.chunks_mut(GUARD_BLOCK).zip(hi.chunks(GUARD_BLOCK)).zip(lo.chunks(GUARD_BLOCK))
        {
            let mut differ = false;
            for ((out, hi), lo) in out.iter_mut().zip(hi).zip(lo) {
                let (below, above) = guarded(*hi, *lo, divisor, unit);
                differ |= below.to_bits() != above.to_bits();
                *out = below;
            }
            if differ {
                for ((out, hi), lo) in out.iter_mut().zip(hi).zip(lo) {
                    let (below, above) = guarded(*hi, *lo, divisor, unit);
                    if below.to_bits() != above.to_bits() {
                        *out = decide(below, above, *hi, *lo, total, self.fraction);
                    }
                    // A sum of zero is +0, whatever the zeros' signs were.
                    *out += 0.0;
                }
            } else {
                out.iter_mut().for_each(|v| *v += 0.0);
            }
        }
    }
}

const HI_MAGIC: f64 = 6_755_399_441_055_744.0; // 1.5 · 2^52
const LO_MAGIC: f64 = 1.5;
const HI_ZERO: i64 = HI_MAGIC.to_bits() as i64;
const LO_ZERO: i64 = LO_MAGIC.to_bits() as i64;

/// Elements between two branches of the final division.
const GUARD_BLOCK: usize = 64;

/// Moves whole units from `lo` to `hi`.
fn carry(hi: &mut [i64], lo: &mut [i64]) {
    for (hi, lo) in hi.iter_mut().zip(lo) {
        let carry = lo.wrapping_add(1 << 51) >> 52;
        *hi = hi.wrapping_add(carry);
        *lo = lo.wrapping_sub(carry << 52);
    }
}

fn scale(weight: u32, fraction: u32) -> f64 {
    f64::from(weight) * pow2(fraction as i32)
}

/// `2^exponent`, for exponents of normal numbers.
fn pow2(exponent: i32) -> f64 {
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

/// Bit patterns whose distances from [`HI_ZERO`] and [`LO_ZERO`] are the two parts of the product.
#[inline(always)]
fn split(value: &[u8; 4], scaled: f64) -> (i64, i64) {
    let product = f64::from(f32::from_le_bytes(*value)) * scaled;
    let upper = product + HI_MAGIC;
    let rest = product - (upper - HI_MAGIC);
    (upper.to_bits() as i64, (rest + LO_MAGIC).to_bits() as i64)
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
