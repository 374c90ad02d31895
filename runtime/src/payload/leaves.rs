//! Digests of a payload's leaves, as many at once as the processor does well: sixteen with AVX-512, two on the SHA unit.

use fl_engine::{
    Digest, limits,
    tensor::{leaves_of, root_over},
};
use fl_sys::sha256::{pair, sixteen};

/// Leaves of a payload, or of a run of it that begins at one, which is hashed behind whoever fills it.
#[derive(Debug)]
pub(crate) struct Leaves {
    digests: Vec<Digest>,
    at_once: usize,
}

impl Leaves {
    /// For a run of this many bytes.
    pub(crate) fn new(run: usize) -> Self {
        let leaves = run.div_ceil(LEAF);
        let at_once = if leaves >= WORTH_SIXTEEN && sixteen::is_there() { sixteen::LANES } else { 2 };
        Self { digests: Vec::with_capacity(leaves), at_once }
    }

    /// Hashes the whole leaves of `done`, the run's beginning, that are new, when they are enough to be hashed at once:
    /// they are still in the cache.
    pub(crate) fn follow(&mut self, done: &[u8]) {
        let new = self.new_of(done);
        if new.len() >= self.at_once {
            self.hash(new);
        }
    }

    /// Hashes what is left of the whole run.
    pub(crate) fn finish(mut self, run: &[u8]) -> Vec<Digest> {
        self.hash(self.new_of(run));
        // A leaf that is shorter.
        self.digests.extend(leaves_of(&run[self.digests.len() * LEAF..]));
        self.digests
    }

    fn new_of<'a>(&self, done: &'a [u8]) -> &'a [[u8; LEAF]] {
        done[self.digests.len() * LEAF..].as_chunks().0
    }

    fn hash(&mut self, mut leaves: &[[u8; LEAF]]) {
        while leaves.len() >= WORTH_SIXTEEN {
            let now = leaves.len().min(sixteen::LANES);
            // Lanes that are left over repeat the last.
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

/// [`root_of`](fl_engine::tensor::root_of), many leaves at a time.
pub(crate) fn root_of(layout: Digest, payload: &[u8]) -> Digest {
    root_over(layout, Leaves::new(payload.len()).finish(payload), payload.len() as u64)
}

const LEAF: usize = limits::LEAF_BYTES;
/// Sixteen lanes take the time of eight and a half leaves in pairs, however many of them are used.
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
