//! Which frames go next to the peer: answers, credit, and the data of streams in turn.

use bytes::Bytes;

use super::{
    CONTROL, CONTROL_WINDOW, Mux,
    outgoing::{Outgoing, Stage},
};
use crate::net::tcp::frame::{self, Frame, HEADER_BYTES, RECORD_BYTES};

impl Mux {
    /// Appends the frames that go next to `head`, which is empty. The bytes that are returned follow: they
    /// are the body of the last frame. One TLS record has room for both. With nothing to send, `head` stays
    /// empty.
    pub(in crate::net::tcp) fn fill(&mut self, head: &mut Vec<u8>) -> Bytes {
        if let Some((code, reason)) = self.closing.take() {
            Frame::Close { code, reason: reason.into_bytes() }.encode(head);
            return Bytes::new();
        }
        if self.ended.is_some() {
            return Bytes::new();
        }
        if std::mem::take(&mut self.ping_due) {
            Frame::Ping.encode(head);
        }
        if std::mem::take(&mut self.pong_due) {
            Frame::Pong.encode(head);
        }
        // Before the credit: a smaller window holds for the bytes that were taken.
        let new_window = std::mem::take(&mut self.limits_due);
        if new_window {
            Frame::Limits { window: self.window, streams: self.bounds.streams }.encode(head);
            self.allowed = self.allowed.max(self.taken.saturating_add(self.window));
        }
        self.fill_answers(head, new_window);
        self.fill_stream(head)
    }

    /// Credit, stops and ends of the peer's streams. With a new window, small credits are due too: the sender
    /// may wait for them.
    fn fill_answers(&mut self, head: &mut Vec<u8>, new_window: bool) {
        let all_due = new_window || self.uncredited() >= self.window / 4;
        let (window, mut of_control, mut taken) = (self.window, 0, 0);
        self.incoming.retain(|&number, stream| {
            if std::mem::take(&mut stream.stop_due) {
                Frame::Stop(number).encode(head);
            }
            if std::mem::take(&mut stream.delivered_due) {
                Frame::Delivered(number).encode(head);
            }
            let bytes = stream.uncredited;
            if number != CONTROL && stream.is_done() {
                // Credit for the rest is in it.
                Frame::Done(number).encode(head);
                taken += bytes;
                return false;
            }
            if bytes > 0 && (all_due || bytes >= credit_step(number, window)) {
                stream.uncredited = 0;
                Frame::Credit(number, bytes).encode(head);
                *(if number == CONTROL { &mut of_control } else { &mut taken }) += bytes;
            }
            true
        });
        self.control_left += of_control;
        self.taken += taken;
        self.allowed = self.allowed.max(self.taken.saturating_add(self.window));
    }

    /// The next frame of a stream: of the highest priority, in turn.
    fn fill_stream(&mut self, head: &mut Vec<u8>) -> Bytes {
        let ready = self.outgoing.iter().filter(|(_, stream)| stream.is_ready());
        // After the stream that sent last come those with a larger key, and then the others.
        let order =
            |(key, stream): &(&u32, &Outgoing)| (-i64::from(stream.priority), **key <= self.turn, **key);
        let Some((&key, _)) = ready.min_by_key(order) else { return Bytes::new() };
        self.turn = key;
        let Some(stream) = self.outgoing.get_mut(&key) else { return Bytes::new() };
        let number = match stream.number {
            Some(number) => number,
            None => {
                let number = self.next_number;
                self.next_number += 1;
                *stream.number.insert(number)
            }
        };
        if stream.queued > 0 {
            let piece = stream.take(RECORD_BYTES.saturating_sub(HEADER_BYTES + head.len()));
            if piece.is_empty() {
                return piece;
            }
            head.extend_from_slice(&frame::data_header(number, piece.len()));
            let was_full = self.queued >= self.bounds.send_window;
            self.queued -= piece.len() as u64;
            if was_full {
                self.outgoing.values_mut().for_each(Outgoing::wake);
            }
            return piece;
        }
        if stream.stage == Stage::Finishing {
            stream.stage = Stage::Finished;
            Frame::Finish(number).encode(head);
        } else {
            stream.stage = Stage::Reset;
            Frame::Reset(number).encode(head);
        }
        Bytes::new()
    }

    pub(super) fn credit_if_due(&mut self, number: u32) {
        let of_stream = self.incoming.get(&number).map_or(0, |stream| stream.uncredited);
        if of_stream >= credit_step(number, self.window) || self.uncredited() >= self.window / 4 {
            self.signals.driver = true;
        }
    }

    /// Bytes of uni streams that were taken and that the peer does not know of.
    fn uncredited(&self) -> u64 {
        self.incoming.iter().filter(|(number, _)| **number != CONTROL).map(|(_, s)| s.uncredited).sum()
    }
}

/// Bytes taken of one stream that are worth a frame.
fn credit_step(number: u32, window: u64) -> u64 {
    if number == CONTROL { CONTROL_WINDOW / 4 } else { (window / 8).max(1) }
}
