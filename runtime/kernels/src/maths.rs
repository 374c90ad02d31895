//! Exponential and logarithm from additions, multiplications and divisions alone, which round alike on every
//! machine. The C library's functions differ between libraries and versions.

/// eˣ, within 4e-16 of the value; 0 and infinity where f64 has no more.
#[must_use]
pub fn exp(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x > 709.0 {
        return f64::INFINITY;
    }
    if x < -708.0 {
        return 0.0;
    }
    let turns = (x * std::f64::consts::LOG2_E).round();
    // ln 2 in two parts, so that the product with `turns` is exact in the first.
    let rest = (x - turns * LN2_HIGH) - turns * LN2_LOW;
    // Taylor's series; |rest| is below 0.35, so the next term is below 3e-17.
    let sum = TAYLOR.iter().fold(0.0, |sum, term| sum * rest + term);
    sum * f64::from_bits(((1023 + turns as i64) as u64) << 52)
}

/// The natural logarithm, within 4e-16 of the value, of a normal number above 0.
#[must_use]
pub fn ln(x: f64) -> f64 {
    if x.is_nan() || x < 0.0 {
        return f64::NAN;
    }
    if x < f64::MIN_POSITIVE {
        return f64::NEG_INFINITY;
    }
    if x == f64::INFINITY {
        return x;
    }
    let mut exponent = ((x.to_bits() >> 52) as i64 - 1023) as f64;
    let mut part = f64::from_bits((x.to_bits() & ((1 << 52) - 1)) | (1023 << 52));
    if part > std::f64::consts::SQRT_2 {
        part /= 2.0;
        exponent += 1.0;
    }
    // ln part = 2 atanh((part − 1) / (part + 1)); the ratio is below 0.172.
    let ratio = (part - 1.0) / (part + 1.0);
    let square = ratio * ratio;
    let sum = ODD.iter().fold(0.0, |sum, term| sum * square + term);
    exponent * LN2_HIGH + (exponent * LN2_LOW + 2.0 * ratio * sum)
}

/// 1 / (1 + e⁻ˣ).
#[must_use]
pub fn sigmoid(x: f64) -> f64 {
    let e = exp(-x.abs());
    if x >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }
}

/// The hyperbolic tangent.
#[must_use]
pub fn tanh(x: f64) -> f64 {
    if x.abs() < 0.02 {
        // The quotient loses digits near 0.
        let square = x * x;
        return x * (1.0 - square * (1.0 / 3.0 - square * (2.0 / 15.0 - square * (17.0 / 315.0))));
    }
    let e = exp(-2.0 * x.abs());
    ((1.0 - e) / (1.0 + e)).copysign(x)
}

/// 1 / n!, for n from 13 down to 0.
const TAYLOR: [f64; 14] = {
    let (mut terms, mut n) = ([1.0; 14], 1);
    let mut factorial = 1.0;
    while n < 14 {
        factorial *= n as f64;
        terms[13 - n] = 1.0 / factorial;
        n += 1;
    }
    terms
};

/// 1 / (2 n + 1), for n from 11 down to 0.
const ODD: [f64; 12] = {
    let (mut terms, mut n) = ([1.0; 12], 0);
    while n < 12 {
        terms[11 - n] = 1.0 / (2 * n + 1) as f64;
        n += 1;
    }
    terms
};

const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_those_of_the_c_library_but_for_rounding() {
        for n in -7_000..7_000 {
            let x = f64::from(n) / 10.0 + 0.037;
            assert!((exp(x) / x.exp() - 1.0).abs() < 4e-15, "{x}");
            let y = x.abs() * if n % 2 == 0 { 1e-9 } else { 1e9 };
            assert!((ln(y) - y.ln()).abs() <= 4e-15 * y.ln().abs().max(1.0), "{y}");
            let z = x / 50.0;
            assert!((tanh(z) - z.tanh()).abs() <= 4e-14 * z.tanh().abs(), "{z}");
            assert!((sigmoid(z) - 1.0 / (1.0 + (-z).exp())).abs() < 1e-15, "{z}");
        }
        assert_eq!([exp(0.0), exp(1e9), exp(-1e9), ln(1.0)], [1.0, f64::INFINITY, 0.0, 0.0]);
        assert!(exp(f64::NAN).is_nan() && ln(-1.0).is_nan() && tanh(f64::NAN).is_nan());
    }
}
