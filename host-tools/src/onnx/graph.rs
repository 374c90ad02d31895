//! What each name of a network stands for while its nodes are read in order.

use std::collections::{BTreeSet, HashMap};

use fl_engine::model::{Layer, ModelError};

use super::{
    constant::{Constant, ELEMENTS, Numbers, Whole},
    error::quoted,
    file::{self, Attribute, Model, Node},
    layers::{Axis, Flow, Layers, Source, View},
};

/// The names so far, and the layers.
#[derive(Debug)]
pub(super) struct Graph<'a> {
    pub(super) model: &'a Model<'a>,
    pub(super) layers: Layers,
    /// Whether the network makes whole numbers of the sample.
    pub(super) whole: bool,
    /// Whether a batch normalisation is said to be in training mode.
    pub(super) trains: bool,
    /// The size of the batch, if the export has it baked in.
    pub(super) batch: Option<i64>,
    values: HashMap<&'a str, Value>,
    producers: HashMap<&'a str, usize>,
    /// Layers that only bring what a place holds into another shape.
    settled: HashMap<(usize, Vec<u32>), usize>,
    /// Layers that give a tensor of the file, by its index.
    parameters: HashMap<usize, usize>,
}

/// What a name stands for.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Constant(Constant),
    Weight(Weight),
    Flow(Flow),
    /// What passes, with the batch elsewhere than in front.
    View(View),
    Norm(Norm),
    /// Parts of an axis, of which nodes take one each.
    Parts(Vec<Self>),
    /// What no layer can stand for, with the refusals that say why.
    Missing(BTreeSet<usize>),
}

/// A tensor of the file, perhaps seen in another shape.
#[derive(Clone, Debug)]
pub(super) struct Weight {
    /// Its index.
    pub(super) tensor: usize,
    pub(super) shape: Vec<i64>,
    pub(super) transposed: bool,
    /// Whether the exporter found a tensor with the same elements, whose name this is.
    pub(super) alias: bool,
}

/// A normalisation whose weight or bias is still to come.
#[derive(Clone, Debug)]
pub(super) struct Norm {
    pub(super) of: usize,
    pub(super) kind: NormKind,
    /// The shape that the network means.
    pub(super) shape: Vec<u32>,
    pub(super) weight: Option<Weight>,
}

/// Over what a normalisation goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum NormKind {
    /// So many of the last axes.
    Last { axes: u32, eps: f64 },
    /// Groups of channels.
    Groups { groups: u32, eps: f64 },
}

/// Why no layer stands for a node.
#[derive(Clone, Debug)]
pub(super) struct Why {
    pub(super) why: String,
    pub(super) instead: &'static str,
}

/// What a node gives.
pub(super) type Given = Result<Value, Why>;

impl<'a> Graph<'a> {
    pub(super) fn new(model: &'a Model<'a>, input: Vec<u32>, batch: Option<i64>) -> Self {
        let weight = |(tensor, weight): (usize, &file::Tensor<'a>)| {
            let shape = weight.shape.clone();
            (weight.name, Value::Weight(Weight { tensor, shape, transposed: false, alias: false }))
        };
        Self {
            model,
            layers: Layers::new(input),
            whole: false,
            trains: model.nodes.iter().any(|node| node.whole("training_mode", 0) == 1),
            batch,
            values: model.weights.iter().enumerate().map(weight).collect(),
            producers: HashMap::new(),
            settled: HashMap::new(),
            parameters: HashMap::new(),
        }
    }

    /// Gives a name its value; whether the name was free.
    pub(super) fn set(&mut self, name: &'a str, value: Value, node: usize) -> bool {
        self.producers.insert(name, node);
        self.values.insert(name, value).is_none()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// The node that gives a name.
    pub(super) fn producer(&self, name: &str) -> Option<&'a Node<'a>> {
        self.producers.get(name).and_then(|node| self.model.nodes.get(*node))
    }

    /// As [`Self::producer`], of this operator.
    pub(super) fn made_by(&self, name: &str, op: &str) -> Option<&'a Node<'a>> {
        self.producer(name).filter(|node| node.op == op)
    }

    /// What passes at an input of a node.
    pub(super) fn flow(&self, node: &Node<'_>, index: usize) -> Result<Flow, Why> {
        match node.inputs.get(index).and_then(|name| self.values.get(name)) {
            Some(Value::Flow(flow)) => Ok(flow.clone()),
            Some(Value::Weight(weight)) => Err(Why::new(
                format!("takes the tensor {}, which no layer of a plan holds", quoted(self.name(weight))),
                "use layers that hold their own weights",
            )),
            Some(Value::Norm(_)) => Err(Why::new(
                "takes a normalisation without weight and bias",
                "set affine=True or elementwise_affine=True in the normalisation",
            )),
            Some(Value::View(_)) => Err(Why::new("moves the batch to another axis", BATCH)),
            Some(Value::Constant(_)) => {
                Err(Why::new("computes with a constant", "fold the constant into a layer"))
            }
            _ => Err(Why::new("lacks an input", "")),
        }
    }

    /// The place of an input, whose shape is the one that the network means.
    pub(super) fn place(&mut self, node: &Node<'_>, index: usize) -> Result<usize, Why> {
        let flow = self.flow(node, index)?;
        self.settle(&flow)
    }

    /// A place that holds a flow in the flow's own shape.
    pub(super) fn settle(&mut self, flow: &Flow) -> Result<usize, Why> {
        let held = self.layers.shape(flow.place);
        if held == flow.shape {
            return Ok(flow.place);
        }
        if !(1..=3).contains(&flow.shape.len()) {
            return Err(Why::new(
                format!("needs a change of shape from {held:?} to {:?}", flow.shape),
                "a sample has 1 to 3 axes in a plan",
            ));
        }
        let key = (flow.place, flow.shape.clone());
        if let Some(place) = self.settled.get(&key) {
            return Ok(*place);
        }
        let (layer, from) = match flow.shape.as_slice() {
            [_] => (Layer::Flatten, flow.place),
            shape => {
                // Two changes of shape in a row are one.
                let from = match self.layers.made(flow.place) {
                    Some((Layer::Reshape { .. } | Layer::Flatten, from)) => from,
                    _ => flow.place,
                };
                if self.layers.shape(from) == shape {
                    return Ok(from);
                }
                (Layer::Reshape { shape: shape.to_vec() }, from)
            }
        };
        let made = self.layers.push(layer, vec![from], Vec::new()).map_err(|e| Why::of(&e))?;
        self.settled.insert(key, made.place);
        Ok(made.place)
    }

    /// A tensor of the file as a layer gives it, beside samples of so many axes.
    pub(super) fn parameter(&mut self, weight: &Weight, axes: usize) -> Result<Flow, Why> {
        let name = self.name(weight).to_owned();
        if is_unnamed(&name) || weight.transposed {
            return Err(Why::new(
                format!("takes the tensor {} in another form than the file has it", quoted(&name)),
                EXPORTED,
            ));
        }
        let side = |side: &i64| u32::try_from(*side).ok();
        let own: Option<Vec<u32>> =
            self.model.weights.get(weight.tensor).and_then(|tensor| tensor.shape.iter().map(side).collect());
        let seen: Option<Vec<u32>> = weight.shape.iter().map(side).collect();
        let (Some(mut own), Some(seen)) = (own, seen) else { return Err(Why::new("has a side below 0", "")) };
        let mut sides = vec![1; (axes + 1).saturating_sub(seen.len())];
        sides.extend(seen);
        if sides.len() != axes + 1 || sides.first() != Some(&1) || own.is_empty() {
            let why = format!("takes the tensor {} with other axes than a sample has", quoted(&name));
            return Err(Why::new(
                why,
                "give it the shape of a sample, with a side of 1 in front for the batch",
            ));
        }
        let place = match self.parameters.get(&weight.tensor) {
            Some(place) => *place,
            None => {
                let batch = own.len() > 1 && own[0] == 1;
                own.drain(..usize::from(batch));
                let sources = vec![Source { name: name.clone(), tensor: weight.tensor, transposed: false }];
                let layer = Layer::Parameter { name, shape: own, batch, start: 0.0 };
                let made = self.layers.push(layer, Vec::new(), sources).map_err(|e| Why::of(&e))?;
                self.parameters.insert(weight.tensor, made.place);
                made.place
            }
        };
        Ok(Flow { place, shape: sides.split_off(1) })
    }

    /// The most axes that a sample has at the inputs of a node.
    pub(super) fn rank(&self, node: &Node<'_>) -> usize {
        let axes = node.inputs.iter().filter_map(|name| match self.get(name) {
            Some(Value::Flow(flow)) => Some(flow.shape.len()),
            _ => None,
        });
        axes.max().unwrap_or(0)
    }

    /// What passes at an input, or a tensor of the file beside samples of so many axes.
    pub(super) fn flow_or_parameter(
        &mut self,
        node: &Node<'_>,
        index: usize,
        axes: usize,
    ) -> Result<Flow, Why> {
        match self.weight(node, index).cloned() {
            Some(weight) => self.parameter(&weight, axes),
            None => self.flow(node, index),
        }
    }

    /// Puts another value in the place of a name's.
    pub(super) fn swap(&mut self, name: &str, value: Value) {
        if let Some(held) = self.values.get_mut(name) {
            *held = value;
        }
    }

    /// Appends a layer that stands for a node.
    pub(super) fn push(&mut self, layer: Layer, from: Vec<usize>, sources: Vec<Source>) -> Given {
        self.layers.push(layer, from, sources).map(Value::Flow).map_err(|e| Why::of(&e))
    }

    /// A weight at an input of a node.
    pub(super) fn weight(&self, node: &Node<'_>, index: usize) -> Option<&Weight> {
        self.weight_named(node.inputs.get(index)?)
    }

    pub(super) fn weight_named(&self, name: &str) -> Option<&Weight> {
        if let Some(Value::Weight(weight)) = self.values.get(name) { Some(weight) } else { None }
    }

    /// The name that the file gives a weight.
    pub(super) fn name(&self, weight: &Weight) -> &'a str {
        self.model.weights.get(weight.tensor).map_or("", |tensor| tensor.name)
    }

    /// A constant at an input of a node.
    pub(super) fn constant(&self, node: &Node<'_>, index: usize) -> Option<Constant> {
        self.constant_named(node.inputs.get(index)?)
    }

    /// A constant; a tensor of the file too, if it is no parameter of the network.
    pub(super) fn constant_named(&self, name: &str) -> Option<Constant> {
        match self.values.get(name)? {
            Value::Constant(constant) => Some(constant.clone()),
            Value::Weight(weight) if !weight.transposed => {
                let tensor = self.model.weights.get(weight.tensor)?;
                if tensor.dtype == file::FLOAT && !is_unnamed(tensor.name) {
                    return None;
                }
                of_tensor(tensor).map(|constant| constant.reshaped(&weight.shape, false))?
            }
            _ => None,
        }
    }

    /// The only number of a constant.
    pub(super) fn scalar(&self, name: &str) -> Option<f32> {
        self.constant_named(name)?.scalar()
    }

    /// Whole numbers at an input of a node.
    pub(super) fn wholes(&self, node: &Node<'_>, index: usize) -> Option<Vec<i64>> {
        self.constant(node, index)?.as_plain()
    }

    /// The numbers of a list that was a setting in older opsets and is an input in newer ones.
    pub(super) fn list(&self, node: &Node<'_>, setting: &str, index: usize) -> Option<Vec<i64>> {
        match node.attribute(setting) {
            Some(attribute) => Some(attribute.wholes.clone()),
            None => self.wholes(node, index),
        }
    }

    /// The shape behind a name, with the batch.
    pub(super) fn shape_of(&self, name: &str) -> Option<Vec<Whole>> {
        let of_flow = |shape: &[u32]| {
            let sides = shape.iter().map(|side| Whole::plain(i64::from(*side)));
            std::iter::once(Whole { factor: 1, batch: true }).chain(sides).collect()
        };
        Some(match self.values.get(name)? {
            Value::Constant(constant) => {
                constant.shape.iter().map(|side| Whole::plain(*side as i64)).collect()
            }
            Value::Weight(weight) => weight.shape.iter().map(|side| Whole::plain(*side)).collect(),
            Value::Flow(flow) => of_flow(&flow.shape),
            Value::View(view) => {
                let side = |axis: &Axis| {
                    let sides = axis.iter().flatten();
                    let factor = sides.fold(1i64, |all, side| all.saturating_mul(i64::from(*side)));
                    Whole { factor, batch: axis.contains(&None) }
                };
                view.axes.iter().map(side).collect()
            }
            Value::Norm(norm) => of_flow(&norm.shape),
            Value::Missing(_) | Value::Parts(_) => return None,
        })
    }

    /// The field name of the layer that these weights are of, as the state dict has it.
    pub(super) fn field(
        &self,
        node: &Node<'_>,
        weight: &Weight,
        bias: Option<&Weight>,
    ) -> Result<String, Why> {
        let name = self.name(weight);
        if let Some(field) = name.strip_suffix(".weight").filter(|_| !is_unnamed(name)) {
            return Ok(field.to_owned());
        }
        if !is_unnamed(name) {
            return Err(Why::new(
                format!(
                    "takes the tensor {} as its weight; no layer of a plan has such a name",
                    quoted(name)
                ),
                "use PyTorch's own layers, inside a module: nn.Sequential(layer)",
            ));
        }
        let of_bias = bias.and_then(|bias| self.name(bias).strip_suffix(".bias")).map(str::to_owned);
        of_bias.or_else(|| Some(node.module()).filter(|module| !module.is_empty())).ok_or_else(|| {
            Why::new(format!("has a weight without PyTorch's name ({})", quoted(name)), EXPORTED)
        })
    }

    /// Where a layer's tensor comes from.
    pub(super) fn source(&self, field: &str, part: &str, weight: &Weight) -> Result<Source, Why> {
        let (found, name) = (self.name(weight), format!("{field}.{part}"));
        if found != name && !weight.alias && !is_unnamed(found) {
            let why = format!("takes the tensor {} as {part} of {field}", quoted(found));
            return Err(Why::new(why, "let each layer have its own weights"));
        }
        Ok(Source { name, tensor: weight.tensor, transposed: weight.transposed })
    }
}

impl Why {
    pub(super) fn new(why: impl Into<String>, instead: &'static str) -> Self {
        Self { why: why.into(), instead }
    }

    /// A layer that the engine refused. The layer's index is left out, since layers that turn out needless
    /// are counted, too.
    pub(super) fn of(error: &ModelError) -> Self {
        let why = match error {
            ModelError::Shape { arrive, needs, .. } => {
                let arrive: Vec<String> = arrive.iter().map(|shape| format!("{shape:?}")).collect();
                format!("is given {} and needs {needs}", arrive.join(" and "))
            }
            ModelError::Setting { what, .. } => what.clone(),
            other => other.to_string(),
        };
        Self::new(why, "")
    }
}

impl<'a> Node<'a> {
    pub(super) fn attribute(&self, name: &str) -> Option<&Attribute<'a>> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    /// The same operation over the last axis, whatever its number.
    pub(super) fn over_last(&self) -> Self {
        let mut node = self.clone();
        node.attributes.retain(|attribute| attribute.name != "axis");
        node.attributes.push(Attribute { name: "axis", whole: -1, ..Attribute::default() });
        node
    }

    pub(super) fn whole(&self, name: &str, absent: i64) -> i64 {
        self.attribute(name).map_or(absent, |attribute| attribute.whole)
    }

    pub(super) fn float(&self, name: &str, absent: f32) -> f32 {
        self.attribute(name).map_or(absent, |attribute| attribute.float)
    }

    pub(super) fn text(&self, name: &str) -> &str {
        self.attribute(name)
            .and_then(|attribute| std::str::from_utf8(attribute.text).ok())
            .unwrap_or_default()
    }

    /// PyTorch's name of the module that the node is of; empty if the file does not have it.
    pub(super) fn module(&self) -> String {
        // ['', 'encoder', 'encoder.rnn', 'lstm']: the last is the operation.
        if !self.scopes.is_empty() {
            let mut scopes = self.scopes.split('\'').skip(1).step_by(2).collect::<Vec<_>>();
            scopes.pop();
            return scopes.pop().unwrap_or_default().to_owned();
        }
        // /layer1/layer1.0/conv1/Conv
        let Some(path) = self.name.strip_prefix('/') else { return String::new() };
        let mut parts: Vec<&str> = Vec::new();
        let mut steps = path.split('/').peekable();
        while let Some(step) = steps.next() {
            if steps.peek().is_none() {
                break;
            }
            if parts
                .last()
                .is_some_and(|last| step.strip_prefix(*last).is_some_and(|rest| rest.starts_with('.')))
            {
                parts.pop();
            }
            parts.push(step);
        }
        parts.join(".")
    }

    /// The module's name, or the node's, with the operator.
    pub(super) fn shown(&self) -> String {
        let module = self.module();
        let name = if module.is_empty() { self.name.to_owned() } else { module };
        let name: String = name.chars().take(120).collect();
        let op: String = self.op.chars().take(60).collect();
        if name.is_empty() { op } else { format!("{name} ({op})") }
    }
}

impl View {
    /// What passes at a name, if it does.
    pub(super) fn named(graph: &Graph<'_>, name: &str) -> Option<Self> {
        match graph.get(name)? {
            Value::Flow(flow) => Some(Self::of(flow)),
            Value::View(view) => Some(view.clone()),
            _ => None,
        }
    }

    /// A flow, if the batch is in front and alone.
    pub(super) fn value(self) -> Value {
        let alone = self.axes.first().is_some_and(|axis| *axis == [None]);
        if !alone {
            return Value::View(self);
        }
        let product = |axis: &Axis| axis.iter().flatten().try_fold(1u32, |all, side| all.checked_mul(*side));
        match self.axes[1..].iter().map(product).collect() {
            Some(shape) => Value::Flow(Flow { place: self.place, shape }),
            None => Value::View(self),
        }
    }
}

/// Whether an exporter made up a name, so that no state dict has it.
pub(super) fn is_unnamed(name: &str) -> bool {
    name.contains("::") || name.contains('/') || name.starts_with("val_") || name.is_empty()
}

/// A small tensor as a constant.
pub(super) fn of_tensor(tensor: &file::Tensor<'_>) -> Option<Constant> {
    let side = |side: &i64| usize::try_from(*side).ok();
    let shape: Vec<usize> = tensor.shape.iter().map(side).collect::<Option<_>>()?;
    let elements = shape.iter().try_fold(1usize, |all, side| all.checked_mul(*side))?;
    if elements > ELEMENTS || tensor.elsewhere {
        return None;
    }
    let numbers = match tensor.dtype {
        file::FLOAT => Numbers::Floats(tensor.floats(elements).ok()?),
        file::INT32 | file::INT64 | file::BOOL => {
            Numbers::Wholes(tensor.wholes(elements).ok()?.into_iter().map(Whole::plain).collect())
        }
        _ => return None,
    };
    let found = match &numbers {
        Numbers::Wholes(all) => all.len(),
        Numbers::Floats(all) => all.len(),
    };
    (found == elements).then_some(Constant { shape, numbers })
}

const EXPORTED: &str = "export with do_constant_folding=False, or with dynamo=True, optimize=False";

pub(super) const BATCH: &str = "keep the batch as the first axis";
