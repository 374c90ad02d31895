//! The threads that a training may use.

/// Calls its argument on each of some threads at once, on the calling one too, and returns when all calls
/// have returned. How many threads there are changes no result.
pub type Team<'a> = &'a (dyn Fn(&(dyn Fn() + Sync)) + Sync);

/// The team of the calling thread alone.
pub fn alone(work: &(dyn Fn() + Sync)) {
    work();
}
