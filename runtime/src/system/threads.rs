//! The starting of threads.

use std::{future::Future, io, thread};

use tokio::runtime::Builder;

/// Starts the threads of a process. The plan says how many there are at most: an enclave's are fixed in its
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

    /// How many threads compute: what the site file says, or as many as processors that this process may run
    /// on; at most `most`, the plan's number.
    #[must_use]
    pub fn computing(&self, most: u32, site: Option<u32>) -> usize {
        #[expect(
            clippy::disallowed_methods,
            reason = "the plan's number bounds the count, and no result depends on it"
        )]
        let processors = || thread::available_parallelism().map_or(1, std::num::NonZero::get);
        site.map_or_else(processors, |threads| threads as usize).clamp(1, most.max(1) as usize)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn site_file_lowers_the_threads_of_the_plan_and_never_raises_them() {
        let threads = Threads::real();
        assert_eq!(threads.computing(7, Some(3)), 3);
        assert_eq!(threads.computing(2, Some(3)), 2);
        assert_eq!(threads.computing(1, None), 1);
        #[expect(clippy::disallowed_methods, reason = "the machine's number is what is expected")]
        let processors = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        assert_eq!(threads.computing(u32::MAX, None), processors);
    }
}
