//! A fixed number of threads for CPU work: aggregation, hashing, training.
//!
//! Tasks of the data plane and actors give closures to the pool and await the answers. So the network's
//! threads and the actors' thread never compute. A closure that panics gives its caller an error and costs no
//! thread.

use std::{
    any::Any,
    future::Future,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, mpsc},
    task::{Context, Poll},
};

use fl_sys::crew::Crew;
use tokio::sync::oneshot;

use crate::system::Threads;

/// Why a job gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The closure panicked, with these words.
    #[error("a job of the CPU pool panicked: {0}")]
    Panicked(String),
    /// The pool has no threads any more.
    #[error("the CPU pool has ended")]
    Gone,
}

type Job = Box<dyn FnOnce() + Send>;

/// The threads. Clones share them. The threads end when the last clone is dropped and the queue is empty.
#[derive(Clone, Debug)]
pub struct Pool {
    queue: mpsc::Sender<Job>,
    threads: usize,
}

impl Pool {
    /// Starts `threads` threads, at least one. The number comes from the plan, because the manifest of an
    /// enclave fixes its threads.
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub fn new(starter: &Threads, threads: usize) -> io::Result<Self> {
        let threads = threads.max(1);
        let (queue, jobs) = mpsc::channel::<Job>();
        let jobs = Arc::new(Mutex::new(jobs));
        for n in 0..threads {
            let jobs = Arc::clone(&jobs);
            starter.start(format!("cpu-{n}"), move || work(&jobs))?;
        }
        Ok(Self { queue, threads })
    }

    /// Number of threads.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Queues `job` at once. The future answers when the job has run. Dropping the future does not stop the
    /// job. The queue has no bound of its own, because its callers bound it: an aggregation queues one job a
    /// shard and waits for them all, and a collaborator runs one task at a time.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Running<T> {
        let (answer, running) = oneshot::channel();
        let job = move || {
            let done =
                catch_unwind(AssertUnwindSafe(job)).map_err(|panic| PoolError::Panicked(words(&*panic)));
            // The caller may have stopped waiting.
            let _ = answer.send(done);
        };
        // Without threads the job is dropped here, and the future answers `Gone`.
        let _ = self.queue.send(Box::new(job));
        Running { answer: running }
    }
}

impl Pool {
    /// For a job of this pool: asks the pool's other threads to help the job, until what is returned is
    /// dropped. Threads that have other jobs come when those are done.
    pub fn enlist(&self) -> Helpers {
        let crew = Arc::new(Crew::default());
        for _ in 1..self.threads {
            let helper = Arc::clone(&crew);
            // Without threads nobody helps.
            let _ = self.queue.send(Box::new(move || helper.help()));
        }
        Helpers(crew)
    }
}

/// The threads that help a job; they leave when this is dropped.
pub struct Helpers(Arc<Crew>);

impl Helpers {
    /// Calls `work` on this thread and on each helper that is there, and returns when all calls have
    /// returned.
    pub fn run(&self, work: &(dyn Fn() + Sync)) {
        self.0.run(work);
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The answer of a job, as a future.
///
/// # Cancel safety
/// Cancel-safe. The job runs on.
#[derive(Debug)]
pub struct Running<T> {
    answer: oneshot::Receiver<Result<T, PoolError>>,
}

impl<T> Future for Running<T> {
    type Output = Result<T, PoolError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(cx).map(|answer| answer.unwrap_or(Err(PoolError::Gone)))
    }
}

fn work(jobs: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        // `run` catches a panic of the closure. This catches a panic of the answer's destructor.
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            tracing::error!("the answer of a CPU job panicked while it was dropped");
        }
    }
}

/// The message of a panic.
pub(crate) fn words(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(words), _) => (*words).to_owned(),
        (_, Some(words)) => words.clone(),
        _ => "no message".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[tokio::test]
    async fn jobs_run_side_by_side_on_pool_threads() {
        let pool = Pool::new(&crate::system::System::real().threads, 2).unwrap();
        let meet = Arc::new(Barrier::new(2));
        let job = |meet: Arc<Barrier>| {
            move || {
                meet.wait();
                std::thread::current().name().unwrap_or_default().to_owned()
            }
        };
        let (a, b) = tokio::join!(pool.run(job(Arc::clone(&meet))), pool.run(job(meet)));
        let mut names = [a.unwrap(), b.unwrap()];
        names.sort();
        assert_eq!(names, ["cpu-0", "cpu-1"]);
    }

    #[tokio::test]
    async fn panicking_job_is_an_error_and_costs_no_thread() {
        let pool = Pool::new(&crate::system::System::real().threads, 1).unwrap();
        for n in 0..3 {
            let failed = pool.run(move || assert!(n > 9, "job {n} failed")).await;
            assert_eq!(failed, Err(PoolError::Panicked(format!("job {n} failed"))));
        }
        assert_eq!(pool.run(|| 5).await, Ok(5));
    }

    #[tokio::test]
    async fn panic_in_a_dropped_answer_costs_no_thread() {
        struct Grenade;
        impl Drop for Grenade {
            fn drop(&mut self) {
                panic!("dropped");
            }
        }
        let pool = Pool::new(&crate::system::System::real().threads, 1).unwrap();
        let (go, wait) = mpsc::channel::<()>();
        drop(pool.run(move || {
            let _ = wait.recv();
            Grenade
        }));
        go.send(()).unwrap();
        assert_eq!(pool.run(|| 5).await, Ok(5));
    }

    #[tokio::test]
    async fn helpers_are_the_other_threads_and_are_free_again_afterwards() {
        let pool = Pool::new(&crate::system::System::real().threads, 3).unwrap();
        let lender = pool.clone();
        let names = pool.run(move || {
            let (helpers, meet, names) = (lender.enlist(), Barrier::new(3), Mutex::new(Vec::new()));
            helpers.run(&|| {
                meet.wait();
                let name = std::thread::current().name().unwrap_or_default().to_owned();
                names.lock().unwrap().push(name);
            });
            let mut names = names.into_inner().unwrap();
            names.sort();
            names
        });
        assert_eq!(names.await.unwrap(), ["cpu-0", "cpu-1", "cpu-2"]);
        let meet = Arc::new(Barrier::new(3));
        let jobs = [(); 3].map(|()| Arc::clone(&meet)).map(|meet| pool.run(move || _ = meet.wait()));
        for job in jobs {
            job.await.unwrap();
        }
    }

    #[tokio::test]
    async fn queued_jobs_outlive_the_pool() {
        let pool = Pool::new(&crate::system::System::real().threads, 1).unwrap();
        let running = pool.run(|| 5);
        drop(pool);
        assert_eq!(running.await, Ok(5));
    }
}
