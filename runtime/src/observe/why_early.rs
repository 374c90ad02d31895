//! Why a run ends before the plan's last round, in words.

use fl_engine::plan::{EndsEarly, Plan};

/// `accuracy of check has reached the target 0.95`. No value of a site is in it.
#[must_use]
pub fn why_early(plan: &Plan, why: EndsEarly) -> String {
    let (metric, task) = (plan.best.metric.word(), &plan.best.task);
    let stop = plan.stop.unwrap_or_default();
    match why {
        EndsEarly::Target => {
            format!("{metric} of {task} has reached the target {}", stop.target.unwrap_or_default())
        }
        _ => match stop.patience.unwrap_or_default() {
            1 => format!("one round has brought no better {metric} of {task}"),
            rounds => format!("{rounds} rounds in a row have brought no better {metric} of {task}"),
        },
    }
}
