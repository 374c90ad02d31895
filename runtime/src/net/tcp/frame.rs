//! Frames: what travels inside a TLS connection over TCP. The manual's protocol chapter has the table.
//!
//! A frame is a header of 8 bytes (kind, length in 24 bits, number of the stream; little-endian) and a body.
//! Every length is checked before a byte of the body is kept.

/// One frame that is not data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// The sender has sent all bytes of its stream.
    Finish(u32),
    /// The sender gives its stream up.
    Reset(u32),
    /// The receiver no longer wants the stream.
    Stop(u32),
    /// The receiver's program has taken so many more bytes of the stream.
    Credit(u32, u64),
    /// How many bytes of uni streams may be unread, and how many uni streams may be open.
    Limits { window: u64, streams: u32 },
    /// The receiver has all bytes of the stream.
    Delivered(u32),
    /// The receiver's program has seen the end of the stream: its place is free.
    Done(u32),
    /// The link ends.
    Close { code: u32, reason: Vec<u8> },
    /// Asks for a sign of life.
    Ping,
    /// The sign of life.
    Pong,
}

/// A part of a frame that has arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrived<'a> {
    /// Bytes of a stream, at least one.
    Data(u32, &'a [u8]),
    /// Any other frame, whole.
    Frame(Frame),
}

/// A rule of the link that the peer has broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault(pub(super) &'static str);

impl Frame {
    /// Appends the frame to `out`.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let (kind, stream, len) = match self {
            Self::Finish(stream) => (FINISH, *stream, 0),
            Self::Reset(stream) => (RESET, *stream, 0),
            Self::Stop(stream) => (STOP, *stream, 0),
            Self::Credit(stream, _) => (CREDIT, *stream, CREDIT_BYTES),
            Self::Limits { .. } => (LIMITS, 0, LIMITS_BYTES),
            Self::Delivered(stream) => (DELIVERED, *stream, 0),
            Self::Done(stream) => (DONE, *stream, 0),
            Self::Close { reason, .. } => (CLOSE, 0, CODE_BYTES + reason.len().min(REASON_BYTES)),
            Self::Ping => (PING, 0, 0),
            Self::Pong => (PONG, 0, 0),
        };
        out.extend_from_slice(&header(kind, len, stream));
        match self {
            Self::Credit(_, bytes) => out.extend_from_slice(&bytes.to_le_bytes()),
            Self::Limits { window, streams } => {
                out.extend_from_slice(&window.to_le_bytes());
                out.extend_from_slice(&streams.to_le_bytes());
            }
            Self::Close { code, reason } => {
                out.extend_from_slice(&code.to_le_bytes());
                out.extend_from_slice(&reason[..reason.len().min(REASON_BYTES)]);
            }
            _ => {}
        }
    }

    fn decode(kind: u8, stream: u32, body: &[u8]) -> Result<Self, Fault> {
        let u32_at =
            |at: usize| body.get(at..).and_then(|rest| rest.first_chunk()).map(|b| u32::from_le_bytes(*b));
        let u64_at =
            |at: usize| body.get(at..).and_then(|rest| rest.first_chunk()).map(|b| u64::from_le_bytes(*b));
        let frame = match kind {
            FINISH => Some(Self::Finish(stream)),
            RESET => Some(Self::Reset(stream)),
            STOP => Some(Self::Stop(stream)),
            CREDIT => u64_at(0).map(|bytes| Self::Credit(stream, bytes)),
            LIMITS => u64_at(0).zip(u32_at(8)).map(|(window, streams)| Self::Limits { window, streams }),
            DELIVERED => Some(Self::Delivered(stream)),
            DONE => Some(Self::Done(stream)),
            CLOSE => u32_at(0).map(|code| Self::Close { code, reason: body[CODE_BYTES..].to_vec() }),
            PING => Some(Self::Ping),
            PONG => Some(Self::Pong),
            _ => None,
        };
        // The lengths were checked with the header.
        frame.ok_or(Fault("a frame of an unknown kind"))
    }
}

/// The header of a frame of data, `len` bytes.
pub(super) fn data_header(stream: u32, len: usize) -> [u8; HEADER_BYTES] {
    header(DATA, len, stream)
}

fn header(kind: u8, len: usize, stream: u32) -> [u8; HEADER_BYTES] {
    let [a, b, c, ..] = (len as u32).to_le_bytes();
    let [d, e, f, g] = stream.to_le_bytes();
    [kind, a, b, c, d, e, f, g]
}

/// Finds frames in a row of bytes that arrives in pieces. Keeps at most a header and the longest body that is
/// not data.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    head: [u8; HEADER_BYTES],
    /// Bytes of `head` that are there.
    have: usize,
    /// Bytes of the body that are missing, once the header is whole.
    missing: usize,
    /// The body so far, of a frame that is neither data nor skipped.
    body: Vec<u8>,
}

impl Decoder {
    /// The next part of a frame, and the rest of `input`. `None` when `input` is used up.
    ///
    /// # Errors
    /// The rule that the bytes break. The decoder is unusable afterwards.
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Arrived<'a>>, Fault> {
        loop {
            if self.have < HEADER_BYTES {
                let taken = input.len().min(HEADER_BYTES - self.have);
                let (now, later) = input.split_at(taken);
                self.head[self.have..self.have + taken].copy_from_slice(now);
                self.have += taken;
                *input = later;
                if self.have < HEADER_BYTES {
                    return Ok(None);
                }
                self.missing = self.checked_length()?;
            }
            let kind = self.head[0];
            let stream = u32::from_le_bytes([self.head[4], self.head[5], self.head[6], self.head[7]]);
            let (now, later) = input.split_at(input.len().min(self.missing));
            *input = later;
            self.missing -= now.len();
            let is_whole = self.missing == 0;
            if is_whole {
                self.have = 0;
            }
            match kind {
                DATA if now.is_empty() => return Ok(None),
                DATA => return Ok(Some(Arrived::Data(stream, now))),
                OPTIONAL.. if is_whole => {}
                OPTIONAL.. => return Ok(None),
                _ => {
                    self.body.extend_from_slice(now);
                    if !is_whole {
                        return Ok(None);
                    }
                    let body = std::mem::take(&mut self.body);
                    return Frame::decode(kind, stream, &body).map(|frame| Some(Arrived::Frame(frame)));
                }
            }
        }
    }

    fn checked_length(&self) -> Result<usize, Fault> {
        let [kind, a, b, c, stream @ ..] = self.head;
        let len = u32::from_le_bytes([a, b, c, 0]) as usize;
        let (bounds, of_a_stream) = match kind {
            DATA => (1..=DATA_BYTES, true),
            FINISH | RESET | STOP | DELIVERED | DONE => (0..=0, true),
            CREDIT => (CREDIT_BYTES..=CREDIT_BYTES, true),
            LIMITS => (LIMITS_BYTES..=LIMITS_BYTES, false),
            CLOSE => (CODE_BYTES..=CODE_BYTES + REASON_BYTES, false),
            PING | PONG => (0..=0, false),
            OPTIONAL.. => (0..=DATA_BYTES, true),
            _ => return Err(Fault("a frame of an unknown kind")),
        };
        if !bounds.contains(&len) {
            return Err(Fault("a frame of a wrong length"));
        }
        if !of_a_stream && stream != [0; 4] {
            return Err(Fault("a stream's number in a frame that has none"));
        }
        Ok(len)
    }
}

/// Bytes of a frame's header.
pub(super) const HEADER_BYTES: usize = 8;
/// Most bytes of data in one frame: with its header, one TLS record.
pub(super) const DATA_BYTES: usize = RECORD_BYTES - HEADER_BYTES;
/// Most bytes that one TLS record carries (RFC 8446, section 5.1).
pub(super) const RECORD_BYTES: usize = 16 * 1024;
/// Longest reason of a close, bytes.
pub(super) const REASON_BYTES: usize = 1024;
const CODE_BYTES: usize = 4;
const CREDIT_BYTES: usize = 8;
const LIMITS_BYTES: usize = 12;

const DATA: u8 = 0;
const FINISH: u8 = 1;
const RESET: u8 = 2;
const STOP: u8 = 3;
const CREDIT: u8 = 4;
const LIMITS: u8 = 5;
const DELIVERED: u8 = 6;
const DONE: u8 = 7;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// Kinds from here on are skipped by a receiver that does not know them.
const OPTIONAL: u8 = 128;

#[cfg(test)]
mod tests;
