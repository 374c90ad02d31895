//! A model cut into shards, which jobs of the CPU pool work on side by side.

use std::{ops::Range, sync::Arc};

use fl_engine::{
    Digest,
    tensor::{Layout, root_over},
};

use crate::payload::{Draft, Parts, Payload};

/// Shards of one layout, at least one. The f32 elements are cut between them; the i64 segment belongs to the
/// last.
#[derive(Debug)]
pub(super) struct Shards {
    layout: Arc<Layout>,
    elements: Vec<Range<usize>>,
    bytes: Vec<Range<usize>>,
}

impl Shards {
    /// Shards of these elements of the f32 segment, in order and without gaps. Without any, one shard that is
    /// empty.
    pub(super) fn new(layout: Arc<Layout>, mut elements: Vec<Range<usize>>) -> Self {
        if elements.is_empty() {
            elements.push(0..0);
        }
        let mut bytes: Vec<_> = elements.iter().map(|shard| shard.start * 4..shard.end * 4).collect();
        if let Some(last) = bytes.last_mut() {
            last.end = layout.byte_len();
        }
        Self { layout, elements, bytes }
    }

    pub(super) fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.elements.len()
    }

    pub(super) fn is_last(&self, index: usize) -> bool {
        index + 1 == self.elements.len()
    }

    /// Elements of the f32 segment in each shard.
    pub(super) fn elements(&self) -> &[Range<usize>] {
        &self.elements
    }

    /// Bytes of the payload in shard `index`.
    pub(super) fn bytes(&self, index: usize) -> Range<usize> {
        self.bytes[index].clone()
    }

    /// Bytes of the payload's i64 segment: the end of the last shard.
    pub(super) fn integers(&self) -> Range<usize> {
        self.layout.f32_len() * 4..self.layout.byte_len()
    }

    /// The draft in parts, one for each shard.
    pub(super) fn split(&self, draft: Draft) -> Parts {
        draft.split(self.bytes.iter().map(Range::len))
    }

    /// The payload whose parts every shard has filled. `leaves` are the digests of the leaves in each shard,
    /// in order.
    pub(super) fn join(&self, parts: Parts, leaves: Vec<Vec<Digest>>) -> Payload {
        let layout = &self.layout;
        let root = root_over(layout.hash(), leaves.into_iter().flatten(), layout.byte_len() as u64);
        parts.join().finish_with(root)
    }
}
