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

/// Why the store does not open, or does not go back, with the exit code: the order is at fault, the system,
/// or what a file contains.
pub(super) fn refused(error: StoreError) -> Failure {
    let exit = match error {
        StoreError::NotKept { .. } | StoreError::NotReached { .. } => Exit::Plan,
        _ if error.is_of_the_system() => Exit::File,
        _ => Exit::Model,
    };
    Failure::of(exit, &error).maybe_hint(error.hint().map(for_this_target))
}

#[cfg(test)]
mod tests {
    use std::{io, path::PathBuf};

    use fl_engine::RoundNo;

    use super::*;

    #[test]
    fn exit_code_tells_an_order_from_a_full_disk_and_from_a_damaged_file() {
        let path = PathBuf::from("save/generations/w-0000002.fl");
        let full = StoreError::Write { path: path.clone(), source: io::ErrorKind::StorageFull.into() };
        assert_eq!(refused(full).exit, Exit::File);
        assert_eq!(refused(StoreError::OtherRound { path }).exit, Exit::Model);
        let ahead = StoreError::NotReached { round: RoundNo(7), newest: RoundNo(6) };
        assert_eq!(refused(ahead).exit, Exit::Plan);
    }
}
