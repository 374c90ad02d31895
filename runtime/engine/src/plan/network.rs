//! `model`: layers, or a named network that expands to layers.

use serde::Serialize;

use super::graph::{self, Graph};
use crate::{
    model::{Layer, ModelSpec},
    settings::{self, Absent, Fault, Field, Key, Node, PlanError, Section, Setting, Tagged, Takes, words},
};

words! {
    /// A named network.
    #[derive(Clone, Copy, Debug, Serialize)]
    enum Network {
        /// Linear layers with ReLU between them: `fc1`, `fc2`, and so on.
        Mlp = "mlp" => MLP,
        /// Convolutions of 3 by 3 that keep the sides, each with ReLU and a pool that halves the sides:
        /// `conv1`, `conv2`, and so on. Linear layers follow, as in `mlp`.
        Cnn = "cnn" => CNN,
        /// A U-Net (Ronneberger et al., arXiv:1505.04597) with batch normalisation. The output is an image
        /// with the sides of the input: `inc`, `down1`, `up1`, and so on, and `outc`.
        Unet = "unet" => UNET,
        /// A residual network (He et al., arXiv:1512.03385) with the names of torchvision: `conv1`,
        /// `layer1.0`, and so on, and `fc`.
        Resnet = "resnet" => RESNET,
    }
}

impl ModelSpec {
    /// A model that is written as `model` in a plan: for tests and simulations, which have no `plan.yaml`.
    ///
    /// # Errors
    /// [`PlanError`] for the first thing that is wrong. Whether the layers fit together,
    /// [`place`](crate::model::place) says.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let tree = settings::parse("model", text)?;
        Self::read(&Field::root("model", &tree, Takes::Tagged(TAGGED)))
    }
}

/// `{input: […], layers: […]}` or `{network: …, input: […], …}`.
impl Setting for ModelSpec {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let (network, model) = field.tagged()?;
        let input: Vec<u32> = model.get("input")?;
        let (layers, from) = match network {
            None => Graph::read(&model)?.into_parts(),
            Some(Network::Mlp) => {
                let mut layers = if input.len() > 1 { vec![Layer::Flatten] } else { Vec::new() };
                dense(&model, &mut layers)?;
                (layers, Vec::new())
            }
            Some(Network::Cnn) => {
                let mut layers = Vec::new();
                for (out, number) in model.get::<Vec<u32>>("channels")?.into_iter().zip(1..) {
                    layers.push(Layer::Conv2d {
                        name: format!("conv{number}"),
                        out,
                        kernel: 3.into(),
                        stride: 1.into(),
                        padding: 1.into(),
                        bias: true,
                        dilation: 1.into(),
                        groups: 1,
                    });
                    layers.push(Layer::Relu);
                    layers.push(Layer::MaxPool {
                        kernel: 2.into(),
                        stride: None,
                        padding: 0.into(),
                        ceil: false,
                    });
                }
                layers.push(Layer::Flatten);
                dense(&model, &mut layers)?;
                (layers, Vec::new())
            }
            Some(Network::Unet) => expanded(&unet(&model)?)?,
            Some(Network::Resnet) => expanded(&resnet(&model)?)?,
        };
        Ok(Self { input, layers, from })
    }
}

/// A fault of one of the model's layers, said of the entry that the plan has.
pub(super) fn locate(file: &Field<'_>, fault: Fault) -> Fault {
    let Some(place) = fault.path.strip_prefix("model/layers/").map(str::to_owned) else { return fault };
    let (index, below) = place.split_at(place.find('/').unwrap_or(place.len()));
    let graph = || {
        let model = file.section().ok()?.optional("model")?;
        match model.tagged::<Network>() {
            Ok((None, section)) => Graph::read(&section).ok(),
            _ => None,
        }
    };
    match (index.parse(), graph()) {
        (Ok(index), Some(graph)) => graph.locate(index, below, fault),
        _ => fault,
    }
}

/// The layers of a network that is written with blocks.
fn expanded(text: &str) -> Result<(Vec<Layer>, Vec<Vec<u32>>), PlanError> {
    let tree: Node = settings::parse("network", text)?;
    let section = Field::root("network", &tree, Takes::Section(WRITTEN)).section()?;
    Ok(Graph::read(&section)?.into_parts())
}

fn unet(model: &Section<'_>) -> Result<String, PlanError> {
    let (base, depth): (u32, u32) = (model.get("base")?, model.get("depth")?);
    let (outputs, sigmoid): (u32, bool) = (model.get("outputs")?, model.get("sigmoid")?);
    let mut text = format!("{UNET_BLOCKS}- {{block: double, name: inc.conv, out: {base}, as: x0}}\n");
    for n in 1..=depth {
        let out = base << n;
        text += "- {max_pool: {kernel: 2}}\n";
        text += &format!("- {{block: double, name: down{n}.mpconv.1.conv, out: {out}, as: x{n}}}\n");
    }
    for n in 1..=depth {
        let (skip, out) = (depth - n, base << (depth - n));
        text += &format!("- {{block: up, name: up{n}, out: {out}, skip: x{skip}}}\n");
    }
    text += &format!("- {{conv2d: {{name: outc, out: {outputs}, kernel: 1}}}}\n");
    Ok(if sigmoid { text + "- sigmoid\n" } else { text })
}

fn resnet(model: &Section<'_>) -> Result<String, PlanError> {
    let (Stages(stages), outputs): (Stages, u32) = (model.get("depth")?, model.get("outputs")?);
    let mut text = RESNET_BLOCKS.to_owned();
    for (blocks, number) in stages.into_iter().zip(1..) {
        let out = 32 << number;
        for block in 0..blocks {
            let kind = if number > 1 && block == 0 { "halved" } else { "same" };
            text += &format!("- {{block: {kind}, name: layer{number}.{block}, out: {out}}}\n");
        }
    }
    text += "- adaptive_avg_pool\n- flatten\n";
    Ok(text + &format!("- {{linear: {{name: fc, out: {outputs}}}}}\n"))
}

/// `hidden` layers, then `outputs`.
fn dense(model: &Section<'_>, layers: &mut Vec<Layer>) -> Result<(), PlanError> {
    let (hidden, outputs): (Vec<u32>, u32) = (model.get("hidden")?, model.get("outputs")?);
    let last = hidden.len() + 1;
    for (out, number) in hidden.into_iter().chain([outputs]).zip(1..) {
        layers.push(Layer::Linear { name: format!("fc{number}"), out, bias: true });
        if number < last {
            layers.push(Layer::Relu);
        }
    }
    Ok(())
}

/// Blocks of each stage of a residual network.
struct Stages([u32; 4]);

impl Setting for Stages {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        match u32::read(field)? {
            18 => Ok(Self([2; 4])),
            34 => Ok(Self([3, 4, 6, 3])),
            _ => Err(field.refused()),
        }
    }
}

/// `model` itself.
pub(super) const TAGGED: &Tagged = &Tagged {
    tag: Key {
        name: "network",
        takes: Takes::Word(Network::TABLE),
        absent: Absent::Means("the model has `layers`"),
        meaning: "A named network, in place of `layers`.",
        example: "mlp",
    },
    common: &[INPUT],
    untagged: Some(WRITTEN),
};

/// Keys of a model without `network`.
const WRITTEN: &[Key] = &[graph::LAYERS, graph::BLOCKS];

const INPUT: Key = Key {
    name: "input",
    takes: NUMBERS,
    absent: Absent::Refused,
    meaning: "The shape of one sample: [features], [channels, length], or [channels, height, width].",
    example: "[1, 28, 28]",
};

const MLP: &[Key] = &[HIDDEN, OUTPUTS];
const CNN: &[Key] = &[
    Key {
        name: "channels",
        takes: NUMBERS,
        absent: Absent::Refused,
        meaning: "Output channels of each convolution, in order.",
        example: "[8, 16]",
    },
    HIDDEN,
    OUTPUTS,
];

const UNET: &[Key] = &[
    Key {
        name: "base",
        takes: Takes::Whole { least: 1, most: 4096, unit: "channels" },
        absent: Absent::Default("64"),
        meaning: "Channels at full size. Each halving of the sides doubles them.",
        example: "16",
    },
    Key {
        name: "depth",
        takes: Takes::Whole { least: 1, most: 8, unit: "halvings" },
        absent: Absent::Default("4"),
        meaning: "How often the sides are halved.",
        example: "3",
    },
    Key {
        name: "outputs",
        takes: NUMBER,
        absent: Absent::Default("1"),
        meaning: "Channels of the output: one for a mask, or one for each class.",
        example: "3",
    },
    Key {
        name: "sigmoid",
        takes: Takes::Flag,
        absent: Absent::Default("true"),
        meaning: "Whether a sigmoid is the last layer. Leave the sigmoid out for a loss that takes the values before it.",
        example: "false",
    },
];
const RESNET: &[Key] = &[
    Key {
        name: "depth",
        takes: Takes::Other { kind: "18 or 34", words: &[] },
        absent: Absent::Refused,
        meaning: "Layers with weights.",
        example: "18",
    },
    OUTPUTS,
];

const HIDDEN: Key = Key {
    name: "hidden",
    takes: NUMBERS,
    absent: Absent::Default("[]"),
    meaning: "Outputs of each hidden linear layer, in order.",
    example: "[64, 32]",
};

const OUTPUTS: Key = Key {
    name: "outputs",
    takes: NUMBER,
    absent: Absent::Refused,
    meaning: "Outputs of the last linear layer: one for each class, or 1 for a regression.",
    example: "10",
};

const NUMBERS: Takes = Takes::List { kind: "a list of whole numbers", of: &NUMBER };
const NUMBER: Takes = Takes::Whole { least: 1, most: u32::MAX as u64, unit: "" };

const UNET_BLOCKS: &str = "
blocks:
  double:
  - {conv2d: {name: \"0\", out: $out, kernel: 3, padding: 1}}
  - {batch_norm: {name: \"1\", count: true}}
  - relu
  - {conv2d: {name: \"3\", out: $out, kernel: 3, padding: 1}}
  - {batch_norm: {name: \"4\", count: true}}
  - relu
  up:
  - {conv_transpose2d: {name: up, out: $out, kernel: 2, stride: 2}, as: grown}
  - {pad_to: , from: [grown, $skip], as: fitted}
  - {concat: , from: [$skip, fitted]}
  - {block: double, name: conv.conv, out: $out}
layers:
";
const RESNET_BLOCKS: &str = "
blocks:
  main:
  - {conv2d: {name: conv1, out: $out, kernel: 3, stride: $stride, padding: 1, bias: false}}
  - {batch_norm: {name: bn1, count: true}}
  - relu
  - {conv2d: {name: conv2, out: $out, kernel: 3, padding: 1, bias: false}}
  - {batch_norm: {name: bn2, count: true}}
  same:
  - {block: main, out: $out, stride: 1, as: y}
  - {add: , from: [y, in]}
  - relu
  halved:
  - {block: main, out: $out, stride: 2, as: y}
  - {conv2d: {name: downsample.0, out: $out, kernel: 1, stride: 2, bias: false}, from: in}
  - {batch_norm: {name: downsample.1, count: true}, as: z}
  - {add: , from: [y, z]}
  - relu
layers:
- {conv2d: {name: conv1, out: 64, kernel: 7, stride: 2, padding: 3, bias: false}}
- {batch_norm: {name: bn1, count: true}}
- relu
- {max_pool: {kernel: 3, stride: 2, padding: 1}}
";

#[cfg(test)]
mod tests;
