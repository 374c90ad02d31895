//! What a plan releases can be had, and by whom it says.

use super::{Checked, Fault};
use crate::plan::{Plan, PublicKey, Release, ReleaseTo, Released};

pub(super) fn release(plan: &Plan) -> Checked {
    let Some(Release { what, to }) = plan.release else { return Ok(()) };
    if to == ReleaseTo::Key(PublicKey([0; 32])) {
        return Err(Fault::new("release/to", "release.to is the key of zeros, which nobody holds"));
    }
    if what != Released::Best {
        return Ok(());
    }
    let best = &plan.best;
    let measured =
        plan.tasks.iter().any(|task| task.name == best.task && task.metrics.contains(&best.metric));
    let is_run = plan.groups.iter().any(|group| group.tasks.contains(&best.task));
    let (message, hint) = match (measured, is_run) {
        (true, true) => return Ok(()),
        (true, false) => {
            let why = format!("release.what is best, by the task {}, which is in no group", best.task);
            (why, "give the task to a group, or release last")
        }
        (false, _) => {
            let why = "release.what is best; this plan measures nothing, so no model is the best";
            (why.to_owned(), "give a task metrics, or release last")
        }
    };
    Err(Fault::new("release/what", message).hint(Some(hint.to_owned())))
}
