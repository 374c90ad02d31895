//! What one thread reads and combines in.

use std::ops::Range;

use fl_engine::aggregate::Scratch;

use super::{CombineError, StagedUpdate};

/// Memory of one thread: made when a thread first has none, grown in its first round, kept.
#[derive(Debug, Default)]
pub(super) struct Bench {
    scratch: Scratch,
    /// Decrypted runs, one a spilled update.
    buffers: Vec<Vec<u8>>,
    /// Empty between two runs; kept for its memory.
    inputs: Vec<&'static [u8]>,
}

impl Bench {
    /// Gives bytes `range` of the payloads of these updates to `work`.
    ///
    /// # Errors
    /// [`CombineError::Update`]; `work` was not called then.
    pub(super) fn with_run<'a, T>(
        &mut self,
        updates: impl Iterator<Item = &'a StagedUpdate> + Clone,
        range: &Range<usize>,
        work: impl FnOnce(&[&[u8]], &mut Scratch) -> T,
    ) -> Result<T, CombineError> {
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

    /// Appends bytes `range` of an update's payload to `out`: for what is read once a round.
    ///
    /// # Errors
    /// [`CombineError::Update`].
    pub(super) fn append(
        &mut self,
        update: &StagedUpdate,
        range: &Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), CombineError> {
        if self.buffers.is_empty() {
            self.buffers.push(Vec::new());
        }
        out.extend_from_slice(read(update, range, &mut self.buffers[0])?);
        Ok(())
    }
}

fn read_all<'a: 'b, 'b>(
    updates: impl Iterator<Item = &'a StagedUpdate>,
    range: &Range<usize>,
    buffers: &mut std::slice::IterMut<'b, Vec<u8>>,
    inputs: &mut Vec<&'b [u8]>,
) -> Result<(), CombineError> {
    for update in updates {
        inputs.push(match update.slot.in_memory() {
            Some(bytes) => &bytes[range.clone()],
            // There is a buffer for each of them.
            None => match buffers.next() {
                Some(buffer) => read(update, range, buffer)?,
                None => return Err(CombineError::Incomplete),
            },
        });
    }
    Ok(())
}

fn read<'a>(
    update: &'a StagedUpdate,
    range: &Range<usize>,
    buffer: &'a mut Vec<u8>,
) -> Result<&'a [u8], CombineError> {
    let read = update.slot.read(range.start as u64..range.end as u64, buffer);
    read.map_err(|source| CombineError::Update { name: update.name.clone(), source })
}

/// The same memory for slices of another life.
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
