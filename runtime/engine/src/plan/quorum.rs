//! `quorum` and `sample`: when a round may close, and how many collaborators it asks.

use serde::Serialize;

use super::PlanDraft;
use crate::{
    Millis, limits,
    settings::{Absent, Checked, Fault, Field, Key, PlanError, Setting, Takes, check, words},
};

/// Four numbers that decide when a round closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Quorum {
    /// Fewest contributors of a valid round.
    pub count_min: u32,
    /// Enough: the round closes at once. `None`: all that were asked.
    pub count_max: Option<u32>,
    /// Never closes earlier than this, unless everybody asked has answered.
    pub time_min: Millis,
    /// The deadline.
    pub time_max: Millis,
    /// What happens at the deadline of a round with too few updates.
    pub short: Short,
}

words! {
    /// What happens at the deadline of a round with too few updates.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    pub enum Short {
        /// The round keeps its updates, and is opened again until enough updates have arrived.
        Wait = "wait",
        /// The run ends.
        End = "end",
    }
}

impl Setting for Quorum {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let section = field.section()?;
        let (Bounds(count_min, count_max), Bounds(time_min, time_max)) =
            (section.get("count")?, section.get("time")?);
        Ok(Self { count_min, count_max, time_min, time_max, short: section.get("short")? })
    }
}

/// A section with the keys `min` and `max`.
struct Bounds<A, B>(A, B);

impl<A: Setting, B: Setting> Setting for Bounds<A, B> {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let section = field.section()?;
        Ok(Self(section.get("min")?, section.get("max")?))
    }
}

/// Checks both keys.
pub(super) fn check_in(plan: &PlanDraft) -> Checked {
    let Quorum { count_min, count_max, time_min, time_max, short: _ } = plan.quorum;
    check(COUNT, "quorum/count/min", &count_min)?;
    check(COUNT, "quorum/count/max", &count_max)?;
    if let Some(max) = count_max.filter(|max| *max < count_min) {
        let message = format!("quorum.count.max is {max}, below count.min, which is {count_min}");
        return Err(Fault::new("quorum/count/max", message));
    }
    check(TIME, "quorum/time/min", &time_min)?;
    check(TIME, "quorum/time/max", &time_max)?;
    if time_max < time_min {
        let message = format!("quorum.time.max is {time_max}, below time.min, which is {time_min}");
        return Err(Fault::new("quorum/time/max", message));
    }
    plan.sample.check(&MEMBERS, "sample")?;
    if let Some(sample) = plan.sample.filter(|sample| *sample < count_min) {
        let message =
            format!("sample draws {sample} collaborators a round; quorum.count.min asks for {count_min}");
        return Err(Fault::new("sample", message));
    }
    Ok(())
}

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "count",
        takes: Takes::Section(COUNT),
        absent: Absent::Default("{}"),
        meaning: "How many updates a round needs, and how many are enough.",
        example: "{min: 2, max: 3}",
    },
    Key {
        name: "time",
        takes: Takes::Section(TIME),
        absent: Absent::Default("{}"),
        meaning: "How long a round is open.",
        example: "{min: 10s, max: 5m}",
    },
    Key {
        name: "short",
        takes: Takes::Word(Short::TABLE),
        absent: Absent::Default("wait"),
        meaning: "What happens when a round has fewer updates than count.min at its deadline.",
        example: "end",
    },
];

const COUNT: &[Key] = &[
    Key {
        name: "min",
        takes: MEMBERS,
        absent: Absent::Default("1"),
        meaning: "The smallest number of updates of a valid round. `short` says what happens to a round with fewer updates at its deadline.",
        example: "2",
    },
    Key {
        name: "max",
        takes: MEMBERS,
        absent: Absent::Means("as many as collaborators were asked"),
        meaning: "Enough updates: the round closes as soon as so many updates have arrived, but not before `time.min`.",
        example: "3",
    },
];

const TIME: &[Key] = &[
    Key {
        name: "min",
        takes: Takes::Time { least: Millis(0), most: LONGEST_ROUND },
        absent: Absent::Default("0s"),
        meaning: "The round does not close earlier, unless every collaborator that was asked has answered.",
        example: "10s",
    },
    Key {
        name: "max",
        takes: Takes::Time { least: Millis(1), most: LONGEST_ROUND },
        absent: Absent::Default("10m"),
        meaning: "The deadline: the round closes if `count.min` updates or more have arrived. Otherwise `short` decides.",
        example: "5m",
    },
];
/// What `sample` and the counts take.
pub(super) const MEMBERS: Takes =
    Takes::Whole { least: 1, most: limits::COLLABORATORS as u64, unit: "collaborators" };

/// 30 days.
const LONGEST_ROUND: Millis = Millis(720 * 3_600_000);
