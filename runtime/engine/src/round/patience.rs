//! Whether rounds wait for a collaborator's answer.
//!
//! A collaborator that misses [`limits::DEADLINES_MISSED`] deadlines in a row is asked and not waited for: a
//! connected, silent member would hold every round up to its deadline. Its update counts when it comes in
//! time. Its answer ends that. Because a sound site may only be slower than others, a round waits for it
//! again after a while; each further miss makes the while longer.

use crate::limits;

/// One collaborator's record.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Patience {
    /// Deadlines missed in a row.
    missed: u32,
    /// Rounds from the next one on that do not wait.
    unawaited: u32,
    /// The last number of such rounds.
    last: u32,
    /// Whether the present deadline is among `missed` already.
    noted: bool,
}

impl Patience {
    /// Whether the next round waits.
    pub(super) fn waits(&self) -> bool {
        self.unawaited == 0
    }

    /// The collaborator has answered. Returns whether rounds did not wait for it.
    pub(super) fn answered(&mut self) -> bool {
        let news = self.last > 0;
        *self = Self::default();
        news
    }

    /// A round waited until its deadline in vain. Returns the deadlines missed in a row when rounds do not
    /// wait from now on.
    pub(super) fn missed(&mut self) -> Option<u32> {
        if std::mem::replace(&mut self.noted, true) {
            return None;
        }
        self.missed = self.missed.saturating_add(1);
        if self.missed < limits::DEADLINES_MISSED {
            return None;
        }
        self.last = (self.last * 2).clamp(limits::UNAWAITED, limits::LONGEST_UNAWAITED);
        self.unawaited = self.last;
        Some(self.missed)
    }

    /// The round goes on to another deadline.
    pub(super) fn deadline_over(&mut self) {
        self.noted = false;
    }

    /// A round is over. One that was missed itself is not among those that do not wait.
    pub(super) fn round_over(&mut self) {
        if !std::mem::take(&mut self.noted) {
            self.unawaited = self.unawaited.saturating_sub(1);
        }
    }
}
