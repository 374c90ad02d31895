//! Close codes of links. The peer logs the code and decides by it whether to connect again.

use crate::trust::Refused;

/// The code for a collaborator that may not stay.
pub(super) fn of(why: &Refused) -> u32 {
    if why.is_of_the_clock() { ENDED } else { UNLISTED }
}

/// The run is over.
pub(super) const DONE: u32 = 0;
/// The peer was not admitted. The reason was sent as a message before.
pub(super) const REJECTED: u32 = 1;
/// A newer link of the same collaborator replaced this one.
pub(super) const REPLACED: u32 = 2;
/// The peer broke the protocol.
pub(super) const PROTOCOL: u32 = 3;
/// The peer does not read what it is sent.
pub(super) const SLOW: u32 = 4;
/// Why a link is closed as [`SLOW`] when its queue of control messages is full.
pub(super) const OVERLOADED: &str =
    "too many control messages are queued (peer too slow, or sending too fast)";
/// The collaborator is no longer on the roster.
pub(super) const UNLISTED: u32 = 5;
/// The process ends, or something in it failed.
pub(super) const LEAVING: u32 = 6;
/// A certificate or the roster has ended, by the clock of the side that closes.
pub(super) const ENDED: u32 = 7;
