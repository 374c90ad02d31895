//! The synthetic task: an update without training, for benches and for tests of the link.

use fl_engine::{Draws, tensor::ModelState};

use super::{error::TaskError, seed::Seed};

/// The base plus a multiple of 2⁻³⁰ between −2⁻⁷ and 2⁻⁷ in every f32 element. i64 tensors stay as they are.
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

/// Elements between two calls of `cancelled`: about 0.1 ms of work.
const ELEMENTS_BETWEEN_QUESTIONS: usize = 64 * 1024;
