//! When the next line is due about what the run waits for.

use std::time::{Duration, Instant};

use fl_engine::{Millis, RoundNo, round::Waiting};

/// Since when the run waits for the same, and when that was said last.
#[derive(Debug, Default)]
pub(super) struct WaitLog {
    /// The open round with its opening; `None` while no round is open.
    of: Option<(RoundNo, Millis)>,
    since: Option<Instant>,
    said: Option<Instant>,
}

impl WaitLog {
    /// How long the run has waited when a line is due at `now`.
    pub(super) fn is_due(&mut self, waiting: &Waiting, now: Instant) -> Option<Duration> {
        let of = match waiting {
            Waiting::Answers { round, opened, .. } => Some((*round, *opened)),
            _ => None,
        };
        if self.since.is_none() || self.of != of {
            *self = Self { of, since: Some(now), said: None };
            return None;
        }
        let since = self.since?;
        if now.duration_since(self.said.unwrap_or(since)) < BETWEEN_LINES {
            return None;
        }
        self.said = Some(now);
        Some(now.duration_since(since))
    }
}

/// Time between two lines.
const BETWEEN_LINES: Duration = Duration::from_secs(29);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_due_twice_a_minute_while_the_run_waits_for_the_same() {
        let waiting = |here| Waiting::Members { here, need: 2, absent: Vec::new() };
        let (mut log, start) = (WaitLog::default(), Instant::now());
        let due: Vec<u64> = (0..20)
            .map(|n| n * 5)
            .filter(|n| log.is_due(&waiting((*n / 40) as usize), start + Duration::from_secs(*n)).is_some())
            .collect();
        assert_eq!(due, [30, 60, 90]);
    }
}
