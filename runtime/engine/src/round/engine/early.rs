//! How many rounds a run has: the plan's, or fewer where the plan's `stop` ends the run.

use super::{Effect, RoundEngine};
use crate::{RoundNo, plan::EndsEarly};

impl RoundEngine {
    /// How many rounds are run: the plan's, or fewer once the plan's `stop` has ended the run.
    #[must_use]
    pub fn rounds(&self) -> u32 {
        self.rounds
    }

    /// Why the run ends before the plan's last round, if it does.
    #[must_use]
    pub fn early(&self) -> Option<EndsEarly> {
        self.early
    }

    /// Makes the closing round the next, where the plan's `stop` says so.
    pub(super) fn end_early(&mut self, round: RoundNo, out: &mut Vec<Effect>) {
        let next = round.next();
        let why = self.plan.stop.and_then(|stop| stop.ends(&self.plan.best, self.best, round));
        if let Some(why) = why.filter(|_| next.0 < self.rounds) {
            (self.rounds, self.early) = (next.0, Some(why));
            out.push(Effect::EndsEarly { round, why });
        }
    }
}
