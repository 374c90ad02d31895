//! The starting of threads.

use std::{future::Future, io, thread};

use tokio::runtime::Builder;

/// Starts the threads of a process. How many there are is the plan's to say: an enclave's are fixed in its
/// manifest.
#[derive(Clone, Debug)]
pub struct Threads(());

impl Threads {
    pub(super) fn real() -> Self {
        Self(())
    }

    /// Starts a thread of this name that does `work` and ends.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(&self, name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        thread::Builder::new().name(name).spawn(work).map(drop)
    }

    /// Runs `work` on this thread, which becomes the actors' thread, beside `link` threads for the network.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn run<T>(&self, link: usize, work: impl Future<Output = T>) -> io::Result<T> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(link.max(1)).thread_name("link").enable_all();
        // Only the resolving of host names blocks, and a member's copying of a released model.
        builder.max_blocking_threads(2);
        let mut runtime = Some(builder.build()?);
        let system = actix::System::with_tokio_rt(|| match runtime.take() {
            Some(runtime) => runtime,
            // actix asks once.
            None => unreachable!("the runtime was taken twice"),
        });
        Ok(system.block_on(work))
    }
}
