//! How a run ended, for the role that started it.

use std::path::Path;

use fl_engine::{
    Digest, RoundNo,
    plan::{EndsEarly, Plan},
    round::{Lost, Reason},
};

use crate::observe::{self, Traffic};

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

impl AggregatorOutcome {
    /// What a run whose rounds are all run has done. `model` is the file of the last model.
    pub(crate) fn over(&self, plan: &Plan, model: &Path) -> String {
        let (rounds, model) = (self.rounds, model.display());
        match self.early {
            Some(why) => format!(
                "the run ended after {rounds} of {} rounds: {}; the last model is {model}",
                plan.rounds,
                observe::why_early(plan, why)
            ),
            None if rounds == 0 => format!("the collaborators have measured the model; it is {model}"),
            None => format!("all {rounds} rounds were run; the model is {model}"),
        }
    }
}
