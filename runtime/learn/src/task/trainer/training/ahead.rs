//! The next batch is made while the model computes: pictures that are decoded again take as long as a step of
//! a small network.

use std::{sync::mpsc, thread};

/// Calls `take` once, which gets the values of `make` one after another, `count` of them, and then `None`.
/// With `aside`, a thread makes each value while `take` uses the one before it: at most one value waits. The
/// values and their order are the same either way. Where no thread can be started, `take` waits for `make`.
///
/// # Panics
/// If `make` panics.
pub(super) fn ahead<T: Send, R>(
    aside: bool,
    count: u64,
    mut make: impl FnMut() -> T + Send,
    mut take: impl FnMut(&mut dyn FnMut() -> Option<T>) -> R,
) -> R {
    if aside {
        let taken = thread::scope(|scope| {
            // A sender without room waits until its value is taken.
            let (sender, values) = mpsc::sync_channel(0);
            let make = &mut make;
            let started = thread::Builder::new().name(THREAD.to_owned()).spawn_scoped(scope, move || {
                for _ in 0..count {
                    // Nobody takes any more after an error.
                    if sender.send(make()).is_err() {
                        break;
                    }
                }
            });
            started.ok().map(|_| take(&mut || values.recv().ok()))
        });
        if let Some(taken) = taken {
            return taken;
        }
    }
    let mut left = count;
    take(&mut || {
        left = left.checked_sub(1)?;
        Some(make())
    })
}

const THREAD: &str = "pictures";

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn values_are_the_same_with_a_thread_and_without_and_one_waits() {
        for aside in [false, true] {
            let made = AtomicU64::new(0);
            let make = || made.fetch_add(1, Ordering::SeqCst);
            let (mut seen, mut most) = (Vec::new(), 0);
            let all = ahead(aside, 20, make, |next| {
                while let Some(value) = next() {
                    seen.push(value);
                    // The value in use, and the next one.
                    most = most.max(made.load(Ordering::SeqCst) - value);
                }
                seen.len()
            });
            assert_eq!((all, seen.clone()), (20, (0..20).collect()));
            assert!(most <= 2, "{most}");
            // An early end leaves nothing behind.
            let first = ahead(aside, 20, || 7, |next| next());
            assert_eq!(first, Some(7));
        }
    }
}
