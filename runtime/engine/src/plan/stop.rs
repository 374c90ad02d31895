//! `stop`: when a run ends before its last round.

use serde::Serialize;

use super::{BestModel, Direction, PlanDraft, Released};
use crate::{
    RoundNo,
    settings::{Absent, Checked, Fault, Field, Key, PlanError, Range, Setting, Takes, check},
};

/// When a run ends early, by the metric of `best`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Stop {
    /// Rounds in a row whose model is not better than the best.
    pub patience: Option<u32>,
    /// A value that is good enough.
    pub target: Option<f64>,
}

/// Why a run ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndsEarly {
    /// The best model has reached the target.
    Target,
    /// As many rounds as the patience allows have brought no better model.
    Patience,
}

impl Setting for Stop {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let stop = field.section()?;
        let stop = Self { patience: stop.get("patience")?, target: stop.get("target")? };
        if stop == Self::default() {
            return Err(field.error("stop has neither patience nor target; it takes one of them, or both"));
        }
        Ok(stop)
    }
}

impl Stop {
    /// Whether the run ends after the round `through`. `best` is the metric of the best model and the round
    /// that measured it.
    #[must_use]
    pub fn ends(
        &self,
        rule: &BestModel,
        best: Option<(f64, RoundNo)>,
        through: RoundNo,
    ) -> Option<EndsEarly> {
        let (value, round) = best?;
        let reached = |target: f64| match rule.direction {
            Direction::Max => value >= target,
            Direction::Min => value <= target,
        };
        if self.target.is_some_and(reached) {
            return Some(EndsEarly::Target);
        }
        let without = through.0.saturating_sub(round.0);
        self.patience.filter(|patience| without >= *patience).map(|_| EndsEarly::Patience)
    }
}

/// Whether the plan measures the metric, and releases the best model if it releases one.
pub(super) fn check_in(plan: &PlanDraft) -> Checked {
    let Some(stop) = &plan.stop else { return Ok(()) };
    check(KEYS, "stop/patience", &stop.patience)?;
    check(KEYS, "stop/target", &stop.target)?;
    let best = &plan.best;
    if !plan.tasks.iter().any(|task| task.name == best.task && task.metrics.contains(&best.metric)) {
        let message = "stop compares models by the metric of best, and this plan measures nothing";
        return Err(Fault::new("stop", message).hint(Some("give a validation metrics".to_owned())));
    }
    if plan.release.is_some_and(|release| release.what == Released::Last) {
        let message = "with stop, the last model may be worse than the best one, and release.what is last";
        let hint = "write what: best in release; what: each also has the best model".to_owned();
        return Err(Fault::new("release/what", message).hint(Some(hint)));
    }
    Ok(())
}

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "patience",
        takes: Takes::Whole { least: 1, most: 1_000_000, unit: "rounds" },
        absent: Absent::Means("no number of rounds ends the run early"),
        meaning: "The run ends after so many rounds in a row whose model is not better than the best.",
        example: "5",
    },
    Key {
        name: "target",
        takes: Takes::Number(Range::Finite),
        absent: Absent::Means("no value ends the run early"),
        meaning: "The run ends after the round that measures a model with this value of the metric of `best`, or a better \
                  one.",
        example: "0.95",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Metric;

    #[test]
    fn a_run_ends_at_its_target_or_when_patience_is_over() {
        let rule = |direction| BestModel {
            task: "check".parse().unwrap(),
            metric: Metric::Loss,
            direction,
            against_habit: false,
        };
        let (max, min) = (rule(Direction::Max), rule(Direction::Min));
        let both = Stop { patience: Some(3), target: Some(0.9) };
        let ends = |rule: &BestModel, value: f64, round: u32, through: u32| {
            both.ends(rule, Some((value, RoundNo(round))), RoundNo(through))
        };
        assert_eq!(ends(&max, 0.9, 4, 4), Some(EndsEarly::Target));
        assert_eq!(ends(&max, 0.89, 4, 6), None);
        assert_eq!(ends(&max, 0.89, 4, 7), Some(EndsEarly::Patience));
        assert_eq!(ends(&min, 0.9, 4, 4), Some(EndsEarly::Target));
        assert_eq!(ends(&min, 0.91, 4, 4), None);
        assert_eq!(both.ends(&max, None, RoundNo(99)), None, "nobody has measured a model");
    }
}
