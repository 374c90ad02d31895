//! The one random stream of the project: SplitMix64, the same on every machine.
//!
//! Callers bring the seed. Initial models, shuffles, dropout masks, the synthetic task and the jitter of
//! waits draw from this stream. Secrets never do: they need the operating system's randomness.

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): one 64-bit word of state; any seed is good.
#[derive(Clone, Debug)]
pub struct Draws(u64);

impl Draws {
    /// The stream that starts at `seed`.
    #[must_use]
    #[inline]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Number `index`, from 1, of the stream that starts at `seed`.
    #[must_use]
    #[inline]
    pub fn nth(seed: u64, index: u64) -> u64 {
        mix(seed.wrapping_add(index.wrapping_mul(GAMMA)))
    }

    /// The next 64 bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        mix(self.0)
    }

    /// A number in `0 .. bound`, without bias (Lemire, arXiv:1805.10941).
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(bound);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// A number in the open interval `0 .. 1`.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        ((self.next_u64() >> 12) as f64 + 0.5) / (1u64 << 52) as f64
    }

    /// Puts `items` in a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

/// The stream's output function.
#[inline]
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// 2⁶⁴ over the golden ratio, odd.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_the_published_sequence() {
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        let mut draws = Draws::new(1_234_567);
        assert_eq!([(); 3].map(|()| draws.next_u64()), expected);
        assert_eq!([1, 2, 3].map(|index| Draws::nth(1_234_567, index)), expected);
    }

    #[test]
    fn every_number_below_a_bound_and_every_order_comes_up() {
        let mut draws = Draws::new(1);
        let mut seen = [0; 6];
        (0..6_000).for_each(|_| seen[draws.below(6) as usize] += 1);
        assert!(seen.iter().all(|count| (850..1_150).contains(count)), "{seen:?}");
        let mut orders = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let mut items = [1, 2, 3];
            draws.shuffle(&mut items);
            orders.insert(items);
        }
        assert_eq!(orders.len(), 6);
        assert!((0..1_000).map(|_| draws.unit()).all(|unit| 0.0 < unit && unit < 1.0));
    }
}
