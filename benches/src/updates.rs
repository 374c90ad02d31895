//! Updates to aggregate. All are different, although only one is made and kept in memory.

use std::sync::Arc;

use fl_engine::{Weight, tensor::Layout};
use fl_runtime::internal::{aggregation::StagedUpdate, memory::SlotStore, payload::Payload};

use crate::Failure;

/// A model and any number of updates of it. Every update is the same noise from another starting point.
#[derive(Debug)]
pub struct Updates {
    layout: Arc<Layout>,
    noise: Vec<u8>,
}

impl Updates {
    /// Values in -0.5 .. 0.5.
    #[must_use]
    pub fn new(layout: Arc<Layout>) -> Self {
        let mut state = 1u32;
        let mut value = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        let mut noise = vec![0; layout.f32_len() * 4];
        noise.as_chunks_mut::<4>().0.iter_mut().for_each(|bytes| *bytes = value().to_le_bytes());
        Self { layout, noise }
    }

    /// The layout of the model and its updates.
    #[must_use]
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Update `n` in pieces: its f32 values, then its i64 ones.
    pub fn pieces(&self, n: usize) -> impl Iterator<Item = &[u8]> {
        const ZEROS: &[u8] = &[0; 4096];
        let (head, tail) = self.noise.split_at(n * STEP % self.layout.f32_len() * 4);
        let integers = self.layout.i64_len() * 8;
        let zeros =
            (0..integers).step_by(ZEROS.len()).map(move |at| &ZEROS[..ZEROS.len().min(integers - at)]);
        [tail, head].into_iter().chain(zeros)
    }

    /// Update `n` in one piece.
    #[must_use]
    pub fn bytes(&self, n: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.layout.byte_len());
        self.pieces(n).for_each(|piece| bytes.extend_from_slice(piece));
        bytes
    }

    /// The model that every update is of.
    ///
    /// # Panics
    /// Never: the bytes are the layout's.
    #[must_use]
    pub fn base(&self) -> Payload {
        #[expect(clippy::expect_used, reason = "the bytes are the layout's")]
        Payload::new(&self.layout, self.bytes(BASE).into()).expect("bytes of the layout's length")
    }

    /// Update `n` in a slot, as an upload leaves it.
    ///
    /// # Errors
    /// When the store is full or its disk fails.
    pub fn stage(&self, store: &SlotStore, n: usize) -> Result<StagedUpdate, Failure> {
        let mut writer = store.try_reserve()?.ok_or("every slot is taken")?;
        self.pieces(n).try_for_each(|piece| writer.write(piece))?;
        Ok(StagedUpdate { name: format!("site-{n:04}").parse()?, slot: writer.finish()?, weight: weight(n) })
    }
}

/// The weight of update `n`.
///
/// # Panics
/// Never below a hundred million.
#[must_use]
pub fn weight(n: usize) -> Weight {
    #[expect(clippy::expect_used, reason = "a hundred million updates are never made")]
    Weight::new(n as u64 + 400).expect("a weight within its bound")
}

/// Elements between the starting points of two updates: a prime that divides no measured length.
const STEP: usize = 7919;
/// The starting point of the model, where no update starts.
const BASE: usize = 1_000_003;
