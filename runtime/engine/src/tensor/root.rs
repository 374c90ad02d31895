//! The chunk-tree digest of a payload.
//!
//! A leaf is the SHA-256 of 256 KiB of payload (the last may be shorter). The root is the SHA-256 over a tag,
//! the leaves in order, the payload's length and the layout's hash, so equal bytes under another layout have
//! another root. Leaves may be computed apart and checked one by one.

use sha2::{Digest as _, Sha256};

use crate::{Digest, limits};

/// Hashes a payload as it arrives, in pieces of any size.
#[derive(Clone)]
pub struct RootHasher {
    leaf: Sha256,
    in_leaf: usize,
    leaves: Sha256,
    length: u64,
    layout: Digest,
}

impl RootHasher {
    /// Starts on an empty payload of the layout with this hash.
    #[must_use]
    pub fn new(layout: Digest) -> Self {
        let leaves = Sha256::new_with_prefix(TAG);
        Self { leaf: Sha256::new(), in_leaf: 0, leaves, length: 0, layout }
    }

    /// Appends bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len() as u64;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(limits::LEAF_BYTES - self.in_leaf));
            self.leaf.update(now);
            self.in_leaf += now.len();
            if self.in_leaf == limits::LEAF_BYTES {
                self.close_leaf();
            }
            bytes = later;
        }
    }

    /// The root.
    #[must_use]
    pub fn finish(mut self) -> Digest {
        if self.in_leaf > 0 {
            self.close_leaf();
        }
        self.leaves.update(self.length.to_le_bytes());
        self.leaves.update(self.layout.0);
        Digest(self.leaves.finalize().into())
    }

    fn close_leaf(&mut self) {
        self.leaves.update(self.leaf.finalize_reset());
        self.in_leaf = 0;
    }
}

/// Digests of the leaves of a payload, or of a run of it that begins at a multiple of 256 KiB.
#[must_use]
pub fn leaves_of(payload: &[u8]) -> Vec<Digest> {
    payload.chunks(limits::LEAF_BYTES).map(Digest::of).collect()
}

/// The root over leaves that were hashed apart, of a payload of `length` bytes.
#[must_use]
pub fn root_over(layout: Digest, leaves: impl IntoIterator<Item = Digest>, length: u64) -> Digest {
    let mut hasher = RootHasher::new(layout);
    leaves.into_iter().for_each(|leaf| hasher.leaves.update(leaf.0));
    hasher.length = length;
    hasher.finish()
}

/// The root of a whole payload.
#[must_use]
pub fn root_of(layout: Digest, payload: &[u8]) -> Digest {
    let mut hasher = RootHasher::new(layout);
    hasher.update(payload);
    hasher.finish()
}

const TAG: &[u8] = b"fl-root-1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_size_give_the_root_of_the_whole() {
        let payload: Vec<u8> = (0..600_000u32).map(|i| (i * 7) as u8).collect();
        let layout = Digest([9; 32]);
        let leaves: Vec<u8> = payload.chunks(262_144).flat_map(|leaf| Digest::of(leaf).0).collect();
        let whole = [b"fl-root-1".as_slice(), &leaves, &600_000u64.to_le_bytes(), &[9; 32]].concat();
        let expected = Digest::of(&whole);
        for piece in [1, 1000, 262_143, 262_144, 262_145, 600_000] {
            let mut hasher = RootHasher::new(layout);
            payload.chunks(piece).for_each(|p| hasher.update(p));
            assert_eq!(hasher.finish(), expected, "pieces of {piece}");
        }
        assert_eq!(root_of(layout, &payload), expected);
        let (head, tail) = payload.split_at(262_144);
        let apart = leaves_of(head).into_iter().chain(leaves_of(tail));
        assert_eq!(root_over(layout, apart, 600_000), expected);
        assert_ne!(root_of(Digest([8; 32]), &payload), expected);
        assert_ne!(root_of(layout, &payload[1..]), expected);
    }

    #[test]
    fn an_empty_payload_has_a_root_and_a_full_leaf_has_no_empty_one_behind() {
        let layout = Digest([0; 32]);
        assert_ne!(root_of(layout, &[]), root_of(layout, &[0]));
        let full = vec![0; limits::LEAF_BYTES];
        let whole =
            [TAG, &Digest::of(&full).0, &(limits::LEAF_BYTES as u64).to_le_bytes(), &[0; 32]].concat();
        assert_eq!(root_of(layout, &full), Digest::of(&whole));
    }
}
