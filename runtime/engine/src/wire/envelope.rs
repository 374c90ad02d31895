//! An envelope: a kind (u16, little-endian), then the message in postcard's encoding.
//!
//! Odd kinds are optional: a peer that does not know one skips it. An unknown even kind ends the link.

use super::{
    error::WireError,
    message::{
        AskSums, Assigned, Cancelled, Columns, Counted, Failed, Granted, Hello, Leaving, LeftOut, Message,
        Newer, Received, RefusedUpdate, Rejection, Resumed, RoundDone, SiteSums, Statistics, Verdict,
        Welcome,
    },
};
use crate::{
    limits,
    round::{Offer, Report},
};

/// A message's number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(pub u16);

impl Kind {
    /// Whether a peer that does not know the kind may skip it.
    #[must_use]
    pub fn is_optional(self) -> bool {
        self.0 % 2 == 1
    }
}

/// The envelope's bytes; at most [`limits::ENVELOPE_BYTES`] for messages within their bounds.
#[must_use]
pub fn encode(message: &Message) -> Vec<u8> {
    let kind = kind_of(message);
    let out = kind.0.to_le_bytes().to_vec();
    let encoded = match message {
        Message::Hello(m) => postcard::to_extend(m, out),
        Message::Welcome(m) => postcard::to_extend(m, out),
        Message::Rejected(m) => postcard::to_extend(m, out),
        Message::Assign(m) => postcard::to_extend(m, out),
        Message::Offer(m) => postcard::to_extend(m, out),
        Message::Grant(m) => postcard::to_extend(m, out),
        Message::Refused(m) => postcard::to_extend(m, out),
        Message::Received(m) => postcard::to_extend(m, out),
        Message::Counted(m) => postcard::to_extend(m, out),
        Message::Report(m) => postcard::to_extend(m, out),
        Message::Failed(m) => postcard::to_extend(m, out),
        Message::Cancel(m) => postcard::to_extend(m, out),
        Message::RoundDone(m) => postcard::to_extend(m, out),
        Message::Finished(m) => postcard::to_extend(m, out),
        Message::Leaving(m) => postcard::to_extend(m, out),
        Message::Columns(m) => postcard::to_extend(m, out),
        Message::Resumed(m) => postcard::to_extend(m, out),
        Message::AskSums(m) => postcard::to_extend(m, out),
        Message::Sums(m) => postcard::to_extend(m, out),
        Message::Statistics(m) => postcard::to_extend(m, out),
        Message::LeftOut(m) => postcard::to_extend(m, out),
        Message::Newer(m) => postcard::to_extend(m, out),
    };
    // These types hold nothing that postcard cannot encode, and a Vec does not fill up.
    encoded.unwrap_or_default()
}

/// Reads an envelope. `None`: an optional message of a later version.
///
/// # Errors
/// [`WireError`]; the link should be closed.
pub fn decode(bytes: &[u8]) -> Result<Option<Message>, WireError> {
    let (kind, body) = bytes.split_first_chunk::<2>().ok_or(WireError::NoKind(bytes.len()))?;
    let kind = Kind(u16::from_le_bytes(*kind));
    let message = match kind.0 {
        0 => Message::Hello(whole::<Hello>(kind, body)?),
        2 => Message::Welcome(whole::<Welcome>(kind, body)?),
        4 => Message::Rejected(whole::<Rejection>(kind, body)?),
        6 => Message::Assign(whole::<Assigned>(kind, body)?),
        8 => Message::Offer(whole::<Offer>(kind, body)?),
        10 => Message::Grant(whole::<Granted>(kind, body)?),
        12 => Message::Refused(whole::<RefusedUpdate>(kind, body)?),
        14 => Message::Received(whole::<Received>(kind, body)?),
        16 => Message::Counted(whole::<Counted>(kind, body)?),
        18 => Message::Report(whole::<Report>(kind, body)?),
        20 => Message::Failed(whole::<Failed>(kind, body)?),
        22 => Message::Cancel(whole::<Cancelled>(kind, body)?),
        24 => Message::Finished(whole::<Verdict>(kind, body)?),
        26 => Message::Leaving(whole::<Leaving>(kind, body)?),
        1 => Message::RoundDone(whole::<RoundDone>(kind, body)?),
        3 => Message::Columns(whole::<Columns>(kind, body)?),
        5 => Message::Resumed(whole::<Resumed>(kind, body)?),
        7 => Message::AskSums(whole::<AskSums>(kind, body)?),
        9 => Message::Sums(whole::<SiteSums>(kind, body)?),
        11 => Message::Statistics(whole::<Statistics>(kind, body)?),
        13 => Message::LeftOut(whole::<LeftOut>(kind, body)?),
        15 => Message::Newer(whole::<Newer>(kind, body)?),
        _ if kind.is_optional() => return Ok(None),
        _ => return Err(WireError::UnknownKind(kind.0)),
    };
    message.check()?;
    Ok(Some(message))
}

/// A value that takes all of `bytes`.
pub(super) fn whole<'a, T: serde::Deserialize<'a>>(kind: Kind, bytes: &'a [u8]) -> Result<T, WireError> {
    debug_assert!(bytes.len() <= limits::ENVELOPE_BYTES);
    let malformed = |e: postcard::Error| WireError::Malformed { kind: kind.0, what: e.to_string() };
    let (value, rest) = postcard::take_from_bytes(bytes).map_err(malformed)?;
    match rest.len() {
        0 => Ok(value),
        bytes => Err(WireError::Trailing { kind: kind.0, bytes }),
    }
}

fn kind_of(message: &Message) -> Kind {
    Kind(match message {
        Message::Hello(_) => 0,
        Message::Welcome(_) => 2,
        Message::Rejected(_) => 4,
        Message::Assign(_) => 6,
        Message::Offer(_) => 8,
        Message::Grant(_) => 10,
        Message::Refused(_) => 12,
        Message::Received(_) => 14,
        Message::Counted(_) => 16,
        Message::Report(_) => 18,
        Message::Failed(_) => 20,
        Message::Cancel(_) => 22,
        Message::Resumed(_) => 5,
        Message::Finished(_) => 24,
        Message::Leaving(_) => 26,
        Message::RoundDone(_) => 1,
        Message::Columns(_) => 3,
        Message::AskSums(_) => 7,
        Message::Sums(_) => 9,
        Message::Statistics(_) => 11,
        Message::LeftOut(_) => 13,
        Message::Newer(_) => 15,
    })
}
