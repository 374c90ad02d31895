//! Sixteen lanes of f32 with the instructions that a processor has. Each lane computes the same sequence of
//! operations with each set of instructions.
//!
//! Every function here, and every closure given to [`Isa::run`], is inlined by force: instructions of AVX
//! reach a function that is not inlined as calls.

use crate::lanes::{LANES, Lanes};

pub(crate) trait Isa: Copy + Send + Sync + 'static {
    /// Sixteen lanes.
    type V: Copy;
    /// Whether there are 32 registers of sixteen lanes; otherwise sixteen of eight.
    const WIDE: bool;
    /// Compiles what is inlined into `f` with the instructions.
    fn run<R>(self, f: impl FnOnce() -> R) -> R;
    fn load(self, x: &Lanes) -> Self::V;
    fn store(self, x: &mut Lanes, v: Self::V);
    fn splat(self, x: f32) -> Self::V;
    /// a · b + c, rounded once.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// a where a > b, otherwise b.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// By lane: `yes` where a > b, otherwise `no`.
    fn if_greater(self, a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V;
    /// By lane: `yes` where a = b, otherwise `no`.
    fn if_equal(self, a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V;
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use pulp::{
        cast, f32x8, f32x16,
        x86::{V3, V4},
    };

    use super::{Isa, Lanes};

    impl Isa for V4 {
        type V = f32x16;
        const WIDE: bool = true;

        #[inline(always)]
        fn run<R>(self, f: impl FnOnce() -> R) -> R {
            self.vectorize(f)
        }

        #[inline(always)]
        fn load(self, x: &Lanes) -> f32x16 {
            cast(x.0)
        }

        #[inline(always)]
        fn store(self, x: &mut Lanes, v: f32x16) {
            x.0 = cast(v);
        }

        #[inline(always)]
        fn splat(self, x: f32) -> f32x16 {
            self.splat_f32x16(x)
        }

        #[inline(always)]
        fn fma(self, a: f32x16, b: f32x16, c: f32x16) -> f32x16 {
            self.mul_add_f32x16(a, b, c)
        }

        #[inline(always)]
        fn add(self, a: f32x16, b: f32x16) -> f32x16 {
            self.add_f32x16(a, b)
        }

        #[inline(always)]
        fn sub(self, a: f32x16, b: f32x16) -> f32x16 {
            self.sub_f32x16(a, b)
        }

        #[inline(always)]
        fn mul(self, a: f32x16, b: f32x16) -> f32x16 {
            self.mul_f32x16(a, b)
        }

        #[inline(always)]
        fn max(self, a: f32x16, b: f32x16) -> f32x16 {
            self.max_f32x16(a, b)
        }

        #[inline(always)]
        fn if_greater(self, a: f32x16, b: f32x16, yes: f32x16, no: f32x16) -> f32x16 {
            self.select_f32x16(self.cmp_gt_f32x16(a, b), yes, no)
        }

        #[inline(always)]
        fn if_equal(self, a: f32x16, b: f32x16, yes: f32x16, no: f32x16) -> f32x16 {
            self.select_f32x16(self.cmp_eq_f32x16(a, b), yes, no)
        }
    }

    type Pair = [f32x8; 2];

    impl Isa for V3 {
        type V = Pair;
        const WIDE: bool = false;

        #[inline(always)]
        fn run<R>(self, f: impl FnOnce() -> R) -> R {
            self.vectorize(f)
        }

        #[inline(always)]
        fn load(self, x: &Lanes) -> Pair {
            cast(x.0)
        }

        #[inline(always)]
        fn store(self, x: &mut Lanes, v: Pair) {
            x.0 = cast(v);
        }

        #[inline(always)]
        fn splat(self, x: f32) -> Pair {
            [self.splat_f32x8(x); 2]
        }

        #[inline(always)]
        fn fma(self, a: Pair, b: Pair, c: Pair) -> Pair {
            [self.mul_add_f32x8(a[0], b[0], c[0]), self.mul_add_f32x8(a[1], b[1], c[1])]
        }

        #[inline(always)]
        fn add(self, a: Pair, b: Pair) -> Pair {
            [self.add_f32x8(a[0], b[0]), self.add_f32x8(a[1], b[1])]
        }

        #[inline(always)]
        fn sub(self, a: Pair, b: Pair) -> Pair {
            [self.sub_f32x8(a[0], b[0]), self.sub_f32x8(a[1], b[1])]
        }

        #[inline(always)]
        fn mul(self, a: Pair, b: Pair) -> Pair {
            [self.mul_f32x8(a[0], b[0]), self.mul_f32x8(a[1], b[1])]
        }

        #[inline(always)]
        fn max(self, a: Pair, b: Pair) -> Pair {
            [self.max_f32x8(a[0], b[0]), self.max_f32x8(a[1], b[1])]
        }

        #[inline(always)]
        fn if_greater(self, a: Pair, b: Pair, yes: Pair, no: Pair) -> Pair {
            [
                self.select_f32x8(self.cmp_gt_f32x8(a[0], b[0]), yes[0], no[0]),
                self.select_f32x8(self.cmp_gt_f32x8(a[1], b[1]), yes[1], no[1]),
            ]
        }

        #[inline(always)]
        fn if_equal(self, a: Pair, b: Pair, yes: Pair, no: Pair) -> Pair {
            [
                self.select_f32x8(self.cmp_eq_f32x8(a[0], b[0]), yes[0], no[0]),
                self.select_f32x8(self.cmp_eq_f32x8(a[1], b[1]), yes[1], no[1]),
            ]
        }
    }
}

/// No vector instructions asked for: what any processor computes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scalar;

type Values = [f32; LANES];

#[inline(always)]
fn each(of: impl FnMut(usize) -> f32) -> Values {
    std::array::from_fn(of)
}

impl Isa for Scalar {
    type V = Values;
    const WIDE: bool = false;

    #[inline(always)]
    fn run<R>(self, f: impl FnOnce() -> R) -> R {
        f()
    }

    #[inline(always)]
    fn load(self, x: &Lanes) -> Values {
        x.0
    }

    #[inline(always)]
    fn store(self, x: &mut Lanes, v: Values) {
        x.0 = v;
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Values {
        [x; LANES]
    }

    #[inline(always)]
    fn fma(self, a: Values, b: Values, c: Values) -> Values {
        each(|l| a[l].mul_add(b[l], c[l]))
    }

    #[inline(always)]
    fn add(self, a: Values, b: Values) -> Values {
        each(|l| a[l] + b[l])
    }

    #[inline(always)]
    fn sub(self, a: Values, b: Values) -> Values {
        each(|l| a[l] - b[l])
    }

    #[inline(always)]
    fn mul(self, a: Values, b: Values) -> Values {
        each(|l| a[l] * b[l])
    }

    #[inline(always)]
    fn max(self, a: Values, b: Values) -> Values {
        each(|l| if a[l] > b[l] { a[l] } else { b[l] })
    }

    #[inline(always)]
    fn if_greater(self, a: Values, b: Values, yes: Values, no: Values) -> Values {
        each(|l| if a[l] > b[l] { yes[l] } else { no[l] })
    }

    #[inline(always)]
    fn if_equal(self, a: Values, b: Values, yes: Values, no: Values) -> Values {
        each(|l| if a[l] == b[l] { yes[l] } else { no[l] })
    }
}
