//! The roster's section `resume` at the aggregator: the owner takes the run back to an earlier model.

use std::sync::Arc;

use fl_engine::plan::roster::{Resumption, Roster};

use super::fresh_hint::for_this_target;
use crate::{
    exit::{Exit, Failure},
    observe,
    store::{GoneBack, StoreError, StoredRun},
};

/// Takes the stored run back before the run begins, where the roster says so and that was not done before.
pub(super) fn carry_out(run: &StoredRun, roster: &Roster, json: bool) -> Result<(), Failure> {
    let Some(order) = roster.resume() else { return Ok(()) };
    let Resumption { round, serial, .. } = order;
    match run.go_back(order, roster.digest()).map_err(refused)? {
        GoneBack::Before => {}
        GoneBack::NothingRun => tracing::info!(
            "the roster resumes the run after round {round}, but no round was run here: the run begins with the initial model"
        ),
        GoneBack::Back { from, newest, aside } => {
            if json {
                observe::say_event(&serde_json::json!({
                    "event": "resumed", "round": round, "without": order.without, "serial": serial,
                    "newest": newest, "from": from, "aside": aside,
                }));
            }
            tracing::warn!(
                "the federation's owner resumes the run after round {round} without {} (roster {serial}). The newest finished \
                 round was {newest}; round {} is next. The model is {}",
                order.names(),
                round.next(),
                from.display()
            );
            for path in aside {
                tracing::info!("a file of a later round is now {}", path.display());
            }
        }
    }
    Ok(())
}

/// Whether a running aggregator has to go back by this roster. An order that cannot be carried out is logged,
/// and the run goes on.
pub(super) async fn is_due(run: StoredRun, roster: Arc<Roster>) -> bool {
    let Some(order) = roster.resume().cloned() else { return false };
    let looked = tokio::task::spawn_blocking(move || run.can_go_back(&order)).await;
    match looked {
        Ok(Ok(due)) => due,
        Ok(Err(error)) => {
            let Failure { error, hint, .. } = refused(error);
            tracing::error!("{error}. The run goes on without the members that the roster revokes");
            if let Some(hint) = hint {
                tracing::error!("hint: {hint}");
            }
            false
        }
        // The process ends.
        Err(_) => false,
    }
}

fn refused(error: StoreError) -> Failure {
    let exit = match error {
        StoreError::NotKept { .. } | StoreError::NotReached { .. } => Exit::Plan,
        _ => Exit::Model,
    };
    Failure::of(exit, &error).maybe_hint(error.hint().map(for_this_target))
}
