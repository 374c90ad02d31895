//! Why a file of ONNX was not taken.

use fl_engine::{model::ModelError, printable::one_line};

/// Why a network was not imported. The text says what is wrong, [`Self::hint`] what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// The bytes are no file of ONNX.
    #[error("the file is not an ONNX model, or was cut short: {0}")]
    File(&'static str),
    /// Another version of the operators than an import knows.
    #[error("the file has opset {0}; opset {least} to {most} can be imported", least = OPSETS.0, most = OPSETS.1)]
    Opset(i64),
    /// The exporter merged batch normalisations into the layers before them.
    #[error("the exporter merged batch normalisation into other layers, so the network cannot be trained")]
    Merged,
    /// Inputs or outputs that a plan cannot say.
    #[error("{0}")]
    Ends(String),
    /// The nodes of the file do not fit together.
    #[error("the network of the file is broken: {0}")]
    Graph(String),
    /// A tensor that cannot be taken.
    #[error("tensor {}: {why}", quoted(name))]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// Nodes that no layer of a plan stands for.
    #[error("a plan has no layers for {} of the network: {}", count(.0.len()), names(.0))]
    Nodes(Vec<Refusal>),
    /// Two layers have the same weights.
    #[error("the layers use the tensor {} more than once; each layer of a plan has its own tensors", quoted(.0))]
    Shared(String),
    /// The layers do not make a model.
    #[error("the network does not make a model of a plan: {0}")]
    Model(#[from] ModelError),
}

/// A node that no layer stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// PyTorch's name of the module, if the file has it, and the operator: `encoder.rnn (GRU)`.
    pub node: String,
    /// What is wrong.
    pub why: String,
    /// What to use instead; empty if `why` says that.
    pub instead: String,
}

impl OnnxError {
    /// What to do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::File(_) => "check the path, and copy the file again from where it was made".to_owned(),
            Self::Opset(_) => "give torch.onnx.export the argument opset_version=17".to_owned(),
            Self::Merged => format!("export the network again:\n{EXPORT}"),
            Self::Ends(_) => format!(
                "export a module whose forward takes one tensor and returns one, with the batch in front:\n{EXPORT}"
            ),
            Self::Graph(_) => {
                "export the network again; `python -m onnx.checker FILE` explains what is broken".to_owned()
            }
            Self::Tensor { .. } => format!("export the network in 32 bits (net.float()):\n{EXPORT}"),
            Self::Nodes(refusals) => {
                let line = |refusal: &Refusal| {
                    let instead = if refusal.instead.is_empty() { "" } else { "; " };
                    one_line(&format!("{}: {}{instead}{}", refusal.node, refusal.why, refusal.instead))
                        .into_owned()
                };
                let mut lines: Vec<String> = refusals.iter().take(SHOWN).map(line).collect();
                if refusals.len() > SHOWN {
                    lines.push(format!("… and {} more", refusals.len() - SHOWN));
                }
                lines.join("\n")
            }
            Self::Shared(_) => "give each layer weights of its own in the PyTorch module".to_owned(),
            Self::Model(error) => return error.hint(),
        })
    }
}

/// A name of a file in quotes, in one line, shortened where it is very long.
pub(super) fn quoted(name: &str) -> String {
    let short: String = name.chars().take(120).collect();
    format!("{short:?}")
}

fn count(nodes: usize) -> String {
    if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") }
}

fn names(refusals: &[Refusal]) -> String {
    let names: Vec<&str> = refusals.iter().take(4).map(|refusal| refusal.node.as_str()).collect();
    names.join(", ") + if refusals.len() > 4 { ", …" } else { "" }
}

/// The first and the last version of the operators that an import knows.
pub(super) const OPSETS: (i64, i64) = (11, 20);

/// The two lines that export a network for training.
pub(super) const EXPORT: &str = "\
net.train()
torch.onnx.export(net, (x,), \"net.onnx\", dynamo=True, optimize=False, external_data=False)";

/// Refusals that a hint lists.
const SHOWN: usize = 20;
