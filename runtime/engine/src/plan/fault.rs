//! What is wrong with a resolved plan, and the checks that several keys share.

use super::Plan;
use super::yaml::did_you_mean;
use crate::limits;

/// Bounds of a plan's numbers. A file's reader refuses a number outside while it still knows what was written.
pub(super) mod ranges {
    use std::ops::RangeInclusive;

    use crate::{Weight, limits};

    pub(in crate::plan) const ROUNDS: RangeInclusive<u32> = 1..=1_000_000;
    /// Members of a quorum or a sample.
    pub(in crate::plan) const COUNT: RangeInclusive<u32> = 1..=limits::COLLABORATORS as u32;
    /// Hostile updates that a rule stands.
    pub(in crate::plan) const BYZANTINE: RangeInclusive<u32> = 0..=limits::COLLABORATORS as u32;
    /// Of one round's geometric median.
    pub(in crate::plan) const ITERATIONS: RangeInclusive<u32> = 1..=1_000;
    pub(in crate::plan) const CLASSES: RangeInclusive<u32> = 2..=1_000_000;
    /// Sides of tensors, windows and steps.
    pub(in crate::plan) const SIDE: RangeInclusive<u32> = 1..=u32::MAX;
    pub(in crate::plan) const PADDING: RangeInclusive<u32> = 0..=u32::MAX;
    /// Epochs or steps of one round.
    pub(in crate::plan) const LENGTH: RangeInclusive<u32> = 1..=100_000_000;
    pub(in crate::plan) const BATCH: RangeInclusive<u32> = 1..=1_000_000;
    pub(in crate::plan) const WEIGHT: RangeInclusive<u32> = 1..=(1 << Weight::BITS) - 1;
    pub(in crate::plan) const VALUE_BITS: RangeInclusive<u32> = 1..=40;
    pub(in crate::plan) const WEIGHT_BITS: RangeInclusive<u32> = 1..=Weight::BITS;
    pub(in crate::plan) const THREADS: RangeInclusive<u32> = 1..=64;
}

/// A number that is out of bounds, a name that nothing answers to, or two parts that do not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct PlanFault {
    /// Keys and indices with `/` between them: `tasks/train/epochs`.
    pub(super) path: String,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl PlanFault {
    pub(super) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), hint: None }
    }

    pub(super) fn hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }
}

/// What a check says.
pub(super) type Checked = Result<(), PlanFault>;

/// Refuses a number outside `range`; the last key of `path` names it.
pub(super) fn within(path: &str, number: u32, range: &std::ops::RangeInclusive<u32>) -> Checked {
    if range.contains(&number) {
        return Ok(());
    }
    let key = path.replace('/', ".");
    let message =
        format!("{key} is {number}; it takes a whole number of {} to {}", range.start(), range.end());
    Err(PlanFault::new(path, message))
}

/// A name that a user's crate may have registered.
pub(super) fn registered(path: &str, name: &str) -> Checked {
    let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if name.is_empty() || name.len() > limits::NAME_BYTES || !letters {
        let message = format!(
            "{} is {name:?}; it takes 1 to {} letters, digits, - _ .",
            path.replace('/', "."),
            limits::NAME_BYTES
        );
        return Err(PlanFault::new(path, message));
    }
    Ok(())
}

/// Refuses a name that no task has.
pub(super) fn unknown_task(plan: &Plan, name: &str, path: &dyn Fn() -> String) -> Checked {
    let known = || plan.tasks.iter().map(|task| task.name.as_str());
    if known().any(|task| task == name) {
        return Ok(());
    }
    let message =
        format!("no task is named {name:?}; tasks here: {}", known().collect::<Vec<_>>().join(", "));
    Err(PlanFault::new(path(), message).hint(did_you_mean(name, known())))
}
