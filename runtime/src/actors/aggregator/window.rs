//! Receive windows of granted uploads, with a bound on their sum: the unread bytes that all uploads together
//! may have in flight beyond the idle windows of their links.
//!
//! An upload opens a [`Window`] when it has a slot, and drops it when it ends. Each window takes at most half
//! of the room that is left, so that the sum stays bounded whatever the number of uploads, and the first
//! upload of a round is the fastest. QUIC cannot take a window back: a peer that was granted a window and
//! sent nothing keeps it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// The room that is left. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Windows {
    left: Arc<AtomicU64>,
}

impl Default for Windows {
    fn default() -> Self {
        Self { left: Arc::new(AtomicU64::new(ROOM)) }
    }
}

impl Windows {
    /// A window for an upload of this many bytes: at most half of the room that is left.
    pub(crate) fn open(&self, bytes: u64) -> Window {
        let mut taken = 0;
        // The closure always answers.
        let _ = self.left.fetch_update(Relaxed, Relaxed, |left| {
            taken = bytes.min(left / 2);
            Some(left - taken)
        });
        Window { bytes: taken, of: self.clone() }
    }
}

/// One upload's part of the room. Dropping it gives the part back.
#[derive(Debug)]
pub(crate) struct Window {
    bytes: u64,
    of: Windows,
}

impl Window {
    /// Size of the window, bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.of.left.fetch_add(self.bytes, Relaxed);
    }
}

/// Room for all windows together, bytes. A part of [`fl_engine::aggregate::OVERHEAD_BYTES`].
pub(crate) const ROOM: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use fl_engine::aggregate::OVERHEAD_BYTES;

    #[test]
    fn thirty_uploads_at_once_stay_within_the_room_and_give_it_back() {
        let windows = Windows::default();
        let open: Vec<Window> = (0..30).map(|_| windows.open(124 << 20)).collect();
        let sum: u64 = open.iter().map(Window::bytes).sum();
        assert!(sum <= ROOM && ROOM < OVERHEAD_BYTES.0 / 3, "{sum}");
        assert_eq!((open[0].bytes(), open[1].bytes()), (ROOM / 2, ROOM / 4));
        drop(open);
        assert_eq!(windows.open(124 << 20).bytes(), ROOM / 2);
    }

    #[test]
    fn small_upload_takes_no_more_than_it_has() {
        let windows = Windows::default();
        let small = windows.open(1000);
        assert_eq!((small.bytes(), windows.open(u64::MAX).bytes()), (1000, (ROOM - 1000) / 2));
    }
}
