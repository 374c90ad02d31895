//! What a declarative model is: the shape of a sample and the layers, in order.

use serde::Serialize;

use crate::settings::{Absent, Range, Takes, Text, words};

/// A declarative model: input shape and layers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelSpec {
    /// Shape of one sample: `[features]` or `[channels, height, width]`.
    pub input: Vec<u32>,
    /// Layers in order; named networks (`mlp`, `cnn`) are expanded to these.
    pub layers: Vec<Layer>,
}

words! {
    /// One layer. Layers with parameters have a field name, which prefixes their tensors (`fc1.weight`).
    #[derive(Clone, Debug, PartialEq, Serialize)]
    #[non_exhaustive]
    pub enum Layer {
        /// A linear layer: `y = x Wᵀ + b`, with the tensors `weight [out, in]` and `bias [out]`. The layer
        /// before gives `in`.
        Linear = "linear" {
            /// Field name: first part of the names of the layer's tensors.
            name: String = FIELD_NAME, Absent::Refused, "fc1";
            /// Output features.
            out: u32 = FEATURES, Absent::Refused, "10";
            /// Whether there is a `bias`.
            bias: bool = Takes::Flag, Absent::Default("true"), "false";
        },
        /// A 2-D convolution, with the tensors `weight [out, in, kernel, kernel]` and `bias [out]`.
        Conv2d = "conv2d" {
            /// Field name: first part of the names of the layer's tensors.
            name: String = FIELD_NAME, Absent::Refused, "conv1";
            /// Output channels.
            out: u32 = CHANNELS, Absent::Refused, "8";
            /// Side of the square kernel.
            kernel: u32 = PIXELS, Absent::Refused, "3";
            /// Step of the window.
            stride: u32 = PIXELS, Absent::Default("1"), "2";
            /// Zeros added on each side.
            padding: u32 = PADDING, Absent::Default("0"), "1";
            /// Whether there is a `bias`.
            bias: bool = Takes::Flag, Absent::Default("true"), "false";
        },
        /// A transposed 2-D convolution, with the tensors `weight [in, out, kernel, kernel]` and
        /// `bias [out]`.
        ConvTranspose2d = "conv_transpose2d" {
            /// Field name: first part of the names of the layer's tensors.
            name: String = FIELD_NAME, Absent::Refused, "up1";
            /// Output channels.
            out: u32 = CHANNELS, Absent::Refused, "8";
            /// Side of the square kernel.
            kernel: u32 = PIXELS, Absent::Refused, "2";
            /// Step of the window.
            stride: u32 = PIXELS, Absent::Default("1"), "2";
            /// Pixels cropped from each side.
            padding: u32 = PADDING, Absent::Default("0"), "1";
            /// Whether there is a `bias`.
            bias: bool = Takes::Flag, Absent::Default("true"), "false";
        },
        /// Batch normalisation over channels, with the tensors `weight`, `bias`, `running_mean` and
        /// `running_var`, all `[channels]`.
        BatchNorm = "batch_norm" {
            /// Field name: first part of the names of the layer's tensors.
            name: String = FIELD_NAME, Absent::Refused, "norm1";
        },
        /// The largest value of each window.
        MaxPool = "max_pool" {
            /// Side of the window, which is also its step.
            kernel: u32 = PIXELS, Absent::Refused, "2";
        },
        /// The mean of each window.
        AvgPool = "avg_pool" {
            /// Side of the window, which is also its step.
            kernel: u32 = PIXELS, Absent::Refused, "2";
        },
        /// Sets each value to zero with a probability, while training alone.
        Dropout = "dropout" {
            /// The probability.
            p: f32 = Takes::Number(Range::FromZeroBelowOne), Absent::Refused, "0.1";
        },
        /// The activation `max(0, x)`.
        Relu = "relu",
        /// The activation `x Φ(x)`.
        Gelu = "gelu",
        /// The activation `1 / (1 + e⁻ˣ)`.
        Sigmoid = "sigmoid",
        /// The hyperbolic tangent.
        Tanh = "tanh",
        /// Makes one list of all values: `[c, h, w]` to `[c·h·w]`.
        Flatten = "flatten",
    }
}

impl Layer {
    /// The field name of a layer with parameters.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Linear { name, .. }
            | Self::Conv2d { name, .. }
            | Self::ConvTranspose2d { name, .. }
            | Self::BatchNorm { name } => Some(name),
            Self::MaxPool { .. }
            | Self::AvgPool { .. }
            | Self::Dropout { .. }
            | Self::Relu
            | Self::Gelu
            | Self::Sigmoid
            | Self::Tanh
            | Self::Flatten => None,
        }
    }
}

const FIELD_NAME: Takes = Takes::Text(Text::Any("field name"));
const FEATURES: Takes = Takes::Whole { least: 1, most: u32::MAX as u64, unit: "features" };
const CHANNELS: Takes = Takes::Whole { least: 1, most: u32::MAX as u64, unit: "channels" };
const PIXELS: Takes = Takes::Whole { least: 1, most: u32::MAX as u64, unit: "pixels" };
const PADDING: Takes = Takes::Whole { least: 0, most: u32::MAX as u64, unit: "pixels" };
