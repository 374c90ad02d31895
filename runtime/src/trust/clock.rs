//! The time by which certificates and the roster are judged.

use std::{fmt, sync::Arc, time::SystemTime};

use fl_engine::plan::roster::UnixSeconds;
use rustls::{pki_types::UnixTime, time_provider::TimeProvider};

/// 2026-04-16, when the compiler that builds this program was released: no honest clock shows less.
const FLOOR: UnixSeconds = UnixSeconds(1_776_297_600);

/// A source of time that never answers with less than its floor.
///
/// Inside an enclave the clock belongs to the host, which could turn it back to bring an expired certificate to life.
/// The floor bounds how far. It cannot stop a host from turning the clock forward, which only refuses.
#[derive(Clone)]
pub struct Clock {
    read: Arc<dyn Fn() -> UnixSeconds + Send + Sync>,
    floor: UnixSeconds,
}

impl Clock {
    /// The host's clock.
    #[must_use]
    pub fn system() -> Self {
        let since = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self::new(move || UnixSeconds(since().map_or(0, |d| d.as_secs())))
    }

    /// A clock that reads `read`.
    #[must_use]
    pub fn new(read: impl Fn() -> UnixSeconds + Send + Sync + 'static) -> Self {
        Self { read: Arc::new(read), floor: FLOOR }
    }

    /// The same clock with a floor of at least `floor`.
    #[must_use]
    pub fn at_least(&self, floor: UnixSeconds) -> Self {
        Self { read: Arc::clone(&self.read), floor: self.floor.max(floor) }
    }

    /// What it shows.
    #[must_use]
    pub fn now(&self) -> UnixSeconds {
        (self.read)().max(self.floor)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("floor", &self.floor).finish_non_exhaustive()
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(self.now().0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_never_shows_less_than_its_floor() {
        let back = Clock::new(|| UnixSeconds(5));
        assert_eq!(back.now(), FLOOR);
        assert_eq!(back.at_least(UnixSeconds(7)).now(), FLOOR);
        let later = UnixSeconds(FLOOR.0 + 10);
        assert_eq!(back.at_least(later).now(), later);
        assert_eq!(back.at_least(later).current_time().unwrap().as_secs(), later.0);
        assert_eq!(Clock::new(|| UnixSeconds(4_000_000_000)).at_least(later).now().0, 4_000_000_000);
        assert_eq!(FLOOR.to_string(), "2026-04-16T00:00:00Z");
    }
}
