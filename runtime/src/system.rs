//! What the program takes from the machine: time, files, random bytes, threads and quotes.
//!
//! The command line makes one [`System`] and hands it down; everything else takes what it needs from there.
//! So these modules are the only ones that ask the machine, and another `System` can put a program into
//! another world.

mod clock;
mod quoter;
mod random;
mod threads;

use std::{fmt, sync::Arc};

use fl_engine::Digest;

pub use clock::Clock;
pub use quoter::{Gramine, Quoter, QuoterError};
pub use random::{NoRandom, Random};
pub use threads::Threads;

use crate::files::Files;

/// The machine, as the program sees it. Clones are the same machine.
#[derive(Clone)]
pub struct System {
    /// Time since a moment of the past, and time of day.
    pub clock: Clock,
    /// Files and folders.
    pub files: Files,
    /// Random bytes.
    pub random: Random,
    /// The starting of threads.
    pub threads: Threads,
    /// Who makes quotes of this process.
    pub quoter: Arc<dyn Quoter>,
    /// SHA-256 of the root certificate of quotes, in place of Intel's: for tests with a forged Intel.
    pub quote_root: Option<Digest>,
}

impl System {
    /// The machine that this process runs on.
    #[must_use]
    pub fn real() -> Self {
        let files = Files::real();
        Self {
            clock: Clock::real(),
            quoter: Arc::new(Gramine::new(&files)),
            files,
            random: Random::real(),
            threads: Threads::real(),
            quote_root: None,
        }
    }
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("System")
            .field("clock", &self.clock)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}
