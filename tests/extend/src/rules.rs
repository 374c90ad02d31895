//! Two rules: one works on each element by itself, the other chooses among whole updates.

use fl_runtime::extend::{Block, Chosen, ColumnRule, Order, Products, RuleError, ScoreRule, Then, Weight};

/// Half way between the smallest and the largest value of each element.
#[derive(Debug)]
pub(crate) struct Midrange;

impl ColumnRule for Midrange {
    fn order(&self, updates: usize) -> Order {
        Order::Ranks(0..updates)
    }

    fn combine(&self, block: &mut Block<'_>, out: &mut [f32]) {
        let (smallest, largest) = (block.row(0), block.row(block.updates() - 1));
        for ((out, a), b) in out.iter_mut().zip(smallest).zip(largest) {
            *out = (a + b) / 2.0;
        }
    }
}

/// The mean of all updates but the one that is farthest from the round's model.
#[derive(Debug)]
pub(crate) struct WithoutTheFarthest;

impl ScoreRule for WithoutTheFarthest {
    fn choose(&self, products: &Products, weights: &[Weight]) -> Result<Chosen, RuleError> {
        let distance = |i: &usize| products.norm_squared(*i);
        let farthest = (0..products.updates()).max_by(|a, b| distance(a).total_cmp(&distance(b)));
        let weight = |i: usize| if Some(i) == farthest { 0 } else { weights[i].value() };
        Ok(Chosen { weights: (0..weights.len()).map(weight).collect(), then: Then::Mean })
    }
}
