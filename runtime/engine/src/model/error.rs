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
    #[error("input shape {0:?} is not [features] or [channels, height, width] with sides above 0")]
    Input(Vec<u32>),
    /// No layers, or more than [`crate::limits::LAYERS`].
    #[error("the model has {0} layers; a model has 1 to {max}", max = crate::limits::LAYERS)]
    Layers(usize),
    /// Nothing to train or to aggregate.
    #[error("the model has no layer with parameters")]
    NoParameters,
    /// A layer cannot take what the one before it gives.
    #[error("{layer} is given shape {arrives:?} and needs {needs}")]
    Shape {
        /// The layer.
        layer: LayerAt,
        /// The shape that the layer before gives, the batch left out.
        arrives: Vec<u32>,
        /// What the layer takes.
        needs: String,
    },
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
            Self::Shape { arrives, layer, .. } if arrives.len() == 3 && layer.kind == "linear" => {
                Some("put a flatten layer before this layer".to_owned())
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
