//! The machine's clocks.

use std::{
    thread,
    time::{Duration, Instant, SystemTime},
};

use fl_engine::plan::roster::UnixSeconds;

/// A clock that only moves forward, and the time of day.
#[derive(Clone, Debug)]
pub struct Clock(());

impl Clock {
    pub(super) fn real() -> Self {
        Self(())
    }

    /// Now, by the clock that only moves forward.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// How long ago `then` was.
    #[must_use]
    pub fn since(&self, then: Instant) -> Duration {
        self.now().saturating_duration_since(then)
    }

    /// Blocks this thread for a time.
    pub fn pause(&self, time: Duration) {
        thread::sleep(time);
    }

    /// The time of day. The host decides it, also inside an enclave; a clock before 1970 shows 1970.
    #[must_use]
    pub fn wall(&self) -> UnixSeconds {
        UnixSeconds(
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        )
    }
}
