//! `schedule`: how the learning rate changes over the rounds of a run, or over the steps of one round.

use serde::Serialize;

use crate::settings::{Absent, Key, Range, Takes, words};

words! {
    /// The shape of a schedule.
    #[derive(Clone, Copy, Debug, PartialEq, Serialize)]
    pub enum Schedule {
        /// The learning rate itself, after a warm-up.
        Constant = "constant" {
            /// Rounds or steps in which the learning rate rises to its value, in equal parts.
            warm_up: u32 = WARM_UP, Absent::Default("0"), "5";
            /// What the schedule counts.
            by: By = Takes::Word(By::TABLE), Absent::Default("rounds"), "steps";
        },
        /// The learning rate times `factor` after each `every` rounds or steps.
        Step = "step" {
            /// Rounds or steps between two changes.
            every: u32 = Takes::Whole { least: 1, most: 100_000_000, unit: "" }, Absent::Refused, "10";
            /// What the learning rate is multiplied by.
            factor: f64 = Takes::Number(Range::AboveZero), Absent::Default("0.1"), "0.5";
            /// Rounds or steps in which the learning rate first rises to its value, in equal parts.
            warm_up: u32 = WARM_UP, Absent::Default("0"), "5";
            /// What the schedule counts.
            by: By = Takes::Word(By::TABLE), Absent::Default("rounds"), "steps";
        },
        /// Half a wave of the cosine from the learning rate to its share `least` (Loshchilov and Hutter,
        /// arXiv:1608.03983, without restarts).
        Cosine = "cosine" {
            /// The share of the learning rate at the end.
            least: f64 = Takes::Number(Range::FromZeroToOne), Absent::Default("0"), "0.01";
            /// Rounds or steps in which the learning rate first rises to its value, in equal parts.
            warm_up: u32 = WARM_UP, Absent::Default("0"), "5";
            /// What the schedule counts.
            by: By = Takes::Word(By::TABLE), Absent::Default("rounds"), "steps";
        },
    }
}

words! {
    /// What a schedule counts.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    pub enum By {
        /// The rounds of the run. The learning rate is the same in all steps of a round.
        Rounds = "rounds",
        /// The batches of one round. Each round begins the schedule again.
        Steps = "steps",
    }
}

impl Schedule {
    /// What it counts.
    #[must_use]
    pub fn by(&self) -> By {
        match self {
            Self::Constant { by, .. } | Self::Step { by, .. } | Self::Cosine { by, .. } => *by,
        }
    }

    /// How many of them the learning rate rises.
    #[must_use]
    pub fn warm_up(&self) -> u32 {
        match self {
            Self::Constant { warm_up, .. } | Self::Step { warm_up, .. } | Self::Cosine { warm_up, .. } => {
                *warm_up
            }
        }
    }
}

pub(super) const SCHEDULE: Key = Key {
    name: "schedule",
    takes: Takes::Variant(Schedule::TABLE),
    absent: Absent::Means("the learning rate never changes"),
    meaning: "How the learning rate changes over the rounds of the run, or over the steps of one round.",
    example: "{cosine: {least: 0.01, warm_up: 2}}",
};

const WARM_UP: Takes = Takes::Whole { least: 0, most: 100_000_000, unit: "" };
