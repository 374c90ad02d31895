//! The receiving end of one stream.

use std::{collections::VecDeque, task::Waker};

use bytes::{Bytes, BytesMut};

use crate::net::READ_BYTES;

/// How the sender ended a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Finish,
    Reset,
}

/// Bytes of one stream that have arrived. `received` is always `credited + uncredited + unread`.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    pieces: VecDeque<Bytes>,
    /// Small pieces that arrived last, in one buffer: a peer that sends single bytes must not cost a piece
    /// each.
    tail: BytesMut,
    pub(super) unread: u64,
    /// Bytes that were read or thrown away, and that the sender does not know of.
    pub(super) uncredited: u64,
    pub(super) end: Option<Ending>,
    /// Whether the receiving half is gone or has seen the end.
    pub(super) is_left: bool,
    pub(super) stop_due: bool,
    pub(super) delivered_due: bool,
    pub(super) waker: Option<Waker>,
}

impl Incoming {
    /// Takes bytes from the peer.
    pub(super) fn push(&mut self, data: &[u8]) {
        if self.is_left {
            self.uncredited += data.len() as u64;
            return;
        }
        self.unread += data.len() as u64;
        if data.len() >= LARGE {
            self.seal();
            self.pieces.push_back(Bytes::copy_from_slice(data));
        } else {
            self.tail.extend_from_slice(data);
            if self.tail.len() >= 2 * LARGE {
                self.seal();
            }
        }
        self.wake();
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push_back(std::mem::take(&mut self.tail).freeze());
        }
    }

    /// Fills `into` with at most `most` bytes in all; returns how many pieces there are.
    pub(super) fn read(&mut self, into: &mut [Bytes], most: usize) -> usize {
        let (mut filled, mut left) = (0, most);
        while let Some(place) = into.get_mut(filled).filter(|_| left > 0) {
            if self.pieces.is_empty() {
                self.seal();
            }
            let Some(first) = self.pieces.front_mut() else { break };
            let taken = first.len().min(left).min(READ_BYTES);
            *place = first.split_to(taken);
            if first.is_empty() {
                self.pieces.pop_front();
            }
            left -= taken;
            filled += 1;
        }
        let read = (most - left) as u64;
        self.unread -= read;
        self.uncredited += read;
        filled
    }

    /// The receiving half goes, or needs no more bytes.
    pub(super) fn leave(&mut self) {
        self.is_left = true;
        self.pieces = VecDeque::new();
        self.tail = BytesMut::new();
        self.uncredited += std::mem::take(&mut self.unread);
    }

    /// Whether nothing more will happen to the stream.
    pub(super) fn is_done(&self) -> bool {
        self.is_left && self.end.is_some()
    }

    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Bytes that make a piece of their own.
const LARGE: usize = 8 * 1024;
