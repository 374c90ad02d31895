//! Networks in ONNX files, as PyTorch exports them: from the bytes of a file to the layers of a plan and the
//! weights of a model.
//!
//! `fl-host model import` comes here. An export is not run: each node becomes a layer, a part of a layer, or
//! a constant, and what no layer can stand for is refused by name. The bytes come from anywhere, so every
//! number in them is checked before it is used. Nothing here opens a file: who calls brings the bytes, and
//! those of a second file that holds the weights.

mod computing;
mod constant;
mod error;
mod file;
mod folding;
mod graph;
mod layers;
mod moving;
mod patterns;
mod views;
mod wire;
mod written;

use std::collections::{BTreeSet, HashSet};

use fl_engine::{
    model::{self, Layer, ModelSpec},
    tensor::ModelState,
};

pub use self::error::{OnnxError, Refusal};
pub use self::written::written;
use self::{
    error::{OPSETS, quoted},
    file::{Model, Node, Tensor},
    graph::{Given, Graph, Value, Why},
    layers::{Source, View},
};

/// A network that was taken.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The layers.
    pub model: ModelSpec,
    /// The weights, under the names of PyTorch's state dict.
    pub state: ModelState,
    /// What the user should know: one sentence each.
    pub notes: Vec<String>,
}

/// The second files of a network, where weights may lie beside it. A name is the network's claim.
pub trait Elsewhere {
    /// The bytes that a file has.
    ///
    /// # Errors
    /// Why there is no such file, or why it is not read.
    fn length(&self, name: &str) -> Result<u64, String>;

    /// So many bytes of a file from this one on.
    ///
    /// # Errors
    /// As [`Self::length`].
    fn read(&self, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, String>;
}

/// Reads a network. `elsewhere` has the files in which weights may lie.
///
/// # Errors
/// [`OnnxError`] for a file that is broken or that no plan can say.
pub fn import(bytes: &[u8], elsewhere: &dyn Elsewhere) -> Result<Imported, OnnxError> {
    let model = file::read(bytes)?;
    if !(OPSETS.0..=OPSETS.1).contains(&model.opset) {
        return Err(OnnxError::Opset(model.opset));
    }
    if model.merged {
        return Err(OnnxError::Merged);
    }
    let (name, shape, batch) = input(&model)?;
    let [output] = *model.outputs.as_slice() else {
        return Err(OnnxError::Ends(format!(
            "the network gives {} outputs; a plan's model gives 1",
            model.outputs.len()
        )));
    };
    let mut graph = Graph::new(&model, shape.clone(), batch);
    graph.set(name, Value::Flow(layers::Flow { place: 0, shape }), usize::MAX);
    let refusals = walk(&mut graph, &model)?;
    let flow = match graph.get(output) {
        Some(Value::Flow(flow)) => flow.clone(),
        Some(Value::Missing(causes)) => {
            let causes = causes.iter().filter_map(|cause| refusals.get(*cause).cloned());
            return Err(OnnxError::Nodes(causes.collect()));
        }
        Some(_) => return Err(OnnxError::Ends("the output does not depend on the input".to_owned())),
        None => return Err(OnnxError::Graph(format!("no node gives the output {}", quoted(output)))),
    };
    let last = graph.settle(&flow).map_err(|why| {
        OnnxError::Nodes(vec![Refusal {
            node: "the output".to_owned(),
            why: why.why,
            instead: why.instead.to_owned(),
        }])
    })?;
    let (spec, sources) = graph.layers.finish(last)?;
    let whole =
        graph.whole || model.inputs.iter().any(|input| input.name == name && input.dtype == file::INT64);
    let takes_sample = |at: usize| spec.from.get(at).map_or(at == 0, |from| from.contains(&0));
    let other = |(at, layer): (usize, &Layer)| takes_sample(at) && !matches!(layer, Layer::Embedding { .. });
    if whole && spec.layers.iter().enumerate().any(other) {
        let why = "whole numbers of a sample go into something other than an embedding";
        return Err(OnnxError::Ends(why.to_owned()));
    }
    let state = state(&spec, &model, &sources, elsewhere)?;
    let notes = notes(&model, &spec, &sources);
    Ok(Imported { model: spec, state, notes })
}

/// The name of the only input, its shape without the batch, and the size of the batch, unless it is open.
fn input<'a>(model: &Model<'a>) -> Result<(&'a str, Vec<u32>, Option<i64>), OnnxError> {
    let weights: HashSet<&str> = model.weights.iter().map(|tensor| tensor.name).collect();
    let inputs: Vec<_> = model.inputs.iter().filter(|input| !weights.contains(input.name)).collect();
    let [input] = inputs.as_slice() else {
        return Err(OnnxError::Ends(format!(
            "the network takes {} inputs; a plan's model takes 1",
            inputs.len()
        )));
    };
    if ![file::FLOAT, file::INT64].contains(&input.dtype) {
        let why = "the network takes neither numbers of 32 bits (float) nor indices of rows (int64)";
        return Err(OnnxError::Ends(why.to_owned()));
    }
    let Some((batch, sides)) = input.shape.split_first() else {
        return Err(OnnxError::Ends("the file does not say the shape of the input".to_owned()));
    };
    let side = |side: &Option<i64>| side.and_then(|side| u32::try_from(side).ok()).filter(|side| *side > 0);
    let shape: Option<Vec<u32>> = sides.iter().map(side).collect();
    let shape = shape.filter(|shape| (1..=3).contains(&shape.len())).ok_or_else(|| {
        let shown: Vec<String> = input
            .shape
            .iter()
            .map(|side| side.map_or_else(|| "open".to_owned(), |side| side.to_string()))
            .collect();
        OnnxError::Ends(format!(
            "the input has the shape [{}]; needed are the batch and 1 to 3 sides that are numbers",
            shown.join(", ")
        ))
    })?;
    Ok((input.name, shape, *batch))
}

/// Gives each name its value, in the order of the nodes; what was refused on the way.
fn walk<'a>(graph: &mut Graph<'a>, model: &'a Model<'a>) -> Result<Vec<Refusal>, OnnxError> {
    let mut refusals = Vec::new();
    for (index, node) in model.nodes.iter().enumerate() {
        for name in node.inputs.iter().filter(|name| !name.is_empty()) {
            if graph.get(name).is_none() {
                let why = format!(
                    "{} takes {}, which no node before it gives",
                    quoted(&node.shown()),
                    quoted(name)
                );
                return Err(OnnxError::Graph(why));
            }
        }
        let mut causes = causes(graph, node);
        let value = seen_through(graph, node, model.opset, &causes).unwrap_or_else(|why| {
            // Nodes of the same module only prepare what it takes.
            let module = format!("{} (", node.module());
            causes.retain(|cause| {
                refusals.get(*cause).is_none_or(|of: &Refusal| !of.node.starts_with(&module))
            });
            refusals.push(Refusal { node: node.shown(), why: why.why, instead: why.instead.to_owned() });
            causes.insert(refusals.len() - 1);
            Value::Missing(causes)
        });
        for (output, name) in node.outputs.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let given = match &value {
                Value::Parts(parts) if node.op == "Split" => parts.get(output).cloned(),
                Value::Missing(_) => Some(value.clone()),
                _ => (output == 0).then(|| value.clone()),
            };
            let value = given.unwrap_or_else(|| {
                let why = format!("gives a second value ({}), which another node takes", quoted(name));
                refusals.push(Refusal { node: node.shown(), why, instead: String::new() });
                Value::Missing(BTreeSet::from([refusals.len() - 1]))
            });
            if !graph.set(name, value, index) {
                return Err(OnnxError::Graph(format!("two nodes give {}", quoted(name))));
            }
        }
    }
    Ok(refusals)
}

/// Why inputs of a node are missing. Of an operator that no layer stands for, only what its first input says:
/// its weights may be cut and joined in many ways.
fn causes(graph: &Graph<'_>, node: &Node<'_>) -> BTreeSet<usize> {
    let mut causes = BTreeSet::new();
    let looked_at = if KNOWN.contains(&node.op) { node.inputs.len() } else { 1 };
    for name in node.inputs.iter().take(looked_at) {
        if let Some(Value::Missing(of)) = graph.get(name) {
            causes.extend(of.iter().take(CAUSES));
        }
    }
    causes
}

/// What a node gives, if need be of values whose batch is not in front: what treats each element or each line
/// of the last axis alone does not see where the batch is.
fn seen_through(graph: &mut Graph<'_>, node: &Node<'_>, opset: i64, causes: &BTreeSet<usize>) -> Given {
    let lines = ["Gemm", "LayerNormalization", "LogSoftmax", "MatMul", "Softmax"].contains(&node.op);
    let of_weight = node.op != "MatMul" || graph.weight(node, 1).is_some();
    if !lines && !BY_ELEMENT.contains(&node.op) || !of_weight {
        return value(graph, node, opset, causes);
    }
    // The bias of a linear layer is a node of its own.
    let products =
        node.inputs.iter().filter_map(|name| graph.made_by(name, "MatMul")?.inputs.first().copied());
    let names: BTreeSet<String> = node.inputs.iter().copied().chain(products).map(str::to_owned).collect();
    let views: Vec<(String, View)> = names
        .into_iter()
        .filter_map(|name| match graph.get(&name) {
            Some(Value::View(view)) => Some((name.clone(), view.clone())),
            _ => None,
        })
        .collect();
    let Some((_, first)) = views.first().cloned() else { return value(graph, node, opset, causes) };
    let last = first.axes.len() - 1;
    let lead = |view: &View| view.axes[..view.axes.len() - 1].to_vec();
    let flows = node.inputs.iter().any(|name| matches!(graph.get(name), Some(Value::Flow(_))));
    let alike = views.iter().all(|(_, view)| lead(view) == lead(&first));
    if flows || !alike || first.axes[last].len() > 1 || first.side(last).is_none() {
        return Err(Why::new("joins values whose batch lies in different axes", graph::BATCH));
    }
    // Without the batch in front, an axis may have another number.
    let over_last = if ["LayerNormalization", "LogSoftmax", "Softmax"].contains(&node.op) {
        let absent = if node.op == "LayerNormalization" || opset >= 13 { -1 } else { 1 };
        if constant::index(node.whole("axis", absent), first.axes.len()) != Some(last) {
            return Err(Why::new("goes over another axis than the last", graph::BATCH));
        }
        Some(node.over_last())
    } else {
        None
    };
    for (name, view) in &views {
        graph.swap(name, Value::Flow(view.untwisted()));
    }
    let given = value(graph, over_last.as_ref().unwrap_or(node), opset, causes);
    for (name, view) in views {
        graph.swap(&name, Value::View(view));
    }
    match given? {
        Value::Flow(flow) => {
            let mut axes = first.axes;
            axes[last] = vec![flow.shape.last().copied()];
            let seen = View { place: flow.place, axes };
            if seen.sides() == flow.shape {
                Ok(seen.value())
            } else {
                Err(Why::new("moves the batch", graph::BATCH))
            }
        }
        other => Ok(other),
    }
}

/// What a node gives.
fn value(graph: &mut Graph<'_>, node: &Node<'_>, opset: i64, causes: &BTreeSet<usize>) -> Given {
    if !file::is_own(node.domain) {
        return Err(Why::new(format!("is an operator of {}, not of ONNX", quoted(node.domain)), ""));
    }
    if let Some(given) = patterns::pattern(graph, node) {
        return given;
    }
    if !causes.is_empty() && KNOWN.contains(&node.op) {
        return Ok(Value::Missing(causes.clone()));
    }
    if let Some(value) = folding::fold(graph, node) {
        return Ok(value);
    }
    match node.op {
        "Identity" => graph.flow(node, 0).map(Value::Flow),
        "Cast" | "CastLike" => moving::cast(graph, node),
        "Conv" | "ConvTranspose" => computing::convolve(graph, node),
        "Gemm" | "MatMul" => computing::linear(graph, node),
        "BatchNormalization" => computing::batch_norm(graph, node),
        "LayerNormalization" => computing::layer_norm(graph, node),
        "InstanceNormalization" => computing::instance_norm(graph, node),
        "MaxPool" | "AveragePool" | "GlobalAveragePool" | "GlobalMaxPool" => computing::pool(graph, node),
        "ReduceMean" => computing::mean(graph, node),
        "ReduceMax" => computing::max(graph, node),
        "PRelu" => computing::prelu(graph, node),
        "Expand" => moving::expand(graph, node),
        "Split" | "SplitToSequence" => moving::split(graph, node).map(Value::Parts),
        "SequenceAt" => moving::part_of(graph, node),
        "Dropout" => computing::drop_out(graph, node, opset),
        "Relu" | "Sigmoid" | "Tanh" | "HardSwish" | "LeakyRelu" | "Elu" | "HardSigmoid" | "Gelu" | "Clip"
        | "Softmax" | "LogSoftmax" => computing::activate(graph, node, opset),
        "Add" | "Sum" | "Sub" | "Mul" | "Div" => computing::combine(graph, node),
        "Reshape" => moving::reshape(graph, node),
        "Flatten" => moving::flatten(graph, node),
        "Squeeze" | "Unsqueeze" => moving::squeeze(graph, node),
        "Transpose" => moving::transpose(graph, node),
        "Slice" => moving::slice(graph, node),
        "Gather" => moving::gather(graph, node),
        "Concat" => moving::concat(graph, node),
        "Pad" => moving::pad(graph, node),
        "Resize" => moving::resize(graph, node),
        op => Err(Why::new("has no layer in a plan", instead(op))),
    }
}

/// What to use in place of an operator.
fn instead(op: &str) -> &'static str {
    match op {
        "LSTM" | "GRU" => "write the layer `lstm` or `gru` into the plan by hand",
        "RNN" => "use 1-D convolutions over the sequence",
        "Selu" | "Celu" | "ThresholdedRelu" => "use nn.ELU",
        "Softplus" | "Mish" => "use nn.SiLU",
        "Softsign" => "use nn.Tanh",
        "RandomUniformLike" | "RandomNormalLike" | "Less" => "use nn.Dropout in place of nn.Dropout2d",
        "If" | "Loop" | "Scan" => "leave conditions and loops out of forward",
        _ => "the chapter `models` of the manual lists the layers of a plan",
    }
}

/// The weights. All of them are checked before memory for one of them is taken.
fn state(
    spec: &ModelSpec,
    file: &Model<'_>,
    sources: &[Source],
    elsewhere: &dyn Elsewhere,
) -> Result<ModelState, OnnxError> {
    let layout = model::layout(spec)?;
    let mut found = Vec::with_capacity(layout.tensors().len());
    for wanted in layout.tensors() {
        let source = sources.iter().find(|source| source.name == wanted.name);
        let Some((source, tensor)) = source.and_then(|s| Some((s, file.weights.get(s.tensor)?))) else {
            return Err(OnnxError::Graph(format!("no tensor of the file is {}", quoted(&wanted.name))));
        };
        let mut shape = tensor.shape.clone();
        if source.transposed {
            shape.reverse();
        }
        let refused = |why: String| OnnxError::Tensor { name: tensor.name.to_owned(), why };
        let side = |side: &i64| u32::try_from(*side).ok();
        if shape.iter().map(side).ne(wanted.shape.iter().map(|side| Some(*side))) {
            return Err(refused(format!("the shape is {shape:?}; the layer needs {:?}", wanted.shape)));
        }
        let count = wanted.elements().unwrap_or(u64::MAX);
        check(tensor, count, elsewhere).map_err(refused)?;
        found.push((source, tensor));
    }
    let mut state = ModelState::zeros(std::sync::Arc::clone(&layout));
    for (index, (source, tensor)) in found.into_iter().enumerate() {
        let refused = |why: String| OnnxError::Tensor { name: tensor.name.to_owned(), why };
        let place = &mut state.f32[layout.place(index)];
        let mut values = values(tensor, place.len(), elsewhere).map_err(refused)?;
        if let ([rows, columns], true) = (layout.tensors()[index].shape.as_slice(), source.transposed) {
            values = turned(&values, *rows as usize, *columns as usize);
        }
        if values.len() != place.len() {
            return Err(refused(wrong(values.len() as u64, place.len() as u64)));
        }
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(refused(format!("an element is {value}")));
        }
        place.copy_from_slice(&values);
    }
    Ok(state)
}

/// Whether a tensor of the file has so many elements, as far as lengths say it.
fn check(tensor: &Tensor<'_>, count: u64, elsewhere: &dyn Elsewhere) -> Result<(), String> {
    if tensor.dtype != file::FLOAT {
        return Err(format!("the element type is {}; 1 (float) is needed", tensor.dtype));
    }
    let bytes = count.saturating_mul(4);
    if tensor.elsewhere {
        let (offset, length) = tensor.place.numbers(bytes)?;
        let end = offset.saturating_add(length);
        let has = elsewhere.length(tensor.place.file)?;
        if length != bytes {
            return Err(wrong(length / 4, count));
        }
        return if end <= has {
            Ok(())
        } else {
            Err(format!("the second file has {has} bytes; {end} are needed"))
        };
    }
    match tensor.raw {
        Some(raw) if raw.len() as u64 != bytes => Err(wrong(raw.len() as u64 / 4, count)),
        None if tensor.most() < count => Err(wrong(tensor.most(), count)),
        _ => Ok(()),
    }
}

/// The elements of a tensor of the file, which [`check`] has looked at.
fn values(tensor: &Tensor<'_>, count: usize, elsewhere: &dyn Elsewhere) -> Result<Vec<f32>, String> {
    if !tensor.elsewhere {
        return Ok(tensor.floats(count)?);
    }
    let (offset, length) = tensor.place.numbers(0)?;
    let length = if tensor.place.length.is_empty() { 4 * count } else { length as usize };
    let found = elsewhere.read(tensor.place.file, offset, length)?;
    Ok(found.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

fn wrong(found: u64, count: u64) -> String {
    format!("the file has {found} elements; the shape asks for {count}")
}

/// A matrix of so many rows and columns, of one that has them the other way round.
fn turned(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..rows * columns).map(|index| values[index % columns * rows + index / columns]).collect()
}

fn notes(file: &Model<'_>, spec: &ModelSpec, sources: &[Source]) -> Vec<String> {
    let used: HashSet<usize> = sources.iter().map(|source| source.tensor).collect();
    let left = file.weights.iter().enumerate().filter(|(index, tensor)| {
        !used.contains(index) && tensor.dtype == file::FLOAT && !graph::is_unnamed(tensor.name)
    });
    let names: Vec<String> = left.map(|(_, tensor)| quoted(tensor.name)).collect();
    let mut notes = Vec::new();
    // Only the older exporter says the mode, and only from opset 14 on.
    let norms: Vec<&Node<'_>> = file.nodes.iter().filter(|node| node.op == "BatchNormalization").collect();
    let evaluates = |node: &&Node<'_>| node.scopes.is_empty() && node.whole("training_mode", 0) == 0;
    if file.opset >= 14 && !norms.is_empty() && norms.iter().all(evaluates) {
        notes.push("the network was exported in evaluation mode: it has no dropout".to_owned());
    }
    // The file does not tell parameters from buffers.
    let parameters = spec.layers.iter().filter_map(|layer| match layer {
        Layer::Parameter { name, .. } => Some(quoted(name)),
        _ => None,
    });
    let parameters: Vec<String> = parameters.collect();
    if !parameters.is_empty() {
        notes.push(format!(
            "taken as parameters that are trained: {}. If the network keeps one as it is, name it under `freeze` of \
             the plan's task",
            few(&parameters)
        ));
    }
    if !names.is_empty() {
        notes.push(format!("left out, because no layer takes them: {}", few(&names)));
    }
    notes
}

/// The first five, and how many more there are.
fn few(names: &[String]) -> String {
    let more = if names.len() > 5 { format!(" and {} more", names.len() - 5) } else { String::new() };
    format!("{}{more}", names[..names.len().min(5)].join(", "))
}

/// Operators that treat each element alone.
const BY_ELEMENT: &[&str] = &[
    "Add",
    "Cast",
    "CastLike",
    "Clip",
    "Div",
    "Dropout",
    "Elu",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "Mul",
    "Relu",
    "Sigmoid",
    "Sub",
    "Sum",
    "Tanh",
];

/// Operators that become layers, parts of layers, or constants.
const KNOWN: &[&str] = &[
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "CastLike",
    "Ceil",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "ConvTranspose",
    "Div",
    "Dropout",
    "Elu",
    "Equal",
    "Erf",
    "Expand",
    "Flatten",
    "Floor",
    "Gather",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "InstanceNormalization",
    "LayerNormalization",
    "LeakyRelu",
    "LogSoftmax",
    "MatMul",
    "MaxPool",
    "Mod",
    "Mul",
    "Neg",
    "PRelu",
    "Pad",
    "Pow",
    "Range",
    "ReduceMax",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Resize",
    "Shape",
    "Sigmoid",
    "Slice",
    "Softmax",
    "SequenceAt",
    "Split",
    "SplitToSequence",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Tanh",
    "Transpose",
    "Unsqueeze",
    "Where",
];

/// Refusals that a value remembers of each of its inputs.
const CAUSES: usize = 64;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
