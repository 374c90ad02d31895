//! Wall time and processor time of some repetitions.
//!
//! Ratios use the processor time over all threads of the process, because other work on the machine hardly
//! changes it.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// What a piece of work took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Took {
    /// Wall time.
    pub wall: Duration,
    /// Processor time of the whole process.
    pub cpu: Duration,
}

impl Took {
    /// The sum of both.
    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        Self { wall: self.wall + more.wall, cpu: self.cpu + more.cpu }
    }
}

/// Milliseconds over some repetitions.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The shortest wall time.
    pub wall: f64,
    /// The median of processor time.
    pub cpu: f64,
}

impl Timing {
    /// What `repetition` took, after one that warms up and is not counted.
    ///
    /// # Panics
    /// With `repetitions` of zero.
    pub fn of(repetitions: usize, mut repetition: impl FnMut() -> Took) -> Self {
        repetition();
        let took: Vec<Took> = (0..repetitions).map(|_| repetition()).collect();
        let sorted = |of: fn(&Took) -> Duration| {
            let mut times: Vec<f64> = took.iter().map(|took| of(took).as_secs_f64() * 1e3).collect();
            times.sort_by(f64::total_cmp);
            times
        };
        Self { wall: sorted(|took| took.wall)[0], cpu: sorted(|took| took.cpu)[repetitions / 2] }
    }

    /// The time of one of `parts` equal parts of the work.
    #[must_use]
    pub fn per(self, parts: usize) -> Self {
        Self { wall: self.wall / parts as f64, cpu: self.cpu / parts as f64 }
    }
}

/// Repetitions of one case, in the order in which they ran.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<(Took, Duration)>);

impl Samples {
    /// Runs `repetition` at least `least` times, and again until `budget` is used up or there are `most`
    /// samples. A first run warms up and is not counted. Each run gives its times, and the processor time of
    /// the part whose wall time it gives.
    ///
    /// # Errors
    /// The first error of `repetition`.
    pub fn of<E>(
        least: usize,
        most: usize,
        budget: Duration,
        mut repetition: impl FnMut() -> Result<(Took, Duration), E>,
    ) -> Result<Self, E> {
        let started = Instant::now();
        repetition()?;
        let mut samples = Vec::new();
        while samples.len() < least.max(1) || (samples.len() < most && started.elapsed() < budget) {
            samples.push(repetition()?);
        }
        Ok(Self(samples))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The wall time, ms, that `share` of the repetitions did not exceed: the nearest rank, so the longest of
    /// all when there are fewer than a hundred of them and `share` is 0.99.
    #[must_use]
    pub fn wall(&self, share: f64) -> f64 {
        rank(self.0.iter().map(|(took, _)| took.wall), share)
    }

    /// The median of processor time, ms.
    #[must_use]
    pub fn cpu(&self) -> f64 {
        rank(self.0.iter().map(|(took, _)| took.cpu), 0.5)
    }

    /// The median of the processor time, ms, of the part whose wall time is given.
    #[must_use]
    pub fn last_cpu(&self) -> f64 {
        rank(self.0.iter().map(|(_, last)| *last), 0.5)
    }
}

fn rank(times: impl Iterator<Item = Duration>, share: f64) -> f64 {
    let mut times: Vec<f64> = times.map(|time| time.as_secs_f64() * 1e3).collect();
    times.sort_by(f64::total_cmp);
    let place = (share * times.len() as f64).ceil() as usize;
    times.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// How long `work` takes.
pub fn timed(work: impl FnOnce()) -> Took {
    let (start, cpu) = (Instant::now(), cpu());
    work();
    Took { wall: start.elapsed(), cpu: self::cpu().saturating_sub(cpu) }
}

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_ranks_and_the_warm_up_is_not_counted() {
        let mut next = 100;
        let repetition = || {
            let took = Took { wall: Duration::from_millis(next), cpu: Duration::from_millis(1000 - next) };
            next -= 1;
            Ok::<_, ()>((took, took.wall / 2))
        };
        let samples = Samples::of(10, 10, Duration::ZERO, repetition).unwrap();
        assert_eq!(samples.count(), 10);
        assert_eq!((samples.wall(0.5), samples.wall(0.99), samples.wall(1.0)), (94.0, 99.0, 99.0));
        assert_eq!((samples.cpu(), samples.last_cpu()), (905.0, 47.0));
    }

    #[test]
    fn repetitions_go_on_until_the_budget_is_used_up() {
        let repetition = || {
            std::thread::sleep(Duration::from_millis(2));
            Ok::<_, ()>((Took::default(), Duration::ZERO))
        };
        let samples = Samples::of(1, 1000, Duration::from_millis(30), repetition).unwrap();
        assert!((2..=20).contains(&samples.count()), "{}", samples.count());
        assert_eq!(Samples::of(2, 2, Duration::ZERO, || Err::<(Took, Duration), _>("no")).unwrap_err(), "no");
    }
}
