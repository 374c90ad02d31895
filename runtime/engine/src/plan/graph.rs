//! `layers` and `blocks` as a plan spells them: labels, inputs and blocks, which become one list of layers.
//!
//! An entry of `layers` is a layer, or the use of a block. `as` labels what an entry gives, and `from` names
//! the labels of what the entry takes; without `from`, the entry takes what the entry before gives. A block
//! is a list of entries with arguments (`$out`); its labels are its own, and `in` is what enters the block. A
//! plan's bytes have none of this. Layers are counted before any is made, and the values of an argument or a
//! layer before they are copied.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    limits,
    model::Layer,
    settings::{
        Absent, Fault, Field, Key, Node, PlanError, Section, Setting, Takes, Text, Value, did_you_mean,
    },
};

/// The layers that a plan's entries stand for.
#[derive(Default)]
pub(super) struct Graph<'a> {
    layers: Vec<Layer>,
    /// As `ModelSpec::from`, for every layer.
    from: Vec<Vec<u32>>,
    /// Where each layer stands in the plan.
    origins: Vec<Origin>,
    blocks: Vec<Block<'a>>,
}

/// An entry of `layers`, and the block of which the layer is a part.
struct Origin {
    entry: usize,
    block: Option<String>,
}

struct Block<'a> {
    name: String,
    entries: Vec<Field<'a>>,
    /// Layers of one use.
    layers: u64,
    /// Blocks inside each other, with this one.
    depth: usize,
    /// Names after `$` in the entries.
    arguments: BTreeSet<&'a str>,
}

/// What the entries of a list may name.
struct Scope {
    /// What the name `input`, or `in` inside a block, stands for.
    entered: u32,
    /// What the entry before gave.
    last: u32,
    labels: BTreeMap<String, u32>,
    arguments: BTreeMap<String, Argument>,
    /// Before the names of layers.
    prefix: String,
    /// The block, outside of which there are no arguments.
    block: Option<String>,
    entry: usize,
}

/// The value of an argument, and the layer whose label it is where the block is used.
#[derive(Clone)]
struct Argument {
    node: Node,
    /// How many values `node` is: itself and those below.
    values: usize,
    labels: Option<u32>,
}

impl<'a> Graph<'a> {
    /// Reads the keys `blocks` and `layers`.
    pub(super) fn read(model: &Section<'a>) -> Result<Self, PlanError> {
        let mut graph = Self::default();
        if let Some(blocks) = model.optional("blocks") {
            for (name, block) in blocks.texts(limits::LAYERS)? {
                let block = graph.block(name, &block)?;
                graph.blocks.push(block);
            }
        }
        let Some(field) = model.optional("layers") else {
            // The refusal of a key that is missing.
            return model.get::<Vec<Layer>>("layers").map(|_| graph);
        };
        let entries = field.list()?;
        let (count, _) = graph.size(&entries)?;
        if count > limits::LAYERS as u64 {
            let most = limits::LAYERS;
            let message = format!("{} stands for {count} layers; a model has 1 to {most}", field.path());
            return Err(field.error(message));
        }
        let mut scope = Scope {
            entered: 0,
            last: 0,
            labels: BTreeMap::new(),
            arguments: BTreeMap::new(),
            prefix: String::new(),
            block: None,
            entry: 0,
        };
        graph.expand(&entries, &mut scope)?;
        Ok(graph)
    }

    /// The inputs of each layer; empty for a plain chain.
    pub(super) fn into_parts(self) -> (Vec<Layer>, Vec<Vec<u32>>) {
        let chain = self.from.iter().zip(0..).all(|(from, n)| *from == [n]);
        (self.layers, if chain { Vec::new() } else { self.from })
    }

    /// A fault of `layers[index]`, said of the entry that the plan has.
    pub(super) fn locate(&self, index: usize, below: &str, mut fault: Fault) -> Fault {
        let Some(Origin { entry, block }) = self.origins.get(index) else { return fault };
        fault.path = format!("model/layers/{entry}");
        match block {
            Some(block) => {
                fault.message +=
                    &format!("; layers[{index}] is in the block {block} of the plan's layers[{entry}]");
            }
            None if *entry != index => {
                fault.message += &format!("; layers[{index}] is the plan's layers[{entry}]");
            }
            None => fault.path += below,
        }
        fault
    }

    fn block(&self, name: String, field: &Field<'a>) -> Result<Block<'a>, PlanError> {
        let entries = field.list()?;
        if entries.is_empty() {
            return Err(field.error(format!("the block {name} has no layers")));
        }
        let (layers, deepest) = self.size(&entries)?;
        let depth = deepest + 1;
        if depth > limits::BLOCK_DEPTH {
            let most = limits::BLOCK_DEPTH;
            return Err(field.error(format!(
                "the block {name} has {depth} blocks inside each other; at most {most} are"
            )));
        }
        let mut arguments = BTreeSet::new();
        entries.iter().for_each(|entry| find_arguments(entry.value(), &mut arguments));
        Ok(Block { name, entries, layers, depth, arguments })
    }

    /// Layers that the entries stand for, and the depth of the deepest block among them.
    fn size(&self, entries: &[Field<'a>]) -> Result<(u64, usize), PlanError> {
        let (mut count, mut depth) = (0u64, 0);
        for entry in entries {
            let Some(block) = key(entry, "block") else {
                count = count.saturating_add(1);
                continue;
            };
            let block = self.named(&block)?;
            let repeat = key(entry, "repeat").map_or(Ok(1), |repeat| u32::read(&repeat))?;
            count = count.saturating_add(block.layers.saturating_mul(repeat.into()));
            depth = depth.max(block.depth);
        }
        Ok((count, depth))
    }

    /// The block of this name, which stands above.
    fn named(&self, field: &Field<'_>) -> Result<&Block<'a>, PlanError> {
        let name = field.text()?;
        self.blocks.iter().find(|block| block.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.blocks.iter().map(|block| block.name.as_str()).collect();
            let message = match names.as_slice() {
                [] => format!("no block {name:?} stands above"),
                names => format!("no block {name:?} stands above; the blocks above are {}", names.join(", ")),
            };
            let hint = did_you_mean(name, names.into_iter());
            let hint =
                hint.unwrap_or_else(|| "a block uses blocks that stand above it in `blocks`".to_owned());
            field.error(message).with_hint(Some(hint))
        })
    }

    fn expand(&mut self, entries: &[Field<'a>], scope: &mut Scope) -> Result<(), PlanError> {
        for (index, entry) in entries.iter().enumerate() {
            entry.distinct()?;
            if scope.block.is_none() {
                scope.entry = index;
            }
            let from = match key(entry, "from") {
                Some(field) => scope.inputs(&field, entry, &entries[index..])?,
                None => vec![scope.last],
            };
            scope.last = match key(entry, "block") {
                Some(block) => self.use_block(&block, entry, &from, scope)?,
                None => self.layer(entry, from, scope)?,
            };
            if let Some(label) = key(entry, "as") {
                scope.label(&label)?;
            }
        }
        Ok(())
    }

    /// Appends a layer; the place of what it gives.
    fn layer(&mut self, entry: &Field<'a>, from: Vec<u32>, scope: &Scope) -> Result<u32, PlanError> {
        let spelt = key(entry, "from").is_some();
        let mut node = scope.filled(entry, entry.node())?;
        if let Value::Map(entries) = &mut node.value {
            entries.retain(|(key, _)| !["as", "from"].contains(&key.text.as_str()));
            let strange = entry.entries().find(|(name, _)| {
                !["as", "from"].contains(&name.as_str()) && !Layer::WORDS.contains(&name.as_str())
            });
            if entries.len() > 1
                && let Some((name, field)) = strange
            {
                let message = format!("unknown key {name:?}; beside a layer are allowed: as, from");
                let known = ["as", "from", "block"].into_iter();
                return Err(field.error(message).with_hint(did_you_mean(&name, known)));
            }
        }
        let field = entry.holding(&node, Takes::Variant(Layer::TABLE));
        let mut layer = Layer::read(&field)?.normalised();
        layer.prefix(&scope.prefix);
        // What takes nothing does not take the entry before either.
        let from = if layer.takes().1 == 0 && !spelt { Vec::new() } else { from };
        self.layers.push(layer);
        self.from.push(from);
        self.origins.push(Origin { entry: scope.entry, block: scope.block.clone() });
        Ok(self.layers.len() as u32)
    }

    /// Appends the layers of a block; the place of what the last one gives.
    fn use_block(
        &mut self,
        name: &Field<'a>,
        entry: &Field<'a>,
        from: &[u32],
        scope: &Scope,
    ) -> Result<u32, PlanError> {
        let block = self.named(name)?;
        let [mut last] = *from else {
            return Err(entry.error(format!(
                "the block {} takes 1 input; {} are given",
                block.name,
                from.len()
            )));
        };
        let mut arguments = BTreeMap::new();
        for (argument, field) in rest(entry) {
            if !block.arguments.contains(argument.as_str()) {
                let names = block.arguments.iter().copied().collect::<Vec<_>>();
                let all = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                let message = format!("the block {} has no argument {argument:?}; it has {all}", block.name);
                return Err(field.error(message).with_hint(did_you_mean(&argument, names.into_iter())));
            }
            arguments.insert(argument, scope.argument(&field)?);
        }
        if let Some(missing) = block.arguments.iter().find(|name| !arguments.contains_key(**name)) {
            let message = format!("the block {} needs the argument {missing}", block.name);
            let hint = format!("write `{missing}: …` beside `block: {}`", block.name);
            return Err(entry.error(message).with_hint(Some(hint)));
        }
        let mut prefix = scope.prefix.clone();
        if let Some(field) = key(entry, "name") {
            let node = scope.filled(&field, field.node())?;
            prefix += &format!("{}.", field.holding(&node, field.takes()).text()?);
        }
        let repeat = key(entry, "repeat").map_or(Ok(None), |repeat| u32::read(&repeat).map(Some))?;
        let (entries, name) = (block.entries.clone(), block.name.clone());
        for time in 0..repeat.unwrap_or(1) {
            let mut inner = Scope {
                entered: last,
                last,
                labels: BTreeMap::new(),
                arguments: arguments.clone(),
                prefix: if repeat.is_some() { format!("{prefix}{time}.") } else { prefix.clone() },
                block: Some(name.clone()),
                entry: scope.entry,
            };
            self.expand(&entries, &mut inner)?;
            last = inner.last;
        }
        Ok(last)
    }
}

impl Scope {
    /// The places that a `from` names. `entries` are the ones from this one on, whose labels come too late.
    fn inputs(
        &self,
        field: &Field<'_>,
        entry: &Field<'_>,
        entries: &[Field<'_>],
    ) -> Result<Vec<u32>, PlanError> {
        let nodes = match field.value() {
            Value::List(nodes) => nodes.iter().collect(),
            _ => vec![field.node()],
        };
        if nodes.is_empty() || nodes.len() > limits::JOINED {
            let (count, most) = (nodes.len(), limits::JOINED);
            return Err(entry.error(format!("from has {count} labels; it takes 1 to {most}")));
        }
        nodes.into_iter().map(|node| self.place(&field.holding(node, LABEL), entries)).collect()
    }

    fn place(&self, field: &Field<'_>, later: &[Field<'_>]) -> Result<u32, PlanError> {
        let name = field.text()?;
        if let Some(argument) = name.strip_prefix('$') {
            let argument = self.given(field, argument)?;
            return argument.labels.ok_or_else(|| {
                field.error(format!("the argument {name} is not a label where the block is used"))
            });
        }
        self.find(name).ok_or_else(|| {
            let labelled = |entry: &Field<'_>| key(entry, "as").is_some_and(|label| label.text() == Ok(name));
            if later.iter().any(labelled) {
                let hint = "a layer takes what stands above it: move the layer down";
                return field
                    .error(format!("the label {name} does not stand above"))
                    .with_hint(Some(hint.to_owned()));
            }
            let known = self.labels.keys().map(String::as_str).chain([self.start()]);
            let hint = did_you_mean(name, known).or_else(|| {
                Some(format!("`as: LABEL` labels a layer; `{}` is the first input", self.start()))
            });
            field.error(format!("no layer above has the label {name:?}")).with_hint(hint)
        })
    }

    fn find(&self, name: &str) -> Option<u32> {
        if name == self.start() { Some(self.entered) } else { self.labels.get(name).copied() }
    }

    fn start(&self) -> &'static str {
        if self.block.is_some() { "in" } else { "input" }
    }

    fn label(&mut self, field: &Field<'_>) -> Result<(), PlanError> {
        let label = field.text()?;
        if ["in", "input"].contains(&label) || label.starts_with('$') {
            return Err(field
                .error(format!("{label} cannot be a label"))
                .with_hint(Some("choose another label".to_owned())));
        }
        if self.labels.insert(label.to_owned(), self.last).is_some() {
            let hint = Some("give each layer a label of its own".to_owned());
            return Err(field.error(format!("two layers have the label {label}")).with_hint(hint));
        }
        Ok(())
    }

    fn given(&self, field: &Field<'_>, name: &str) -> Result<&Argument, PlanError> {
        self.arguments.get(name).ok_or_else(|| field.error(format!("${name} stands outside of a block")))
    }

    /// What a block is given.
    fn argument(&self, field: &Field<'_>) -> Result<Argument, PlanError> {
        match field.value() {
            Value::Text(text) => match text.strip_prefix('$') {
                Some(outer) => self.given(field, outer).cloned(),
                None => Ok(Argument { node: field.node().clone(), values: 1, labels: self.find(text) }),
            },
            value => {
                let node = self.filled(field, field.node())?;
                Ok(Argument { node, values: self.values(value), labels: None })
            }
        }
    }

    /// A copy of a value with the arguments in place of their names.
    fn filled(&self, field: &Field<'_>, node: &Node) -> Result<Node, PlanError> {
        if self.values(&node.value) > limits::LAYER_VALUES {
            let (path, most) = (field.path(), limits::LAYER_VALUES);
            let message =
                format!("{path} stands for more than {most} values, the most of a layer or an argument");
            let hint = Some("give a block single numbers and words as arguments".to_owned());
            return Err(field.error(message).with_hint(hint));
        }
        self.copied(field, node)
    }

    /// How many values [`Self::filled`] gives.
    fn values(&self, value: &Value) -> usize {
        let with = |sum: usize, node: &Node| sum.saturating_add(self.values(&node.value));
        match value {
            Value::Text(text) => {
                let argument = text.strip_prefix('$').and_then(|name| self.arguments.get(name));
                argument.map_or(1, |argument| argument.values)
            }
            Value::List(nodes) => nodes.iter().fold(1, with),
            Value::Map(entries) => entries.iter().fold(1, |sum, (_, node)| with(sum, node)),
            _ => 1,
        }
    }

    fn copied(&self, field: &Field<'_>, node: &Node) -> Result<Node, PlanError> {
        let value = match &node.value {
            Value::Text(text) if text.starts_with('$') => {
                return self
                    .given(&field.holding(node, LABEL), &text[1..])
                    .map(|argument| argument.node.clone());
            }
            Value::List(nodes) => {
                Value::List(nodes.iter().map(|node| self.copied(field, node)).collect::<Result<_, _>>()?)
            }
            Value::Map(entries) => {
                let filled = entries.iter().map(|(key, node)| match key.text.as_str() {
                    // Labels, which `inputs` has read.
                    "as" | "from" => Ok((key.clone(), node.clone())),
                    _ => Ok((key.clone(), self.copied(field, node)?)),
                });
                Value::Map(filled.collect::<Result<_, _>>()?)
            }
            other => other.clone(),
        };
        Ok(Node { at: node.at, value })
    }
}

/// The value of one of the keys beside a layer.
fn key<'a>(entry: &Field<'a>, name: &str) -> Option<Field<'a>> {
    let takes = BESIDE.iter().find(|key| key.name == name)?.takes;
    entry.entries().find(|(key, _)| key == name).map(|(_, field)| field.taking(takes))
}

/// The arguments beside `block`.
fn rest<'a>(entry: &Field<'a>) -> impl Iterator<Item = (String, Field<'a>)> {
    entry.entries().filter(|(name, _)| BESIDE.iter().all(|key| key.name != name))
}

fn find_arguments<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Text(text) => found.extend(text.strip_prefix('$')),
        Value::List(nodes) => nodes.iter().for_each(|node| find_arguments(&node.value, found)),
        Value::Map(entries) => entries.iter().for_each(|(_, node)| find_arguments(&node.value, found)),
        _ => {}
    }
}

/// `layers`.
pub(super) const LAYERS: Key = Key {
    name: "layers",
    takes: Takes::List {
        kind: "a list of layers",
        of: &Takes::Entry { words: Layer::TABLE, beside: BESIDE },
    },
    absent: Absent::Refused,
    meaning: "The layers, in order. The last layer gives the output.",
    example: "[{linear: {name: fc1, out: 16}}, relu, {linear: {name: fc2, out: 2}}]",
};

/// `blocks`.
pub(super) const BLOCKS: Key = Key {
    name: "blocks",
    takes: Takes::Names {
        kind: "a map from a block's name to its layers",
        of: &Takes::List {
            kind: "a list of layers",
            of: &Takes::Other { kind: "a layer, or a use of a block above", words: &[] },
        },
    },
    absent: Absent::Means("`layers` uses no block"),
    meaning: "Lists of layers that `layers` uses by name. `$out` in a block stands for the argument `out` of a use; \
              in `from`, `in` is what the block takes.",
    example: "{double: [{linear: {name: fc, out: $out}}, relu]}",
};

const BESIDE: &[Key] = &[
    Key {
        name: "as",
        takes: LABEL,
        absent: Absent::Means("the layer has no label"),
        meaning: "A label for what the layer gives. It stands beside the layer: `{relu: , as: x1}`.",
        example: "x1",
    },
    Key {
        name: "from",
        takes: Takes::Other { kind: "a label, or a list of labels", words: &[] },
        absent: Absent::Means("the layer takes what the layer before it gives"),
        meaning: "The labels of what the layer takes, all from layers above. `input` is the sample.",
        example: "[x1, x2]",
    },
    Key {
        name: "block",
        takes: Takes::Text(Text::Any("name of a block")),
        absent: Absent::Means("the entry is a layer"),
        meaning: "A block of `blocks`, in place of a layer. The block's arguments stand beside it: `{block: double, out: 8}`.",
        example: "double",
    },
    Key {
        name: "name",
        takes: Takes::Text(Text::Any("field name")),
        absent: Absent::Means("the names in the block stay as they are"),
        meaning: "Beside `block`: the first part of the names of the block's layers.",
        example: "down1",
    },
    Key {
        name: "repeat",
        takes: Takes::Whole { least: 1, most: limits::LAYERS as u64, unit: "times" },
        absent: Absent::Means("the block is used once, without a number in the names"),
        meaning: "Beside `block`: how often the block is used in a row. The names get a number after `name`: `down1.0`, `down1.1`.",
        example: "2",
    },
];

const LABEL: Takes = Takes::Text(Text::Any("label"));

#[cfg(test)]
mod tests;
