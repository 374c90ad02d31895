//! Several threads that compute one closure at once, and wait between closures without a system call.
//!
//! A training computes hundreds of closures a second, each some hundred microseconds long, which borrow the
//! model's buffers. `std::thread::scope` lends borrowed data too, but starts its threads anew each time.
//!
//! Threads that wait spin for a short time, because a thread that sleeps often wakes up on the processor of
//! the one that woke it; then they sleep.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// The threads that compute together: those in [`Crew::help`], and the one that calls [`Crew::run`].
#[derive(Default)]
pub struct Crew {
    state: Mutex<State>,
    /// Changes with `State::number` and at the end; what waiting threads look at.
    news: AtomicU64,
    /// Helpers that compute; what the caller of `run` looks at.
    busy: AtomicU64,
    wake: Condvar,
    done: Condvar,
}

#[derive(Default)]
struct State {
    /// The closure of a `run` that has not returned.
    work: Option<Work>,
    /// Counts closures.
    number: u64,
    panicked: bool,
    ended: bool,
}

/// A closure whose lifetime [`Crew::run`] watches over.
#[derive(Clone, Copy)]
struct Work(&'static (dyn Fn() + Sync));

impl Crew {
    /// Calls `work` on this thread and on each helper that is free, and returns when all calls have returned.
    /// A helper that comes late may miss a closure: `work` itself shares out what is to be done.
    ///
    /// # Panics
    /// If `work` panics, on whichever thread.
    pub fn run(&self, work: &(dyn Fn() + Sync)) {
        // SAFETY: only the lifetime changes. `Finish` takes the closure away from helpers that have not
        // begun, and waits for those that have, before this function returns or unwinds. Helpers use the
        // reference in between alone, so it is not used after `work` ends.
        let work =
            Work(unsafe { std::mem::transmute::<&(dyn Fn() + Sync), &'static (dyn Fn() + Sync)>(work) });
        {
            let mut state = self.lock();
            state.work = Some(work);
            state.number += 1;
            state.panicked = false;
            self.news.store(state.number, Ordering::Release);
        }
        self.wake.notify_all();
        let finish = Finish(self);
        (work.0)();
        drop(finish);
        if std::mem::take(&mut self.lock().panicked) {
            resume_unwind(Box::new("a thread that helped panicked"));
        }
    }

    /// Computes what [`Self::run`] gives, until [`Self::end`].
    pub fn help(&self) {
        let mut seen = 0;
        loop {
            for _ in 0..SPINS {
                if self.news.load(Ordering::Acquire) != seen {
                    break;
                }
                std::hint::spin_loop();
            }
            let mut state = self.lock();
            while !state.ended && (state.number == seen || state.work.is_none()) {
                seen = state.number;
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.ended {
                return;
            }
            seen = state.number;
            let Some(Work(work)) = state.work else { continue };
            self.busy.fetch_add(1, Ordering::AcqRel);
            drop(state);
            let outcome = catch_unwind(AssertUnwindSafe(work));
            let mut state = self.lock();
            state.panicked |= outcome.is_err();
            if self.busy.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.done.notify_all();
            }
        }
    }

    /// Lets all helpers return, also those that come later.
    pub fn end(&self) {
        self.lock().ended = true;
        self.news.store(u64::MAX, Ordering::Release);
        self.wake.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits at its end until no helper uses the closure any more.
struct Finish<'a>(&'a Crew);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        let crew = self.0;
        // Under the lock, so no helper begins after this.
        crew.lock().work = None;
        for _ in 0..SPINS {
            if crew.busy.load(Ordering::Acquire) == 0 {
                break;
            }
            std::hint::spin_loop();
        }
        let mut state = crew.lock();
        while crew.busy.load(Ordering::Acquire) > 0 {
            state = crew.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Looks at the news before a thread sleeps: some tens of microseconds.
const SPINS: u32 = 4_000;

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::AtomicUsize,
        thread,
        time::{Duration, Instant},
    };

    use super::*;

    /// Runs `test` with a crew of so many helpers.
    fn with_helpers(helpers: usize, test: impl FnOnce(&Crew)) {
        let crew = Crew::default();
        thread::scope(|scope| {
            (0..helpers).for_each(|_| drop(scope.spawn(|| crew.help())));
            test(&crew);
            crew.end();
        });
    }

    #[test]
    fn borrowed_data_is_whole_after_each_of_many_closures() {
        for helpers in [0, 1, 3] {
            with_helpers(helpers, |crew| {
                for round in 0..2_000 {
                    let mut values = vec![0usize; 64];
                    let items = Mutex::new(values.iter_mut());
                    crew.run(&|| {
                        loop {
                            let next = items.lock().unwrap().next();
                            let Some(value) = next else { return };
                            *value += round;
                        }
                    });
                    assert!(values.iter().all(|value| *value == round));
                }
            });
        }
    }

    #[test]
    fn helpers_compute_at_the_same_time_and_sleep_in_between() {
        with_helpers(1, |crew| {
            for _ in 0..3 {
                let (here, started) = (AtomicUsize::new(0), Instant::now());
                crew.run(&|| {
                    here.fetch_add(1, Ordering::SeqCst);
                    while here.load(Ordering::SeqCst) < 2 && started.elapsed() < Duration::from_secs(10) {
                        thread::yield_now();
                    }
                });
                assert_eq!(here.into_inner(), 2, "the helper did not come");
                thread::sleep(Duration::from_millis(20));
            }
        });
    }

    #[test]
    fn panic_on_any_thread_reaches_the_caller_and_the_crew_goes_on() {
        with_helpers(1, |crew| {
            let caller = thread::current().id();
            for own in [true, false] {
                let (here, started) = (AtomicUsize::new(0), Instant::now());
                let work = || {
                    here.fetch_add(1, Ordering::SeqCst);
                    while here.load(Ordering::SeqCst) < 2 && started.elapsed() < Duration::from_secs(10) {
                        thread::yield_now();
                    }
                    assert!((thread::current().id() == caller) != own, "wanted");
                };
                assert!(catch_unwind(AssertUnwindSafe(|| crew.run(&work))).is_err());
                let calls = AtomicUsize::new(0);
                crew.run(&|| _ = calls.fetch_add(1, Ordering::SeqCst));
                assert!(calls.into_inner() >= 1);
            }
        });
    }

    #[test]
    fn helpers_that_come_after_the_end_return() {
        let crew = Crew::default();
        crew.end();
        crew.help();
        crew.run(&|| {});
    }
}
