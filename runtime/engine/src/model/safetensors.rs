//! Model files in the safetensors format, which PyTorch and other programs read.
//!
//! A file is a header's length (u64, little-endian), the header (JSON: name → dtype, shape, offsets, and a
//! map of texts under `__metadata__`), and the tensors' bytes. We write i64 tensors before f32 ones, so that
//! every tensor is aligned, and the same state and metadata always give the same bytes. The reader takes
//! tensors in any order. It refuses a file before it allocates memory for it, unless names, shapes and dtypes
//! are those of the layout; it refuses values that are not finite.

mod state_dict;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
};

use safetensors::{
    SafeTensors,
    tensor::{Metadata, TensorInfo},
};

use super::is_optimiser_tensor;
use crate::{
    limits,
    name::nearest,
    printable::{unprintable, unprintable_in_lines},
    tensor::{Combine, Dtype, Layout, ModelState, TensorSpec},
};

pub use state_dict::{StateDict, read_state_dict};

/// Texts that a file holds beside its tensors.
pub type Texts = BTreeMap<String, String>;

/// Why a model file was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelFileError {
    /// Fewer bytes than the header's length takes.
    #[error("the file has {0} bytes, too few for a model file")]
    TooShort(usize),
    /// The header's length is past the file's end or the bound.
    #[error("the header claims {claimed} bytes; the file has {room} bytes left, and a header has at most {max}", max = limits::MODEL_HEADER_BYTES)]
    HeaderLength {
        /// The file's value.
        claimed: u64,
        /// Bytes of the file after the length.
        room: usize,
    },
    /// The reference implementation refuses the header.
    #[error("not a safetensors file: {0}")]
    Header(String),
    /// A tensor's name or the metadata would change what a terminal shows.
    #[error("{what} of the file contains the control character {}", character.escape_unicode())]
    Control {
        /// `the tensor "…"` or `the metadata "…"`.
        what: String,
        /// The character.
        character: char,
    },
    /// Names differ from the layout's.
    #[error("the tensors of the file are not those of the model: {}", differences(missing, extra))]
    Names {
        /// In the model, not in the file.
        missing: Vec<String>,
        /// In the file, not in the model.
        extra: Vec<String>,
        /// A pair that may be one tensor spelt in two ways: the file's name, then the model's.
        nearest: Option<(String, String)>,
    },
    /// Another element type.
    #[error("the tensor {name:?} of the file has the type {found}; the model needs {expected:?}")]
    Dtype {
        /// The tensor's name.
        name: String,
        /// The file's value.
        found: String,
        /// The layout's value.
        expected: Dtype,
    },
    /// Another element type, which can be converted.
    #[error("the tensor {name:?} of the file has the type {found}; the model needs F32")]
    Convertible {
        /// The tensor's name.
        name: String,
        /// The file's value.
        found: String,
    },
    /// Two tensors that would have one name.
    #[error("the tensors {first:?} and {second:?} of the file would both be {name:?}")]
    Twice {
        /// The name.
        name: String,
        /// A name in the file.
        first: String,
        /// Another name in the file.
        second: String,
    },
    /// Another shape.
    #[error("the tensor {name:?} of the file has the shape {found:?}; the model needs {expected:?}")]
    Shape {
        /// The tensor's name.
        name: String,
        /// The file's value.
        found: Vec<usize>,
        /// The layout's value.
        expected: Vec<u32>,
    },
    /// NaN or an infinity.
    #[error("the tensor {name:?} of the file has the value {value} at element {index}; values are finite")]
    NotFinite {
        /// The tensor's name.
        name: String,
        /// Row-major, from 0.
        index: usize,
        /// The value.
        value: String,
    },
}

impl ModelFileError {
    /// What to do about it, where there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Names { extra, .. } if extra.iter().any(|name| is_optimiser_tensor(name)) => {
                Some("`fl-host model export` writes a file without its optimiser state".to_owned())
            }
            Self::Names { missing, extra, .. } if prefix(missing, extra).is_some() => {
                let prefix = prefix(missing, extra).unwrap_or_default();
                let wrapper = match prefix.as_str() {
                    "module." => " In PyTorch, a model inside DataParallel has these names: save model.module.state_dict().",
                    "_orig_mod." => " In PyTorch, a compiled model has these names: save model._orig_mod.state_dict().",
                    _ => "",
                };
                Some(format!("each name in the file begins with {prefix:?}: remove this beginning before saving.{wrapper}"))
            }
            Self::Names { extra, .. } if extra.iter().any(|name| is_batch_count(name)) => Some(
                "BatchNorm of PyTorch counts batches in num_batches_tracked, and the model has no such tensor: write `count: true` in each batch_norm of the plan, or leave these entries of state_dict() out when saving"
                    .to_owned(),
            ),
            Self::Names { nearest: Some((file, model)), .. } => Some(format!(
                "the tensor {file:?} of the file may be {model:?} of the model: rename it before saving"
            )),
            Self::Convertible { .. } => {
                Some("--convert makes elements of 32 bits of those of 16 and 64 bits".to_owned())
            }
            Self::Twice { .. } => Some("give each tensor another new name with --rename".to_owned()),
            Self::Dtype { expected: Dtype::F32, .. } => {
                Some("convert the tensor before saving; in PyTorch: tensor.float()".to_owned())
            }
            Self::Shape { found, expected, .. } if transposition(found, expected).is_some() => {
                let order = transposition(found, expected).unwrap_or_default();
                let order = order.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
                Some(format!(
                    "the tensor is transposed, as TensorFlow and Keras store weights; before saving, in NumPy: numpy.ascontiguousarray(tensor.transpose({order}))"
                ))
            }
            Self::Shape { .. } | Self::Names { .. } => {
                Some("the file holds another model than the one that plan/plan.yaml describes".to_owned())
            }
            Self::Control { .. } => {
                Some("write the file again without this character in names and metadata".to_owned())
            }
            Self::TooShort(_) | Self::HeaderLength { .. } | Self::Header(_) => {
                Some("the file is not a safetensors file, or was cut short".to_owned())
            }
            _ => None,
        }
    }
}

/// One tensor of a file of any model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileTensor {
    /// The file's value.
    pub name: String,
    /// For example `F32`.
    pub dtype: String,
    /// Row-major.
    pub shape: Vec<usize>,
}

/// The file as bytes.
#[must_use]
pub fn write(state: &ModelState, texts: &Texts) -> Vec<u8> {
    let mut out = Vec::with_capacity(state.layout().byte_len() + 1024);
    let Ok(()) = write_pieces(state, texts, &mut |piece| {
        out.extend_from_slice(piece);
        Ok::<(), std::convert::Infallible>(())
    });
    out
}

/// The file in pieces of at most 64 KiB after the header, for models that should not be in memory twice.
///
/// # Errors
/// The first error of `put`.
pub fn write_pieces<E>(
    state: &ModelState,
    texts: &Texts,
    put: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    put_header(state.layout(), texts, put)?;
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    for values in state.i64.chunks(PIECE_BYTES / 8) {
        piece.clear();
        piece.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        put(&piece)?;
    }
    for values in state.f32.chunks(PIECE_BYTES / 4) {
        piece.clear();
        piece.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        put(&piece)?;
    }
    Ok(())
}

/// Writes the file of a state that is given as a payload. It makes no second copy of the model.
///
/// # Errors
/// The first error of `put`.
///
/// # Panics
/// When `payload` is shorter than the layout's f32 segment.
pub fn write_payload<E>(
    layout: &Layout,
    payload: &[u8],
    texts: &Texts,
    put: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let (floats, integers) = payload.split_at(layout.f32_len() * Dtype::F32.size());
    put_header(layout, texts, put)?;
    put(integers)?;
    put(floats)
}

/// The state over `layout` that a file holds, and its texts.
///
/// # Errors
/// [`ModelFileError`]; nothing is allocated for tensors before all of them match the layout.
pub fn read(file: &[u8], layout: &Arc<Layout>) -> Result<(ModelState, Texts), ModelFileError> {
    let (metadata, data) = open(file)?;
    same_names(&metadata, layout)?;
    let mut state_f32 = Vec::new();
    let mut state_i64 = Vec::new();
    let mut found = Vec::with_capacity(layout.tensors().len());
    for tensor in layout.tensors() {
        let Some(info) = metadata.info(&tensor.name) else { continue };
        if let Some(found) = unlike(info, tensor.dtype) {
            return Err(ModelFileError::Dtype { name: tensor.name.clone(), found, expected: tensor.dtype });
        }
        if !same_shape(&info.shape, &tensor.shape) {
            let (found, expected) = (info.shape.clone(), tensor.shape.clone());
            return Err(ModelFileError::Shape { name: tensor.name.clone(), found, expected });
        }
        found.push((tensor, &data[info.data_offsets.0..info.data_offsets.1]));
    }
    state_f32.reserve_exact(layout.f32_len());
    state_i64.reserve_exact(layout.i64_len());
    for (tensor, bytes) in found {
        match tensor.dtype {
            Dtype::F32 => {
                let start = state_f32.len();
                state_f32.extend(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)));
                let bad = state_f32[start..].iter().position(|v| !v.is_finite());
                if let Some(index) = bad {
                    let value = state_f32[start + index].to_string();
                    return Err(ModelFileError::NotFinite { name: tensor.name.clone(), index, value });
                }
            }
            Dtype::I64 => state_i64.extend(bytes.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b))),
        }
    }
    let mut state = ModelState::zeros(Arc::clone(layout));
    (state.f32, state.i64) = (state_f32, state_i64);
    Ok((state, texts(&metadata)))
}

/// The tensors of a file of any model, in the order of their bytes, and its texts.
///
/// # Errors
/// [`ModelFileError`] for a file that is not safetensors.
pub fn inspect(file: &[u8]) -> Result<(Vec<FileTensor>, Texts), ModelFileError> {
    let (metadata, _) = open(file)?;
    let tensor = |name: String| {
        let info = metadata.info(&name)?;
        Some(FileTensor { dtype: format!("{:?}", info.dtype), shape: info.shape.clone(), name })
    };
    Ok((metadata.offset_keys().into_iter().filter_map(tensor).collect(), texts(&metadata)))
}

/// The layout that a file's tensors have when nothing else is known: in the order of their bytes, f32
/// combined by the rule, i64 by the largest.
///
/// # Errors
/// [`ModelFileError`] for a file that is not safetensors, or has other element types.
pub fn layout_of(file: &[u8]) -> Result<Arc<Layout>, ModelFileError> {
    let (metadata, _) = open(file)?;
    let mut tensors = Vec::new();
    for name in metadata.offset_keys() {
        let Some(info) = metadata.info(&name) else { continue };
        let found = format!("{:?}", info.dtype);
        let Some(dtype) = dtype(info) else {
            return Err(ModelFileError::Dtype { name, found, expected: Dtype::F32 });
        };
        let combine = if dtype == Dtype::F32 { Combine::Rule } else { Combine::Max };
        let too_large = || ModelFileError::Header(format!("tensor {name:?} is too large"));
        let sides: Option<Vec<u32>> = info.shape.iter().map(|&side| u32::try_from(side).ok()).collect();
        let shape = sides.ok_or_else(too_large)?;
        tensors.push(TensorSpec { name, shape, dtype, combine });
    }
    Layout::new(tensors).map_err(|e| ModelFileError::Header(e.to_string()))
}

/// Header and tensors' bytes, the header checked: offsets follow one another without a gap from 0 to the
/// file's end, and each is as long as shape and dtype say.
fn open(file: &[u8]) -> Result<(Metadata, &[u8]), ModelFileError> {
    let (length, rest) = file.split_first_chunk::<8>().ok_or(ModelFileError::TooShort(file.len()))?;
    let claimed = u64::from_le_bytes(*length);
    if claimed > rest.len().min(limits::MODEL_HEADER_BYTES) as u64 {
        return Err(ModelFileError::HeaderLength { claimed, room: rest.len() });
    }
    let (header, metadata) =
        SafeTensors::read_metadata(file).map_err(|e| ModelFileError::Header(e.to_string()))?;
    printable_header(&metadata)?;
    Ok((metadata, &rest[header..]))
}

/// Refuses control characters in names, and in metadata all of them but line feeds.
fn printable_header(metadata: &Metadata) -> Result<(), ModelFileError> {
    let check = |kind: &str, name: &str, found: Option<char>| match found {
        Some(character) => Err(ModelFileError::Control { what: format!("{kind} {name:?}"), character }),
        None => Ok(()),
    };
    for name in metadata.offset_keys() {
        check("the tensor", &name, unprintable(&name))?;
    }
    for (key, text) in metadata.metadata().iter().flatten() {
        check("the metadata", key, unprintable(key).or_else(|| unprintable_in_lines(text)))?;
    }
    Ok(())
}

fn same_names(metadata: &Metadata, layout: &Layout) -> Result<(), ModelFileError> {
    let wanted: BTreeSet<&str> = layout.tensors().iter().map(|t| t.name.as_str()).collect();
    let keys = metadata.offset_keys();
    let held: BTreeSet<&str> = keys.iter().map(String::as_str).collect();
    if wanted == held {
        return Ok(());
    }
    let missing: Vec<&str> = wanted.difference(&held).copied().collect();
    let extra: Vec<&str> = held.difference(&wanted).copied().collect();
    let pair = |wrong: &&str| Some(((*wrong).to_owned(), nearest(wrong, missing.iter().copied())?));
    let nearest = extra.iter().take(NAMES_SHOWN).find_map(pair);
    let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
    Err(ModelFileError::Names { missing: owned(&missing), extra: owned(&extra), nearest })
}

/// The counter of a BatchNorm of PyTorch.
fn is_batch_count(name: &str) -> bool {
    name.ends_with(".num_batches_tracked") || name == "num_batches_tracked"
}

/// The text that each name of the file has before the model's name, where that is the only difference.
fn prefix(missing: &[String], extra: &[String]) -> Option<String> {
    let mut theirs = extra.iter().filter(|name| !is_batch_count(name));
    let first = theirs.clone().next()?;
    let prefix = missing
        .iter()
        .filter_map(|name| first.strip_suffix(name.as_str()))
        .find(|prefix| prefix.ends_with('.'))?;
    let ours =
        |name: &String| name.strip_prefix(prefix).is_some_and(|rest| missing.iter().any(|name| name == rest));
    theirs.all(ours).then(|| prefix.to_owned())
}

/// The order of axes that makes `expected` of `found`: of two axes, or from height, width, in, out of a
/// convolution.
fn transposition(found: &[usize], expected: &[u32]) -> Option<&'static [usize]> {
    let orders: [&[usize]; 3] = [&[1, 0], &[3, 2, 0, 1], &[2, 3, 0, 1]];
    orders.into_iter().find(|order| {
        order.len() == found.len()
            && found.len() == expected.len()
            && order.iter().zip(expected).all(|(axis, side)| found[*axis] as u64 == u64::from(*side))
    })
}

/// The type of a tensor of the file, if it is another one.
fn unlike(info: &TensorInfo, expected: Dtype) -> Option<String> {
    (dtype(info) != Some(expected)).then(|| format!("{:?}", info.dtype))
}

fn same_shape(found: &[usize], expected: &[u32]) -> bool {
    found.iter().map(|side| *side as u64).eq(expected.iter().map(|side| u64::from(*side)))
}

/// Copies the elements of a tensor and refuses those that are not finite.
fn read_values(name: &str, values: impl Iterator<Item = f32>, to: &mut [f32]) -> Result<(), ModelFileError> {
    for (index, (to, value)) in to.iter_mut().zip(values).enumerate() {
        if !value.is_finite() {
            return Err(ModelFileError::NotFinite { name: name.to_owned(), index, value: value.to_string() });
        }
        *to = value;
    }
    Ok(())
}

fn texts(metadata: &Metadata) -> Texts {
    metadata.metadata().iter().flatten().map(|(key, text)| (key.clone(), text.clone())).collect()
}

fn dtype(info: &TensorInfo) -> Option<Dtype> {
    match info.dtype {
        ::safetensors::Dtype::F32 => Some(Dtype::F32),
        ::safetensors::Dtype::I64 => Some(Dtype::I64),
        _ => None,
    }
}

fn put_header<E>(
    layout: &Layout,
    texts: &Texts,
    put: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let header = header(layout, texts);
    put(&(header.len() as u64).to_le_bytes())?;
    put(header.as_bytes())
}

/// JSON with keys in a stated order, padded with spaces so that the tensors start at a multiple of eight.
fn header(layout: &Layout, texts: &Texts) -> String {
    let mut json = String::from("{\"__metadata__\":{");
    for (n, (key, text)) in texts.iter().enumerate() {
        json.push_str(if n == 0 { "" } else { "," });
        quote(&mut json, key);
        json.push(':');
        quote(&mut json, text);
    }
    json.push('}');
    let integers = layout.i64_len() * 8;
    for dtype in [Dtype::I64, Dtype::F32] {
        for segment in layout.segments(dtype) {
            let tensor = &layout.tensors()[segment.tensor];
            let (name, start) = match dtype {
                Dtype::I64 => ("I64", 0),
                Dtype::F32 => ("F32", integers),
            };
            let [from, to] = [segment.range.start, segment.range.end].map(|at| start + at * dtype.size());
            json.push(',');
            quote(&mut json, &tensor.name);
            let shape = tensor.shape.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
            // Writing to a String cannot fail.
            let _ =
                write!(json, ":{{\"dtype\":\"{name}\",\"shape\":[{shape}],\"data_offsets\":[{from},{to}]}}");
        }
    }
    json.push('}');
    while !json.len().is_multiple_of(8) {
        json.push(' ');
    }
    json
}

/// A JSON string (RFC 8259, section 7).
fn quote(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if c < ' ' => {
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            c => json.push(c),
        }
    }
    json.push('"');
}

fn differences(missing: &[String], extra: &[String]) -> String {
    let list = |what: &str, names: &[String]| match names {
        [] => None,
        names => {
            let shown: Vec<String> = names.iter().take(NAMES_SHOWN).map(|n| format!("{n:?}")).collect();
            let more = match names.len() - shown.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            Some(format!("{what} {}{more}", shown.join(", ")))
        }
    };
    let parts = [list("the file lacks", missing), list("the model does not have", extra)];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Pieces of [`write_pieces`]; a multiple of both element sizes.
const PIECE_BYTES: usize = 64 * 1024;
/// Names that an error lists; it only counts further ones.
const NAMES_SHOWN: usize = 5;

#[cfg(test)]
mod tests;
