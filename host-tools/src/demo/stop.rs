//! Ctrl-C and SIGTERM during a demonstration: its processes are told too, so that none is left behind.

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

/// Whether somebody has asked for the end.
#[derive(Clone)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From now on a signal ends the processes `pids`; they must not have been waited for.
    pub(super) fn watch(pids: Vec<u32>) -> Result<Self, Failure> {
        let failed = |e| Failure::new(Exit::Failed, format!("signals cannot be watched: {e}"));
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
            // A process that has ended already is no failure; whoever is left is killed when the demonstration ends.
            let _ = Command::new("sh").args(["-c", script, "sh"]).args(pids).status();
        });
        Ok(stop)
    }

    pub(super) fn asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
