//! Work on several threads.

use std::sync::{Mutex, PoisonError};

use crate::level::Level;

/// Calls its argument on each of some threads at once, on the calling one too, and returns when all calls
/// have returned. How many threads there are changes no result.
pub type Team<'a> = &'a (dyn Fn(&(dyn Fn() + Sync)) + Sync);

/// The team of the calling thread alone.
pub fn alone(work: &(dyn Fn() + Sync)) {
    work();
}

/// What a kernel computes with.
#[derive(Clone, Copy)]
pub struct Kit<'a> {
    /// The instructions.
    pub level: Level,
    /// The threads.
    pub team: Team<'a>,
}

impl Kit<'_> {
    /// Gives each item to one thread. Threads take the next item when they are done with one.
    pub(crate) fn share<T: Send>(self, items: impl Iterator<Item = T> + Send, work: impl Fn(T) + Sync) {
        let items = Mutex::new(items);
        (self.team)(&|| {
            loop {
                // The lock is held for the taking alone.
                let next = items.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(item) = next else { return };
                work(item);
            }
        });
    }
}
