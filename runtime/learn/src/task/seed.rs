//! Seeds derived from the plan's seed: no draw of a run depends on another draw, on time or on order.

use fl_engine::{Digest, Name, RoundNo};

/// A point in the tree of a plan's seeds; each step down is a SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(Digest);

impl Seed {
    /// The root of a plan's tree.
    pub(crate) fn new(plan: u64) -> Self {
        Self(Digest::of(&[b"fl-seed-1".as_slice(), &plan.to_le_bytes()].concat()))
    }

    /// The seed of a member or task.
    pub(crate) fn with(self, name: &Name) -> Self {
        self.step(b'n', name.as_str().as_bytes())
    }

    /// The seed of a round.
    pub(crate) fn round(self, round: RoundNo) -> Self {
        self.step(b'r', &round.0.to_le_bytes())
    }

    /// The seed of one sample, by its row, in one epoch.
    #[cfg(feature = "train")]
    pub(crate) fn sample(self, epoch: u64, row: u64) -> u64 {
        self.step(b's', &[epoch.to_le_bytes(), row.to_le_bytes()].concat()).word("augment")
    }

    /// The seed of a random stream for one purpose.
    pub(crate) fn word(self, purpose: &str) -> u64 {
        let digest = self.step(b'p', purpose.as_bytes()).0;
        digest.0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// The tag makes sure that a name and a round of the same bytes give different seeds.
    fn step(self, tag: u8, bytes: &[u8]) -> Self {
        Self(Digest::of(&[&self.0.0, [tag].as_slice(), bytes].concat()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_branch_has_its_own_seed_and_keeps_it() {
        let name = |n: &str| n.parse::<Name>().unwrap();
        let one = Seed::new(7).with(&name("one")).round(RoundNo(1));
        let words = [
            one.word("a"),
            one.word("b"),
            Seed::new(8).with(&name("one")).round(RoundNo(1)).word("a"),
            Seed::new(7).with(&name("two")).round(RoundNo(1)).word("a"),
            Seed::new(7).with(&name("one")).round(RoundNo(2)).word("a"),
            Seed::new(7).with(&name("one")).with(&name("one")).word("a"),
        ];
        for (i, word) in words.iter().enumerate() {
            assert!(!words[..i].contains(word), "{words:?}");
        }
        assert_eq!(one.word("a"), Seed::new(7).with(&name("one")).round(RoundNo(1)).word("a"));
    }
}
