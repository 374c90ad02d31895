//! Aggregation rules against answers that NumPy computed from the papers' formulas (`rules/reference.py`),
//! and what holds for every rule whatever the values.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "rules/bits.rs"]
mod bits;
#[path = "rules/refusals.rs"]
mod refusals;
#[path = "rules/values.rs"]
mod values;

use std::sync::Arc;

use fl_engine::{
    Draws, Weight,
    aggregate::{Method, combine_payloads, method},
    plan::{Aggregation, ExactRange, Rule, Scope},
    tensor::{Combine, Layout, TensorSpec},
};

const EXACT: ExactRange = ExactRange { value_bits: 16, weight_bits: 19 };

/// Two combined tensors and one between them that is held out.
fn layout() -> Arc<Layout> {
    let keep = TensorSpec { combine: Combine::Keep, ..TensorSpec::f32("keep", [4]) };
    Layout::new(vec![TensorSpec::f32("a", [10]), keep, TensorSpec::f32("b", [2, 5])]).unwrap()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn numbers(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn weight(weight: u32) -> Weight {
    Weight::new(weight.into()).unwrap()
}

fn method_of(rule: &Rule) -> Method {
    method(&Aggregation { rule, server: None, threshold: None }, EXACT, |_| None).unwrap()
}

fn answer(rule: &Rule, updates: &[(Vec<f32>, u32)], base: &[f32]) -> Vec<f32> {
    let payloads: Vec<(Vec<u8>, Weight)> =
        updates.iter().map(|(values, w)| (bytes(values), weight(*w))).collect();
    let payloads: Vec<(&[u8], Weight)> = payloads.iter().map(|(p, w)| (p.as_slice(), *w)).collect();
    numbers(&combine_payloads(&method_of(rule), &layout(), EXACT, &payloads, &bytes(base)).unwrap())
}

/// Every built-in rule, with settings for seven updates and more.
fn every_rule() -> Vec<Rule> {
    let geometric = |scope| Rule::GeometricMedian { iterations: 5, smoothing: 1e-6, scope };
    vec![
        Rule::WeightedMean,
        Rule::Mean,
        Rule::ClippedMean { norm: 1.0 },
        Rule::Median,
        Rule::WeightedMedian,
        Rule::TrimmedMean { trim: 0.2 },
        Rule::Krum { byzantine: 1 },
        Rule::MultiKrum { byzantine: 1, keep: None },
        Rule::Bulyan { byzantine: 1 },
        geometric(Scope::Model),
        geometric(Scope::Tensor),
    ]
}

/// Random numbers of a test.
struct Random(Draws);

impl Random {
    fn new(seed: u64) -> Self {
        Self(Draws::new(seed))
    }

    fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// In -1 .. 1.
    fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
    }
}
