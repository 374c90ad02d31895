//! How many links the accepting endpoints of one side have, all carriers together.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The count. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct OpenLinks(Arc<AtomicUsize>);

/// One link in the count. Dropping it takes the link out.
#[derive(Debug)]
pub(in crate::net) struct OpenLink(OpenLinks);

impl OpenLinks {
    /// Counts one more link, if there are fewer than `most`.
    pub(in crate::net) fn take(&self, most: usize) -> Option<OpenLink> {
        let one_more = |open: usize| (open < most).then_some(open + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(OpenLink(self.clone()))
    }
}

impl Drop for OpenLink {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
