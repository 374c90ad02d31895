//! Counters of a process, which any thread may raise.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use fl_engine::Bytes;
use serde::Serialize;

/// Since the process's start, except `links`, which is now. Each is right by itself; a snapshot is not of one moment.
#[derive(Debug, Default)]
pub struct Counters {
    /// Bytes of payloads received.
    pub bytes_in: AtomicU64,
    /// Bytes of payloads sent.
    pub bytes_out: AtomicU64,
    /// Updates that arrived in full and passed every check.
    pub updates_received: AtomicU64,
    /// Updates turned down.
    pub updates_refused: AtomicU64,
    /// Links that are up.
    pub links: AtomicU64,
    /// Peers that were turned away before or at their Hello.
    pub handshakes_refused: AtomicU64,
}

/// The counters' values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Bytes of payloads received.
    pub bytes_in: u64,
    /// Bytes of payloads sent.
    pub bytes_out: u64,
    /// Updates that arrived in full and passed every check.
    pub updates_received: u64,
    /// Updates turned down.
    pub updates_refused: u64,
    /// Links that are up.
    pub links: u64,
    /// Peers that were turned away before or at their Hello.
    pub handshakes_refused: u64,
}

impl Counters {
    /// Their values.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            updates_received: self.updates_received.load(Relaxed),
            updates_refused: self.updates_refused.load(Relaxed),
            links: self.links.load(Relaxed),
            handshakes_refused: self.handshakes_refused.load(Relaxed),
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (received, sent) = (Bytes(self.bytes_in), Bytes(self.bytes_out));
        write!(f, "{} links  received {received} sent {sent}  ", self.links)?;
        write!(f, "updates {} received {} refused  ", self.updates_received, self.updates_refused)?;
        write!(f, "handshakes refused {}", self.handshakes_refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_reads_as_a_line_and_as_json() {
        let counters = Counters::default();
        counters.bytes_in.fetch_add(120_000_000, Relaxed);
        counters.bytes_out.fetch_add(4_000, Relaxed);
        counters.updates_received.fetch_add(9, Relaxed);
        counters.updates_refused.fetch_add(1, Relaxed);
        counters.links.fetch_add(3, Relaxed);
        counters.handshakes_refused.fetch_add(2, Relaxed);
        let snapshot = counters.snapshot();
        assert_eq!(
            snapshot.to_string(),
            "3 links  received 114 MiB sent 4000 B  updates 9 received 1 refused  handshakes refused 2"
        );
        assert_eq!(
            serde_json::to_string(&snapshot).unwrap(),
            r#"{"bytes_in":120000000,"bytes_out":4000,"updates_received":9,"updates_refused":1,"links":3,"handshakes_refused":2}"#
        );
    }
}
