//! Convolutions and pools in one form: a window that moves over height and width.

use super::{
    Layer,
    span::{Sides, Span},
};

/// A window over an image, or over a sequence, which is an image of width 1. Pairs are height, then width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Sides of the window.
    pub kernel: [u32; 2],
    /// Its step.
    pub stride: [u32; 2],
    /// Pixels added at the top, bottom, left and right; cropped, if transposed.
    pub edges: [u32; 4],
    /// Distance between the window's elements.
    pub dilation: [u32; 2],
    /// Pixels that a transposed convolution adds at the bottom and at the right.
    pub extra: [u32; 2],
    /// Whether a last window may reach past the end.
    pub ceil: bool,
    /// What a convolution has, and a pool has not.
    pub weights: Option<Weights>,
}

/// The weights of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Output channels.
    pub out: u32,
    /// Parts of the channels that are convolved apart.
    pub groups: u32,
    /// Whether there is a bias.
    pub bias: bool,
    /// Whether each value of the input stamps its kernel, in place of the other way round.
    pub transposed: bool,
}

impl Layer {
    /// The layer as a window, if it is one. `axes` is the number of axes that the window moves over: 2 for an
    /// image, 1 for a sequence.
    #[must_use]
    pub fn window(&self, axes: usize) -> Option<Window> {
        let across = |span: Sides, unit: u32| if axes == 1 { [span.0[0], unit] } else { span.0 };
        let both = |[height, width]: [u32; 2]| [height, height, width, width];
        let plain = Window {
            kernel: [1; 2],
            stride: [1; 2],
            edges: [0; 4],
            dilation: [1; 2],
            extra: [0; 2],
            ceil: false,
            weights: None,
        };
        Some(match *self {
            Self::Conv2d { out, kernel, stride, padding, bias, dilation, groups, .. } => Window {
                kernel: kernel.0,
                stride: stride.0,
                edges: padding.0,
                dilation: dilation.0,
                weights: Some(Weights { out, groups, bias, transposed: false }),
                ..plain
            },
            Self::ConvTranspose2d {
                out,
                kernel,
                stride,
                padding,
                bias,
                dilation,
                groups,
                output_padding,
                ..
            } => Window {
                kernel: kernel.0,
                stride: stride.0,
                edges: both(padding.0),
                dilation: dilation.0,
                extra: output_padding.0,
                weights: Some(Weights { out, groups, bias, transposed: true }),
                ..plain
            },
            Self::Conv1d {
                out,
                kernel,
                stride,
                padding: Span([before, after]),
                bias,
                dilation,
                groups,
                ..
            } => Window {
                kernel: [kernel, 1],
                stride: [stride, 1],
                edges: [before, after, 0, 0],
                dilation: [dilation, 1],
                weights: Some(Weights { out, groups, bias, transposed: false }),
                ..plain
            },
            Self::ConvTranspose1d {
                out,
                kernel,
                stride,
                padding,
                bias,
                dilation,
                groups,
                output_padding,
                ..
            } => Window {
                kernel: [kernel, 1],
                stride: [stride, 1],
                edges: both([padding, 0]),
                dilation: [dilation, 1],
                extra: [output_padding, 0],
                weights: Some(Weights { out, groups, bias, transposed: true }),
                ..plain
            },
            Self::MaxPool { kernel, stride, padding, ceil }
            | Self::AvgPool { kernel, stride, padding, ceil, .. } => Window {
                kernel: across(kernel, 1),
                stride: across(stride.unwrap_or(kernel), 1),
                edges: both(across(padding, 0)),
                ceil,
                ..plain
            },
            _ => return None,
        })
    }
}

impl Layer {
    /// Pixels at the top, bottom, left and right that a `pad` adds or a `crop` takes; `None` for other layers
    /// and for numbers that a sequence (one axis) does not take.
    #[must_use]
    pub fn edges(&self, axes: usize) -> Option<[u32; 4]> {
        let (Self::Pad { by } | Self::Crop { by }) = self else { return None };
        match by.0 {
            all if axes == 2 => Some(all),
            [both, ..] if by.all(both) => Some([both, both, 0, 0]),
            [before, after, 0, 0] if before != after => Some(by.0),
            _ => None,
        }
    }
}

impl Window {
    /// Length of the output along one axis (0 is height) for an input of `length`; the least length that the
    /// window takes where `length` is too short.
    pub(super) fn along(&self, axis: usize, length: u32) -> Result<u128, u128> {
        let wide = |number: u32| u128::from(number);
        let (before, after) = (wide(self.edges[2 * axis]), wide(self.edges[2 * axis + 1]));
        let (length, stride) = (wide(length), wide(self.stride[axis]));
        // The products are of numbers below 2^32, so no sum is past 2^66.
        let reach = wide(self.dilation[axis]) * (wide(self.kernel[axis]) - 1) + 1;
        if self.weights.is_some_and(|weights| weights.transposed) {
            let stamped = (length - 1) * stride + reach + wide(self.extra[axis]);
            return stamped.checked_sub(before + after).filter(|left| *left > 0).ok_or(0);
        }
        let padded = length + before + after;
        let room = padded.checked_sub(reach).ok_or_else(|| reach - before - after)?;
        if !self.ceil {
            return Ok(room / stride + 1);
        }
        let windows = room.div_ceil(stride) + 1;
        // A last window lies at least in part over values.
        Ok(if (windows - 1) * stride >= length + before { windows - 1 } else { windows })
    }
}
