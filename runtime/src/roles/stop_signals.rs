//! The signals that end a run.

use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Exit;

/// SIGINT and SIGTERM. While there is one of these, the signals do not end the process by themselves.
pub(super) struct StopSignals(Option<(Signal, Signal)>);

impl StopSignals {
    /// Begins to watch.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(super) fn watch() -> Self {
        let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
        let (Ok(interrupt), Ok(terminate)) = signals else {
            tracing::warn!(
                "the program cannot watch for SIGINT and SIGTERM: to end the run, kill the process"
            );
            return Self(None);
        };
        Self(Some((interrupt, terminate)))
    }

    /// Waits for the next signal.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub(super) async fn next(&mut self) {
        let Some((interrupt, terminate)) = &mut self.0 else { return std::future::pending().await };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}

/// Runs `stop` at the first signal; a second signal ends the process at once.
pub(super) async fn pass_on(mut signals: StopSignals, stop: impl Future<Output = ()>) {
    signals.next().await;
    stop.await;
    signals.next().await;
    std::process::exit(i32::from(Exit::Stopped as u8));
}
