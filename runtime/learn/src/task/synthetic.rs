//! The synthetic task: an update without training, for benches and for tests of the link.

use fl_engine::{Draws, tensor::ModelState};

use super::{error::TaskError, seed::Seed};

/// The base with a multiple of 2⁻³⁰ in ±2⁻⁷ added to every f32; i64 tensors unchanged.
pub(super) fn perturbed(
    base: ModelState,
    seed: Seed,
    cancelled: &dyn Fn() -> bool,
) -> Result<ModelState, TaskError> {
    let mut draws = Draws::new(seed.word("synthetic"));
    let mut update = base;
    for values in update.f32.chunks_mut(ELEMENTS_BETWEEN_QUESTIONS) {
        if cancelled() {
            return Err(TaskError::Cancelled);
        }
        for value in values {
            let step = (draws.next_u64() >> 40) as i32 - (1 << 23);
            *value += step as f32 / (1 << 30) as f32;
        }
    }
    Ok(update)
}

/// About 0.1 ms of work.
const ELEMENTS_BETWEEN_QUESTIONS: usize = 64 * 1024;
