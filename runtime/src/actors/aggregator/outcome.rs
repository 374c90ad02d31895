//! How a run ended, for the role that started it.

use fl_engine::{
    Digest, RoundNo,
    plan::EndsEarly,
    round::{Lost, Reason},
};

use crate::observe::Traffic;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AggregatorOutcome {
    /// Why the run ended.
    pub(crate) reason: Reason,
    /// The next round to run. `rounds` when all are run.
    pub(crate) round: RoundNo,
    /// How many rounds are run: the plan's, or fewer.
    pub(crate) rounds: u32,
    /// Why they are fewer.
    pub(crate) early: Option<EndsEarly>,
    /// Root of the newest model.
    pub(crate) root: Digest,
    /// Collaborators from which the last round got no update, with the reason.
    pub(crate) lost: Vec<Lost>,
    /// Counts of the whole run, without the refused connections: the greeter counts those.
    pub(crate) traffic: Traffic,
}
