//! What the processor can do at most: the limit that benches set kernels against.

use std::hint::black_box;

use crate::{isa::Isa, lanes::Lanes, level::with_level, team::Kit};

/// Multiplies and adds in registers, on each thread of the team, `rounds` times. The number of operations of
/// one thread: a multiply-add is two.
pub fn multiply_adds(kit: Kit<'_>, rounds: usize) -> u64 {
    with_level!(kit.level, isa => {
        (kit.team)(&|| {
            isa.run(#[inline(always)] || {
                let factor = isa.load(black_box(&Lanes([0.999; 16])));
                let mut sums = [isa.splat(1.0); SUMS];
                for _ in 0..rounds {
                    for sum in &mut sums {
                        *sum = isa.fma(*sum, factor, factor);
                    }
                }
                for sum in sums {
                    let mut out = Lanes::ZERO;
                    isa.store(&mut out, sum);
                    black_box(out);
                }
            });
        });
    });
    (rounds * SUMS * 16 * 2) as u64
}

/// Sums that do not wait for each other: more than any processor's multiply-adds are long.
const SUMS: usize = 6;
