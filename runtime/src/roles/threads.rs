//! The threads of a process: their numbers come from the plan, because an enclave's are fixed in its manifest.

use std::future::Future;

use fl_engine::plan::Threads;
use tokio::{
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::exit::{Exit, Failure};

/// Runs `work` on this thread, which is the actors' thread too, beside `threads.link` threads for the link.
pub(super) fn run<T>(threads: Threads, work: impl Future<Output = T>) -> Result<T, Failure> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(threads.link.max(1) as usize).thread_name("link").enable_all();
    // Resolving a host name is all that blocks.
    builder.max_blocking_threads(2);
    let runtime =
        builder.build().map_err(|e| Failure::of(Exit::Failed, &e).hint("threads could not be started"))?;
    let mut runtime = Some(runtime);
    let system = actix::System::with_tokio_rt(|| match runtime.take() {
        Some(runtime) => runtime,
        // actix asks once.
        None => unreachable!("the runtime was taken twice"),
    });
    Ok(system.block_on(work))
}

/// SIGINT and SIGTERM. From its making on they no longer end the process by themselves.
pub(super) struct StopSignals(Option<(Signal, Signal)>);

impl StopSignals {
    /// Watches from now on.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(super) fn watch() -> Self {
        let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
        let (Ok(interrupt), Ok(terminate)) = signals else {
            tracing::warn!("signals cannot be watched: end the run by killing it");
            return Self(None);
        };
        Self(Some((interrupt, terminate)))
    }

    /// Waits for the next one.
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

/// Tells `stop` of the first signal; a second one ends the process at once.
pub(super) async fn pass_on(mut signals: StopSignals, stop: impl Future<Output = ()>) {
    signals.next().await;
    stop.await;
    signals.next().await;
    std::process::exit(i32::from(Exit::Stopped as u8));
}
