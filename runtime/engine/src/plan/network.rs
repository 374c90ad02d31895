//! `model`: layers, or a named network that expands to layers.

use serde::Serialize;

use crate::{
    model::{Layer, ModelSpec},
    settings::{Absent, Field, Key, PlanError, Section, Setting, Tagged, Takes, words},
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
    }
}

/// `{input: […], layers: […]}` or `{network: …, input: […], …}`.
impl Setting for ModelSpec {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let (network, model) = field.tagged()?;
        let input: Vec<u32> = model.get("input")?;
        let layers = match network {
            None => model.get("layers")?,
            Some(Network::Mlp) => {
                let mut layers = if input.len() > 1 { vec![Layer::Flatten] } else { Vec::new() };
                dense(&model, &mut layers)?;
                layers
            }
            Some(Network::Cnn) => {
                let mut layers = Vec::new();
                for (out, number) in model.get::<Vec<u32>>("channels")?.into_iter().zip(1..) {
                    let name = format!("conv{number}");
                    layers.push(Layer::Conv2d { name, out, kernel: 3, stride: 1, padding: 1, bias: true });
                    layers.push(Layer::Relu);
                    layers.push(Layer::MaxPool { kernel: 2 });
                }
                layers.push(Layer::Flatten);
                dense(&model, &mut layers)?;
                layers
            }
        };
        Ok(Self { input, layers })
    }
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
    untagged: Some(&[Key {
        name: "layers",
        takes: Takes::List { kind: "a list of layers", of: &Takes::Variant(Layer::TABLE) },
        absent: Absent::Refused,
        meaning: "The layers, in order.",
        example: "[{linear: {name: fc1, out: 16}}, relu, {linear: {name: fc2, out: 2}}]",
    }]),
};

const INPUT: Key = Key {
    name: "input",
    takes: NUMBERS,
    absent: Absent::Refused,
    meaning: "The shape of one sample: [features], or [channels, height, width].",
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
