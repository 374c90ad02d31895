//! What a declarative model is: the shape of a sample, the layers in order, and what each layer takes.

use serde::Serialize;

use super::span::{EDGES, ENDS, Edges, SIDES, Sides};
use crate::{
    limits,
    settings::{Absent, Range, Takes, Text, words},
};

/// A declarative model: input shape and layers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelSpec {
    /// Shape of one sample: `[features]`, `[channels, length]` or `[channels, height, width]`.
    pub input: Vec<u32>,
    /// Layers in order; blocks and named networks (`mlp`, `unet`) are expanded to these. The last layer gives
    /// the output.
    pub layers: Vec<Layer>,
    /// What each layer takes: 0 is the sample, n is what `layers[n - 1]` gives. Empty when each layer takes
    /// what the layer before it gives.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Vec<u32>>,
}

impl ModelSpec {
    /// A model in which each layer takes what the layer before it gives.
    #[must_use]
    pub fn chain(input: Vec<u32>, layers: Vec<Layer>) -> Self {
        Self { input, layers, from: Vec::new() }
    }
}

words! {
    /// One layer. Layers with parameters have a field name, which prefixes their tensors (`fc1.weight`).
    #[derive(Clone, Debug, PartialEq, Serialize)]
    #[non_exhaustive]
    pub enum Layer {
        /// A linear layer over the last axis: `y = x Wᵀ + b`, with the tensors `weight [out, in]` and
        /// `bias [out]`. The layer before gives `in`.
        Linear = "linear" {
            /// Field name: first part of the names of the layer's tensors.
            name: String = FIELD_NAME, Absent::Refused, "fc1";
            /// Output features.
            out: u32 = FEATURES, Absent::Refused, "10";
            /// Whether there is a `bias`.
            bias: bool = Takes::Flag, Absent::Default("true"), "false";
        },
        /// A 2-D convolution, with the tensors `weight [out, in / groups, height, width]` and `bias [out]`.
        Conv2d = "conv2d" {
            /// Field name: first part of the names of the layer's tensors.
            name: String = FIELD_NAME, Absent::Refused, "conv1";
            /// Output channels.
            out: u32 = CHANNELS, Absent::Refused, "8";
            /// Sides of the kernel.
            kernel: Sides = SIDES, Absent::Refused, "3";
            /// Step of the window.
            stride: Sides = SIDES, Absent::Default("1"), "2";
            /// Zeros added at each edge.
            padding: Edges = EDGES, Absent::Default("0"), "1";
            /// Whether there is a `bias`.
            bias: bool = Takes::Flag, Absent::Default("true"), "false";
            /// Distance between the kernel's elements.
            dilation: Sides = SIDES, Absent::Default("1"), "2";
            /// Parts of the channels that are convolved apart.
            groups: u32 = CHANNELS, Absent::Default("1"), "2";
        },
        /// A transposed 2-D convolution, with the tensors `weight [in, out / groups, height, width]` and
        /// `bias [out]`.
        ConvTranspose2d = "conv_transpose2d" {
            /// Field name: first part of the names of the layer's tensors.
            name: String = FIELD_NAME, Absent::Refused, "up1";
            /// Output channels.
            out: u32 = CHANNELS, Absent::Refused, "8";
            /// Sides of the kernel.
            kernel: Sides = SIDES, Absent::Refused, "2";
            /// Step of the window.
            stride: Sides = SIDES, Absent::Default("1"), "2";
            /// Pixels cropped from both ends of a side.
            padding: Sides = SIDES, Absent::Default("0"), "1";
            /// Whether there is a `bias`.
            bias: bool = Takes::Flag, Absent::Default("true"), "false";
            /// Distance between the kernel's elements.
            dilation: Sides = SIDES, Absent::Default("1"), "2";
            /// Parts of the channels that are convolved apart.
            groups: u32 = CHANNELS, Absent::Default("1"), "2";
            /// Pixels added at the bottom and at the right: fewer than the stride or the dilation.
            output_padding: Sides = SIDES, Absent::Default("0"), "1";
        },
        /// Batch normalisation over channels, with the tensors `weight`, `bias`, `running_mean` and
        /// `running_var`, all `[channels]`.
        BatchNorm = "batch_norm" {
            /// Field name: first part of the names of the layer's tensors.
            name: String = FIELD_NAME, Absent::Refused, "norm1";
            /// Added to the variance.
            eps: f64 = Takes::Number(Range::AboveZero), Absent::Default("0.00001"), "0.001";
            /// Share of a batch in the running statistics.
            momentum: f64 = Takes::Number(Range::FromZeroToOne), Absent::Default("0.1"), "0.01";
            /// Whether there is a scalar `num_batches_tracked`, as in PyTorch. It counts batches, and the
            /// largest count of a round wins.
            count: bool = Takes::Flag, Absent::Default("false"), "true";
        },
        /// The largest value of each window.
        MaxPool = "max_pool" {
            /// Sides of the window.
            kernel: Sides = SIDES, Absent::Refused, "2";
            /// Step of the window.
            stride: Option<Sides> = SIDES, Absent::Means("the sides of the window"), "2";
            /// Pixels added at both ends of a side, which no window takes; at most half of the window.
            padding: Sides = SIDES, Absent::Default("0"), "1";
            /// Whether a last window may reach past the end.
            ceil: bool = Takes::Flag, Absent::Default("false"), "true";
        },
        /// The mean of each window.
        AvgPool = "avg_pool" {
            /// Sides of the window.
            kernel: Sides = SIDES, Absent::Refused, "2";
            /// Step of the window.
            stride: Option<Sides> = SIDES, Absent::Means("the sides of the window"), "2";
            /// Zeros added at both ends of a side; at most half of the window.
            padding: Sides = SIDES, Absent::Default("0"), "1";
            /// Whether a last window may reach past the end.
            ceil: bool = Takes::Flag, Absent::Default("false"), "true";
            /// Whether the mean counts zeros of the padding.
            count_pad: bool = Takes::Flag, Absent::Default("true"), "false";
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
        /// The sum of 2 to 8 inputs. A side of 1 is repeated to the other inputs' side.
        Add = "add",
        /// The first input minus the second. A side of 1 is repeated to the other input's side.
        Sub = "sub",
        /// The product of 2 to 8 inputs. A side of 1 is repeated to the other inputs' side.
        Mul = "mul",
        /// Joins 2 to 64 inputs along an axis.
        Concat = "concat" {
            /// The axis; 0 is the channels.
            axis: u32 = AXIS, Absent::Default("0"), "1";
        },
        /// Adds zeros at the edges.
        Pad = "pad" {
            /// How many. For `[channels, length]`: one number, or `[before, after, 0, 0]`.
            by: Edges = EDGES, Absent::Refused, "[0, 1, 0, 1]";
        },
        /// Adds zeros around the first input until its sides are those of the second input. With an odd
        /// difference, the bottom and the right get one more.
        PadTo = "pad_to",
        /// Takes pixels away at the edges.
        Crop = "crop" {
            /// How many. For `[channels, length]`: one number, or `[before, after, 0, 0]`.
            by: Edges = EDGES, Absent::Refused, "[0, 1, 0, 1]";
        },
        /// Resizes an image. Either `scale` or `size` is there.
        Upsample = "upsample" {
            /// How values between pixels are found.
            mode: Upsampling = Takes::Word(Upsampling::TABLE), Absent::Refused, "bilinear";
            /// Factor of the sides.
            scale: Option<Sides> = SIDES, Absent::Means("`size` says the sides"), "2";
            /// The sides of the output.
            size: Option<Sides> = SIDES, Absent::Means("`scale` says the sides"), "[83, 83]";
            /// Whether corner pixels stay in the corners (`align_corners` in PyTorch); for `bilinear` alone.
            corners: bool = Takes::Flag, Absent::Default("false"), "true";
        },
        /// Means over windows that together cover the image. The default is the mean of each channel.
        AdaptiveAvgPool = "adaptive_avg_pool" {
            /// The sides of the output.
            size: Sides = SIDES, Absent::Default("1"), "4";
        },
        /// A 1-D convolution, with the tensors `weight [out, in / groups, kernel]` and `bias [out]`.
        Conv1d = "conv1d" {
            /// Field name: first part of the names of the layer's tensors.
            name: String = FIELD_NAME, Absent::Refused, "conv1";
            /// Output channels.
            out: u32 = CHANNELS, Absent::Refused, "8";
            /// Length of the kernel.
            kernel: u32 = PIXELS, Absent::Refused, "3";
            /// Step of the window.
            stride: u32 = PIXELS, Absent::Default("1"), "2";
            /// Zeros added at each end.
            padding: Sides = ENDS, Absent::Default("0"), "1";
            /// Whether there is a `bias`.
            bias: bool = Takes::Flag, Absent::Default("true"), "false";
            /// Distance between the kernel's elements.
            dilation: u32 = PIXELS, Absent::Default("1"), "2";
            /// Parts of the channels that are convolved apart.
            groups: u32 = CHANNELS, Absent::Default("1"), "2";
        },
        /// The activation `x`, for `x` below 0 `slope · x`.
        LeakyRelu = "leaky_relu" {
            /// The factor below 0.
            slope: f64 = Takes::Number(Range::FromZero), Absent::Default("0.01"), "0.1";
        },
        /// The activation `x / (1 + e⁻ˣ)`.
        Silu = "silu",
        /// The activation `x · hard_sigmoid(x)`.
        HardSwish = "hard_swish",
        /// The activation `x / 6 + 1 / 2`, held in 0 to 1.
        HardSigmoid = "hard_sigmoid",
        /// Exponentials along an axis, divided by their sum.
        Softmax = "softmax" {
            /// The axis; 0 is the channels.
            axis: u32 = AXIS, Absent::Default("0"), "1";
        },
        /// The logarithm of `softmax`.
        LogSoftmax = "log_softmax" {
            /// The axis; 0 is the channels.
            axis: u32 = AXIS, Absent::Default("0"), "1";
        },
        /// The activation `x`, held in 0 to 6.
        Relu6 = "relu6",
        /// The activation `x`, for `x` below 0 `alpha · (eˣ − 1)`.
        Elu = "elu" {
            /// The factor below 0.
            alpha: f64 = Takes::Number(Range::AboveZero), Absent::Default("1"), "0.5";
        },
        /// Normalisation of each sample over its last axes, with the tensors `weight` and `bias` of those
        /// sides.
        LayerNorm = "layer_norm" {
            /// Field name: first part of the names of the layer's tensors.
            name: String = FIELD_NAME, Absent::Refused, "norm1";
            /// How many of the last axes are normalised together.
            axes: u32 = Takes::Whole { least: 1, most: 3, unit: "axes" }, Absent::Default("1"), "3";
            /// Added to the variance.
            eps: f64 = Takes::Number(Range::AboveZero), Absent::Default("0.00001"), "0.001";
        },
        /// Normalisation of each sample over groups of channels, with the tensors `weight` and `bias`, both
        /// `[channels]`.
        GroupNorm = "group_norm" {
            /// Field name: first part of the names of the layer's tensors.
            name: String = FIELD_NAME, Absent::Refused, "norm1";
            /// The number of groups. A group for each channel is instance normalisation.
            groups: u32 = CHANNELS, Absent::Refused, "4";
            /// Added to the variance.
            eps: f64 = Takes::Number(Range::AboveZero), Absent::Default("0.00001"), "0.001";
        },
        /// The same values in another shape.
        Reshape = "reshape" {
            /// The shape, of 1 to 3 sides.
            shape: Vec<u32> = SHAPE, Absent::Refused, "[4, 16]";
        },
        /// The axes in another order.
        Permute = "permute" {
            /// For each axis of the output, the axis of the input; 0 is the channels.
            order: Vec<u32> = AXES, Absent::Refused, "[1, 0]";
        },
        /// A part of an axis.
        Slice = "slice" {
            /// The axis; 0 is the channels.
            axis: u32 = AXIS, Absent::Refused, "1";
            /// The first index that is taken.
            start: u32 = INDEX, Absent::Default("0"), "2";
            /// The index after the last one that is taken.
            end: Option<u32> = PIXELS, Absent::Means("the end of the axis"), "6";
            /// Distance between the indices.
            step: u32 = PIXELS, Absent::Default("1"), "2";
        },
        /// One index of an axis, which the output does not have any more.
        Select = "select" {
            /// The axis; 0 is the channels.
            axis: u32 = AXIS, Absent::Refused, "0";
            /// The index; 0 is the first.
            index: u32 = INDEX, Absent::Refused, "3";
        },
        /// The mean over axes.
        Mean = "mean" {
            /// The axes, in ascending order; 0 is the channels.
            axes: Vec<u32> = AXES, Absent::Refused, "[1, 2]";
            /// Whether each of these axes stays, with a side of 1.
            keep: bool = Takes::Flag, Absent::Default("false"), "true";
        },
        /// The largest value over axes.
        Max = "max" {
            /// The axes, in ascending order; 0 is the channels.
            axes: Vec<u32> = AXES, Absent::Refused, "[1, 2]";
            /// Whether each of these axes stays, with a side of 1.
            keep: bool = Takes::Flag, Absent::Default("false"), "true";
        },
        /// Each value times a number.
        Scale = "scale" {
            /// The number.
            by: f64 = Takes::Number(Range::Finite), Absent::Refused, "0.5";
        },
        /// A trained tensor that takes no input: it is the same for every sample. Join it to others with
        /// `add`, `mul` or `concat`.
        Parameter = "parameter" {
            /// The name of the tensor.
            name: String = FIELD_NAME, Absent::Refused, "pos";
            /// The shape, of 1 to 3 sides.
            shape: Vec<u32> = SHAPE, Absent::Refused, "[4, 16]";
            /// Whether the tensor has a side of 1 before these, for the batch, as in PyTorch.
            batch: bool = Takes::Flag, Absent::Default("false"), "true";
            /// What all elements are at first.
            start: f64 = Takes::Number(Range::Finite), Absent::Default("0"), "1";
        },
        /// The activation `x`, for `x` below 0 `w · x`, with the tensor `weight [slopes]`.
        PRelu = "prelu" {
            /// Field name: first part of the names of the layer's tensors.
            name: String = FIELD_NAME, Absent::Refused, "act";
            /// The number of slopes: 1, or one for each channel.
            slopes: u32 = CHANNELS, Absent::Default("1"), "8";
        },
        /// The product of the matrices that the last two axes of two inputs are.
        Matmul = "matmul",
        /// For each whole number of the sample a row of the tensor `weight [rows, width]`.
        Embedding = "embedding" {
            /// Field name: first part of the names of the layer's tensors.
            name: String = FIELD_NAME, Absent::Refused, "emb";
            /// Rows of the tensor: numbers of the sample are 0 to one less.
            rows: u32 = ROWS, Absent::Refused, "1000";
            /// Features of a row.
            width: u32 = FEATURES, Absent::Refused, "16";
        },
        /// The activation `gelu` in its form with `tanh`.
        GeluTanh = "gelu_tanh",
        /// Normalisation of each channel of each sample, without tensors. With tensors, it is `group_norm`
        /// with a group for each channel.
        InstanceNorm = "instance_norm" {
            /// Added to the variance.
            eps: f64 = Takes::Number(Range::AboveZero), Absent::Default("0.00001"), "0.001";
        },
        /// A transposed 1-D convolution, with the tensors `weight [in, out / groups, kernel]` and
        /// `bias [out]`.
        ConvTranspose1d = "conv_transpose1d" {
            /// Field name: first part of the names of the layer's tensors.
            name: String = FIELD_NAME, Absent::Refused, "up1";
            /// Output channels.
            out: u32 = CHANNELS, Absent::Refused, "8";
            /// Length of the kernel.
            kernel: u32 = PIXELS, Absent::Refused, "3";
            /// Step of the window.
            stride: u32 = PIXELS, Absent::Default("1"), "2";
            /// Values cropped from both ends.
            padding: u32 = INDEX, Absent::Default("0"), "1";
            /// Whether there is a `bias`.
            bias: bool = Takes::Flag, Absent::Default("true"), "false";
            /// Distance between the kernel's elements.
            dilation: u32 = PIXELS, Absent::Default("1"), "2";
            /// Parts of the channels that are convolved apart.
            groups: u32 = CHANNELS, Absent::Default("1"), "2";
            /// Values added at the end: fewer than the stride or the dilation.
            output_padding: u32 = INDEX, Absent::Default("0"), "1";
        },
        /// A long short-term memory over `[length, features]`, which starts from 0, with the tensors of
        /// PyTorch's `nn.LSTM`.
        Lstm = "lstm" {
            /// Field name: first part of the names of the layer's tensors.
            name: String = FIELD_NAME, Absent::Refused, "rnn";
            /// Outputs of a step, in each direction.
            hidden: u32 = FEATURES, Absent::Refused, "16";
            /// Layers on top of each other, each over what the one below gives at every step.
            layers: u32 = LAYERS, Absent::Default("1"), "2";
            /// Whether a second pass goes from the end to the beginning. Its outputs follow those of the
            /// first.
            bidirectional: bool = Takes::Flag, Absent::Default("false"), "true";
            /// Whether there are biases.
            bias: bool = Takes::Flag, Absent::Default("true"), "false";
            /// Which outputs of the uppermost layer the next layer gets.
            take: Steps = Takes::Word(Steps::TABLE), Absent::Default("sequence"), "last";
            /// Dropout between the layers.
            dropout: f32 = Takes::Number(Range::FromZeroBelowOne), Absent::Default("0"), "0.1";
        },
        /// Gated recurrent units over `[length, features]`, which start from 0, with the tensors of PyTorch's
        /// `nn.GRU`.
        Gru = "gru" {
            /// Field name: first part of the names of the layer's tensors.
            name: String = FIELD_NAME, Absent::Refused, "rnn";
            /// Outputs of a step, in each direction.
            hidden: u32 = FEATURES, Absent::Refused, "16";
            /// Layers on top of each other, each over what the one below gives at every step.
            layers: u32 = LAYERS, Absent::Default("1"), "2";
            /// Whether a second pass goes from the end to the beginning. Its outputs follow those of the
            /// first.
            bidirectional: bool = Takes::Flag, Absent::Default("false"), "true";
            /// Whether there are biases.
            bias: bool = Takes::Flag, Absent::Default("true"), "false";
            /// Which outputs of the uppermost layer the next layer gets.
            take: Steps = Takes::Word(Steps::TABLE), Absent::Default("sequence"), "last";
            /// Dropout between the layers.
            dropout: f32 = Takes::Number(Range::FromZeroBelowOne), Absent::Default("0"), "0.1";
        },
        /// Self-attention over `[length, features]`, with the tensors of PyTorch's `nn.MultiheadAttention`.
        Attention = "attention" {
            /// Field name: first part of the names of the layer's tensors.
            name: String = FIELD_NAME, Absent::Refused, "attn";
            /// Parts of the features, each with an attention of its own.
            heads: u32 = CHANNELS, Absent::Refused, "4";
            /// Whether there are biases.
            bias: bool = Takes::Flag, Absent::Default("true"), "false";
            /// Dropout of the attention's weights.
            dropout: f32 = Takes::Number(Range::FromZeroBelowOne), Absent::Default("0"), "0.1";
            /// Whether each place sees only itself and the places before it.
            causal: bool = Takes::Flag, Absent::Default("false"), "true";
        },
    }
}

words! {
    /// Which outputs of a recurrent layer are taken.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    pub enum Steps {
        /// The output of every step: `[length, features]`.
        Sequence = "sequence",
        /// The last output in each direction: `[features]`.
        Last = "last",
    }
}

words! {
    /// How a resized image gets its values.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    pub enum Upsampling {
        /// The pixel at the place, rounded down.
        Nearest = "nearest",
        /// A mean of the four pixels around the place, by distance.
        Bilinear = "bilinear",
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
            | Self::BatchNorm { name, .. }
            | Self::Conv1d { name, .. }
            | Self::LayerNorm { name, .. }
            | Self::GroupNorm { name, .. }
            | Self::Parameter { name, .. }
            | Self::PRelu { name, .. }
            | Self::Embedding { name, .. }
            | Self::ConvTranspose1d { name, .. }
            | Self::Lstm { name, .. }
            | Self::Gru { name, .. }
            | Self::Attention { name, .. } => Some(name),
            _ => None,
        }
    }

    /// Puts the name of the block around it before the layer's name.
    pub(crate) fn prefix(&mut self, block: &str) {
        if let Self::Linear { name, .. }
        | Self::Conv2d { name, .. }
        | Self::ConvTranspose2d { name, .. }
        | Self::BatchNorm { name, .. }
        | Self::Conv1d { name, .. }
        | Self::LayerNorm { name, .. }
        | Self::GroupNorm { name, .. }
        | Self::Parameter { name, .. }
        | Self::PRelu { name, .. }
        | Self::Embedding { name, .. }
        | Self::ConvTranspose1d { name, .. }
        | Self::Lstm { name, .. }
        | Self::Gru { name, .. }
        | Self::Attention { name, .. } = self
        {
            name.insert_str(0, block);
        }
    }

    /// Leaves out what a setting says that its absence says too.
    pub(crate) fn normalised(mut self) -> Self {
        if let Self::MaxPool { kernel, stride, .. } | Self::AvgPool { kernel, stride, .. } = &mut self
            && *stride == Some(*kernel)
        {
            *stride = None;
        }
        self
    }

    /// Least and largest number of inputs.
    pub(crate) fn takes(&self) -> (usize, usize) {
        match self {
            Self::Add | Self::Mul => (2, limits::INPUTS),
            Self::Sub | Self::PadTo | Self::Matmul => (2, 2),
            Self::Parameter { .. } => (0, 0),
            Self::Concat { .. } => (2, limits::JOINED),
            _ => (1, 1),
        }
    }
}

const FIELD_NAME: Takes = Takes::Text(Text::Any("field name"));
const FEATURES: Takes = Takes::Whole { least: 1, most: u32::MAX as u64, unit: "features" };
const CHANNELS: Takes = Takes::Whole { least: 1, most: u32::MAX as u64, unit: "channels" };
const PIXELS: Takes = Takes::Whole { least: 1, most: u32::MAX as u64, unit: "pixels" };
const INDEX: Takes = Takes::Whole { least: 0, most: u32::MAX as u64, unit: "" };
const LAYERS: Takes = Takes::Whole { least: 1, most: 64, unit: "layers" };
// Numbers of samples are f32, which hold whole numbers up to 2²⁴.
const ROWS: Takes = Takes::Whole { least: 1, most: 1 << 24, unit: "rows" };
const SHAPE: Takes = Takes::List { kind: "a list of 1 to 3 whole numbers", of: &PIXELS };
const AXES: Takes = Takes::List { kind: "a list of axes", of: &AXIS };
const AXIS: Takes = Takes::Whole { least: 0, most: 2, unit: "" };
