//! Ctrl-C and SIGTERM during a demonstration end its processes too, so that none of them is left behind.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tokio::signal::unix::{SignalKind, signal};

use crate::exit::{Exit, Failure};

/// Whether a signal asked for the end.
#[derive(Clone)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From now on a signal ends the processes `pids`. Nobody may have waited for them yet: a number can be
    /// reused.
    pub(super) fn watch(pids: Vec<u32>) -> Result<Self, Failure> {
        let failed = |e| Failure::new(Exit::Failed, format!("cannot watch for Ctrl-C: {e}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
        let (mut interrupt, mut terminate) = {
            let _inside = runtime.enter();
            let of = |kind| signal(kind).map_err(failed);
            (of(SignalKind::interrupt())?, of(SignalKind::terminate())?)
        };
        let stop = Self(Arc::new(AtomicBool::new(false)));
        let asked = stop.clone();
        thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            });
            asked.0.store(true, Ordering::SeqCst);
            // The shell's own `kill`: a small system may lack the program.
            let script = "kill -TERM \"$@\" 2>/dev/null";
            let pids = pids.iter().map(u32::to_string);
            // A process may have ended already. A process that is left is killed when the demonstration ends.
            let _ = Command::new("sh").args(["-c", script, "sh"]).args(pids).status();
        });
        Ok(stop)
    }

    pub(super) fn asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
