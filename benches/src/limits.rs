//! The limits that figures are set against: the best that one core can do with a model.

use std::hint::black_box;

use crate::timing::{Timing, timed};

/// Times of one model's bytes on one core, taken in the same run as the figures.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A copy between buffers that are in use.
    pub memcpy: Timing,
    /// `sum += weight × value` in f32, in place: the cost of a sum that is neither exact nor checked.
    pub axpy: Timing,
}

impl Limits {
    /// Measures the limits with the bytes of one update.
    ///
    /// # Panics
    /// With `repetitions` of zero.
    #[must_use]
    pub fn of(update: &[u8], repetitions: usize) -> Self {
        let mut copy = update.to_vec();
        let memcpy =
            Timing::of(repetitions, || timed(|| black_box(&mut copy).copy_from_slice(black_box(update))));
        drop(copy);
        let values: Vec<f32> = update.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let mut sums = vec![0.0; values.len()];
        let axpy = Timing::of(repetitions, || {
            timed(|| {
                let weight: f32 = black_box(0.125);
                let (sums, values) = (black_box(&mut sums), black_box(&values));
                sums.iter_mut().zip(values.iter()).for_each(|(sum, value)| *sum += weight * value);
            })
        });
        Self { memcpy, axpy }
    }
}
