//! A bound on the log lines that a peer may cause. Lines beyond the bound are counted and not written.
//!
//! The coordinator keeps one [`LogRation`] for each collaborator, the acceptor keeps one for all peers that
//! it refuses. The facts of a round name refusals whatever the log says.

use std::time::{Duration, Instant};

/// At most [`LINES`] lines in each [`WINDOW`]. A window begins with its first line.
#[derive(Debug, Default)]
pub(crate) struct LogRation {
    since: Option<Instant>,
    spoken: u32,
    unsaid: u32,
}

impl LogRation {
    /// Whether a line may be written at `now`: `None` if not, otherwise the number of lines left out since
    /// the last one.
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

/// Lines in a window: twice the refusals that one round's facts name of one collaborator, because its link
/// may break and return as often.
const LINES: u32 = 2 * fl_engine::limits::REFUSALS_NOTED;
/// Length of a window.
const WINDOW: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flood_is_counted_and_the_count_comes_with_the_next_line() {
        let (mut ration, start) = (LogRation::default(), Instant::now());
        let spoken = (0..1000).filter(|_| ration.take(start) == Some(0)).count();
        assert_eq!(spoken, LINES as usize);
        assert_eq!(ration.take(start + WINDOW / 2), None);
        assert_eq!(ration.take(start + WINDOW), Some(1000 - LINES + 1));
        assert_eq!(ration.take(start + WINDOW), Some(0));
    }
}
