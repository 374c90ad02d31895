//! The memory in which one thread combines updates.

use super::{Bins, Pair, block::block_width, deltas::ELEMENTS_A_STEP, mean::ELEMENTS_A_PASS};
use crate::{ByteCount, plan::ExactRange};

/// The memory of one thread. It is made once, grows with the first run of a round, and is kept for later
/// rounds.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    /// A block's values.
    pub(super) values: Lines<f32>,
    /// Values with their weights.
    pub(super) pairs: Lines<Pair>,
    /// Deltas of a step.
    pub(super) deltas: Lines<f64>,
    /// A block of the base.
    pub(super) base: Lines<f32>,
    /// A block of answers.
    pub(super) out: Lines<f32>,
    pub(super) bins: Option<(ExactRange, Bins)>,
}

impl Scratch {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The most memory that a scratch takes in rounds of up to this many updates, for any rule.
    #[must_use]
    pub fn most(updates: usize) -> ByteCount {
        let width = block_width(updates);
        let block = updates * width * (4 + 8) + 2 * width * 4;
        let deltas = updates * ELEMENTS_A_STEP * 8;
        let mean = ELEMENTS_A_PASS * (4 + 16);
        ByteCount((block + deltas + mean + 5 * LINE) as u64)
    }
}

/// Elements that begin at a cache line: a vector that straddles two costs half as much again.
#[derive(Clone, Debug)]
pub(super) struct Lines<T>(Vec<T>);

impl<T> Default for Lines<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy + Default> Lines<T> {
    /// The first `len` elements, of unspecified content.
    pub(super) fn first(&mut self, len: usize) -> &mut [T] {
        let padding = LINE / size_of::<T>();
        if self.0.len() < len + padding {
            self.0.resize(len + padding, T::default());
        }
        let start = self.0.as_ptr().align_offset(LINE).min(padding);
        &mut self.0[start..start + len]
    }
}

/// Bytes of a cache line.
const LINE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_begin_at_cache_lines_and_shorter_ones_take_no_memory() {
        let mut lines = Lines::<f32>::default();
        for len in [1000, 1, 17, 1000] {
            let first = lines.first(len);
            assert_eq!((first.len(), first.as_ptr().align_offset(LINE)), (len, 0));
        }
        assert_eq!(lines.0.len(), 1000 + LINE / 4);
    }
}
