//! The memory that one thread reads and combines updates in.

use std::ops::Range;

use fl_engine::aggregate::Scratch;

use crate::aggregation::{AggregationError, StagedUpdate};

/// Memory of one thread. It grows in the thread's first round and is kept.
#[derive(Debug, Default)]
pub(super) struct WorkerScratch {
    scratch: Scratch,
    /// Decrypted runs, one for each spilled update.
    buffers: Vec<Vec<u8>>,
    /// Empty between two runs. Only its memory is kept.
    inputs: Vec<&'static [u8]>,
}

impl WorkerScratch {
    /// Calls `work` with bytes `range` of the payloads of these updates.
    ///
    /// # Errors
    /// [`AggregationError::Update`]. Then `work` was not called.
    pub(super) fn with_run<'a, T>(
        &mut self,
        updates: impl Iterator<Item = &'a StagedUpdate> + Clone,
        range: &Range<usize>,
        work: impl FnOnce(&[&[u8]], &mut Scratch) -> T,
    ) -> Result<T, AggregationError> {
        let spilled = updates.clone().filter(|update| update.slot.in_memory().is_none()).count();
        if self.buffers.len() < spilled {
            self.buffers.resize_with(spilled, Vec::new);
        }
        let mut inputs = emptied(std::mem::take(&mut self.inputs));
        let mut buffers = self.buffers.iter_mut();
        let read = read_all(updates, range, &mut buffers, &mut inputs);
        let done = read.map(|()| work(&inputs, &mut self.scratch));
        self.inputs = emptied(inputs);
        done
    }

    /// Appends bytes `range` of an update's payload to `out`, for bytes that are read once in a round.
    ///
    /// # Errors
    /// [`AggregationError::Update`].
    pub(super) fn append(
        &mut self,
        update: &StagedUpdate,
        range: &Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), AggregationError> {
        if self.buffers.is_empty() {
            self.buffers.push(Vec::new());
        }
        out.extend_from_slice(update.read(range, &mut self.buffers[0])?);
        Ok(())
    }
}

fn read_all<'a: 'b, 'b>(
    updates: impl Iterator<Item = &'a StagedUpdate>,
    range: &Range<usize>,
    buffers: &mut std::slice::IterMut<'b, Vec<u8>>,
    inputs: &mut Vec<&'b [u8]>,
) -> Result<(), AggregationError> {
    for update in updates {
        inputs.push(match update.slot.in_memory() {
            Some(bytes) => &bytes[range.clone()],
            // The caller made a buffer for each spilled update.
            None => match buffers.next() {
                Some(buffer) => update.read(range, buffer)?,
                None => return Err(AggregationError::Incomplete),
            },
        });
    }
    Ok(())
}

/// The same memory, for slices of another lifetime.
fn emptied<'b>(mut inputs: Vec<&[u8]>) -> Vec<&'b [u8]> {
    inputs.clear();
    inputs.into_iter().map(|_| [].as_slice()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emptied_keeps_its_memory() {
        let bytes = [1, 2, 3];
        let mut inputs: Vec<&[u8]> = Vec::with_capacity(7);
        inputs.push(&bytes);
        let place = inputs.as_ptr() as usize;
        let again: Vec<&'static [u8]> = emptied(inputs);
        assert_eq!((again.len(), again.capacity(), again.as_ptr() as usize), (0, 7, place));
    }
}
