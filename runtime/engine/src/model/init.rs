//! First values of a model: the same bits from the same seed, in every binary and on every machine.
//!
//! A value depends on the seed, its tensor's name and its index there, and on nothing else. A tensor's key is
//! SHA-256 over seed and name; its draws are SplitMix64's (Steele, Lea, Flood, OOPSLA 2014) from that key, of
//! which 24 bits give an odd multiple of 2⁻²⁴ in −1 .. 1, exact in f32. Only IEEE division, square root and
//! multiplication follow, which round in one way everywhere; nothing of libm is called.

use std::sync::Arc;

use super::{
    Layer, ModelError, ModelSpec, Placed, layout,
    parts::{First, parts},
    place,
};
use crate::{
    Digest, Draws,
    tensor::{Dtype, Layout, ModelState},
};

/// Initial state of `spec`.
///
/// Weights are uniform in `−b .. b`: where ReLU or GELU comes next, `b = √(6 / fan_in)` (He et al.,
/// arXiv:1502.01852, equation 10); elsewhere `b = 1 / √fan_in` (Glorot and Bengio, AISTATS 2010, equation 1).
/// `fan_in` is the number of terms in one output; for a transposed convolution, on average. Biases are 0; a
/// batch normalisation starts as the identity.
///
/// # Errors
/// As [`layout`].
pub fn init(spec: &ModelSpec, seed: u64) -> Result<ModelState, ModelError> {
    fill(layout(spec)?, spec, seed)
}

/// As [`init`], over a layout whose first tensors are the model's. All further tensors start at 0.
pub(crate) fn fill(layout: Arc<Layout>, spec: &ModelSpec, seed: u64) -> Result<ModelState, ModelError> {
    let mut state = ModelState::zeros(Arc::clone(&layout));
    let placed = place(spec)?;
    let rectified = rectified(&placed);
    let parts = placed.iter().zip(rectified).flat_map(|(at, rectified)| {
        let variance = if rectified { 6.0 } else { 1.0 };
        parts(at).into_iter().map(move |part| (part, variance))
    });
    for (index, (part, variance)) in
        parts.enumerate().filter(|(_, (part, _))| part.tensor.dtype == Dtype::F32)
    {
        let values = &mut state.f32[layout.place(index)];
        match part.first {
            First::All(value) => values.fill(value),
            First::Drawn(terms) => {
                let bound = (variance / terms as f32).sqrt();
                let key = key(seed, &part.tensor.name);
                for (value, index) in values.iter_mut().zip(1..) {
                    *value = bound * signed_unit(Draws::nth(key, index));
                }
            }
        }
    }
    Ok(state)
}

/// For each layer, whether the first activation after it is one that halves its input's variance. Where
/// several layers take what it gives, the first of them counts.
fn rectified(placed: &[Placed<'_>]) -> Vec<bool> {
    let mut rectified = vec![false; placed.len()];
    // Backwards, so that what comes later is known; of several layers that take one, the first writes last.
    for (index, at) in placed.iter().enumerate().rev() {
        let halves = match at.layer {
            Layer::Relu
            | Layer::Gelu
            | Layer::LeakyRelu { .. }
            | Layer::Silu
            | Layer::HardSwish
            | Layer::Relu6
            | Layer::Elu { .. }
            | Layer::PRelu { .. }
            | Layer::GeluTanh => true,
            Layer::BatchNorm { .. }
            | Layer::LayerNorm { .. }
            | Layer::GroupNorm { .. }
            | Layer::MaxPool { .. }
            | Layer::AvgPool { .. }
            | Layer::AdaptiveAvgPool { .. }
            | Layer::Dropout { .. }
            | Layer::Flatten
            | Layer::Add
            | Layer::Sub
            | Layer::Concat { .. }
            | Layer::Pad { .. }
            | Layer::PadTo
            | Layer::Crop { .. }
            | Layer::Upsample { .. }
            | Layer::Reshape { .. }
            | Layer::Permute { .. }
            | Layer::Slice { .. }
            | Layer::Select { .. }
            | Layer::Mean { .. }
            | Layer::Max { .. }
            | Layer::InstanceNorm { .. } => rectified[index],
            _ => false,
        };
        // Their outputs are more than a sum of terms.
        if let Layer::Lstm { .. } | Layer::Gru { .. } | Layer::Attention { .. } | Layer::Embedding { .. } =
            at.layer
        {
            rectified[index] = false;
        }
        at.from.iter().filter(|n| **n > 0).for_each(|n| rectified[n - 1] = halves);
    }
    rectified
}

/// First eight bytes of SHA-256 over a tag, the seed and the tensor's name.
fn key(seed: u64, name: &str) -> u64 {
    let digest = Digest::of(&[b"fl-init-1".as_slice(), &seed.to_le_bytes(), name.as_bytes()].concat());
    digest.0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The top 24 bits as an odd multiple of 2⁻²⁴ in −1 .. 1: symmetric, never 0, exact.
fn signed_unit(word: u64) -> f32 {
    let odd = 2 * (word >> 40) as i32 + 1 - (1 << 24);
    odd as f32 / (1 << 24) as f32
}

#[cfg(test)]
mod tests {
    use super::super::tests::{every_layer, linear};
    use super::*;
    use crate::tensor::root_of;

    fn root(state: &ModelState) -> String {
        let mut bytes = Vec::new();
        state.write_bytes(&mut bytes);
        root_of(state.layout().hash(), &bytes).to_string()
    }

    fn tensor<'a>(state: &'a ModelState, name: &str) -> &'a [f32] {
        let index = state.layout().tensors().iter().position(|t| t.name == name).unwrap();
        &state.f32[state.layout().place(index)]
    }

    #[test]
    fn same_seed_gives_the_bits_of_the_first_release() {
        let state = init(&every_layer(), 7).unwrap();
        assert_eq!(root(&state), "4ee851b016303cc7b6c37e7c3a26390a8a2a6b0d13eab1d604ae94028b3ab872");
        let first: Vec<u32> = tensor(&state, "fc1.weight")[..3].iter().map(|v| v.to_bits()).collect();
        // Worked out apart, in Python.
        assert_eq!(first, [0x3e1a_366e, 0xbe98_0ee3, 0x3d2b_5b34]);
        assert_ne!(root(&init(&every_layer(), 8).unwrap()), root(&state));
    }

    #[test]
    fn signed_units_are_symmetric_exact_and_never_0() {
        assert_eq!(signed_unit(0), -1.0 + f32::EPSILON / 2.0);
        assert_eq!(signed_unit(u64::MAX), 1.0 - f32::EPSILON / 2.0);
        assert_eq!(signed_unit(1 << 63), 1.0 / (1 << 24) as f32);
    }

    #[test]
    fn bounds_follow_the_next_activation() {
        let spec = ModelSpec::parse(
            "{input: [96], layers: [{linear: {name: relu, out: 64}}, {batch_norm: {name: norm}}, relu,
              {linear: {name: tanh, out: 16}}, tanh, {linear: {name: last, out: 400}}]}",
        )
        .unwrap();
        let state = init(&spec, 1).unwrap();
        for (name, bound) in [("relu", 0.25f32), ("tanh", 0.125), ("last", 0.25)] {
            let values = tensor(&state, &format!("{name}.weight"));
            let largest = values.iter().fold(0f32, |m, v| m.max(v.abs()));
            assert!(largest < bound && largest > bound * 0.99, "{name}: {largest} of {bound}");
            let mean = values.iter().sum::<f32>() / values.len() as f32;
            let square = values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32;
            assert!(mean.abs() < bound * 0.05, "{name}: mean {mean}");
            assert!((square * 3.0 / (bound * bound) - 1.0).abs() < 0.06, "{name}: variance {square}");
            assert!(tensor(&state, &format!("{name}.bias")).iter().all(|v| *v == 0.0));
        }
        let norm = ["weight", "bias", "running_mean", "running_var"]
            .map(|p| tensor(&state, &format!("norm.{p}"))[0]);
        assert_eq!(norm, [1.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn value_depends_on_its_tensors_name_and_not_on_its_place() {
        let one = ModelSpec::chain(vec![4], vec![linear("a", 4), linear("b", 4)]);
        let other = ModelSpec::chain(vec![4], vec![linear("b", 4), linear("a", 4)]);
        let (one, other) = (init(&one, 3).unwrap(), init(&other, 3).unwrap());
        assert_eq!(tensor(&one, "a.weight"), tensor(&other, "a.weight"));
        assert_ne!(tensor(&one, "a.weight"), tensor(&one, "b.weight"));
    }
}
