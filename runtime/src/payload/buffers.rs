//! A free list of buffers from dropped payloads, at a collaborator.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::lock;

/// What payloads that are gone have left, for those to come: a collaborator's models and updates take turns. Nobody waits:
/// where nothing is left, memory is fresh. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffers {
    idle: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Buffers {
    /// `len` bytes of any value.
    pub(crate) fn take(&self, len: usize) -> Vec<u8> {
        let left = lock(&self.idle).pop().filter(|buffer| buffer.len() == len);
        left.unwrap_or_else(|| vec![0; len])
    }

    /// Shared bytes, whose memory comes back with the last clone.
    pub(crate) fn lend(&self, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Returning { buffer, home: Arc::clone(&self.idle) })
    }
}

/// A buffer that goes home when it is dropped.
#[derive(Debug)]
struct Returning {
    buffer: Vec<u8>,
    home: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl AsRef<[u8]> for Returning {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Returning {
    fn drop(&mut self) {
        let mut idle = lock(&self.home);
        if idle.len() < IDLE {
            idle.push(std::mem::take(&mut self.buffer));
        }
    }
}

/// Most buffers that are kept for later: a model is replaced by the next while no update lives.
const IDLE: usize = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{Payload, tests::state};

    #[test]
    fn buffer_comes_back_with_the_last_clone_and_one_is_kept() {
        let buffers = Buffers::default();
        let model = Payload::from_state_in(&buffers, &state(1.0)).unwrap();
        assert_eq!(model, Payload::from_state(&state(1.0)));
        let (place, sending) = (model.as_slice().as_ptr(), model.bytes());
        drop(model);
        let update = Payload::from_state_in(&buffers, &state(2.0)).unwrap();
        assert_ne!(update.as_slice().as_ptr(), place, "the model is still sent");
        drop(sending);
        let next = Payload::from_state_in(&buffers, &state(3.0)).unwrap();
        assert_eq!((next.as_slice().as_ptr(), &next), (place, &Payload::from_state(&state(3.0))));
        drop((update, next));
        assert_eq!(lock(&buffers.idle).len(), IDLE);
        assert_eq!(buffers.take(3), [0; 3]);
        let mut cut = state(1.0);
        cut.f32.pop();
        assert!(Payload::from_state_in(&buffers, &cut).is_err());
    }
}
