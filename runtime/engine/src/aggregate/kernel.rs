//! The loops over elements of [`super::exact::Bins`].
//!
//! Each is compiled for AVX-512, for AVX2 and for every x86-64, and the best that the processor has is chosen
//! when it first runs. All give the same bits: IEEE additions and multiplications, integer additions and
//! shifts by constants, and no fused multiply-add, which Rust never makes by itself.
//!
//! Measured (Zen 4, 10 M elements, processor time; a memcpy of the model is 4.9 ms, a f32 axpy 3.6): one more
//! update 10.1 ms with AVX-512, 9.9 with AVX2, 11.0 without, bound by memory at 36 bytes an element; the
//! first of a sum 9.8; two, three and four in one pass 11.3, 13.6 and 15.2; one update and the mean 12.1,
//! 14.1 and 24.1.
//!
//! Tried and dropped:
//! - a guard band around the quotient, with a second loop over a block that holds a boundary: 15.5 ms in
//!   place of 12.1, and more where ties are common, as they are among equal weights. [`round`] takes the same
//!   time for all data;
//! - runs of 1024 to 16384 elements in place of [`super::ELEMENTS_A_PASS`]: no difference;
//! - huge pages for the bins: a third less for everything, memcpy too, but an enclave has none.

use multiversion::multiversion;

/// The same run of elements of one update, little-endian f32, and its weight times `2^k`.
pub(super) type Scaled<'a> = (&'a [[u8; 4]], f64);

/// Adds the terms of `updates` to the sums, or with `FIRST` writes them over whatever was there.
///
/// # Panics
/// When a slice is shorter than `hi`.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2"))]
pub(super) fn add<const N: usize, const FIRST: bool>(
    hi: &mut [i64],
    lo: &mut [i64],
    updates: [Scaled<'_>; N],
) {
    add_portable::<N, FIRST>(hi, lo, updates);
}

/// Writes the rounded means of the sums and the terms of `updates` together; with `FIRST` of the terms alone.
/// The sums are only read.
///
/// # Panics
/// When a slice is shorter than `out`. With `FIRST` the sums may be shorter.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2"))]
pub(super) fn mean<const N: usize, const FIRST: bool>(
    hi: &[i64],
    lo: &[i64],
    updates: [Scaled<'_>; N],
    divisor: Divisor,
    out: &mut [[u8; 4]],
) {
    mean_portable::<N, FIRST>(hi, lo, updates, divisor, out);
}

/// Adds `times · weight · value` for values of one run: as many terms of the same weight.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2"))]
pub(super) fn add_times(hi: &mut [i64], lo: &mut [i64], update: Scaled<'_>, times: i64) {
    add_times_portable(hi, lo, update, times);
}

/// Moves whole units from `lo` to `hi`.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx512bw", "x86_64+avx2"))]
pub(super) fn carry(hi: &mut [i64], lo: &mut [i64]) {
    hi.iter_mut().zip(lo).for_each(|(hi, lo)| (*hi, *lo) = carried(*hi, *lo));
}

/// Divides by a total without a division.
#[derive(Clone, Copy, Debug)]
pub(super) struct Divisor {
    /// The total in units of the lower bin.
    units: f64,
    /// One over it, rounded.
    reciprocal: f64,
}

impl Divisor {
    /// For a sum of weights `total` below `2^weight_bits`, so that an upper bin stays within 2^51; `None`
    /// when it is larger, or odd with 2^27 and more behind its factors of two: [`round`] is not exact then.
    pub(super) fn new(total: u64, weight_bits: u32, fraction: u32) -> Option<Self> {
        let exact = total > 0 && total >> weight_bits == 0 && total >> total.trailing_zeros() < 1 << 27;
        exact.then(|| {
            let units = total as f64 * pow2(fraction as i32 + 52);
            Self { units, reciprocal: 1.0 / units }
        })
    }
}

/// `2^exponent`, for exponents of normal numbers.
pub(super) const fn pow2(exponent: i32) -> f64 {
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

#[inline(always)]
fn add_portable<const N: usize, const FIRST: bool>(hi: &mut [i64], lo: &mut [i64], updates: [Scaled<'_>; N]) {
    let len = hi.len();
    let lo = &mut lo[..len];
    let updates = updates.map(|(values, scaled)| (&values[..len], scaled));
    for i in 0..len {
        let sum = if FIRST { (0, 0) } else { (hi[i], lo[i]) };
        (hi[i], lo[i]) = with_terms(sum, &updates, i);
    }
}

#[inline(always)]
fn mean_portable<const N: usize, const FIRST: bool>(
    hi: &[i64],
    lo: &[i64],
    updates: [Scaled<'_>; N],
    divisor: Divisor,
    out: &mut [[u8; 4]],
) {
    let len = out.len();
    let (hi, lo) = if FIRST { (hi, lo) } else { (&hi[..len], &lo[..len]) };
    let updates = updates.map(|(values, scaled)| (&values[..len], scaled));
    for i in 0..len {
        let sum = if FIRST { (0, 0) } else { (hi[i], lo[i]) };
        let (hi, lo) = with_terms(sum, &updates, i);
        let (hi, lo) = carried(hi, lo);
        out[i] = round(hi, lo, divisor).to_le_bytes();
    }
}

#[inline(always)]
fn add_times_portable(hi: &mut [i64], lo: &mut [i64], (values, scaled): Scaled<'_>, times: i64) {
    for ((hi, lo), value) in hi.iter_mut().zip(lo).zip(values) {
        let (upper, lower) = split(value, scaled);
        *hi = hi.wrapping_add(upper.wrapping_sub(HI_ZERO).wrapping_mul(times));
        *lo = lo.wrapping_add(lower.wrapping_sub(LO_ZERO).wrapping_mul(times));
    }
}

/// A sum and one term of each update.
#[inline(always)]
fn with_terms<const N: usize>(sum: (i64, i64), updates: &[Scaled<'_>; N], i: usize) -> (i64, i64) {
    // What the patterns are distances from is taken off once, for all.
    let mut hi = sum.0.wrapping_sub(HI_ZERO.wrapping_mul(N as i64));
    let mut lo = sum.1.wrapping_sub(LO_ZERO.wrapping_mul(N as i64));
    for (values, scaled) in updates {
        let (upper, lower) = split(&values[i], *scaled);
        hi = hi.wrapping_add(upper);
        lo = lo.wrapping_add(lower);
    }
    (hi, lo)
}

/// Bit patterns whose distances from [`HI_ZERO`] and [`LO_ZERO`] are the two parts of the product.
#[inline(always)]
fn split(value: &[u8; 4], scaled: f64) -> (i64, i64) {
    let product = f64::from(f32::from_le_bytes(*value)) * scaled;
    let upper = product + HI_MAGIC;
    let rest = product - (upper - HI_MAGIC);
    (upper.to_bits() as i64, (rest + LO_MAGIC).to_bits() as i64)
}

/// The same sum with `lo` within ±2^51.
#[inline(always)]
fn carried(hi: i64, lo: i64) -> (i64, i64) {
    // lo + 2^51 over 2^52, downwards; a logical shift, because SSE2 and AVX2 have no other for 64 bits.
    let units = (lo.wrapping_add(1 << 51) ^ i64::MIN).cast_unsigned() >> 52;
    let units = units.cast_signed() - (1 << 11);
    (hi.wrapping_add(units), lo.wrapping_sub(units << 52))
}

/// The mean, correctly rounded, ties to even, without a branch; a sum of zero gives +0.
///
/// `hi · 2^52 + lo` over the total is computed in f64 with a relative error under 2^-51 and rounded to
/// `middle`, the nearest number of 25 significant bits: either a f32, which is the answer then, or halfway
/// between two. `middle` times the total is exact (25 + 27 bits), so is its difference from `hi · 2^52`
/// (equal up to a factor of two, or one of them zero), and the sign of the last sum is right. The answer is
/// `middle`, moved by less than half a unit to the side of that sign, rounded once.
#[inline(always)]
fn round(hi: i64, lo: i64, divisor: Divisor) -> f32 {
    // Exact for |hi| and |lo| up to 2^51.
    let upper = f64::from_bits(UP_ZERO.wrapping_add(hi).cast_unsigned()) - UP_MAGIC;
    let lower = f64::from_bits(HI_ZERO.wrapping_add(lo).cast_unsigned()) - HI_MAGIC;
    let near = ((upper + lower) * divisor.reciprocal).to_bits();
    let middle = f64::from_bits(near.wrapping_add(1 << 27) & !((1 << 28) - 1));
    let side = ((upper - middle * divisor.units) + lower) * pow2(200);
    let most = middle.abs() * pow2(-30);
    // Not `clamp`: these are one instruction each.
    let side = if side < most { side } else { most };
    let side = if side > -most { side } else { -most };
    (middle + side) as f32
}

/// Bit patterns of the constants that a bin's contents are distances from.
pub(super) const HI_MAGIC: f64 = 1.5 * pow2(52);
const LO_MAGIC: f64 = 1.5;
const UP_MAGIC: f64 = 1.5 * pow2(104);
const HI_ZERO: i64 = HI_MAGIC.to_bits() as i64;
const LO_ZERO: i64 = LO_MAGIC.to_bits() as i64;
const UP_ZERO: i64 = UP_MAGIC.to_bits() as i64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Draws;

    struct Run {
        hi: Vec<i64>,
        lo: Vec<i64>,
        updates: [Vec<[u8; 4]>; 4],
    }

    impl Run {
        fn new(len: usize, seed: u64) -> Self {
            let mut draws = Draws::new(seed);
            let mut bins = |bits: u32| {
                (0..len).map(|_| draws.next_u64().cast_signed() >> (64 - bits)).collect::<Vec<_>>()
            };
            let (hi, lo) = (bins(50), bins(63));
            let mut value = || {
                let unit = (draws.next_u64() >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
                (unit * 1000.0).to_le_bytes()
            };
            Self { hi, lo, updates: std::array::from_fn(|_| (0..len).map(|_| value()).collect()) }
        }

        fn scaled<const N: usize>(&self) -> [Scaled<'_>; N] {
            std::array::from_fn(|n| (self.updates[n].as_slice(), (n as f64 * 77.0 + 1.0) * pow2(6)))
        }
    }

    fn chosen_and_portable_agree<const N: usize, const FIRST: bool>(run: &Run) {
        let (mut one, mut two) = ((run.hi.clone(), run.lo.clone()), (run.hi.clone(), run.lo.clone()));
        add::<N, FIRST>(&mut one.0, &mut one.1, run.scaled());
        add_portable::<N, FIRST>(&mut two.0, &mut two.1, run.scaled());
        assert_eq!(one, two, "{N} updates, first {FIRST}");
        let divisor = Divisor::new(77_000_001, 29, 6).unwrap();
        let (mut one, mut two) = (vec![[0; 4]; run.hi.len()], vec![[1; 4]; run.hi.len()]);
        mean::<N, FIRST>(&run.hi, &run.lo, run.scaled(), divisor, &mut one);
        mean_portable::<N, FIRST>(&run.hi, &run.lo, run.scaled(), divisor, &mut two);
        assert_eq!(one, two, "{N} updates, first {FIRST}");
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        for len in [0, 1, 2, 3, 7, 8, 9, 15, 17, 31, 33, 63, 64, 65, 1000, 4096, 4099] {
            let run = Run::new(len, len as u64);
            chosen_and_portable_agree::<0, false>(&run);
            chosen_and_portable_agree::<1, false>(&run);
            chosen_and_portable_agree::<2, false>(&run);
            chosen_and_portable_agree::<3, false>(&run);
            chosen_and_portable_agree::<4, false>(&run);
            chosen_and_portable_agree::<1, true>(&run);
            chosen_and_portable_agree::<2, true>(&run);
            chosen_and_portable_agree::<3, true>(&run);
            chosen_and_portable_agree::<4, true>(&run);
            let (mut one, mut two) = ((run.hi.clone(), run.lo.clone()), (run.hi.clone(), run.lo.clone()));
            carry(&mut one.0, &mut one.1);
            two.0.iter_mut().zip(&mut two.1).for_each(|(hi, lo)| (*hi, *lo) = carried(*hi, *lo));
            assert_eq!(one, two);
            assert!(one.1.iter().all(|lo| lo.unsigned_abs() <= 1 << 51));
            add_times(&mut one.0, &mut one.1, run.scaled::<1>()[0], 5);
            add_times_portable(&mut two.0, &mut two.1, run.scaled::<1>()[0], 5);
            assert_eq!(one, two);
            carry(&mut one.0, &mut one.1);
            let mut five = (run.hi.clone(), run.lo.clone());
            carry(&mut five.0, &mut five.1);
            (0..5).for_each(|_| add::<1, false>(&mut five.0, &mut five.1, run.scaled()));
            carry(&mut five.0, &mut five.1);
            assert_eq!(one, five, "five times at once");
        }
    }

    #[test]
    fn carry_keeps_the_sum_at_the_edges() {
        for lo in [0, 1, -1, 1 << 51, (1 << 51) - 1, -(1 << 51), -(1 << 51) - 1, 4094 << 51, -(4094 << 51)] {
            let (hi, rest) = carried(7, lo);
            let sum = |hi: i64, lo: i64| (i128::from(hi) << 52) + i128::from(lo);
            assert_eq!(sum(hi, rest), sum(7, lo));
            assert!((-(1 << 51)..1 << 51).contains(&rest), "{lo}: {rest}");
        }
    }
}
