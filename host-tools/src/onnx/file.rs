//! The parts of an ONNX file that an import reads, as they lie in the file. Field numbers are those of
//! `onnx.proto3` (IR versions 3 to 13).
//!
//! Nothing of a part is copied. Each list has a limit that is checked before the list grows. Whether names,
//! shapes and types fit together is checked by who uses them. Subgraphs (of `If`, `Loop`, `Scan`) and local
//! functions are not read.

use super::{
    error::OnnxError,
    wire::{Fault, Fields, Value},
};

/// A whole file.
#[derive(Debug, Default)]
pub(super) struct Model<'a> {
    pub(super) nodes: Vec<Node<'a>>,
    pub(super) weights: Vec<Tensor<'a>>,
    pub(super) inputs: Vec<Input<'a>>,
    pub(super) outputs: Vec<&'a str>,
    /// Of the operators of ONNX itself; 0 if the file names no version.
    pub(super) opset: i64,
    /// Whether the exporter merged batch normalisations into convolutions.
    pub(super) merged: bool,
}

/// One operation.
#[derive(Clone, Debug, Default)]
pub(super) struct Node<'a> {
    /// Names; an optional input that is left out has an empty one.
    pub(super) inputs: Vec<&'a str>,
    pub(super) outputs: Vec<&'a str>,
    pub(super) name: &'a str,
    pub(super) op: &'a str,
    pub(super) domain: &'a str,
    pub(super) attributes: Vec<Attribute<'a>>,
    /// Where the node stands in PyTorch's modules, as today's exporter writes it.
    pub(super) scopes: &'a str,
}

/// A setting of a node.
#[derive(Clone, Debug, Default)]
pub(super) struct Attribute<'a> {
    pub(super) name: &'a str,
    pub(super) float: f32,
    pub(super) whole: i64,
    pub(super) text: &'a [u8],
    pub(super) tensor: Option<Tensor<'a>>,
    pub(super) floats: Vec<f32>,
    pub(super) wholes: Vec<i64>,
    /// The number of the field that holds the value.
    pub(super) kind: i64,
}

/// Numbers with a shape.
#[derive(Clone, Debug, Default)]
pub(super) struct Tensor<'a> {
    pub(super) name: &'a str,
    pub(super) shape: Vec<i64>,
    pub(super) dtype: i64,
    /// The elements in little-endian order, if they lie here.
    pub(super) raw: Option<&'a [u8]>,
    /// Whether the elements lie in another file.
    pub(super) elsewhere: bool,
    /// Which file, from which byte, how many.
    pub(super) place: Place<'a>,
    /// The whole message, for elements that lie in lists.
    message: &'a [u8],
}

/// Where elements lie in another file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place<'a> {
    pub(super) file: &'a str,
    pub(super) offset: &'a str,
    pub(super) length: &'a str,
}

/// An input of the network.
#[derive(Debug, Default)]
pub(super) struct Input<'a> {
    pub(super) name: &'a str,
    pub(super) dtype: i64,
    /// `None` for a side that is open.
    pub(super) shape: Vec<Option<i64>>,
}

/// Reads a file.
pub(super) fn read(bytes: &[u8]) -> Result<Model<'_>, OnnxError> {
    let (mut model, mut graph) = (Model::default(), None);
    let mut names = 0;
    let mut read = || -> Result<(), Fault> {
        let mut fields = Fields::new(bytes);
        while let Some((field, value)) = fields.next()? {
            match field {
                7 if graph.is_some() => return Err("the file has two networks"),
                7 => graph = Some(value.bytes()?),
                8 => opset(value.bytes()?, &mut model)?,
                _ => {}
            }
        }
        let mut fields = Fields::new(graph.ok_or("the file has no network")?);
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => {
                    let node = node(value.bytes()?, &mut names, &mut model.merged)?;
                    push(&mut model.nodes, node, NODES, "the network has too many nodes")?;
                }
                5 => {
                    push(&mut model.weights, tensor(value.bytes()?)?, NODES, "the file has too many tensors")?
                }
                11 => {
                    push(&mut model.inputs, input(value.bytes()?)?, NODES, "the network has too many inputs")?
                }
                12 => {
                    let output = input(value.bytes()?)?.name;
                    push(&mut model.outputs, output, 64, "the network has too many outputs")?;
                }
                15 => return Err("the file has sparse tensors"),
                _ => {}
            }
        }
        Ok(())
    };
    read().map_err(OnnxError::File)?;
    Ok(model)
}

impl Place<'_> {
    /// The first byte and the number of bytes; `all` if the file does not say how many.
    pub(super) fn numbers(&self, all: u64) -> Result<(u64, u64), Fault> {
        let number = |text: &str, absent: u64| if text.is_empty() { Ok(absent) } else { text.parse() };
        match (number(self.offset, 0), number(self.length, all)) {
            (Ok(offset), Ok(length)) => Ok((offset, length)),
            _ => Err("the place in the second file is not a number"),
        }
    }
}

impl<'a> Tensor<'a> {
    /// The most elements of a tensor whose elements lie in a list here.
    pub(super) fn most(&self) -> u64 {
        self.message.len() as u64 / 4
    }

    /// The elements as whole numbers, if they lie here and are at most `most`.
    pub(super) fn wholes(&self, most: usize) -> Result<Vec<i64>, Fault> {
        let mut all = Vec::new();
        if let Some(raw) = self.raw {
            if raw.len() / self.size().max(1) > most {
                return Err("a list has too many numbers");
            }
            match self.dtype {
                INT64 => all.extend(raw.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes))),
                INT32 => {
                    all.extend(raw.as_chunks().0.iter().map(|bytes| i64::from(i32::from_le_bytes(*bytes))))
                }
                _ => all.extend(raw.iter().map(|byte| i64::from(*byte))),
            }
            return Ok(all);
        }
        let field = if self.dtype == INT64 { 7 } else { 5 };
        self.each(field, |value| value.wholes(&mut all, most))?;
        Ok(all)
    }

    /// The elements as numbers of 32 bits, if they lie here and are at most `most`.
    pub(super) fn floats(&self, most: usize) -> Result<Vec<f32>, Fault> {
        let mut all = Vec::new();
        match self.raw {
            Some(raw) => Value::Bytes(raw).floats(&mut all, most)?,
            None => self.each(4, |value| value.floats(&mut all, most))?,
        }
        Ok(all)
    }

    /// Bytes of one element; 0 for a type that no import reads.
    pub(super) fn size(&self) -> usize {
        match self.dtype {
            FLOAT | INT32 => 4,
            INT64 => 8,
            BOOL => 1,
            _ => 0,
        }
    }

    fn each(&self, list: u32, mut each: impl FnMut(Value<'a>) -> Result<(), Fault>) -> Result<(), Fault> {
        let mut fields = Fields::new(self.message);
        while let Some((field, value)) = fields.next()? {
            if field == list {
                each(value)?;
            }
        }
        Ok(())
    }
}

fn push<T>(list: &mut Vec<T>, item: T, most: usize, fault: Fault) -> Result<(), Fault> {
    if list.len() == most {
        return Err(fault);
    }
    list.push(item);
    Ok(())
}

fn opset(message: &[u8], model: &mut Model<'_>) -> Result<(), Fault> {
    let (mut domain, mut version, mut fields) = ("", 0, Fields::new(message));
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => domain = value.text()?,
            2 => version = value.whole()?,
            _ => {}
        }
    }
    if is_own(domain) {
        model.opset = version;
    }
    Ok(())
}

/// Whether a domain is that of ONNX' own operators.
pub(super) fn is_own(domain: &str) -> bool {
    ["", "ai.onnx"].contains(&domain)
}

/// `names` counts the inputs and outputs of all nodes.
fn node<'a>(message: &'a [u8], names: &mut usize, merged: &mut bool) -> Result<Node<'a>, Fault> {
    let (mut node, mut fields) = (Node::default(), Fields::new(message));
    while let Some((field, value)) = fields.next()? {
        match field {
            1 | 2 => {
                *names += 1;
                let list = if field == 1 { &mut node.inputs } else { &mut node.outputs };
                push(list, value.text()?, NAMES, "a node has too many inputs")?;
                if *names > NAMES {
                    return Err("the nodes have too many inputs");
                }
            }
            3 => node.name = value.text()?,
            4 => node.op = value.text()?,
            5 => {
                let attribute = attribute(value.bytes()?)?;
                push(&mut node.attributes, attribute, ATTRIBUTES, "a node has too many settings")?;
            }
            7 => node.domain = value.text()?,
            9 => match entry(value.bytes()?)? {
                ("pkg.torch.onnx.name_scopes", scopes) => node.scopes = scopes,
                ("pkg.onnxscript.rewriter.rule_name", rule) => *merged |= rule.contains("FuseBatchNorm"),
                _ => {}
            },
            _ => {}
        }
    }
    Ok(node)
}

fn attribute(message: &[u8]) -> Result<Attribute<'_>, Fault> {
    let (mut found, mut fields) = (Attribute::default(), Fields::new(message));
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => found.name = value.text()?,
            2 => found.float = value.float()?,
            3 => found.whole = value.whole()?,
            4 => found.text = value.bytes()?,
            5 => found.tensor = Some(tensor(value.bytes()?)?),
            7 => value.floats(&mut found.floats, NUMBERS)?,
            8 => value.wholes(&mut found.wholes, NUMBERS)?,
            _ => {}
        }
        if (2..=8).contains(&field) {
            found.kind = field.into();
        }
    }
    Ok(found)
}

fn tensor(message: &[u8]) -> Result<Tensor<'_>, Fault> {
    let mut found = Tensor { message, ..Tensor::default() };
    let mut fields = Fields::new(message);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => value.wholes(&mut found.shape, RANK)?,
            2 => found.dtype = value.whole()?,
            3 => return Err("a tensor is cut into segments"),
            8 => found.name = value.text()?,
            9 => found.raw = Some(value.bytes()?),
            13 => match entry(value.bytes()?)? {
                ("location", file) => found.place.file = file,
                ("offset", offset) => found.place.offset = offset,
                ("length", length) => found.place.length = length,
                _ => {}
            },
            14 => found.elsewhere = value.whole()? == 1,
            _ => {}
        }
    }
    Ok(found)
}

fn entry(message: &[u8]) -> Result<(&str, &str), Fault> {
    let (mut found, mut fields) = (("", ""), Fields::new(message));
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => found.0 = value.text()?,
            2 => found.1 = value.text()?,
            _ => {}
        }
    }
    Ok(found)
}

/// A name with a type: `type { tensor_type { elem_type, shape { dim { value | param } } } }`.
fn input(message: &[u8]) -> Result<Input<'_>, Fault> {
    let (mut found, mut fields) = (Input::default(), Fields::new(message));
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => found.name = value.text()?,
            2 => {
                let mut kinds = Fields::new(value.bytes()?);
                while let Some((kind, value)) = kinds.next()? {
                    if kind == 1 {
                        tensor_type(value.bytes()?, &mut found)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

fn tensor_type(message: &[u8], found: &mut Input<'_>) -> Result<(), Fault> {
    let mut fields = Fields::new(message);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => found.dtype = value.whole()?,
            2 => {
                let mut sides = Fields::new(value.bytes()?);
                while let Some((field, value)) = sides.next()? {
                    if field == 1 {
                        let (mut side, mut fields) = (None, Fields::new(value.bytes()?));
                        while let Some((field, value)) = fields.next()? {
                            if field == 1 {
                                side = Some(value.whole()?);
                            }
                        }
                        push(&mut found.shape, side, RANK, "an input has too many axes")?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Element types.
pub(super) const FLOAT: i64 = 1;
pub(super) const INT32: i64 = 6;
pub(super) const INT64: i64 = 7;
pub(super) const BOOL: i64 = 9;

/// Most nodes, and most tensors: 16 times the layers of the largest model of a plan.
const NODES: usize = 65_536;
/// Most inputs and outputs of all nodes together.
const NAMES: usize = 8 * NODES;
/// Most settings of one node; an LSTM has 11.
const ATTRIBUTES: usize = 32;
/// Most numbers of one setting.
const NUMBERS: usize = 256;
/// Most axes.
const RANK: usize = 16;
