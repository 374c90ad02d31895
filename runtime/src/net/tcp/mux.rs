//! The streams of one link over TCP: who may send how much, and which frame goes next. No I/O and no clock.
//!
//! # Flow control
//! Stream 0 is the control stream, both ways; each direction of it may have [`CONTROL_WINDOW`] unread bytes.
//! The uni streams of a side share a window, which the receiver sets by `Limits`. The receiver tells by
//! `Credit` what its program has taken. Frames arrive in order, so both sides compute the same absolute bound
//! from the same frames: all bytes taken so far and the window, never less than before. A sender gives one
//! stream at most seven eighths of the window: a reader that is slow on one stream leaves room for others.
//!
//! # Places
//! A uni stream holds a place from its first frame until the receiver's `Done`. The answers that a frame can
//! cause are flags of its stream, so a peer that does not read cannot make this side keep more of them.

mod incoming;
mod next_frame;
mod outgoing;

use std::{
    collections::BTreeMap,
    task::{Context, Poll},
};

use bytes::Bytes;

use self::{
    incoming::{Ending, Incoming},
    outgoing::{Outgoing, Stage},
};
use super::frame::{Arrived, Fault, Frame};
use crate::net::LinkError;

/// The bounds of one side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Bytes of uni streams that may be unread here at first.
    pub(super) window: u64,
    /// Uni streams that the peer may have open.
    pub(super) streams: u32,
    /// Bytes that wait here to be sent. They share the payload's memory.
    pub(super) send_window: u64,
}

/// Who has to look at the link again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Signals {
    /// There is something to send.
    pub(super) driver: bool,
    /// The link has ended.
    pub(super) closed: bool,
    /// The peer has opened a stream.
    pub(super) fresh: bool,
    /// A place for a stream may be free.
    pub(super) place: bool,
}

/// The state of one link's streams.
#[derive(Debug)]
pub(super) struct Mux {
    bounds: Bounds,
    /// Why the link has ended.
    ended: Option<LinkError>,
    /// A close that has to be sent.
    closing: Option<(u32, String)>,
    signals: Signals,

    /// By a key of this side; the control stream has 0.
    outgoing: BTreeMap<u32, Outgoing>,
    next_key: u32,
    next_number: u32,
    /// The stream that sent last.
    turn: u32,
    /// What the peer has announced.
    window_there: u64,
    streams_there: u32,
    /// Bytes of uni streams that were accepted for sending, that the peer has taken, and that it allows.
    accepted: u64,
    taken_there: u64,
    allowed_there: u64,
    queued: u64,

    /// By the peer's number; the control stream has 0.
    incoming: BTreeMap<u32, Incoming>,
    next_incoming: u32,
    /// Numbers of streams that nobody has accepted.
    fresh: Vec<u32>,
    /// The same three for the other direction: bytes received, taken, and allowed.
    received: u64,
    taken: u64,
    allowed: u64,
    /// Bytes of the control stream that may still come.
    control_left: u64,
    window: u64,
    limits_due: bool,
    ping_due: bool,
    pong_due: bool,
}

impl Mux {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            ended: None,
            closing: None,
            signals: Signals { driver: true, ..Signals::default() },
            outgoing: BTreeMap::from([(CONTROL, Outgoing { number: Some(CONTROL), ..Outgoing::default() })]),
            next_key: CONTROL + 1,
            next_number: CONTROL + 1,
            turn: CONTROL,
            window_there: 0,
            streams_there: 0,
            accepted: 0,
            taken_there: 0,
            allowed_there: 0,
            queued: 0,
            incoming: BTreeMap::from([(CONTROL, Incoming::default())]),
            next_incoming: CONTROL + 1,
            fresh: Vec::new(),
            received: 0,
            taken: 0,
            allowed: 0,
            control_left: CONTROL_WINDOW,
            window: bounds.window,
            limits_due: true,
            ping_due: false,
            pong_due: false,
        }
    }

    /// Who has to look again, once.
    pub(super) fn take_signals(&mut self) -> Signals {
        std::mem::take(&mut self.signals)
    }

    /// Why the link has ended.
    pub(super) fn ended(&self) -> Option<&LinkError> {
        self.ended.as_ref()
    }

    /// Whether the link has ended and the peer does not have to be told.
    pub(super) fn is_over(&self) -> bool {
        self.ended.is_some() && self.closing.is_none()
    }

    // The peer's frames.

    /// Takes a part of a frame.
    ///
    /// # Errors
    /// The rule that the frame breaks. The link has ended then, and the peer will be told.
    pub(super) fn receive(&mut self, arrived: Arrived<'_>) -> Result<(), Fault> {
        if self.ended.is_some() {
            return Ok(());
        }
        let taken = match arrived {
            Arrived::Data(number, data) => self.receive_data(number, data),
            Arrived::Frame(frame) => self.receive_frame(frame),
        };
        taken.inspect_err(|fault| self.fault(*fault))
    }

    /// Ends the link because the peer has broken a rule.
    pub(super) fn fault(&mut self, Fault(rule): Fault) {
        self.end(LinkError::Transport(format!("the peer broke a rule of the link: {rule}")));
        self.closing.get_or_insert((FAULT, rule.to_owned()));
        self.signals.driver = true;
    }

    fn receive_data(&mut self, number: u32, data: &[u8]) -> Result<(), Fault> {
        let len = data.len() as u64;
        if number == CONTROL {
            self.control_left = self.control_left.checked_sub(len).ok_or(TOO_MUCH)?;
        } else {
            self.received += len;
            if self.received > self.allowed {
                return Err(TOO_MUCH);
            }
        }
        let stream = self.stream_from(number)?;
        if stream.end.is_some() {
            return Err(AFTER_END);
        }
        stream.push(data);
        if stream.is_left {
            self.credit_if_due(number);
        }
        Ok(())
    }

    fn receive_frame(&mut self, frame: Frame) -> Result<(), Fault> {
        match frame {
            Frame::Finish(number) => self.receive_end(number, Ending::Finish),
            Frame::Reset(number) => self.receive_end(number, Ending::Reset),
            Frame::Stop(number) => self.receive_stop(number),
            Frame::Credit(number, bytes) => self.receive_credit(number, bytes),
            Frame::Limits { window, streams } => {
                (self.window_there, self.streams_there) = (window, streams);
                self.allow_there(0);
                self.signals.place = true;
                Ok(())
            }
            Frame::Delivered(number) => {
                let stream = self.stream_to(number)?;
                if stream.stage != Stage::Finished {
                    return Err(UNTIMELY);
                }
                stream.is_delivered = true;
                stream.wake();
                Ok(())
            }
            Frame::Done(number) => self.receive_done(number),
            Frame::Close { code: FAULT, reason } => {
                let LinkError::Closed { reason, .. } = LinkError::closed(0, &reason) else { return Ok(()) };
                self.end(LinkError::Transport(format!("the peer ended the link: {reason}")));
                Ok(())
            }
            Frame::Close { code, reason } => {
                self.end(LinkError::closed(code.into(), &reason));
                Ok(())
            }
            Frame::Ping => {
                (self.pong_due, self.signals.driver) = (true, true);
                Ok(())
            }
            Frame::Pong => Ok(()),
        }
    }

    fn receive_end(&mut self, number: u32, end: Ending) -> Result<(), Fault> {
        let stream = self.stream_from(number)?;
        if stream.end.is_some() {
            return Err(AFTER_END);
        }
        stream.end = Some(end);
        if end == Ending::Reset && !stream.is_left {
            // The receiving half still has to see the end.
            stream.leave();
            stream.is_left = false;
        }
        stream.delivered_due = end == Ending::Finish && !stream.is_left;
        stream.stop_due = false;
        stream.wake();
        self.signals.driver = true;
        Ok(())
    }

    fn receive_stop(&mut self, number: u32) -> Result<(), Fault> {
        let stream = self.stream_to(number)?;
        stream.is_stopped = true;
        if matches!(stream.stage, Stage::Open | Stage::Finishing) {
            stream.stage = Stage::Resetting;
            let unsent = stream.clear();
            self.give_back(number == CONTROL, unsent);
        }
        let stream = self.stream_to(number)?;
        stream.wake();
        self.signals.driver = true;
        Ok(())
    }

    fn receive_credit(&mut self, number: u32, bytes: u64) -> Result<(), Fault> {
        let stream = self.stream_to(number)?;
        stream.in_flight =
            stream.in_flight.checked_sub(bytes).ok_or(Fault("credit for bytes that were not sent"))?;
        stream.wake();
        if number != CONTROL {
            self.allow_there(bytes);
        }
        Ok(())
    }

    fn receive_done(&mut self, number: u32) -> Result<(), Fault> {
        let stream = self.stream_to(number)?;
        if number == CONTROL || stream.is_done || !matches!(stream.stage, Stage::Finished | Stage::Reset) {
            return Err(UNTIMELY);
        }
        stream.is_done = true;
        let taken = std::mem::take(&mut stream.in_flight);
        self.allow_there(taken);
        self.outgoing.retain(|_, stream| !(stream.is_done && stream.is_left));
        self.signals.place = true;
        Ok(())
    }

    /// The peer has taken so many more bytes.
    fn allow_there(&mut self, bytes: u64) {
        self.taken_there += bytes;
        self.allowed_there = self.allowed_there.max(self.taken_there.saturating_add(self.window_there));
        self.outgoing.values_mut().for_each(Outgoing::wake);
    }

    /// The stream from the peer with this number. The next number opens a stream.
    fn stream_from(&mut self, number: u32) -> Result<&mut Incoming, Fault> {
        if number == self.next_incoming {
            if self.incoming.len() > self.bounds.streams as usize {
                return Err(Fault("too many open streams"));
            }
            self.next_incoming = number.checked_add(1).ok_or(UNKNOWN)?;
            self.incoming.insert(number, Incoming::default());
            self.fresh.push(number);
            self.signals.fresh = true;
        }
        self.incoming.get_mut(&number).ok_or(UNKNOWN)
    }

    /// The stream to the peer with this number. There are few.
    fn stream_to(&mut self, number: u32) -> Result<&mut Outgoing, Fault> {
        self.outgoing.values_mut().find(|stream| stream.number == Some(number)).ok_or(UNKNOWN)
    }

    // What the halves of streams ask for.

    /// Opens a uni stream if the peer has a place for it.
    pub(super) fn open(&mut self) -> Option<Result<u32, LinkError>> {
        if let Some(ended) = &self.ended {
            return Some(Err(ended.clone()));
        }
        let open = self.outgoing.values().filter(|stream| !stream.is_done).count();
        // The control stream is one of them, and is not counted there.
        if open > self.streams_there as usize {
            return None;
        }
        let key = self.next_key;
        self.next_key = key.checked_add(1)?;
        self.outgoing.insert(key, Outgoing::default());
        Some(Ok(key))
    }

    /// The number of a stream that the peer has opened.
    pub(super) fn accept(&mut self) -> Option<Result<u32, LinkError>> {
        if !self.fresh.is_empty() {
            return Some(Ok(self.fresh.remove(0)));
        }
        self.ended.clone().map(Err)
    }

    /// Accepts the first bytes of `piece` for sending.
    pub(super) fn poll_write(
        &mut self,
        key: u32,
        piece: &mut Bytes,
        context: &Context<'_>,
    ) -> Poll<Result<(), LinkError>> {
        let ended = self.ended.clone();
        let room_in_all = match key {
            CONTROL => CONTROL_WINDOW,
            _ => self.allowed_there.saturating_sub(self.accepted),
        };
        let most = if key == CONTROL { CONTROL_WINDOW } else { self.window_there - self.window_there / 8 };
        let buffer = self.bounds.send_window.saturating_sub(self.queued);
        let Some(stream) = self.outgoing.get_mut(&key) else { return Poll::Ready(Err(GONE)) };
        match (ended, stream.is_stopped, stream.stage) {
            (Some(ended), ..) => return Poll::Ready(Err(ended)),
            (None, true, _) => return Poll::Ready(Err(LinkError::Refused)),
            (None, false, Stage::Open) => {}
            (None, false, _) => return Poll::Ready(Err(GONE)),
        }
        let room = most.saturating_sub(stream.queued + stream.in_flight).min(room_in_all).min(buffer);
        if room == 0 {
            stream.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        let taken = piece.split_to(piece.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
        let len = taken.len() as u64;
        stream.queue.push_back(taken);
        stream.queued += len;
        self.queued += len;
        if key != CONTROL {
            self.accepted += len;
        }
        self.signals.driver = true;
        Poll::Ready(Ok(()))
    }

    /// Ends a stream after the bytes that were accepted.
    pub(super) fn finish(&mut self, key: u32) -> Result<(), LinkError> {
        match self.outgoing.get_mut(&key) {
            Some(stream) if stream.stage == Stage::Open && !stream.is_stopped => {
                stream.stage = Stage::Finishing;
                self.signals.driver = true;
                Ok(())
            }
            _ => Err(LinkError::Refused),
        }
    }

    /// Waits until the peer has everything.
    pub(super) fn poll_delivered(&mut self, key: u32, context: &Context<'_>) -> Poll<Result<(), LinkError>> {
        let Some(stream) = self.outgoing.get_mut(&key) else { return Poll::Ready(Err(GONE)) };
        if stream.is_delivered {
            return Poll::Ready(Ok(()));
        }
        if stream.is_stopped {
            return Poll::Ready(Err(LinkError::Refused));
        }
        if let Some(ended) = &self.ended {
            return Poll::Ready(Err(ended.clone()));
        }
        stream.waker = Some(context.waker().clone());
        Poll::Pending
    }

    pub(super) fn set_priority(&mut self, key: u32, priority: i32) {
        if let Some(stream) = self.outgoing.get_mut(&key) {
            stream.priority = priority;
        }
    }

    /// The sending half is gone. Unless its bytes are `kept`, the rest of them is taken back.
    pub(super) fn leave(&mut self, key: u32, kept: bool) {
        let Some(stream) = self.outgoing.get_mut(&key) else { return };
        (stream.is_left, stream.waker) = (true, None);
        let mut unsent = 0;
        if !kept && matches!(stream.stage, Stage::Open | Stage::Finishing) {
            unsent = stream.clear();
            stream.stage = Stage::Resetting;
            self.signals.driver = true;
        }
        // The peer has not heard of a stream without a number.
        let is_unheard = stream.number.is_none() && stream.stage == Stage::Resetting;
        if is_unheard || stream.is_done {
            self.outgoing.remove(&key);
            self.signals.place = true;
        }
        self.give_back(key == CONTROL, unsent);
    }

    fn give_back(&mut self, is_control: bool, unsent: u64) {
        self.queued -= unsent;
        if !is_control {
            self.accepted -= unsent;
        }
        if unsent > 0 {
            self.outgoing.values_mut().for_each(Outgoing::wake);
        }
    }

    /// Fills `into` with pieces of a stream, at most `most` bytes in all. `None` at the stream's end.
    pub(super) fn poll_read(
        &mut self,
        number: u32,
        into: &mut [Bytes],
        most: usize,
        context: &Context<'_>,
    ) -> Poll<Result<Option<usize>, LinkError>> {
        let Some(stream) = self.incoming.get_mut(&number) else { return Poll::Ready(Err(GONE)) };
        if most == 0 || into.is_empty() {
            return Poll::Ready(Ok(Some(0)));
        }
        let filled = stream.read(into, most);
        if filled > 0 {
            self.credit_if_due(number);
            return Poll::Ready(Ok(Some(filled)));
        }
        match (stream.end, &self.ended) {
            (Some(end), _) => {
                stream.is_left = true;
                self.signals.driver = true;
                Poll::Ready(if end == Ending::Finish { Ok(None) } else { Err(LinkError::Abandoned) })
            }
            (None, Some(ended)) => Poll::Ready(Err(ended.clone())),
            (None, None) => {
                stream.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The receiving half is gone.
    pub(super) fn stop(&mut self, number: u32) {
        let Some(stream) = self.incoming.get_mut(&number) else { return };
        stream.waker = None;
        if !stream.is_left {
            stream.leave();
            stream.stop_due = stream.end.is_none();
        }
        self.signals.driver = true;
    }

    /// Sets how many bytes of uni streams may be unread here.
    pub(super) fn set_window(&mut self, window: u64) {
        if self.window != window {
            (self.window, self.limits_due, self.signals.driver) = (window, true, true);
        }
    }

    /// Asks the peer for a sign of life.
    pub(super) fn ping(&mut self) {
        (self.ping_due, self.signals.driver) = (true, true);
    }

    /// Ends the link; the peer will be told `code` and `reason`.
    pub(super) fn close(&mut self, code: u32, reason: &str) {
        if self.ended.is_none() {
            self.closing = Some((code, reason.to_owned()));
            self.end(LinkError::ClosedHere);
            self.signals.driver = true;
        }
    }

    /// Ends the link for this reason, unless the link has ended already.
    pub(super) fn end(&mut self, why: LinkError) {
        if self.ended.is_some() {
            return;
        }
        self.ended = Some(why);
        self.signals.closed = true;
        for stream in self.outgoing.values_mut() {
            stream.clear();
            stream.wake();
        }
        self.queued = 0;
        self.incoming.values_mut().for_each(Incoming::wake);
    }
}

/// The number of the control stream.
pub(super) const CONTROL: u32 = 0;
/// Bytes of the control stream that may be unread, each way. Both sides know it.
pub(super) const CONTROL_WINDOW: u64 = 64 * 1024;
/// The close code of a side whose peer broke a rule of the link.
const FAULT: u32 = u32::MAX;
const TOO_MUCH: Fault = Fault("more bytes than the window allows");
const AFTER_END: Fault = Fault("a frame after the end of its stream");
const UNKNOWN: Fault = Fault("a frame of a stream that is not open");
const UNTIMELY: Fault = Fault("an answer that came too early");
/// Only a half that is misused sees it.
const GONE: LinkError = LinkError::Refused;

#[cfg(test)]
mod tests;
