//! `threshold`: whose updates count, by a metric.

use std::fmt;

use serde::Serialize;

use super::{Direction, Metric};
use crate::{
    Name,
    settings::{Absent, Field, Key, PlanError, Range, Setting, Takes, Text},
};

/// Updates count only from collaborators whose reported metric is good enough. When fewer than `count.min` of
/// a round's metrics are, all count.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Threshold {
    /// The task that reports the metric, of the same group.
    pub task: Name,
    /// The metric.
    pub metric: Metric,
    /// The bound. A metric that equals the bound is good enough.
    pub bound: f64,
    /// Whether more or less than the bound is better.
    pub direction: Direction,
}

impl Setting for Threshold {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let section = field.section()?;
        let bounds: (Option<f64>, Option<f64>) = (section.get(MIN)?, section.get(MAX)?);
        let (bound, direction) = match bounds {
            (Some(min), None) => (min, Direction::Max),
            (None, Some(max)) => (max, Direction::Min),
            (None, None) => {
                let message = format!("{} needs either min or max", field.path());
                let hint = "write max for loss, rmse and mae, and min for the other metrics".to_owned();
                return Err(field.error(message).with_hint(Some(hint)));
            }
            (Some(_), Some(_)) => {
                let message = format!("{} has both min and max; it takes one of them", field.path());
                return Err(section.optional(MAX).as_ref().unwrap_or(field).error(message));
            }
        };
        Ok(Self { task: section.get("task")?, metric: section.get("metric")?, bound, direction })
    }
}

/// `accuracy of aggregated_model_validation at least 0.7`.
impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { task, metric, bound, direction } = self;
        let side = match direction {
            Direction::Max => "least",
            Direction::Min => "most",
        };
        write!(f, "{} of {task} at {side} {bound}", metric.word())
    }
}

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "task",
        takes: Takes::Text(Text::Name("name of a task")),
        absent: Absent::Refused,
        meaning: "The task that reports the metric. Every group that sends updates runs the task.",
        example: "aggregated_model_validation",
    },
    Key {
        name: "metric",
        takes: Takes::Word(Metric::TABLE),
        absent: Absent::Refused,
        meaning: "The metric. The task reports it.",
        example: "accuracy",
    },
    Key {
        name: MIN,
        takes: Takes::Number(Range::FromZeroToOne),
        absent: Absent::Means("the threshold has `max`"),
        meaning: "A site's update counts only if the site's metric is at least this number. For a metric of which a larger value is better, such as accuracy.",
        example: "0.7",
    },
    Key {
        name: MAX,
        takes: Takes::Number(Range::FromZero),
        absent: Absent::Means("the threshold has `min`"),
        meaning: "A site's update counts only if the site's metric is at most this number. For loss, rmse and mae, because a smaller value is better.",
        example: "0.5",
    },
];

pub(super) const MIN: &str = "min";
pub(super) const MAX: &str = "max";

pub(super) const THRESHOLD: Key = Key {
    name: "threshold",
    takes: Takes::Section(KEYS),
    absent: Absent::Means("every update counts"),
    meaning: "Leaves out the updates of collaborators that report a worse metric than a bound. When fewer than \
              quorum.count.min collaborators report a metric that is good enough, all updates count. Collaborators \
              can lie about their metrics. All tasks that send updates have the same threshold.",
    example: "{task: aggregated_model_validation, metric: accuracy, min: 0.7}",
};
