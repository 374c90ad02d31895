//! The pass that reads all updates that a rule needs and writes the next model, a run of elements at a time.

use std::sync::Arc;

use super::{
    Bins, Block, Chosen, ColumnRule, MOST_AT_ONCE, Order, Pair, Products, RuleError, ScoreRule, Scratch,
    Then,
    block::block_width,
    check::{BLOCK, all_in_range, limit_bits, tensor_at},
    keep_base, most_total,
    network::Network,
    share_bits,
    spans::Spans,
};
use crate::{
    Weight,
    plan::{ExactRange, Scope},
    tensor::{Combine, Dtype, Layout},
};

/// Combines the updates of one round. It is made when all updates are known, and any number of threads use
/// it.
#[derive(Clone, Debug)]
pub struct Combiner {
    layout: Arc<Layout>,
    spans: Spans,
    /// How each part is combined.
    parts: Vec<Part>,
    /// Indices of the updates that are read, ascending.
    inputs: Vec<usize>,
    exact: ExactRange,
}

/// How one part's elements are combined; updates by their index among [`Combiner::inputs`].
#[derive(Clone, Debug)]
enum Part {
    /// One update as it is.
    Copy(usize),
    /// The exact mean of these.
    Mean { of: Vec<(usize, u32)>, total: u64 },
    /// A rule over the columns of these.
    Columns(Columns),
}

#[derive(Clone, Debug)]
struct Columns {
    rule: Arc<dyn ColumnRule>,
    of: Vec<usize>,
    weights: Vec<Weight>,
    order: Order,
    network: Network,
}

impl Combiner {
    /// For a rule over columns; `weights` are the updates', in roster order.
    ///
    /// # Errors
    /// [`RuleError::Choice`] without an update.
    pub fn columns(
        layout: Arc<Layout>,
        exact: ExactRange,
        rule: &Arc<dyn ColumnRule>,
        weights: &[Weight],
    ) -> Result<Self, RuleError> {
        let weights: Vec<u32> = weights.iter().map(|w| w.value()).collect();
        let chosen = Chosen { weights, then: Then::Columns(Arc::clone(rule)) };
        Self::new(layout, exact, Scope::Model, &[chosen])
    }

    /// For a rule that chooses; `products` are those of [`super::Measure::merge`], with the rule's scope.
    ///
    /// # Errors
    /// What [`ScoreRule::choose`] says, or [`RuleError::Choice`] for a choice that cannot be summed.
    ///
    /// # Panics
    /// When `products` are of another scope or layout.
    pub fn scored(
        layout: Arc<Layout>,
        exact: ExactRange,
        rule: &dyn ScoreRule,
        products: &[Products],
        weights: &[Weight],
    ) -> Result<Self, RuleError> {
        let chosen: Vec<Chosen> =
            products.iter().map(|products| rule.choose(products, weights)).collect::<Result<_, _>>()?;
        if let Some(chosen) = chosen.iter().find(|chosen| chosen.weights.len() != weights.len()) {
            let (given, expected) = (chosen.weights.len(), weights.len());
            return Err(RuleError::Choice(format!("{given} weights for {expected} updates")));
        }
        Self::new(layout, exact, rule.scope(), &chosen)
    }

    fn new(
        layout: Arc<Layout>,
        exact: ExactRange,
        scope: Scope,
        chosen: &[Chosen],
    ) -> Result<Self, RuleError> {
        let spans = Spans::new(&layout, scope);
        let read = |i: &usize| chosen.iter().any(|chosen| chosen.weights[*i] > 0);
        let updates = chosen.first().map_or(0, |chosen| chosen.weights.len());
        let inputs: Vec<usize> = (0..updates).filter(read).collect();
        let exact = ExactRange { weight_bits: share_bits(exact), ..exact };
        let parts =
            chosen.iter().map(|chosen| Part::new(chosen, &inputs, exact)).collect::<Result<Vec<_>, _>>()?;
        // A model of held-out tensors alone has no part; a rule over columns still gives one choice.
        assert!(parts.len() >= spans.parts(), "a choice for every part");
        Ok(Self { layout, spans, parts, inputs, exact })
    }

    /// Indices of the updates whose runs [`Self::run`] and [`Self::integers`] are given, ascending.
    #[must_use]
    pub fn inputs(&self) -> &[usize] {
        &self.inputs
    }

    /// Writes the answer for the f32 elements from `from` on. `inputs` are that run of the payloads of
    /// [`Self::inputs`], in their order, `base` that run of the base's payload. Tensors held out are the
    /// base's. The bits do not depend on how a model is cut into runs.
    ///
    /// # Errors
    /// [`RuleError::NotFinite`] and [`RuleError::OutOfRange`]. Built-in rules give neither for inputs that
    /// were checked.
    ///
    /// # Panics
    /// When the payloads' number or lengths are wrong.
    pub fn run(
        &self,
        from: usize,
        inputs: &[&[u8]],
        base: &[u8],
        out: &mut [u8],
        scratch: &mut Scratch,
    ) -> Result<(), RuleError> {
        assert_eq!(inputs.len(), self.inputs.len(), "a run of every update that is read");
        assert!(base.len() == out.len() && inputs.iter().all(|i| i.len() == out.len()), "runs of one length");
        let run = from..from + out.len() / 4;
        for span in self.spans.within(run) {
            let bytes = (span.range.start - from) * 4..(span.range.end - from) * 4;
            let (base, out) = (&base[bytes.clone()], &mut out[bytes.clone()]);
            let Some(part) = span.part else {
                out.copy_from_slice(base);
                continue;
            };
            match &self.parts[part] {
                Part::Copy(index) => copy(&inputs[*index][bytes], out),
                Part::Mean { of, total } => {
                    mean(of, *total, self.exact, inputs, bytes.start, out, scratch);
                }
                Part::Columns(columns) => {
                    columns.run(span.range.start, inputs, bytes.start, base, out, scratch);
                }
            }
            check(&self.layout, self.exact, span.range.start, out)?;
        }
        Ok(())
    }

    /// Writes the i64 part of the answer: each tensor by its declared rule, over the updates of
    /// [`Self::inputs`]. `inputs` and `base` are the i64 parts of the payloads.
    ///
    /// # Panics
    /// When the payloads' number or lengths are wrong.
    pub fn integers(&self, inputs: &[&[u8]], base: &[u8], out: &mut [u8]) {
        assert_eq!(inputs.len(), self.inputs.len(), "the integers of every update that is read");
        assert_eq!(out.len(), self.layout.i64_len() * 8, "the layout's integers");
        let number = |bytes: &[u8; 8]| i64::from_le_bytes(*bytes);
        out.copy_from_slice(inputs[0]);
        for segment in self.layout.segments(Dtype::I64) {
            let bytes = segment.range.start * 8..segment.range.end * 8;
            let combine = self.layout.tensors()[segment.tensor].combine;
            for input in &inputs[1..] {
                let values = input[bytes.clone()].as_chunks::<8>().0;
                for (out, value) in out[bytes.clone()].as_chunks_mut::<8>().0.iter_mut().zip(values) {
                    let (a, b) = (number(out), number(value));
                    *out = match combine {
                        Combine::Max => a.max(b),
                        Combine::Sum => a.wrapping_add(b),
                        Combine::Keep | Combine::Rule => a,
                    }
                    .to_le_bytes();
                }
            }
        }
        keep_base(&self.layout, Dtype::I64, 0..self.layout.i64_len(), base, out);
    }
}

impl Part {
    fn new(chosen: &Chosen, inputs: &[usize], exact: ExactRange) -> Result<Self, RuleError> {
        let of: Vec<(usize, u32)> =
            inputs.iter().map(|i| chosen.weights[*i]).enumerate().filter(|(_, weight)| *weight > 0).collect();
        if of.is_empty() {
            return Err(RuleError::Choice("no update".to_owned()));
        }
        match (&chosen.then, of.as_slice()) {
            (Then::Mean, [(index, _)]) => Ok(Self::Copy(*index)),
            (Then::Mean, _) => {
                let total: u64 = of.iter().map(|(_, weight)| u64::from(*weight)).sum();
                let largest = of.iter().map(|(_, weight)| *weight).max().unwrap_or(0);
                if total > most_total(exact) || largest >> exact.weight_bits > 0 {
                    let bits = exact.weight_bits;
                    let words =
                        format!("weights up to {largest} that sum to {total}, with 2^{bits} as bound");
                    return Err(RuleError::Choice(words));
                }
                Ok(Self::Mean { of, total })
            }
            (Then::Columns(rule), _) => {
                let weights = of.iter().map(|(_, weight)| Weight::new(u64::from(*weight)));
                let weights = weights.collect::<Result<Vec<_>, _>>();
                let weights = weights.map_err(|error| RuleError::Choice(error.to_string()))?;
                let order = rule.order(of.len());
                let wanted = match &order {
                    Order::Roster => 0..0,
                    Order::Ranks(ranks) => ranks.clone(),
                    Order::Weighted => 0..of.len(),
                };
                let network = Network::new(of.len(), wanted);
                let of = of.into_iter().map(|(index, _)| index).collect();
                Ok(Self::Columns(Columns { rule: Arc::clone(rule), of, weights, order, network }))
            }
        }
    }
}

impl Columns {
    /// `first` is the element, `start` the byte of the inputs where `base` and `out` begin.
    fn run(
        &self,
        first: usize,
        inputs: &[&[u8]],
        start: usize,
        base: &[u8],
        out: &mut [u8],
        scratch: &mut Scratch,
    ) {
        let updates = self.of.len();
        let width = block_width(updates);
        let weighted = self.order == Order::Weighted;
        for at in (0..out.len() / 4).step_by(width) {
            let len = width.min(out.len() / 4 - at);
            let bytes = at * 4..(at + len) * 4;
            let rows = self.of.iter().map(|index| &inputs[*index][start..][bytes.clone()]);
            let values = scratch.values.first(if weighted { 0 } else { updates * len });
            let pairs = scratch.pairs.first(if weighted { updates * len } else { 0 });
            if weighted {
                let rows = rows.zip(&self.weights).zip(pairs.chunks_exact_mut(len));
                rows.for_each(|((bytes, weight), row)| load_pairs(bytes, *weight, row));
                self.network.sort(pairs);
            } else {
                rows.zip(values.chunks_exact_mut(len)).for_each(|(bytes, row)| load(bytes, row));
                self.network.sort(values);
            }
            let block_base = scratch.base.first(len);
            load(&base[bytes.clone()], block_base);
            let answer = scratch.out.first(len);
            let first = first + at;
            let mut block = Block { values, pairs, weights: &self.weights, base: block_base, first };
            self.rule.combine(&mut block, answer);
            store(answer, &mut out[bytes]);
        }
    }
}

/// Zeros lose their sign, so that comparisons of numbers order all values.
fn load_pairs(bytes: &[u8], weight: Weight, row: &mut [Pair]) {
    for (pair, bytes) in row.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *pair = Pair::new(f32::from_le_bytes(*bytes) + 0.0, weight);
    }
}

/// As [`load_pairs`].
fn load(bytes: &[u8], row: &mut [f32]) {
    for (value, bytes) in row.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *value = f32::from_le_bytes(*bytes) + 0.0;
    }
}

fn store(values: &[f32], out: &mut [u8]) {
    for (bytes, value) in out.as_chunks_mut::<4>().0.iter_mut().zip(values) {
        *bytes = (value + 0.0).to_le_bytes();
    }
}

/// Copies an update as the mean of one update would be: no zero has a sign.
fn copy(input: &[u8], out: &mut [u8]) {
    for (bytes, value) in out.as_chunks_mut::<4>().0.iter_mut().zip(input.as_chunks::<4>().0) {
        *bytes = (f32::from_le_bytes(*value) + 0.0).to_le_bytes();
    }
}

/// The exact mean of the inputs' bytes from `start` on.
fn mean(
    of: &[(usize, u32)],
    total: u64,
    exact: ExactRange,
    inputs: &[&[u8]],
    start: usize,
    out: &mut [u8],
    scratch: &mut Scratch,
) {
    if scratch.bins.as_ref().is_none_or(|(range, _)| *range != exact) {
        scratch.bins = Some((exact, Bins::zeros(super::ELEMENTS_A_PASS, exact)));
    }
    let Some((_, bins)) = &mut scratch.bins else { return };
    for from in (0..out.len()).step_by(super::ELEMENTS_A_PASS * 4) {
        let bytes = from..(from + super::ELEMENTS_A_PASS * 4).min(out.len());
        let mut room = [([].as_slice(), 0); MOST_AT_ONCE];
        for batch in of.chunks(MOST_AT_ONCE) {
            for (run, (index, weight)) in room.iter_mut().zip(batch) {
                *run = (inputs[*index][start..][bytes.clone()].as_chunks::<4>().0, *weight);
            }
            bins.reserve(batch.len() as u32);
            bins.add(0, &room[..batch.len()]);
        }
        bins.take_mean(0, &[], total, out[bytes].as_chunks_mut::<4>().0);
        bins.emptied();
    }
}

/// Refuses an answer that is not finite or outside the plan's range: no update of the next round could be.
pub(super) fn check(layout: &Layout, exact: ExactRange, from: usize, out: &[u8]) -> Result<(), RuleError> {
    let limit = limit_bits(exact);
    let fault = |(block, elements): (usize, &[[u8; 4]])| {
        let bad = |e: &[u8; 4]| !all_in_range(std::slice::from_ref(e), limit);
        let place = elements.iter().position(bad)?;
        Some((from + block * BLOCK + place, f32::from_le_bytes(elements[place])))
    };
    let blocks = out.as_chunks::<4>().0.chunks(BLOCK).enumerate();
    let Some((index, value)) = blocks.filter(|(_, e)| !all_in_range(e, limit)).find_map(fault) else {
        return Ok(());
    };
    let (tensor, element) = tensor_at(layout, index);
    Err(match value.is_finite() {
        true => RuleError::OutOfRange { tensor, element },
        false => RuleError::NotFinite { tensor, element },
    })
}
