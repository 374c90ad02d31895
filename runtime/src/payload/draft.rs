//! A payload that is being built.

use std::sync::{Arc, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use fl_engine::{
    Digest,
    tensor::{ModelState, StateError},
};

use super::{
    Payload,
    buffers::{Buffers, Lent},
    leaves::root_of,
};

/// A buffer of a payload's length. Dropping it gives the buffer back.
#[derive(Debug)]
pub struct Draft {
    pub(super) lent: Lent,
}

impl Buffers {
    /// A draft in a buffer of this list. The draft holds what an older payload left in the buffer.
    pub(crate) fn take(&self) -> Draft {
        Draft { lent: self.lend(None) }
    }
}

impl Draft {
    /// The whole buffer, of the layout's length.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.lent.buffer
    }

    /// Writes `state` to the buffer and makes it a payload.
    ///
    /// # Errors
    /// [`StateError`] when the segments of the state are not of the layout's lengths.
    pub fn encode(mut self, state: &ModelState) -> Result<Payload, StateError> {
        let layout = Arc::clone(self.lent.layout());
        if state.f32.len() != layout.f32_len() {
            return Err(StateError { given: state.f32.len() * 4, expected: layout.f32_len() * 4 });
        }
        state.write_over(self.as_mut_slice())?;
        Ok(self.finish())
    }

    /// Hashes the buffer and makes it a payload.
    #[must_use]
    pub fn finish(self) -> Payload {
        let root = root_of(self.lent.layout().hash(), &self.lent.buffer);
        self.finish_with(root)
    }

    /// Makes the buffer a payload with a root that was computed while the buffer was filled.
    pub(crate) fn finish_with(self, root: Digest) -> Payload {
        Payload { bytes: Bytes::from_owner(self.lent), root }
    }

    /// The bytes without a root, for a state that is never sent.
    pub(crate) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self.lent)
    }

    /// Cuts the buffer after each of `lengths` bytes, for threads that fill the parts side by side.
    pub(crate) fn split(mut self, lengths: impl Iterator<Item = usize>) -> Parts {
        self.lent.split(lengths);
        Parts(self.lent)
    }
}

/// A draft in parts. Dropping it gives the whole buffer back.
#[derive(Debug)]
pub(crate) struct Parts(Lent);

impl Parts {
    /// Part `index`. One thread fills it.
    pub(crate) fn part(&self, index: usize) -> MutexGuard<'_, BytesMut> {
        self.0.parts[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The parts as one draft again. Nothing is copied.
    pub(crate) fn join(mut self) -> Draft {
        self.0.join();
        Draft { lent: self.0 }
    }
}
