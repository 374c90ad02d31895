//! `best`: what makes a model the best so far.

use serde::Serialize;

use super::{Direction, Metric, PlanDraft, TaskSpec, When, task};
use crate::{
    Name,
    settings::{Absent, Checked, Fault, Field, Key, PlanError, Setting, Takes, Text},
};

/// What makes a model the best so far.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BestModel {
    /// The task that reports it.
    pub task: Name,
    /// The metric.
    pub metric: Metric,
    /// Its better direction.
    pub direction: Direction,
    /// Whether the plan says that `direction` is not the metric's usual one.
    pub against_habit: bool,
}

impl Setting for BestModel {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let best = field.section()?;
        let metric: Metric = best.get("metric")?;
        let direction: Option<Direction> = best.get("direction")?;
        Ok(Self {
            task: best.get("task")?,
            metric,
            direction: direction.unwrap_or(metric.better()),
            against_habit: best.get("against_habit")?,
        })
    }
}

impl BestModel {
    /// The first metric of the first task that reports one in every round. A plan that measures nothing has
    /// no best model; the loss of its last task, which nobody reports, stands for that.
    pub(super) fn of(tasks: &[TaskSpec]) -> Option<Self> {
        let mut always = tasks.iter().filter(|task| task.when == When::Always);
        let first = always.clone().find_map(|task| Some((task, *task.metrics.first()?)));
        let (task, metric) = first.or_else(|| Some((always.next_back().or(tasks.last())?, Metric::Loss)))?;
        Some(Self { task: task.name.clone(), metric, direction: metric.better(), against_habit: false })
    }
}

/// Checks that the task exists and reports the metric, and that the direction is meant.
pub(super) fn check_in(plan: &PlanDraft) -> Checked {
    let best = &plan.best;
    check_direction(best)?;
    task::exists(plan, best.task.as_str(), &|| "best/task".to_owned())?;
    let reports = |task: &TaskSpec| task.name == best.task && task.metrics.contains(&best.metric);
    // A plan that measures nothing keeps no best model.
    if plan.tasks.iter().any(reports) || plan.tasks.iter().all(|task| task.metrics.is_empty()) {
        return Ok(());
    }
    let metric = best.metric.word();
    let message = format!("best.metric is {metric}, which the task {} does not report", best.task);
    let hint = format!("add {metric} to the metrics of the task {}", best.task);
    Err(Fault::new("best/metric", message).hint(Some(hint)))
}

/// With the wrong direction, the worst model would be kept as the best.
fn check_direction(best: &BestModel) -> Checked {
    let (metric, direction, usual) = (best.metric.word(), best.direction, best.metric.better());
    match best.against_habit {
        false if direction != usual => {
            let better = if usual == Direction::Max { "larger" } else { "smaller" };
            let message = format!(
                "best.direction is {}, but a {better} {metric} is better: the worst model would be kept as the best",
                direction.word()
            );
            let hint = format!(
                "write direction: {}; if the worst model is meant, add against_habit: true",
                usual.word()
            );
            Err(Fault::new("best/direction", message).hint(Some(hint)))
        }
        true if direction == usual => {
            let message = format!(
                "best.against_habit is true, but {} is the usual direction of {metric}",
                usual.word()
            );
            let hint = "leave out best.against_habit, or write the other direction".to_owned();
            Err(Fault::new("best/against_habit", message).hint(Some(hint)))
        }
        _ => Ok(()),
    }
}

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "task",
        takes: Takes::Text(Text::Name("name of a task")),
        absent: Absent::Refused,
        meaning: "The task that reports the metric.",
        example: "aggregated_model_validation",
    },
    Key {
        name: "metric",
        takes: Takes::Word(Metric::TABLE),
        absent: Absent::Refused,
        meaning: "The metric by which models are compared. The task reports it.",
        example: "accuracy",
    },
    Key {
        name: "direction",
        takes: Takes::Word(Direction::TABLE),
        absent: Absent::Means("min for loss, rmse and mae, max for the other metrics"),
        meaning: "Which way the metric improves.",
        example: "max",
    },
    Key {
        name: "against_habit",
        takes: Takes::Flag,
        absent: Absent::Default("false"),
        meaning: "Whether a direction that is not the metric's usual one is meant. A plan with such a direction is \
                  refused otherwise.",
        example: "true",
    },
];
