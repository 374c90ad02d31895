//! Sixteen channels, which every kernel computes at once.

/// Sixteen channels of one pixel: a cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lanes(pub [f32; LANES]);

impl Lanes {
    /// Sixteen zeros.
    pub const ZERO: Self = Self([0.0; LANES]);

    pub(crate) fn each(of: impl FnMut(usize) -> f32) -> Self {
        Self(std::array::from_fn(of))
    }
}

/// A list of channels' values in blocks, with zeros behind the last.
pub fn by_lanes(values: &[f32], out: &mut Vec<Lanes>) {
    out.clear();
    out.extend(values.chunks(LANES).map(|chunk| {
        let mut lanes = Lanes::ZERO;
        lanes.0[..chunk.len()].copy_from_slice(chunk);
        lanes
    }));
}

/// Gives a list this length, and no more memory than the length needs. New places hold `value`.
pub(crate) fn resize_exact<T: Clone>(list: &mut Vec<T>, len: usize, value: T) {
    list.reserve_exact(len.saturating_sub(list.len()));
    list.resize(len, value);
}

/// Channels of a block.
pub const LANES: usize = 16;
