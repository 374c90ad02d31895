//! What the program takes from the machine: time, files, random bytes and threads.
//!
//! The command line makes one [`System`] and hands it down; everything else takes what it needs from there.
//! So these four modules are the only ones that ask the machine, and another `System` can put a program into
//! another world.

mod clock;
mod random;
mod threads;

pub use clock::Clock;
pub use random::{NoRandom, Random};
pub use threads::Threads;

use crate::files::Files;

/// The machine, as the program sees it. Clones are the same machine.
#[derive(Clone, Debug)]
pub struct System {
    /// Time since a moment of the past, and time of day.
    pub clock: Clock,
    /// Files and folders.
    pub files: Files,
    /// Random bytes.
    pub random: Random,
    /// The starting of threads.
    pub threads: Threads,
}

impl System {
    /// The machine that this process runs on.
    #[must_use]
    pub fn real() -> Self {
        Self { clock: Clock::real(), files: Files::real(), random: Random::real(), threads: Threads::real() }
    }
}
