//! What the tests of sums and of rules over all updates begin with.

use std::sync::Arc;

use fl_engine::tensor::{Combine, Dtype, Layout, TensorSpec};

/// Four leaves and a bit of f32, with a tensor held out across a leaf's end, then integers of three kinds. The integers
/// of an update lie in a chunk of their own.
pub(crate) fn layout() -> Arc<Layout> {
    let held = TensorSpec { combine: Combine::Keep, ..TensorSpec::f32("held", [9_000]) };
    let integers = |name: &str, combine| TensorSpec {
        dtype: Dtype::I64,
        combine,
        ..TensorSpec::f32(name.to_owned(), [3])
    };
    Layout::new(vec![
        TensorSpec::f32("a", [60_000]),
        integers("steps", Combine::Sum),
        held,
        integers("most", Combine::Max),
        TensorSpec::f32("b.running_mean", [203_003]),
        integers("kept", Combine::Keep),
    ])
    .unwrap()
}

/// splitmix64 (Steele, Lea, Flood 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}
