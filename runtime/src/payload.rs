//! An encoded model or update, shared without copies. The same bytes go to every peer and to the store, and
//! are the base of the next round.
//!
//! A [`Draft`] becomes a [`Payload`]. Its buffer comes from `Buffers`, which reuse the memory of dropped
//! payloads; a [`PayloadPool`] also bounds how many payloads live.

mod buffers;
mod draft;
pub(crate) mod leaves;
mod pool;

use std::sync::Arc;

use bytes::Bytes;
use fl_engine::{
    Digest,
    tensor::{Layout, ModelState, StateError},
};

use self::leaves::root_of;
pub(crate) use self::{buffers::Buffers, draft::Parts};
pub use self::{draft::Draft, pool::PayloadPool};

/// A model or update in its payload form: f32 segment, then i64 segment, little-endian. Clones share the
/// bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    bytes: Bytes,
    root: Digest,
}

impl Payload {
    /// Takes bytes of `layout` and hashes them.
    ///
    /// # Errors
    /// [`StateError`] when the bytes have another length than the layout's.
    pub fn new(layout: &Layout, bytes: Bytes) -> Result<Self, StateError> {
        if bytes.len() != layout.byte_len() {
            return Err(StateError { given: bytes.len(), expected: layout.byte_len() });
        }
        Ok(Self { root: root_of(layout.hash(), &bytes), bytes })
    }

    /// Takes bytes with a root that was computed before.
    pub(crate) fn with_root(bytes: Bytes, root: Digest) -> Self {
        Self { bytes, root }
    }

    /// Encodes `state` in fresh memory, which no [`PayloadPool`] counts: for tools and tests. The roles use
    /// [`Draft::encode`].
    #[must_use]
    pub fn from_state(state: &ModelState) -> Self {
        let mut bytes = Vec::with_capacity(state.layout().byte_len());
        state.write_bytes(&mut bytes);
        Self { root: root_of(state.layout().hash(), &bytes), bytes: bytes.into() }
    }

    /// Decodes a state of `layout`.
    ///
    /// # Errors
    /// [`StateError`] when the payload has another length than the layout's.
    pub fn to_state(&self, layout: &Arc<Layout>) -> Result<ModelState, StateError> {
        ModelState::from_bytes(Arc::clone(layout), &self.bytes)
    }

    /// The bytes in one piece. The clone is cheap and keeps the buffer taken.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// The bytes, borrowed.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// Root of the chunk tree over the bytes and the layout's hash.
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
        let mut cut = state.clone();
        cut.f32.pop();
        assert!(PayloadPool::new(layout()).take().await.encode(&cut).is_err());
    }
}
