//! How long a collaborator waits before it dials again. The caller gives the seed, so that a test sees the
//! same waits as a run.

use std::time::Duration;

use fl_engine::Draws;

/// Doubling waits with jitter: the n-th lies between half and all of `base · 2ⁿ`, never over the cap.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    attempt: u32,
    draws: Draws,
}

impl Backoff {
    /// Waits that start around `base` and stay below `cap`. Peers should have different seeds.
    #[must_use]
    pub fn new(base: Duration, cap: Duration, seed: u64) -> Self {
        Self { base, cap, attempt: 0, draws: Draws::new(seed) }
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        let doubled = self.base.checked_mul(1_u32.checked_shl(self.attempt).unwrap_or(u32::MAX));
        let full = doubled.unwrap_or(self.cap).min(self.cap);
        self.attempt = self.attempt.saturating_add(1);
        let half = full / 2;
        // 2^-32 steps are finer than any timer.
        let share = self.draws.next_u64() >> 32;
        half + Duration::from_nanos(u64::try_from((half.as_nanos() * u128::from(share)) >> 32).unwrap_or(0))
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_millis(100);
    const CAP: Duration = Duration::from_secs(10);

    #[test]
    fn waits_double_up_to_the_cap_and_start_over() {
        let mut backoff = Backoff::new(BASE, CAP, 1);
        for n in 0..100 {
            let full = if n < 7 { BASE * (1 << n) } else { CAP };
            let wait = backoff.next_wait();
            assert!(wait >= full.min(CAP) / 2 && wait <= full.min(CAP), "wait {n} is {wait:?}");
        }
        backoff.reset();
        assert!(backoff.next_wait() <= BASE);
    }

    #[test]
    fn seed_decides_the_jitter() {
        let waits = |seed| {
            let mut backoff = Backoff::new(BASE, CAP, seed);
            (0..8).map(|_| backoff.next_wait()).collect::<Vec<_>>()
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }
}
