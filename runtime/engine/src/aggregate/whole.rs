//! All updates of a round at once, in one thread: for tests of a rule, and as the reference for the passes of
//! the shell.

use std::sync::Arc;

use super::{Clip, Combiner, ExactMean, Measure, Method, RuleError, Scratch, Stream};
use crate::{
    Weight,
    plan::{ExactRange, Scope},
    tensor::{Layout, TensorSpec},
};

/// The next model of one f32 tensor: `updates` and `base` are its elements, `weights` the updates' (1 to
/// 2^29 - 1). Values are finite and below 2^16, as the default plan has it.
///
/// # Errors
/// [`RuleError`]; [`RuleError::Choice`] without an update.
///
/// # Panics
/// When there are no elements, the lengths differ, or a weight is out of range.
pub fn combine(
    method: &Method,
    updates: &[&[f32]],
    weights: &[u32],
    base: &[f32],
) -> Result<Vec<f32>, RuleError> {
    assert_eq!(updates.len(), weights.len(), "a weight an update");
    #[expect(clippy::expect_used, reason = "the documented panic")]
    let layout = Layout::new(vec![TensorSpec::f32("x", [base.len() as u32])]).expect("a tensor");
    let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    #[expect(clippy::expect_used, reason = "the documented panic")]
    let weights: Vec<Weight> =
        weights.iter().map(|w| Weight::new(u64::from(*w)).expect("a weight in range")).collect();
    let updates: Vec<Vec<u8>> = updates.iter().map(|update| bytes(update)).collect();
    let updates: Vec<(&[u8], Weight)> = updates.iter().map(Vec::as_slice).zip(weights).collect();
    let exact = ExactRange { value_bits: 16, weight_bits: 29 };
    let next = combine_payloads(method, &layout, exact, &updates, &bytes(base))?;
    Ok(next.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

/// The next model's payload from the payloads of the updates, in roster order, and of the base.
///
/// # Errors
/// [`RuleError`]; [`RuleError::Choice`] without an update.
///
/// # Panics
/// When a payload is not the layout's, or weights or their sum are outside `exact`.
pub fn combine_payloads(
    method: &Method,
    layout: &Arc<Layout>,
    exact: ExactRange,
    updates: &[(&[u8], Weight)],
    base: &[u8],
) -> Result<Vec<u8>, RuleError> {
    let weights: Vec<Weight> = updates.iter().map(|(_, weight)| *weight).collect();
    let payloads: Vec<&[u8]> = updates.iter().map(|(payload, _)| *payload).collect();
    match method {
        Method::Stream(stream) => streamed(*stream, layout, exact, updates, base),
        Method::Columns(rule) => {
            let combiner = Combiner::columns(Arc::clone(layout), exact, rule, &weights)?;
            whole(&combiner, layout, &payloads, base)
        }
        Method::Scored(rule) => {
            let products = products(rule.scope(), layout, &payloads, base);
            let combiner = Combiner::scored(Arc::clone(layout), exact, rule.as_ref(), &products, &weights)?;
            whole(&combiner, layout, &payloads, base)
        }
    }
}

fn products(scope: Scope, layout: &Layout, payloads: &[&[u8]], base: &[u8]) -> Vec<super::Products> {
    let measure = Measure::new(layout, scope, payloads.len());
    let mut scratch = Scratch::new();
    let partials = measure.shards().iter().enumerate().map(|(index, shard)| {
        let mut partial = measure.partial(index);
        let bytes = shard.start * 4..shard.end * 4;
        let runs: Vec<&[u8]> = payloads.iter().map(|payload| &payload[bytes.clone()]).collect();
        partial.accumulate(shard.start, &runs, &base[bytes], &mut scratch);
        partial
    });
    measure.merge(partials.collect::<Vec<_>>())
}

fn whole(
    combiner: &Combiner,
    layout: &Layout,
    payloads: &[&[u8]],
    base: &[u8],
) -> Result<Vec<u8>, RuleError> {
    let floats = layout.f32_len() * 4;
    let mut out = vec![0; layout.byte_len()];
    let read: Vec<_> = combiner.inputs().iter().map(|i| payloads[*i].split_at(floats)).collect();
    let (values, integers): (Vec<&[u8]>, Vec<&[u8]>) = read.into_iter().unzip();
    combiner.run(0, &values, &base[..floats], &mut out[..floats], &mut Scratch::new())?;
    combiner.integers(&integers, &base[floats..], &mut out[floats..]);
    Ok(out)
}

fn streamed(
    stream: Stream,
    layout: &Arc<Layout>,
    exact: ExactRange,
    updates: &[(&[u8], Weight)],
    base: &[u8],
) -> Result<Vec<u8>, RuleError> {
    if updates.is_empty() {
        return Err(RuleError::Choice("no update".to_owned()));
    }
    let range = if let Stream::Clipped(_) = stream { Clip::range(exact) } else { exact };
    let mut mean = ExactMean::new(Arc::clone(layout), range, 1);
    let mut used = 0;
    for (payload, weight) in updates {
        let (divisor, share) = match stream {
            Stream::WeightedMean => (*weight, Some(*weight)),
            Stream::Mean => (Weight::ONE, Some(Weight::ONE)),
            Stream::Clipped(clip) => {
                (clip.full(*weight), clip.weight(*weight, distance_squared(layout, payload, base)))
            }
        };
        let (values, integers) = payload.split_at(layout.f32_len() * 4);
        let integers = integers.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b));
        mean.admit(integers, divisor).map_err(|error| RuleError::Choice(error.to_string()))?;
        used += share.map_or(0, |share| u64::from(share.value()));
        share.into_iter().for_each(|share| absorb(&mut mean, values, share));
    }
    for piece in Clip::pieces(mean.total() - used) {
        absorb(&mut mean, &base[..layout.f32_len() * 4], piece);
    }
    let mut out = Vec::new();
    mean.finalise(base, &mut out);
    Ok(out)
}

fn absorb(mean: &mut ExactMean, values: &[u8], weight: Weight) {
    for shard in mean.shards_mut() {
        let bytes = shard.range().start * 4..shard.range().end * 4;
        shard.reserve(1);
        shard.absorb(shard.range().start, &values[bytes], weight);
    }
}

fn distance_squared(layout: &Layout, payload: &[u8], base: &[u8]) -> f64 {
    let products = products(Scope::Model, layout, &[payload], base);
    products.first().map_or(0.0, |products| products.norm_squared(0))
}
