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
    let channels = at.input.first().copied().unwrap_or(0);
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
        Layer::Parameter { name, shape, batch, start } => {
            let shape = [if *batch { &[1][..] } else { &[] }, shape.as_slice()].concat();
            let tensor = TensorSpec::f32(name.clone(), shape);
            parts.push(Part { tensor, first: First::All(*start as f32) });
        }
        Layer::PRelu { slopes, .. } => add("weight", &[*slopes], First::All(0.25)),
        Layer::Embedding { rows, width, .. } => add("weight", &[*rows, *width], First::Drawn(1)),
        Layer::Lstm { hidden, layers, bidirectional, bias, .. }
        | Layer::Gru { hidden, layers, bidirectional, bias, .. } => {
            let gates = if matches!(at.layer, Layer::Lstm { .. }) { 4 } else { 3 };
            let directions = if *bidirectional { &["", "_reverse"][..] } else { &[""] };
            for layer in 0..*layers {
                let below = if layer == 0 { at.input[1] } else { *hidden * directions.len() as u32 };
                for direction in directions {
                    let drawn = First::Drawn((*hidden).into());
                    for (of, sides) in [("ih", below), ("hh", *hidden)] {
                        add(&format!("weight_{of}_l{layer}{direction}"), &[gates * hidden, sides], drawn);
                    }
                    for of in ["ih", "hh"].into_iter().filter(|_| *bias) {
                        add(&format!("bias_{of}_l{layer}{direction}"), &[gates * hidden], zero);
                    }
                }
            }
        }
        Layer::Attention { bias, .. } => {
            let width = at.input[1];
            add("in_proj_weight", &[3 * width, width], First::Drawn(width.into()));
            bias.then(|| add("in_proj_bias", &[3 * width], zero));
            add("out_proj.weight", &[width, width], First::Drawn(width.into()));
            bias.then(|| add("out_proj.bias", &[width], zero));
        }
        layer => {
            let axes = at.input.len().saturating_sub(1);
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
