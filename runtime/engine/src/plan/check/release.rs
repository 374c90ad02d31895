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
    if measured {
        return Ok(());
    }
    let hint = "give a task metrics, or release last".to_owned();
    let message = "release.what is best; this plan measures nothing, so no model is the best";
    Err(Fault::new("release/what", message).hint(Some(hint)))
}
