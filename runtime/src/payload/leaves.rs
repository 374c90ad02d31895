//! Digests of the leaves of a payload's chunk tree. As many leaves are hashed at once as the processor does
//! well: sixteen with AVX-512, two with SHA instructions.

use fl_engine::{
    Digest, limits,
    tensor::{leaves_of, root_over},
};
use fl_sys::sha256::{pair, sixteen};

/// The leaves of a payload, or of a run that begins at a leaf. They are hashed while the payload is filled.
#[derive(Debug)]
pub(crate) struct Leaves {
    digests: Vec<Digest>,
    at_once: usize,
}

impl Leaves {
    /// Leaves of a run of this many bytes.
    pub(crate) fn new(run: usize) -> Self {
        let leaves = run.div_ceil(LEAF);
        let at_once = if leaves >= WORTH_SIXTEEN && sixteen::is_there() { sixteen::LANES } else { 2 };
        Self { digests: Vec::with_capacity(leaves), at_once }
    }

    /// Hashes the new whole leaves of `done`, the beginning of the run, once they are enough to be hashed at
    /// once. They are still in the cache then.
    pub(crate) fn follow(&mut self, done: &[u8]) {
        let new = self.new_of(done);
        if new.len() >= self.at_once {
            self.hash(new);
        }
    }

    /// Hashes the rest of the whole run, and returns the digests of all leaves in order.
    pub(crate) fn finish(mut self, run: &[u8]) -> Vec<Digest> {
        self.hash(self.new_of(run));
        // The last leaf, if it is shorter.
        self.digests.extend(leaves_of(&run[self.digests.len() * LEAF..]));
        self.digests
    }

    fn new_of<'a>(&self, done: &'a [u8]) -> &'a [[u8; LEAF]] {
        done[self.digests.len() * LEAF..].as_chunks().0
    }

    fn hash(&mut self, mut leaves: &[[u8; LEAF]]) {
        while leaves.len() >= WORTH_SIXTEEN {
            let now = leaves.len().min(sixteen::LANES);
            // Lanes that are left over hash the last leaf again.
            let lanes = std::array::from_fn(|lane| leaves[lane.min(now - 1)].as_slice());
            let Some(all) = sixteen::digests(&lanes) else { break };
            self.digests.extend(all[..now].iter().copied().map(Digest));
            leaves = &leaves[now..];
        }
        for leaves in leaves.chunks(2) {
            let both = if let [one, two] = leaves { pair::digests(one, two) } else { None };
            match both {
                Some(both) => self.digests.extend(both.map(Digest)),
                None => self.digests.extend(leaves.iter().map(|leaf| Digest::of(leaf))),
            }
        }
    }
}

/// Root of a payload, as [`fl_engine::tensor::root_of`], with several leaves hashed at once.
pub(crate) fn root_of(layout: Digest, payload: &[u8]) -> Digest {
    root_over(layout, Leaves::new(payload.len()).finish(payload), payload.len() as u64)
}

const LEAF: usize = limits::LEAF_BYTES;
/// Fewest leaves for which the sixteen lanes are faster. The lanes take as long as eight and a half leaves in
/// pairs, however many lanes are used.
const WORTH_SIXTEEN: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_of_leaves_hashed_at_once_is_the_root_of_the_whole() {
        // No two leaves are alike.
        let payload: Vec<u8> = (0..42 * LEAF + 12).map(|i| (((i * 7) >> 3) + i / LEAF) as u8).collect();
        let layout = Digest([9; 32]);
        for (leaves, more) in
            [(0, 0), (0, 4), (1, 0), (1, 4), (2, 0), (3, 4), (9, 0), (16, 4), (27, 8), (42, 12)]
        {
            let payload = &payload[..leaves * LEAF + more];
            let expected = fl_engine::tensor::root_of(layout, payload);
            assert_eq!(root_of(layout, payload), expected, "{leaves} leaves");
            let mut behind = Leaves::new(payload.len());
            for to in (0..payload.len()).step_by(LEAF / 2) {
                behind.follow(&payload[..to]);
            }
            let digests = behind.finish(payload);
            assert_eq!(
                root_over(layout, digests, payload.len() as u64),
                expected,
                "{leaves} leaves, followed"
            );
        }
    }
}
