//! A declarative model: from its layers to its tensors to its first values, without a training library.
//!
//! The aggregator, `fl-host` and the collaborator's training code all get the layout and the initial state
//! from this module, so a federation agrees on both without sending them. Tensors have PyTorch's names and
//! shapes (`fc1.weight [out, in]`). Nothing here computes with a model; the crate `fl-learn` does.

mod error;
mod init;
mod optimiser;
pub mod safetensors;
mod shape;
mod spec;

use std::sync::Arc;

pub use error::{LayerAt, ModelError};
pub(crate) use init::fill;
pub use init::init;
pub use optimiser::{OptimiserPlaces, StatePlace, is_optimiser_tensor, optimiser_places};
pub(crate) use optimiser::{Remembers, state_tensors};
pub use safetensors::ModelFileError;
pub use shape::{Placed, output_shape, place};
pub use spec::{Layer, ModelSpec};

use crate::tensor::{Layout, TensorSpec};

/// The tensors of a model, in the order of its layers.
///
/// Every tensor is f32 and combined by the task's rule, running statistics of a batch normalisation too: they
/// are averaged like the others, as in McMahan et al. (arXiv:1602.05629).
///
/// # Errors
/// [`ModelError`] names the first layer that does not fit the one before it.
pub fn layout(spec: &ModelSpec) -> Result<Arc<Layout>, ModelError> {
    Ok(Layout::new(tensors(spec)?)?)
}

/// Tensors of one layer, each with its name after the layer's field name.
pub(crate) fn tensors(spec: &ModelSpec) -> Result<Vec<TensorSpec>, ModelError> {
    let mut tensors = Vec::new();
    for at in place(spec)? {
        let channels = at.input[0];
        let mut add = |name: &str, part: &str, shape: &[u32]| {
            tensors.push(TensorSpec::f32(format!("{name}.{part}"), shape));
        };
        match at.layer {
            Layer::Linear { name, out, bias } => {
                add(name, "weight", &[*out, channels]);
                bias.then(|| add(name, "bias", &[*out]));
            }
            Layer::Conv2d { name, out, kernel, bias, .. } => {
                add(name, "weight", &[*out, channels, *kernel, *kernel]);
                bias.then(|| add(name, "bias", &[*out]));
            }
            Layer::ConvTranspose2d { name, out, kernel, bias, .. } => {
                add(name, "weight", &[channels, *out, *kernel, *kernel]);
                bias.then(|| add(name, "bias", &[*out]));
            }
            Layer::BatchNorm { name } => {
                for part in ["weight", "bias", "running_mean", "running_var"] {
                    add(name, part, &[channels]);
                }
            }
            Layer::MaxPool { .. }
            | Layer::AvgPool { .. }
            | Layer::Dropout { .. }
            | Layer::Relu
            | Layer::Gelu
            | Layer::Sigmoid
            | Layer::Tanh
            | Layer::Flatten => {}
        }
    }
    Ok(tensors)
}

/// Whether a model's tensor is a batch normalisation's running statistic, which no gradient reaches.
#[must_use]
pub fn is_statistic(name: &str) -> bool {
    name.ends_with(".running_mean") || name.ends_with(".running_var")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::tensor::Combine;

    pub(super) fn linear(name: &str, out: u32) -> Layer {
        Layer::Linear { name: name.to_owned(), out, bias: true }
    }

    /// One of every layer with parameters: 1×6×6 images in, two numbers out.
    pub(crate) fn every_layer() -> ModelSpec {
        let field = |name: &str| name.to_owned();
        ModelSpec {
            input: vec![1, 6, 6],
            layers: vec![
                Layer::Conv2d { name: field("conv"), out: 3, kernel: 3, stride: 1, padding: 1, bias: true },
                Layer::BatchNorm { name: field("norm") },
                Layer::Relu,
                Layer::MaxPool { kernel: 2 },
                Layer::ConvTranspose2d {
                    name: field("up"),
                    out: 2,
                    kernel: 2,
                    stride: 2,
                    padding: 0,
                    bias: false,
                },
                Layer::Gelu,
                Layer::AvgPool { kernel: 3 },
                Layer::Dropout { p: 0.5 },
                Layer::Flatten,
                linear("fc1", 4),
                Layer::Tanh,
                Layer::Linear { name: field("fc2"), out: 2, bias: false },
                Layer::Sigmoid,
            ],
        }
    }

    #[test]
    fn tensors_have_pytorchs_names_and_shapes() {
        let layout = layout(&every_layer()).unwrap();
        let found: Vec<(&str, &[u32])> =
            layout.tensors().iter().map(|t| (t.name.as_str(), t.shape.as_slice())).collect();
        let expected: [(&str, &[u32]); 10] = [
            ("conv.weight", &[3, 1, 3, 3]),
            ("conv.bias", &[3]),
            ("norm.weight", &[3]),
            ("norm.bias", &[3]),
            ("norm.running_mean", &[3]),
            ("norm.running_var", &[3]),
            ("up.weight", &[3, 2, 2, 2]),
            ("fc1.weight", &[4, 8]),
            ("fc1.bias", &[4]),
            ("fc2.weight", &[2, 4]),
        ];
        assert_eq!(found, expected);
        assert!(layout.tensors().iter().all(|t| t.combine == Combine::Rule));
    }

    #[test]
    fn model_without_a_tensor_is_refused() {
        let spec = ModelSpec { input: vec![2], layers: vec![Layer::Relu] };
        assert!(layout(&spec).unwrap_err().to_string().contains("no layer with parameters"));
    }
}
