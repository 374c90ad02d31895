//! Models to measure with: the same number of parameters cut in different ways.

use std::{fmt, str::FromStr, sync::Arc};

use fl_engine::tensor::{Combine, Dtype, Layout, TensorSpec};

/// How a model is cut into tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One tensor.
    One,
    /// Sixty tensors, the n-th n times as long as the first.
    Sixty,
    /// The U-Net of OpenFL's Kvasir template: 136 tensors, 31,043,521 parameters, 11,776 f32 and 18 i64
    /// elements of batch statistics.
    Unet,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Self; 3] = [Self::One, Self::Sixty, Self::Unet];

    /// The layout of a model of `params` parameters; the U-Net has its own number.
    ///
    /// # Panics
    /// When `params` is zero or past what a layout holds.
    #[must_use]
    pub fn layout(self, params: usize) -> Arc<Layout> {
        let tensors = match self {
            Self::One => vec![TensorSpec::f32("weight", [length(params)])],
            Self::Sixty => sixty(params),
            Self::Unet => unet(),
        };
        #[expect(clippy::expect_used, reason = "the documented panic")]
        Layout::new(tensors).expect("a model of this size fits a layout")
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One => "one",
            Self::Sixty => "sixty",
            Self::Unet => "unet",
        })
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|shape| shape.to_string() == word);
        found.ok_or_else(|| format!("layout {word:?}: one, sixty, unet"))
    }
}

fn length(elements: usize) -> u32 {
    #[expect(clippy::expect_used, reason = "the documented panic of Shape::layout")]
    u32::try_from(elements).expect("a tensor of this length fits a layout")
}

fn sixty(params: usize) -> Vec<TensorSpec> {
    const SHARES: usize = 60 * 61 / 2;
    let end = |n: usize| params * (n * (n + 1) / 2) / SHARES;
    (0..60).map(|n| TensorSpec::f32(format!("layer{n}.weight"), [length(end(n + 1) - end(n))])).collect()
}

fn unet() -> Vec<TensorSpec> {
    let mut tensors = Vec::new();
    double(&mut tensors, "inc.conv", 3, 64);
    for (n, inputs) in [64, 128, 256, 512].into_iter().enumerate() {
        double(&mut tensors, &format!("down{}.mpconv.1.conv", n + 1), inputs, inputs * 2);
    }
    for (n, inputs) in [1024, 512, 256, 128].into_iter().enumerate() {
        let half = inputs / 2;
        let name = format!("up{}", n + 1);
        tensors.push(TensorSpec::f32(format!("{name}.up.weight"), [inputs, half, 2, 2]));
        tensors.push(TensorSpec::f32(format!("{name}.up.bias"), [half]));
        double(&mut tensors, &format!("{name}.conv.conv"), inputs, half);
    }
    tensors.push(TensorSpec::f32("outc.weight", [1, 64, 1, 1]));
    tensors.push(TensorSpec::f32("outc.bias", [1]));
    tensors
}

/// Twice a convolution of 3 by 3 with its bias, then batch normalisation.
fn double(tensors: &mut Vec<TensorSpec>, name: &str, inputs: u32, outputs: u32) {
    for (at, inputs) in [(0, inputs), (3, outputs)] {
        tensors.push(TensorSpec::f32(format!("{name}.{at}.weight"), [outputs, inputs, 3, 3]));
        tensors.push(TensorSpec::f32(format!("{name}.{at}.bias"), [outputs]));
        for field in ["weight", "bias", "running_mean", "running_var"] {
            tensors.push(TensorSpec::f32(format!("{name}.{}.{field}", at + 1), [outputs]));
        }
        let batches = format!("{name}.{}.num_batches_tracked", at + 1);
        tensors.push(TensorSpec { dtype: Dtype::I64, combine: Combine::Max, ..TensorSpec::f32(batches, []) });
    }
}

/// A plan's `model` block with the U-Net's layers in a row. A plan has no skip connections: where the network
/// joins a skipped layer, a third convolution has the weights that the first one lacks. 142 tensors,
/// 31,060,097 elements: those of the network, and the biases and batch statistics of the further
/// convolutions.
#[must_use]
pub fn unet_in_a_row() -> String {
    let mut layers = Vec::new();
    let convolutions = |layers: &mut Vec<String>, name: &str, outputs: u32, times: u32| {
        for n in 0..times {
            layers.push(format!("{{conv2d: {{name: {name}_{n}, out: {outputs}, kernel: 3, padding: 1}}}}"));
            layers.push(format!("{{batch_norm: {{name: {name}_{n}_norm}}}}"));
            layers.push("relu".to_owned());
        }
    };
    convolutions(&mut layers, "inc", 64, 2);
    for (n, outputs) in [128, 256, 512, 1024].into_iter().enumerate() {
        layers.push("{max_pool: {kernel: 2}}".to_owned());
        convolutions(&mut layers, &format!("down{n}"), outputs, 2);
    }
    for (n, outputs) in [512, 256, 128, 64].into_iter().enumerate() {
        layers.push(format!("{{conv_transpose2d: {{name: up{n}, out: {outputs}, kernel: 2, stride: 2}}}}"));
        convolutions(&mut layers, &format!("up{n}_conv"), outputs, 3);
    }
    layers.push("{conv2d: {name: outc, out: 1, kernel: 1}}".to_owned());
    format!("{{input: [3, 256, 256], layers: [{}]}}", layers.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unet_has_the_tensors_and_parameters_of_the_template() {
        let layout = Shape::Unet.layout(0);
        let statistics = |t: &&TensorSpec| t.name.contains("running") || t.name.contains("num_batches");
        let elements = |t: &TensorSpec| t.elements().unwrap();
        let buffers: Vec<_> = layout.tensors().iter().filter(statistics).collect();
        let buffered: u64 = buffers.iter().map(|t| elements(t)).sum();
        let all: u64 = layout.tensors().iter().map(elements).sum();
        assert_eq!((layout.tensors().len(), buffers.len()), (136, 54));
        assert_eq!((all - buffered, buffered), (31_043_521, 11_794));
        assert_eq!(layout.i64_len(), 18);
    }

    #[test]
    fn unet_in_a_row_has_the_parameters_of_the_unet_but_for_four_normalisations() {
        let template = fl_host_tools::templates::find("breast_cancer").unwrap();
        let plan = fl_tests::federation::synthetic_with(template.plan, &unet_in_a_row(), 1);
        let layout = fl_engine::plan::Plan::parse(&plan).unwrap().layout().unwrap();
        let further = 5 * (512 + 256 + 128 + 64);
        assert_eq!((layout.tensors().len(), layout.f32_len()), (142, 31_043_521 + 11_776 + further));
    }

    #[test]
    fn sixty_tensors_hold_every_parameter() {
        for params in [1830, 100_000, 9_999_999] {
            let layout = Shape::Sixty.layout(params);
            assert_eq!((layout.tensors().len(), layout.f32_len()), (60, params));
        }
    }
}
