//! Exact sums of a column: fixed point, in digits of 32 bits, each with its own sign.
//!
//! A value is first cut to a multiple of 2^-160, and its square is exact then. After that nothing is rounded
//! until the sums of all sites are divided, so sums can be added in any order and grouping.

use serde::{Deserialize, Serialize};

/// Count, sum and sum of squares of a column's values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnSums {
    count: u64,
    /// In units of 2^-160, the lowest digit first.
    sum: Vec<i64>,
    /// In units of 2^-320.
    squares: Vec<i64>,
}

impl ColumnSums {
    /// How many values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What the digits are of, how many there are, and the most that any site's sums have.
    pub(crate) fn digits(&self) -> [(&'static str, usize, usize); 2] {
        [
            ("digits of a sum", self.sum.len(), SUM_DIGITS),
            ("digits of a sum of squares", self.squares.len(), SQUARE_DIGITS),
        ]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sum.is_empty() && self.squares.is_empty()
    }

    /// Adds a value; returns false for one that is not finite or too large.
    pub(super) fn add(&mut self, value: f64) -> bool {
        if !value.is_finite() || value.abs() >= LARGEST {
            return false;
        }
        let bits = value.abs().to_bits();
        let (exponent, fraction) = ((bits >> 52) as i32, bits & ((1 << 52) - 1));
        let (mantissa, exponent) =
            if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) };
        let at = exponent + UNIT;
        let cut = mantissa.checked_shr(u32::try_from(-at).unwrap_or(0)).unwrap_or(0);
        let (cut, at) = (u128::from(cut), usize::try_from(at).unwrap_or(0));
        self.widen();
        place(&mut self.sum, cut, at, value < 0.0);
        place(&mut self.squares, cut * cut, 2 * at, false);
        self.count += 1;
        // Each value adds less than 2^34 to a digit.
        if self.count.is_multiple_of(1 << 28) {
            carry(&mut self.sum);
            carry(&mut self.squares);
        }
        true
    }

    /// Adds the sums of another part of the same column, which [`Self::is_possible`].
    pub(super) fn merge(&mut self, other: &Self) {
        self.widen();
        self.count += other.count;
        for (digits, more) in [(&mut self.sum, &other.sum), (&mut self.squares, &other.squares)] {
            digits.iter_mut().zip(more).for_each(|(digit, more)| *digit += more);
            carry(digits);
        }
    }

    /// The same sums without leading zeros.
    pub(super) fn trimmed(&self) -> Self {
        let mut all = self.clone();
        for digits in [&mut all.sum, &mut all.squares] {
            carry(digits);
            while digits.last() == Some(&0) {
                digits.pop();
            }
        }
        all
    }

    /// Whether there are `count` numbers below [`LARGEST`] with these sums, as far as a peer's sums show it:
    /// every digit in its range, no negative variance, no mean square beyond the largest value's.
    pub(super) fn is_possible(&self) -> bool {
        let in_range = |digits: &[i64], most| {
            digits.len() <= most && digits.iter().all(|digit| digit.unsigned_abs() >> 32 == 0)
        };
        if self.count == 0 || !in_range(&self.sum, SUM_DIGITS) || !in_range(&self.squares, SQUARE_DIGITS) {
            return false;
        }
        let squares = magnitude(&self.squares.iter().map(|digit| i128::from(*digit)).collect::<Vec<_>>());
        let mean_square = float(&squares.1, -2 * UNIT) / self.count as f64;
        !self.spread().0 && mean_square <= LARGEST * LARGEST
    }

    /// Mean and standard deviation; `count` is above 0.
    pub(super) fn moments(&self) -> (f64, f64) {
        let count = self.count as f64;
        let (negative, sum) = magnitude(&self.sum.iter().map(|digit| i128::from(*digit)).collect::<Vec<_>>());
        let mean = float(&sum, -UNIT) / count;
        let variance = float(&self.spread().1, -2 * UNIT) / count / count;
        (if negative { -mean } else { mean }, variance.sqrt())
    }

    /// `count² × variance`, which is `count × squares − sum²`: whether it is negative, and its magnitude.
    fn spread(&self) -> (bool, Vec<u32>) {
        let mut digits = vec![0i128; 2 * SUM_DIGITS + 2];
        for (digit, square) in digits.iter_mut().zip(&self.squares) {
            *digit += i128::from(self.count) * i128::from(*square);
        }
        for (i, a) in self.sum.iter().enumerate() {
            for (j, b) in self.sum.iter().enumerate() {
                digits[i + j] -= i128::from(*a) * i128::from(*b);
            }
        }
        magnitude(&digits)
    }

    fn widen(&mut self) {
        self.sum.resize(SUM_DIGITS, 0);
        self.squares.resize(SQUARE_DIGITS, 0);
    }
}

/// Adds `value × 2^at`.
fn place(digits: &mut [i64], mut value: u128, at: usize, negative: bool) {
    let mut digit = at / 32;
    while value > 0 {
        let piece = u64::from(value as u32) << (at % 32);
        let (low, high) = ((piece & u64::from(u32::MAX)) as i64, (piece >> 32) as i64);
        let sign = if negative { -1 } else { 1 };
        digits[digit] += sign * low;
        digits[digit + 1] += sign * high;
        value >>= 32;
        digit += 1;
    }
}

/// Leaves digits below 2^32 in magnitude, apart from the last.
fn carry(digits: &mut [i64]) {
    for at in 1..digits.len() {
        digits[at] += digits[at - 1] / BASE;
        digits[at - 1] %= BASE;
    }
}

/// Whether the number is negative, and the digits of its magnitude: these are the same however the number
/// was written.
fn magnitude(digits: &[i128]) -> (bool, Vec<u32>) {
    let carried = |sign: i128| {
        let mut rest = 0i128;
        let mut out: Vec<u32> = digits
            .iter()
            .map(|digit| {
                rest += sign * digit;
                let low = rest as u32;
                rest >>= 32;
                low
            })
            .collect();
        while rest > 0 {
            out.push(rest as u32);
            rest >>= 32;
        }
        (rest < 0, out)
    };
    match carried(1) {
        (false, digits) => (false, digits),
        (true, _) => (true, carried(-1).1),
    }
}

/// The number in units of `2^unit`: its highest 65 bits or more, rounded once.
fn float(digits: &[u32], unit: i32) -> f64 {
    let Some(top) = digits.iter().rposition(|digit| *digit != 0) else { return 0.0 };
    let low = top.saturating_sub(2);
    let high = digits[low..=top].iter().rev().fold(0u128, |high, digit| high << 32 | u128::from(*digit));
    // At most 2^(32 × 26): far from the ends of f64.
    high as f64 * f64::from_bits(((1023 + unit + 32 * low as i32) as u64) << 52)
}

/// 2^120: values are smaller.
pub const LARGEST: f64 = f64::from_bits((1023 + 120) << 52);
/// Sums are in units of 2^-160.
const UNIT: i32 = 160;
const BASE: i64 = 1 << 32;
/// 2^280 for each of 2^56 values, and one digit more.
const SUM_DIGITS: usize = 12;
/// 2^560 for each of 2^56 values, and one digit more.
const SQUARE_DIGITS: usize = 21;
