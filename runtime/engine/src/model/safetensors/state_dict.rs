//! State dicts of PyTorch, whose names and types need not be those of the model.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use safetensors::tensor::TensorInfo;

use super::{ModelFileError, is_batch_count, open, read_values, same_shape, unlike};
use crate::{
    name::nearest,
    tensor::{Dtype, Layout, ModelState},
};

/// A state that [`read_state_dict`] made, and what it did for it.
#[derive(Clone, Debug, PartialEq)]
pub struct StateDict {
    /// Over the model's layout.
    pub state: ModelState,
    /// The beginning that every name of the file had and no name of the model has: `module.`.
    pub prefix: Option<String>,
    /// Counts of batches that the model has no tensor for.
    pub left_out: Vec<String>,
    /// Counts of batches that the file does not have: they start at 0.
    pub started: Vec<String>,
    /// Tensors whose elements were of another type, with that type.
    pub converted: Vec<(String, String)>,
}

/// The state over `layout` that a state dict in the safetensors format holds.
///
/// A name that begins with the first text of one of `renames` begins with the second text instead; the first
/// of the list that fits is taken. With `convert`, elements of 16 and 64 bits become elements of 32 bits.
///
/// # Errors
/// [`ModelFileError`]; nothing is allocated for tensors before all of them match the layout.
pub fn read_state_dict(
    file: &[u8],
    layout: &Arc<Layout>,
    renames: &[(String, String)],
    convert: bool,
) -> Result<StateDict, ModelFileError> {
    let (metadata, data) = open(file)?;
    let renamed = |name: &String| {
        let fits =
            renames.iter().find_map(|(old, new)| Some(format!("{new}{}", name.strip_prefix(old.as_str())?)));
        fits.unwrap_or_else(|| name.clone())
    };
    let wanted: BTreeSet<&str> = layout.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    let all: Vec<(String, String)> =
        metadata.offset_keys().iter().map(|name| (renamed(name), name.clone())).collect();
    let wrapped = |prefix: &&str| {
        !all.is_empty()
            && all.iter().all(|(name, _)| name.starts_with(*prefix))
            && !wanted.iter().any(|name| name.starts_with(*prefix))
    };
    let prefix = ["module.", "_orig_mod."].into_iter().find(wrapped);
    let mut held = BTreeMap::new();
    for (name, own) in all {
        let name = prefix.and_then(|prefix| name.strip_prefix(prefix)).unwrap_or(&name).to_owned();
        if let Some(other) = held.insert(name.clone(), own.clone()) {
            return Err(ModelFileError::Twice { name, first: other, second: own });
        }
    }
    let left_out: Vec<String> =
        held.keys().filter(|name| is_batch_count(name) && !wanted.contains(name.as_str())).cloned().collect();
    let started: Vec<String> = wanted
        .iter()
        .filter(|name| is_batch_count(name) && !held.contains_key(**name))
        .map(|name| (*name).to_owned())
        .collect();
    let missing: Vec<&str> =
        wanted.iter().copied().filter(|name| !held.contains_key(*name) && !is_batch_count(name)).collect();
    let extra: Vec<&str> = held
        .keys()
        .map(String::as_str)
        .filter(|name| !wanted.contains(name) && !is_batch_count(name))
        .collect();
    if !missing.is_empty() || !extra.is_empty() {
        let near = |wrong: &&str| Some(((*wrong).to_owned(), nearest(wrong, missing.iter().copied())?));
        let nearest = extra.iter().find_map(near);
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        return Err(ModelFileError::Names { missing: owned(&missing), extra: owned(&extra), nearest });
    }
    let mut found: Vec<Option<(&TensorInfo, &[u8])>> = Vec::with_capacity(wanted.len());
    let mut converted = Vec::new();
    for tensor in layout.tensors() {
        let Some(info) = held.get(&tensor.name).and_then(|own| metadata.info(own)) else {
            found.push(None);
            continue;
        };
        let other = unlike(info, tensor.dtype);
        let can = tensor.dtype == Dtype::F32
            && ["F16", "BF16", "F64"].contains(&other.as_deref().unwrap_or_default());
        if let Some(found) = other {
            if !can {
                return Err(ModelFileError::Dtype {
                    name: tensor.name.clone(),
                    found,
                    expected: tensor.dtype,
                });
            }
            if !convert {
                return Err(ModelFileError::Convertible { name: tensor.name.clone(), found });
            }
            converted.push((tensor.name.clone(), found));
        }
        if !same_shape(&info.shape, &tensor.shape) {
            let (found, expected) = (info.shape.clone(), tensor.shape.clone());
            return Err(ModelFileError::Shape { name: tensor.name.clone(), found, expected });
        }
        found.push(Some((info, &data[info.data_offsets.0..info.data_offsets.1])));
    }
    let mut state = ModelState::zeros(Arc::clone(layout));
    for (index, (tensor, found)) in layout.tensors().iter().zip(found).enumerate() {
        let Some((info, bytes)) = found else { continue };
        let place = layout.place(index);
        match tensor.dtype {
            Dtype::F32 => read_values(&tensor.name, floats(info, bytes), &mut state.f32[place])?,
            Dtype::I64 => {
                let numbers = bytes.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes));
                state.i64[place].iter_mut().zip(numbers).for_each(|(to, number)| *to = number);
            }
        }
    }
    Ok(StateDict { state, prefix: prefix.map(str::to_owned), left_out, started, converted })
}

/// The elements of a tensor as numbers of 32 bits. From 16 bits the step is exact; 64 bits are rounded.
fn floats<'a>(info: &TensorInfo, bytes: &'a [u8]) -> Box<dyn Iterator<Item = f32> + 'a> {
    let pairs = || bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair));
    match info.dtype {
        safetensors::Dtype::F16 => Box::new(pairs().map(of_half)),
        safetensors::Dtype::BF16 => Box::new(pairs().map(|bits| f32::from_bits(u32::from(bits) << 16))),
        safetensors::Dtype::F64 => {
            Box::new(bytes.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32))
        }
        _ => Box::new(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes))),
    }
}

/// A number of IEEE 754 with 16 bits: sign, 5 bits of exponent, 10 bits of fraction.
fn of_half(bits: u16) -> f32 {
    let (sign, exponent, fraction) = (bits >> 15, bits >> 10 & 31, bits & 1023);
    let size = match exponent {
        0 => f32::from(fraction) / (1 << 24) as f32,
        31 if fraction == 0 => f32::INFINITY,
        31 => f32::NAN,
        _ => f32::from_bits(u32::from(exponent + 112) << 23 | u32::from(fraction) << 13),
    };
    if sign == 1 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::safetensors::{Texts, write},
        tensor::{Combine, TensorSpec},
    };

    fn file(tensors: &[(&str, &str, &[u32], Vec<u8>)]) -> Vec<u8> {
        let mut at = 0;
        let entries: Vec<String> = tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| {
                let begin = at;
                at += bytes.len();
                format!(
                    "\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{begin},{at}]}}"
                )
            })
            .collect();
        let header = format!("{{{}}}", entries.join(","));
        let data = tensors.iter().flat_map(|tensor| tensor.3.clone()).collect();
        [(header.len() as u64).to_le_bytes().to_vec(), header.into_bytes(), data].concat()
    }

    fn f32s(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn layout(counts: bool) -> Arc<Layout> {
        let mut tensors = vec![TensorSpec::f32("a.weight", [2, 3]), TensorSpec::f32("b.bias", [2])];
        if counts {
            let mut count = TensorSpec::f32("n.num_batches_tracked", []);
            (count.dtype, count.combine) = (Dtype::I64, Combine::Max);
            tensors.push(count);
        }
        Layout::new(tensors).unwrap()
    }

    const WEIGHT: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];

    #[test]
    fn names_of_a_wrapper_counts_and_types_are_brought_into_the_models_form() {
        let bytes = file(&[
            ("module.a.weight", "F32", &[2, 3], f32s(&WEIGHT)),
            ("module.n.num_batches_tracked", "I64", &[], 7i64.to_le_bytes().to_vec()),
            ("module.b.bias", "F16", &[2], vec![0x00, 0x3c, 0x01, 0x80]),
        ]);
        let without = read_state_dict(&bytes, &layout(false), &[], false).unwrap_err();
        assert!(
            matches!(&without, ModelFileError::Convertible { name, found } if name == "b.bias" && found == "F16")
        );
        let found = read_state_dict(&bytes, &layout(false), &[], true).unwrap();
        assert_eq!(found.prefix.as_deref(), Some("module."));
        assert_eq!(found.left_out, ["n.num_batches_tracked"]);
        assert_eq!(found.converted, [("b.bias".to_owned(), "F16".to_owned())]);
        assert_eq!(found.state.f32, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 1.0, -5.960_464_5e-8]);
        let counted = read_state_dict(&bytes, &layout(true), &[], true).unwrap();
        assert_eq!((counted.state.i64.as_slice(), counted.left_out.len()), (&[7][..], 0));
    }

    #[test]
    fn names_are_changed_on_request() {
        let bytes = file(&[
            ("old.a.weight", "F32", &[2, 3], f32s(&WEIGHT)),
            ("head.bias", "F64", &[2], [0.1f64, 3.0].iter().flat_map(|v| v.to_le_bytes()).collect()),
        ]);
        let pair = |old: &str, new: &str| (old.to_owned(), new.to_owned());
        let renames = [pair("old.", ""), pair("head", "b")];
        let found = read_state_dict(&bytes, &layout(true), &renames, true).unwrap();
        assert_eq!(found.state.f32[6..], [0.1, 3.0]);
        assert_eq!(found.started, ["n.num_batches_tracked"]);
        let error = read_state_dict(&bytes, &layout(true), &renames[..1], true).unwrap_err();
        assert!(matches!(error, ModelFileError::Names { .. }), "{error:?}");
        let error = read_state_dict(
            &bytes,
            &layout(true),
            &[pair("old.a.weight", "x"), pair("head.bias", "x")],
            true,
        );
        assert!(matches!(error.unwrap_err(), ModelFileError::Twice { name, .. } if name == "x"));
    }

    #[test]
    fn other_shapes_types_and_numbers_are_refused() {
        let bias = || ("b.bias", "F32", &[2u32][..], f32s(&[0.0, 0.0]));
        let weight = |dtype, shape: &'static [u32], bytes| file(&[("a.weight", dtype, shape, bytes), bias()]);
        let refused = |bytes: &[u8]| read_state_dict(bytes, &layout(false), &[], true).unwrap_err();
        let error = refused(&weight("F32", &[3, 2], f32s(&WEIGHT)));
        assert!(error.hint().unwrap().contains("transposed"), "{error}");
        assert!(matches!(refused(&weight("I32", &[2, 3], f32s(&WEIGHT))), ModelFileError::Dtype { .. }));
        let mut wrong = WEIGHT;
        wrong[4] = f32::NAN;
        assert!(matches!(
            refused(&weight("F32", &[2, 3], f32s(&wrong))),
            ModelFileError::NotFinite { index: 4, .. }
        ));
        let large: Vec<u8> = [1e300f64; 6].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert!(matches!(
            refused(&weight("F64", &[2, 3], large)),
            ModelFileError::NotFinite { index: 0, .. }
        ));
    }

    #[test]
    fn own_files_are_read_as_they_are() {
        let mut state = ModelState::zeros(layout(true));
        (state.f32[3], state.i64[0]) = (1.5, 9);
        let found = read_state_dict(&write(&state, &Texts::new()), &layout(true), &[], false).unwrap();
        assert_eq!((found.state, found.prefix), (state, None));
    }

    #[test]
    fn halves_are_exact() {
        for (bits, value) in
            [(0x3555, 0.333_251_95), (0x7bff, 65504.0), (0x0001, 2f32.powi(-24)), (0xc000, -2.0), (0, 0.0)]
        {
            assert_eq!(of_half(bits), value);
        }
        assert!(of_half(0x7c00).is_infinite() && of_half(0x7e00).is_nan());
    }
}
