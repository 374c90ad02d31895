//! How many lines of the log a peer may cause: what it does wrong is told, a flood of it is counted.
//!
//! The aggregator keeps one for each collaborator, the acceptor one for everybody whom it turns away. Round facts name
//! refusals apart from it.

use std::time::{Duration, Instant};

/// At most [`LINES`] lines in each [`WINDOW`], which begins with the first.
#[derive(Debug, Default)]
pub(crate) struct LogRation {
    since: Option<Instant>,
    spoken: u32,
    unsaid: u32,
}

impl LogRation {
    /// Takes a line. `None`: not this one; otherwise how many were left out since the last that was not.
    pub(crate) fn take(&mut self, now: Instant) -> Option<u32> {
        if self.since.is_none_or(|since| now.duration_since(since) >= WINDOW) {
            (self.since, self.spoken) = (Some(now), 0);
        }
        if self.spoken >= LINES {
            self.unsaid = self.unsaid.saturating_add(1);
            return None;
        }
        self.spoken += 1;
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// Twice what one round's facts name of one collaborator: refusals, and a link that comes and goes.
const LINES: u32 = 2 * fl_engine::limits::REFUSALS_NOTED;
const WINDOW: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flood_is_counted_and_told_of_once_it_is_over() {
        let (mut ration, start) = (LogRation::default(), Instant::now());
        let spoken = (0..1000).filter(|_| ration.take(start) == Some(0)).count();
        assert_eq!(spoken, LINES as usize);
        assert_eq!(ration.take(start + WINDOW / 2), None);
        assert_eq!(ration.take(start + WINDOW), Some(1000 - LINES + 1));
        assert_eq!(ration.take(start + WINDOW), Some(0));
    }
}
