//! This site's part in the run, since its process started.

use fl_engine::{Name, RoundNo};

/// In how many rounds this site's update was asked for, and in how many it counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    /// Rounds that asked for an update.
    pub(crate) asked: u32,
    /// Rounds in which the update counted.
    pub(crate) counted: u32,
    /// Why the last update did not come or did not count, if that was this site's fault.
    pub(crate) failure: Option<String>,
    last_asked: Option<RoundNo>,
}

impl Part {
    /// An update of this round was asked for, perhaps again.
    pub(super) fn asked(&mut self, round: RoundNo) {
        if self.last_asked != Some(round) {
            self.last_asked = Some(round);
            self.asked += 1;
        }
    }

    /// Whether the last update that was asked for is this round's.
    pub(super) fn was_asked(&self, round: RoundNo) -> bool {
        self.last_asked == Some(round)
    }

    /// The update counted, and its round is on disk.
    pub(super) fn counted(&mut self) {
        self.counted += 1;
    }

    /// No update of this round comes, or it was refused.
    pub(super) fn failed(&mut self, round: RoundNo, task: &Name, why: &str) {
        self.failure = Some(format!("round {round}, task {task}: {why}"));
    }

    /// Whether this site tried and not one of its updates counted.
    pub(crate) fn is_empty(&self) -> bool {
        self.counted == 0 && self.failure.is_some()
    }

    /// `this site's update counted in 9 of 10 rounds since the start of this process`.
    pub(crate) fn line(&self) -> String {
        let Self { asked, counted, .. } = self;
        let rounds = if *asked == 1 { "round" } else { "rounds" };
        format!(
            "this site's update counted in {counted} of the {asked} {rounds} that asked for one since this process started"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_counted_once_and_a_failure_matters_only_where_nothing_counted() {
        let mut part = Part::default();
        assert!(!part.is_empty(), "nothing was asked for");
        for round in [0, 0, 1, 2] {
            part.asked(RoundNo(round));
        }
        assert!(part.was_asked(RoundNo(2)) && !part.was_asked(RoundNo(3)));
        part.failed(RoundNo(1), &"train".parse().unwrap(), "no row has a label");
        assert!(part.is_empty());
        assert_eq!(part.failure.as_deref(), Some("round 1, task train: no row has a label"));
        part.counted();
        assert!(!part.is_empty());
        assert_eq!(
            part.line(),
            "this site's update counted in 1 of the 3 rounds that asked for one since this process started"
        );
    }
}
