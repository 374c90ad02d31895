//! What a declarative model is: the shape of a sample and the layers, in order.

use serde::{Deserialize, Serialize};

/// A declarative model: input shape and layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelSpec {
    /// Shape of one sample: `[features]` or `[channels, height, width]`.
    pub input: Vec<u32>,
    /// Layers in order; named networks (`mlp`, `cnn`) are expanded to these.
    pub layers: Vec<Layer>,
}

/// One layer. Those with parameters have a field name, which prefixes their tensors (`fc1.weight`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Layer {
    /// `y = x Wᵀ + b`; tensors `weight [out, in]`, `bias [out]`. `in` comes from the layer before.
    Linear {
        /// Field name.
        name: String,
        /// Output features.
        out: u32,
        /// Whether there is a `bias`.
        bias: bool,
    },
    /// 2-D convolution; tensors `weight [out, in, kernel, kernel]`, `bias [out]`.
    Conv2d {
        /// Field name.
        name: String,
        /// Output channels.
        out: u32,
        /// Side of the square kernel.
        kernel: u32,
        /// Step of the window.
        stride: u32,
        /// Zeros added on each side.
        padding: u32,
        /// Whether there is a `bias`.
        bias: bool,
    },
    /// Transposed 2-D convolution; tensors `weight [in, out, kernel, kernel]`, `bias [out]`.
    ConvTranspose2d {
        /// Field name.
        name: String,
        /// Output channels.
        out: u32,
        /// Side of the square kernel.
        kernel: u32,
        /// Step of the window.
        stride: u32,
        /// Cropped from each side.
        padding: u32,
        /// Whether there is a `bias`.
        bias: bool,
    },
    /// Batch normalisation over channels; `weight`, `bias`, `running_mean`, `running_var`, all `[channels]`.
    BatchNorm {
        /// Field name.
        name: String,
    },
    /// Largest value of each window.
    MaxPool {
        /// Side of the window, also its step.
        kernel: u32,
    },
    /// Mean of each window.
    AvgPool {
        /// Side of the window, also its step.
        kernel: u32,
    },
    /// Zeroes each value with this probability while training.
    Dropout {
        /// In `0 .. 1`.
        p: f32,
    },
    /// `max(0, x)`.
    Relu,
    /// `x Φ(x)`.
    Gelu,
    /// `1 / (1 + e⁻ˣ)`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `[c, h, w]` to `[c·h·w]`.
    Flatten,
}
