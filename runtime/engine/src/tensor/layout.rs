//! The ordered list of a model's tensors.
//!
//! A layout is agreed before any payload moves: both ends hold the same one, so a payload is bytes without
//! headers, and its length is known before the first of them is read.

use std::{collections::HashSet, ops::Range, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{Digest, limits};

/// Element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Dtype {
    /// 32-bit IEEE 754.
    F32,
    /// 64-bit two's complement.
    I64,
}

impl Dtype {
    /// Bytes of one element.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::I64 => 8,
        }
    }
}

/// How a round combines the collaborators' values of one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Combine {
    /// The task's aggregation rule; f32 only.
    Rule,
    /// Each collaborator keeps its own, the aggregate keeps the base's: a tensor held out of aggregation.
    Keep,
    /// The largest; i64 only.
    Max,
    /// The sum, wrapping; i64 only.
    Sum,
}

/// One tensor of a [`Layout`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TensorSpec {
    /// Unique in its layout, for example `fc1.weight`.
    pub name: String,
    /// Row-major; empty for a scalar.
    pub shape: Vec<u32>,
    /// Element type.
    pub dtype: Dtype,
    /// How a round combines it.
    pub combine: Combine,
}

/// Where one tensor's elements are, within the segment of its dtype.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Index in [`Layout::tensors`].
    pub tensor: usize,
    /// Elements, not bytes.
    pub range: Range<usize>,
}

/// Named tensors in order, with their places in a state's two segments (f32, then i64).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    tensors: Vec<TensorSpec>,
    places: Vec<Range<usize>>,
    f32_len: usize,
    i64_len: usize,
    hash: Digest,
}

/// Why a list of tensors is not a layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// More than [`limits::TENSORS`] or none.
    #[error("the model has {0} tensors; a model has 1 to {max}", max = limits::TENSORS)]
    Count(usize),
    /// Two tensors share a name.
    #[error("two tensors of the model have the name {0:?}")]
    Duplicate(String),
    /// Empty or too long.
    #[error("the name {0:?} of a tensor is empty or longer than {max} bytes", max = limits::TENSOR_NAME_BYTES)]
    Name(String),
    /// Too many dimensions or elements.
    #[error("the tensor {0:?} has more than {rank} dimensions, or the model has more than 2^32 elements", rank = limits::TENSOR_RANK)]
    Size(String),
    /// f32 cannot be combined by max or sum, i64 cannot be averaged.
    #[error("the tensor {0:?} of type {2:?} cannot be combined by {1:?}")]
    Combine(String, Combine, Dtype),
}

impl TensorSpec {
    /// An f32 tensor that the task's rule combines.
    #[must_use]
    pub fn f32(name: impl Into<String>, shape: impl Into<Vec<u32>>) -> Self {
        Self { name: name.into(), shape: shape.into(), dtype: Dtype::F32, combine: Combine::Rule }
    }

    /// Number of elements; `None` past `u64`.
    #[must_use]
    pub fn elements(&self) -> Option<u64> {
        self.shape.iter().try_fold(1u64, |n, d| n.checked_mul(u64::from(*d)))
    }
}

impl Layout {
    /// Checks names, shapes and bounds, and places every tensor.
    ///
    /// # Errors
    /// [`LayoutError`] names the first tensor at fault.
    pub fn new(tensors: Vec<TensorSpec>) -> Result<Arc<Self>, LayoutError> {
        if tensors.is_empty() || tensors.len() > limits::TENSORS {
            return Err(LayoutError::Count(tensors.len()));
        }
        let mut names = HashSet::new();
        let mut places = Vec::with_capacity(tensors.len());
        let (mut f32_len, mut i64_len) = (0u64, 0u64);
        for t in &tensors {
            if t.name.is_empty() || t.name.len() > limits::TENSOR_NAME_BYTES {
                return Err(LayoutError::Name(t.name.clone()));
            }
            if !names.insert(t.name.as_str()) {
                return Err(LayoutError::Duplicate(t.name.clone()));
            }
            let fits = match t.dtype {
                Dtype::F32 => matches!(t.combine, Combine::Rule | Combine::Keep),
                Dtype::I64 => !matches!(t.combine, Combine::Rule),
            };
            if !fits {
                return Err(LayoutError::Combine(t.name.clone(), t.combine, t.dtype));
            }
            let size = || LayoutError::Size(t.name.clone());
            let elements = t.elements().filter(|n| *n <= limits::ELEMENTS).ok_or_else(size)?;
            let len = match t.dtype {
                Dtype::F32 => &mut f32_len,
                Dtype::I64 => &mut i64_len,
            };
            let start = *len;
            *len += elements;
            if t.shape.len() > limits::TENSOR_RANK || f32_len + i64_len > limits::ELEMENTS {
                return Err(size());
            }
            places.push(start as usize..(start + elements) as usize);
        }
        let hash = Digest::of(&canonical(&tensors));
        let (f32_len, i64_len) = (f32_len as usize, i64_len as usize);
        Ok(Arc::new(Self { tensors, places, f32_len, i64_len, hash }))
    }

    /// The tensors, in order.
    #[must_use]
    pub fn tensors(&self) -> &[TensorSpec] {
        &self.tensors
    }

    /// Elements of tensor `index` within the segment of its dtype.
    ///
    /// # Panics
    /// When `index` is not below the number of tensors.
    #[must_use]
    pub fn place(&self, index: usize) -> Range<usize> {
        self.places[index].clone()
    }

    /// Tensors of one dtype with their places, in order.
    pub fn segments(&self, dtype: Dtype) -> impl Iterator<Item = Segment> + '_ {
        self.tensors
            .iter()
            .enumerate()
            .filter(move |(_, t)| t.dtype == dtype)
            .map(|(tensor, _)| Segment { tensor, range: self.place(tensor) })
    }

    /// Number of f32 elements.
    #[must_use]
    pub fn f32_len(&self) -> usize {
        self.f32_len
    }

    /// Number of i64 elements.
    #[must_use]
    pub fn i64_len(&self) -> usize {
        self.i64_len
    }

    /// Bytes of a payload: the f32 segment, then the i64 segment, little-endian, nothing between.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.f32_len * 4 + self.i64_len * 8
    }

    /// SHA-256 of the canonical encoding of the tensor list.
    #[must_use]
    pub fn hash(&self) -> Digest {
        self.hash
    }
}

/// Count, then for each tensor name, shape, dtype and rule, every length before its bytes, little-endian.
fn canonical(tensors: &[TensorSpec]) -> Vec<u8> {
    let mut out = b"fl-layout-1".to_vec();
    out.extend((tensors.len() as u64).to_le_bytes());
    for t in tensors {
        out.extend((t.name.len() as u64).to_le_bytes());
        out.extend(t.name.as_bytes());
        out.extend((t.shape.len() as u64).to_le_bytes());
        t.shape.iter().for_each(|d| out.extend(d.to_le_bytes()));
        out.push(match t.dtype {
            Dtype::F32 => 0,
            Dtype::I64 => 1,
        });
        out.push(match t.combine {
            Combine::Rule => 0,
            Combine::Keep => 1,
            Combine::Max => 2,
            Combine::Sum => 3,
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_placed_one_after_another_in_their_segment() {
        let count = TensorSpec { dtype: Dtype::I64, combine: Combine::Max, ..TensorSpec::f32("n", []) };
        let layout =
            Layout::new(vec![TensorSpec::f32("a", [2, 3]), count, TensorSpec::f32("b", [4])]).unwrap();
        assert_eq!((layout.place(0), layout.place(1), layout.place(2)), (0..6, 0..1, 6..10));
        assert_eq!(layout.byte_len(), 10 * 4 + 8);
    }

    #[test]
    fn a_changed_name_shape_or_rule_changes_the_hash() {
        let base = TensorSpec::f32("a", [6]);
        let hash = |t: TensorSpec| Layout::new(vec![t]).unwrap().hash();
        let hashes = [
            hash(base.clone()),
            hash(TensorSpec { name: "b".into(), ..base.clone() }),
            hash(TensorSpec { shape: vec![2, 3], ..base.clone() }),
            hash(TensorSpec { combine: Combine::Keep, ..base }),
        ];
        assert_eq!(HashSet::from(hashes).len(), 4);
    }

    #[test]
    fn lists_that_lie_about_size_or_repeat_a_name_are_refused() {
        let refuse = |t: Vec<TensorSpec>| Layout::new(t).unwrap_err();
        assert_eq!(refuse(vec![]), LayoutError::Count(0));
        assert!(matches!(refuse(vec![TensorSpec::f32("a", [u32::MAX; 8])]), LayoutError::Size(_)));
        assert!(matches!(refuse(vec![TensorSpec::f32("a", [1 << 31]); 2]), LayoutError::Duplicate(_)));
        let mean = TensorSpec { dtype: Dtype::I64, ..TensorSpec::f32("a", [1]) };
        assert!(matches!(refuse(vec![mean]), LayoutError::Combine(..)));
    }
}
