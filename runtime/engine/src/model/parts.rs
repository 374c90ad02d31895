//! The tensors of each layer, in PyTorch's order, with what each starts from.

use super::{Layer, Placed};
use crate::tensor::{Combine, Dtype, TensorSpec};

/// One tensor of a layer.
pub(super) struct Part {
    pub(super) tensor: TensorSpec,
    pub(super) first: First,
}

/// The first values of a tensor.
#[derive(Clone, Copy)]
pub(super) enum First {
    /// The same everywhere.
    All(f32),
    /// Drawn, for an output that is the sum of so many terms.
    Drawn(u64),
}

/// The tensors of one layer.
pub(super) fn parts(at: &Placed<'_>) -> Vec<Part> {
    let (mut parts, name) = (Vec::new(), at.layer.name().unwrap_or_default());
    let mut add = |part: &str, shape: &[u32], first: First| {
        parts.push(Part { tensor: TensorSpec::f32(format!("{name}.{part}"), shape), first });
    };
    let (zero, one) = (First::All(0.0), First::All(1.0));
    let channels = at.input[0];
    match at.layer {
        Layer::Linear { out, bias, .. } => {
            let features = at.input.last().copied().unwrap_or(channels);
            add("weight", &[*out, features], First::Drawn(features.into()));
            bias.then(|| add("bias", &[*out], zero));
        }
        Layer::BatchNorm { count, .. } => {
            for (part, first) in
                [("weight", one), ("bias", zero), ("running_mean", zero), ("running_var", one)]
            {
                add(part, &[channels], first);
            }
            if *count {
                add("num_batches_tracked", &[], zero);
                let last = parts.last_mut().map(|part| &mut part.tensor);
                last.into_iter().for_each(|t| (t.dtype, t.combine) = (Dtype::I64, Combine::Max));
            }
        }
        Layer::LayerNorm { axes, .. } => {
            let shape = &at.input[at.input.len().saturating_sub(*axes as usize)..];
            add("weight", shape, one);
            add("bias", shape, zero);
        }
        Layer::GroupNorm { .. } => {
            add("weight", &[channels], one);
            add("bias", &[channels], zero);
        }
        layer => {
            let axes = at.input.len() - 1;
            if let Some(window) = layer.window(axes)
                && let Some(weights) = window.weights
            {
                let kernel = &window.kernel[..axes];
                let taps = window.kernel.iter().map(|side| u64::from(*side)).product::<u64>();
                let terms = u64::from(channels / weights.groups) * taps;
                let (sides, terms) = if weights.transposed {
                    let steps = window.stride.iter().map(|step| u64::from(*step)).product::<u64>();
                    ([channels, weights.out / weights.groups], (terms / steps).max(1))
                } else {
                    ([weights.out, channels / weights.groups], terms)
                };
                add("weight", &[&sides[..], kernel].concat(), First::Drawn(terms));
                weights.bias.then(|| add("bias", &[weights.out], zero));
            }
        }
    }
    parts
}
