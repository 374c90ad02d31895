//! `keep`: the rounds whose models the aggregator keeps, so that the run can go back to one of them.

use serde::Serialize;

use super::PlanDraft;
use crate::{
    RoundNo,
    settings::{Absent, Checked, Field, Key, PlanError, Setting, Takes, check},
};

/// Which finished rounds stay in `save/kept`, each with all that the run needs to continue from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Keep {
    /// Rounds whose number is a multiple of this are kept, round 0 included.
    pub every: u32,
    /// The newest so many stay; `None`: all of them.
    pub most: Option<u32>,
}

impl Keep {
    /// Whether the model after this round is kept.
    #[must_use]
    pub fn keeps(self, round: RoundNo) -> bool {
        round.0.is_multiple_of(self.every)
    }

    /// The last round that is kept and is not after `round`.
    #[must_use]
    pub fn at_or_before(self, round: RoundNo) -> RoundNo {
        RoundNo(round.0 - round.0 % self.every)
    }

    /// How many rounds lie in `save/kept` at most, in a run of this many rounds.
    #[must_use]
    pub fn files(self, rounds: u32) -> u32 {
        rounds.div_ceil(self.every).min(self.most.unwrap_or(u32::MAX))
    }
}

impl std::fmt::Display for Keep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.every {
            1 => write!(f, "every round")?,
            every => write!(f, "every {every} rounds")?,
        }
        self.most.map_or(Ok(()), |most| write!(f, ", the newest {most}"))
    }
}

impl Setting for Keep {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let keep = field.section()?;
        Ok(Self { every: keep.get("every")?, most: keep.get("most")? })
    }
}

/// Checks both numbers.
pub(super) fn check_in(plan: &PlanDraft) -> Checked {
    let Some(Keep { every, most }) = plan.keep else { return Ok(()) };
    check(KEYS, "keep/every", &every)?;
    check(KEYS, "keep/most", &most)
}

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "every",
        takes: ROUNDS,
        absent: Absent::Refused,
        meaning: "The aggregator keeps the model after each round whose number is a multiple of this: with 10, after rounds \
                  0, 10, 20 and so on.",
        example: "10",
    },
    Key {
        name: "most",
        takes: ROUNDS,
        absent: Absent::Means("no kept model is deleted"),
        meaning: "How many models are kept. With one more, the aggregator deletes the oldest.",
        example: "5",
    },
];

const ROUNDS: Takes = Takes::Whole { least: 1, most: 1_000_000, unit: "rounds" };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiples_are_kept_and_counted() {
        let keep = Keep { every: 2, most: None };
        let kept: Vec<u32> = (0..7).filter(|n| keep.keeps(RoundNo(*n))).collect();
        assert_eq!(kept, [0, 2, 4, 6]);
        assert_eq!((keep.files(7), keep.files(6), keep.files(1)), (4, 3, 1));
        assert_eq!((keep.at_or_before(RoundNo(5)), keep.at_or_before(RoundNo(4))), (RoundNo(4), RoundNo(4)));
        let few = Keep { every: 1, most: Some(3) };
        assert_eq!((few.files(7), few.files(2)), (3, 2));
        assert_eq!(format!("{keep}; {few}"), "every 2 rounds; every round, the newest 3");
    }
}
