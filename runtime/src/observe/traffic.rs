//! What an aggregator received, sent and refused in one run of its process.

use std::fmt;

use fl_engine::ByteCount;
use serde::Serialize;

/// Counts since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Updates that arrived in full and passed every check.
    pub updates_received: u64,
    /// Updates that were refused, before, while or after they were received.
    pub updates_refused: u64,
    /// Bytes of the updates received.
    pub bytes_received: u64,
    /// Bytes of the models that collaborators received in full.
    pub bytes_sent: u64,
    /// Connections that ended in the handshake or were rejected after it.
    pub connections_refused: u64,
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (received, sent) = (ByteCount(self.bytes_received), ByteCount(self.bytes_sent));
        write!(
            f,
            "updates received: {} ({received}), refused: {}; ",
            self.updates_received, self.updates_refused
        )?;
        write!(f, "models sent: {sent}; connections refused: {}", self.connections_refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_reads_as_a_line_and_as_json() {
        let traffic = Traffic {
            updates_received: 9,
            updates_refused: 1,
            bytes_received: 120_000_000,
            bytes_sent: 4_000,
            connections_refused: 2,
        };
        assert_eq!(
            traffic.to_string(),
            "updates received: 9 (114 MiB), refused: 1; models sent: 4000 B; connections refused: 2"
        );
        assert_eq!(
            serde_json::to_string(&traffic).unwrap(),
            r#"{"updates_received":9,"updates_refused":1,"bytes_received":120000000,"bytes_sent":4000,"connections_refused":2}"#
        );
    }
}
