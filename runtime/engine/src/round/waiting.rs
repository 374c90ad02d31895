//! What a run waits for, for the people who watch it.

use super::Lost;
use crate::{Millis, Name, RoundNo};

/// What a run waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Waiting {
    /// For collaborators to connect: no round is open.
    Members {
        /// Connected collaborators that send updates.
        here: usize,
        /// As many are needed.
        need: u32,
        /// Collaborators that are not connected, by name.
        absent: Vec<Name>,
    },
    /// For the sums of the sites' data, before the first round.
    Sums {
        /// When the sites were asked first.
        opened: Millis,
        /// The deadline.
        deadline: Millis,
        /// Sites whose sums count.
        have: usize,
        /// As many are needed.
        need: u32,
        /// Connected sites without an answer, by name.
        awaited: Vec<Name>,
        /// Connected sites whose sums were refused, by name.
        refused: Vec<Name>,
    },
    /// For answers to the open round.
    Answers {
        /// The round.
        round: RoundNo,
        /// Whether it only measures the final model.
        closing: bool,
        /// When it opened.
        opened: Millis,
        /// Its deadline.
        deadline: Millis,
        /// Updates that would count if it closed now.
        have: u32,
        /// `count.min`.
        need: u32,
        /// Collaborators that it waits for: connected, without an answer, by name.
        awaited: Vec<Name>,
        /// Collaborators that are not connected and may still come, by name.
        absent: Vec<Name>,
        /// Collaborators that have answered without an update that counts.
        lost: Vec<Lost>,
    },
}
