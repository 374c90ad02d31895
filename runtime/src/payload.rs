//! One encoded model or update, shared without copies: the same bytes go to every peer and to the store, and are the
//! next round's base.

mod buffers;
pub(crate) mod leaves;
mod pool;

pub use self::pool::{Draft, PayloadPool, VERSIONS};
pub(crate) use self::{buffers::Buffers, pool::Parts};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fl_engine::{
    Digest,
    tensor::{Layout, ModelState, StateError},
};

use self::leaves::root_of;

/// A model or update in its payload form: f32 segment, then i64 segment, little-endian. Clones share the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    bytes: Bytes,
    root: Digest,
}

impl Payload {
    /// Takes bytes of `layout` and hashes them.
    ///
    /// # Errors
    /// [`StateError`] when their length is not the layout's.
    pub fn new(layout: &Layout, bytes: Bytes) -> Result<Self, StateError> {
        if bytes.len() != layout.byte_len() {
            return Err(StateError { given: bytes.len(), expected: layout.byte_len() });
        }
        Ok(Self { root: root_of(layout.hash(), &bytes), bytes })
    }

    /// Takes bytes whose root was computed while they arrived.
    pub(crate) fn with_root(bytes: Bytes, root: Digest) -> Self {
        Self { bytes, root }
    }

    /// Encodes `state` in fresh memory that no pool counts: for collaborators and tools. The aggregator's first model
    /// comes from [`Draft::encode`].
    #[must_use]
    pub fn from_state(state: &ModelState) -> Self {
        let mut bytes = Vec::with_capacity(state.layout().byte_len());
        state.write_bytes(&mut bytes);
        Self { root: root_of(state.layout().hash(), &bytes), bytes: bytes.into() }
    }

    /// The same in memory that an older payload has left.
    ///
    /// # Errors
    /// [`StateError`] when the state is not of its layout's lengths.
    pub(crate) fn from_state_in(buffers: &Buffers, state: &ModelState) -> Result<Self, StateError> {
        let layout = state.layout();
        if state.f32.len() != layout.f32_len() {
            return Err(StateError { given: state.f32.len() * 4, expected: layout.f32_len() * 4 });
        }
        let mut buffer = buffers.take(layout.byte_len());
        state.write_over(&mut buffer)?;
        Ok(Self { root: root_of(layout.hash(), &buffer), bytes: buffers.lend(buffer) })
    }

    /// Decodes a state of `layout`.
    ///
    /// # Errors
    /// [`StateError`] when the length is not the layout's.
    pub fn to_state(&self, layout: &Arc<Layout>) -> Result<ModelState, StateError> {
        ModelState::from_bytes(Arc::clone(layout), &self.bytes)
    }

    /// The bytes in one piece; a cheap clone, which keeps the buffer taken.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// The same bytes, borrowed.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// Chunk-tree digest over the bytes and the layout's hash.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.root
    }

    /// Length, bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the layout has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    use fl_engine::tensor::{Combine, Dtype, TensorSpec, root_of};

    pub(super) fn layout() -> Arc<Layout> {
        let steps = TensorSpec { dtype: Dtype::I64, combine: Combine::Sum, ..TensorSpec::f32("n", [2]) };
        Layout::new(vec![TensorSpec::f32("a", [100_000]), steps]).unwrap()
    }

    pub(super) fn state(first: f32) -> ModelState {
        let mut state = ModelState::zeros(layout());
        state.f32[0] = first;
        state.i64 = vec![-3, 4];
        state
    }

    #[tokio::test]
    async fn encoding_survives_a_round_trip_with_the_same_root_everywhere() {
        let state = state(1.5);
        let payload = Payload::from_state(&state);
        let pooled = PayloadPool::new(layout()).take().await.encode(&state).unwrap();
        assert_eq!((&pooled, pooled.len()), (&payload, layout().byte_len()));
        assert_eq!(payload.root(), root_of(layout().hash(), payload.as_slice()));
        assert_eq!(Payload::new(&layout(), payload.bytes()).unwrap(), payload);
        assert_eq!(pooled.to_state(&layout()).unwrap(), state);
        assert!(Payload::new(&layout(), payload.bytes().slice(1..)).is_err());
        let other = Layout::new(vec![TensorSpec::f32("a", [100_004])]).unwrap();
        assert_eq!(other.byte_len(), layout().byte_len());
        assert!(PayloadPool::new(other).take().await.encode(&state).is_err());
    }
}
