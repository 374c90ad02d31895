//! Wall time and processor time of some repetitions.
//!
//! Ratios are taken of processor time, over all threads of the process: other work on the machine hardly changes it.

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
    /// Both together.
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

    /// The same for a share of the work.
    #[must_use]
    pub fn per(self, parts: usize) -> Self {
        Self { wall: self.wall / parts as f64, cpu: self.cpu / parts as f64 }
    }
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
