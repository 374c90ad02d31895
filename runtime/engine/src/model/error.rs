//! Why a model's spec was refused.

use std::fmt;

use super::Layer;
use crate::tensor::LayoutError;

/// Which layer an error speaks of: shown as `layers[2] (linear "fc1")`, the index counted from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerAt {
    /// Index in the spec's `layers`.
    pub index: usize,
    /// Its kind, as a plan spells it.
    pub kind: &'static str,
    /// Its field name, if it has parameters.
    pub name: Option<String>,
}

/// A refusal that names the layer at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// No layer takes the sample's shape.
    #[error(
        "input shape {0:?} is not [features], [channels, length] or [channels, height, width] with sides above 0"
    )]
    Input(Vec<u32>),
    /// No layers, or more than [`crate::limits::LAYERS`].
    #[error("the model has {0} layers; a model has 1 to {max}", max = crate::limits::LAYERS)]
    Layers(u64),
    /// Nothing to train or to aggregate.
    #[error("the model has no layer with parameters")]
    NoParameters,
    /// A layer cannot take its inputs.
    #[error("{layer} is given {} and needs {needs}", shapes(arrive))]
    Shape {
        /// The layer.
        layer: LayerAt,
        /// The shapes of its inputs, the batch left out.
        arrive: Vec<Vec<u32>>,
        /// What the layer takes.
        needs: String,
    },
    /// A layer has more or fewer inputs than it takes.
    #[error("the number of inputs of {layer} is {given}; the layer takes {}", range(*least, *most))]
    Inputs {
        /// The layer.
        layer: LayerAt,
        /// Its inputs.
        given: usize,
        /// Fewest inputs that the layer takes.
        least: usize,
        /// Most inputs.
        most: usize,
    },
    /// No layer takes what the layer gives.
    #[error("{0} is used by nothing; the output of the model is the last layer")]
    Unused(LayerAt),
    /// A list of inputs for other layers than there are, of a layer that does not stand above, or for a
    /// plain chain, which has none.
    #[error("the inputs of the layers are not one list for each layer, of layers above it")]
    From,
    /// A number outside its range.
    #[error("{layer}: {what}")]
    Setting {
        /// The layer.
        layer: LayerAt,
        /// The number and its range.
        what: String,
    },
    /// A field name that no Python attribute could have.
    #[error("{0}: a layer's name has letters, digits and _ only, in parts with . between them")]
    FieldName(LayerAt),
    /// A field name whose tensors would be taken for optimiser state.
    #[error("{0}: names that begin with {name} are reserved for optimiser state", name = super::optimiser::OPTIMISER)]
    Reserved(LayerAt),
    /// Two layers share a field name, and would share tensors.
    #[error("{second} has the same name as layers[{first}]")]
    Duplicate {
        /// Index of the first.
        first: usize,
        /// The second layer.
        second: LayerAt,
    },
    /// More elements than [`crate::limits::ELEMENTS`].
    #[error("{layer} gives or holds more than 2^32 elements")]
    TooLarge {
        /// The layer.
        layer: LayerAt,
    },
    /// The plan holds out a tensor that the model does not have.
    #[error("hold_out {pattern:?} matches no tensor of the model")]
    HoldOut {
        /// The plan's entry.
        pattern: String,
        /// A tensor that may be meant.
        nearest: Option<String>,
    },
    /// A model state over other tensors than the plan's model has.
    #[error("the state has other tensors than the plan's model")]
    OtherModel,
    /// The tensors do not make a valid layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl ModelError {
    /// What to do about it, where there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Shape { arrive, layer, .. } if arrive.len() > 1 && layer.kind != "pad_to" => {
                Some("put pad_to, pad or crop before this layer, so that the sides are the same".to_owned())
            }
            Self::Inputs { least, .. } if *least > 1 => Some(
                "name the inputs beside the layer: from: [LABEL, LABEL]; `as: LABEL` labels a layer"
                    .to_owned(),
            ),
            Self::Inputs { .. } => Some("join the inputs with add or concat before this layer".to_owned()),
            Self::Unused(_) => {
                Some("take the layer out, or name it in the `from` of a later layer".to_owned())
            }
            Self::HoldOut { nearest: Some(name), .. } => {
                Some(format!("did you mean {name:?}? A final * stands for any ending"))
            }
            Self::HoldOut { .. } => {
                Some("`fl-host model show` lists the tensors; a final * stands for any ending".to_owned())
            }
            Self::Reserved(_) => Some("give the layer another field name".to_owned()),
            Self::Duplicate { .. } => Some(
                "names of tensors begin with the field name: give each layer a field name of its own"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

impl LayerAt {
    pub(super) fn new(index: usize, layer: &Layer) -> Self {
        Self { index, kind: layer.word(), name: layer.name().map(str::to_owned) }
    }
}

impl fmt::Display for LayerAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "layers[{}] ({}", self.index, self.kind)?;
        if let Some(name) = &self.name {
            write!(f, " {name:?}")?;
        }
        f.write_str(")")
    }
}

/// `shape [2]`, or `[2] and [3]`.
fn shapes(shapes: &[Vec<u32>]) -> String {
    match shapes {
        [one] => format!("shape {one:?}"),
        several => several.iter().map(|shape| format!("{shape:?}")).collect::<Vec<_>>().join(" and "),
    }
}

fn range(least: usize, most: usize) -> String {
    if least == most { least.to_string() } else { format!("{least} to {most}") }
}
