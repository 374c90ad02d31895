//! Krum, Multi-Krum (Blanchard et al., "Machine Learning with Adversaries", NeurIPS 2017) and Bulyan (El
//! Mhamdi et al., arXiv:1802.07927).
//!
//! An update's score is the sum of the squared distances to its nearest neighbours. Among equal scores, the
//! update that is first in the roster wins. Weights do not count.

use std::sync::Arc;

use super::{Chosen, NearMedian, Products, RuleError, ScoreRule, Then};
use crate::Weight;

/// The update with the lowest score over its `n - byzantine - 2` nearest neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Krum {
    /// Most updates that may be hostile; a round needs `2 byzantine + 3` updates.
    pub byzantine: u32,
}

/// The mean of the updates with the lowest scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MultiKrum {
    /// Most updates that may be hostile; a round needs `2 byzantine + 3` updates.
    pub byzantine: u32,
    /// Updates that are kept, at most all; `None` keeps all but `byzantine`.
    pub keep: Option<u32>,
}

/// Krum again and again, each time without those chosen before, until `n - 2 byzantine` are chosen; then of
/// each element the mean of the `n - 4 byzantine` values nearest to the median. Where a late choice leaves no
/// neighbour to count (`byzantine` is 0 or 1), the nearest one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bulyan {
    /// Most updates that may be hostile; a round needs `4 byzantine + 3` updates.
    pub byzantine: u32,
}

impl ScoreRule for Krum {
    fn choose(&self, products: &Products, _: &[Weight]) -> Result<Chosen, RuleError> {
        MultiKrum { byzantine: self.byzantine, keep: Some(1) }.kept(products, "krum")
    }
}

impl ScoreRule for MultiKrum {
    fn choose(&self, products: &Products, _: &[Weight]) -> Result<Chosen, RuleError> {
        self.kept(products, "multi_krum")
    }
}

impl MultiKrum {
    fn kept(self, products: &Products, name: &str) -> Result<Chosen, RuleError> {
        let (updates, byzantine) = (products.updates(), self.byzantine as usize);
        enough(name, self.byzantine, 2, updates)?;
        let neighbours = Neighbours::new(products);
        let all = vec![true; updates];
        let mut ranked: Vec<(f64, usize)> =
            (0..updates).map(|i| (neighbours.score(i, updates - byzantine - 2, &all), i)).collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let keep = self.keep.map_or(updates - byzantine, |keep| keep as usize).clamp(1, updates);
        let mut weights = vec![0; updates];
        ranked[..keep].iter().for_each(|(_, i)| weights[*i] = 1);
        Ok(Chosen { weights, then: Then::Mean })
    }
}

impl ScoreRule for Bulyan {
    fn choose(&self, products: &Products, _: &[Weight]) -> Result<Chosen, RuleError> {
        let (updates, byzantine) = (products.updates(), self.byzantine as usize);
        enough("bulyan", self.byzantine, 4, updates)?;
        let neighbours = Neighbours::new(products);
        let mut left = vec![true; updates];
        for chosen in 0..updates - 2 * byzantine {
            let nearest = (updates - chosen).saturating_sub(byzantine + 2).max(1);
            let score = |i: &usize| neighbours.score(*i, nearest, &left);
            // The first of equal ones.
            let best = (0..updates).filter(|i| left[*i]).min_by(|a, b| score(a).total_cmp(&score(b)));
            best.into_iter().for_each(|i| left[i] = false);
        }
        let weights = left.iter().map(|left| u32::from(!left)).collect();
        let keep = updates - 4 * byzantine;
        Ok(Chosen { weights, then: Then::Columns(Arc::new(NearMedian { keep })) })
    }
}

/// Every update's distances to all others, the nearest first.
struct Neighbours(Vec<Vec<(f64, usize)>>);

impl Neighbours {
    fn new(products: &Products) -> Self {
        let updates = products.updates();
        let of = |i: usize| {
            let others = (0..updates).filter(|j| *j != i);
            let mut distances: Vec<_> = others.map(|j| (products.distance_squared(i, j), j)).collect();
            distances.sort_by(|a, b| a.0.total_cmp(&b.0));
            distances
        };
        Self((0..updates).map(of).collect())
    }

    /// The sum of the squared distances to the nearest of those left, the nearest first.
    fn score(&self, i: usize, nearest: usize, left: &[bool]) -> f64 {
        self.0[i].iter().filter(|(_, j)| left[*j]).take(nearest).map(|(distance, _)| distance).sum()
    }
}

fn enough(name: &str, byzantine: u32, times: usize, updates: usize) -> Result<(), RuleError> {
    let needed = times * byzantine as usize + 3;
    match updates < needed {
        true => {
            let rule = format!("{name} with {byzantine} byzantine");
            Err(RuleError::TooFew { rule, needed, updates })
        }
        false => Ok(()),
    }
}
