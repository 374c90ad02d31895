//! The sending end of one stream.

use std::{collections::VecDeque, task::Waker};

use bytes::Bytes;

/// How far a stream has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// Bytes may follow.
    #[default]
    Open,
    /// The end follows the bytes that wait.
    Finishing,
    /// The end was sent.
    Finished,
    /// The reset has to be sent.
    Resetting,
    /// The reset was sent.
    Reset,
}

/// Bytes of one stream that wait to be sent, and what the peer has said about the stream.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// The stream's number on the link, from its first frame on.
    pub(super) number: Option<u32>,
    pub(super) queue: VecDeque<Bytes>,
    /// Bytes in `queue`.
    pub(super) queued: u64,
    /// Bytes that were sent and not credited.
    pub(super) in_flight: u64,
    pub(super) stage: Stage,
    pub(super) priority: i32,
    /// The peer no longer wants the stream.
    pub(super) is_stopped: bool,
    /// The peer has all bytes.
    pub(super) is_delivered: bool,
    /// The peer is through with the stream.
    pub(super) is_done: bool,
    /// The sending half is gone.
    pub(super) is_left: bool,
    pub(super) waker: Option<Waker>,
}

impl Outgoing {
    /// Whether something of the stream waits to be sent.
    pub(super) fn is_ready(&self) -> bool {
        self.queued > 0 || matches!(self.stage, Stage::Finishing | Stage::Resetting)
    }

    /// Drops what waits; returns how many bytes those were.
    pub(super) fn clear(&mut self) -> u64 {
        self.queue = VecDeque::new();
        std::mem::take(&mut self.queued)
    }

    /// At most `most` bytes from the front of the queue.
    pub(super) fn take(&mut self, most: usize) -> Bytes {
        let Some(first) = self.queue.front_mut() else { return Bytes::new() };
        let piece = first.split_to(first.len().min(most));
        if first.is_empty() {
            self.queue.pop_front();
        }
        self.queued -= piece.len() as u64;
        self.in_flight += piece.len() as u64;
        piece
    }

    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}
