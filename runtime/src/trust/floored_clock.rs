//! The time by which certificates and rosters are judged.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fl_engine::plan::roster::UnixSeconds;
use rustls::{pki_types::UnixTime, time_provider::TimeProvider};

use crate::system::Clock;

/// A clock that never shows less than its floor.
///
/// The host controls the time, also inside an enclave. It could turn the clock back so that an expired
/// certificate is valid again; the floor limits how far back. A clock turned forward can only make
/// certificates expire.
#[derive(Clone)]
pub struct FlooredClock {
    read: Arc<dyn Fn() -> UnixSeconds + Send + Sync>,
    floor: UnixSeconds,
    /// What clones raise for each other.
    raised: Arc<AtomicU64>,
}

impl FlooredClock {
    /// The machine's time of day.
    #[must_use]
    pub fn of(clock: &Clock) -> Self {
        let clock = clock.clone();
        Self::new(move || clock.wall())
    }

    /// A clock that shows what `read` returns.
    #[must_use]
    pub fn new(read: impl Fn() -> UnixSeconds + Send + Sync + 'static) -> Self {
        Self { read: Arc::new(read), floor: FLOOR, raised: Arc::default() }
    }

    /// The same clock with a floor of at least `floor`.
    #[must_use]
    pub fn at_least(&self, floor: UnixSeconds) -> Self {
        Self { floor: self.floor.max(floor), ..self.clone() }
    }

    /// Raises the floor of this clock, of its clones and of the clocks that [`Self::at_least`] has made from
    /// them: something that is signed was made at this time.
    pub fn raise(&self, floor: UnixSeconds) {
        self.raised.fetch_max(floor.0, Ordering::Relaxed);
    }

    /// The time of day, or the floor where that is later.
    #[must_use]
    pub fn now(&self) -> UnixSeconds {
        (self.read)().max(self.floor).max(UnixSeconds(self.raised.load(Ordering::Relaxed)))
    }
}

impl fmt::Debug for FlooredClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlooredClock").field("floor", &self.floor).finish_non_exhaustive()
    }
}

impl TimeProvider for FlooredClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.now().0)))
    }
}

/// 2026-04-16, the day on which the compiler of this program was released: no honest clock shows an earlier
/// time.
const FLOOR: UnixSeconds = UnixSeconds(1_776_297_600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_never_shows_less_than_its_floor() {
        let back = FlooredClock::new(|| UnixSeconds(5));
        assert_eq!(back.now(), FLOOR);
        assert_eq!(back.at_least(UnixSeconds(7)).now(), FLOOR);
        let later = UnixSeconds(FLOOR.0 + 10);
        assert_eq!(back.at_least(later).now(), later);
        assert_eq!(back.at_least(later).current_time().unwrap().as_secs(), later.0);
        assert_eq!(FlooredClock::new(|| UnixSeconds(4_000_000_000)).at_least(later).now().0, 4_000_000_000);
        let clone = back.at_least(later);
        clone.raise(UnixSeconds(later.0 + 10));
        clone.raise(later);
        assert_eq!((back.now().0, clone.now().0), (later.0 + 10, later.0 + 10));
        assert_eq!(FLOOR.to_string(), "2026-04-16T00:00:00Z");
    }
}
