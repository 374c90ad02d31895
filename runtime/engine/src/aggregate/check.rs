//! The check of an update's values, as its bytes arrive.

use std::sync::Arc;

use crate::{
    plan::ExactRange,
    tensor::{Dtype, Layout},
};

/// What is wrong with a payload: a value that may not enter the sum, or another length than the layout's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadFault {
    /// NaN or an infinity.
    #[error("an update has a value that is not finite, in tensor {tensor:?} at element {element}")]
    NotFinite {
        /// Its name.
        tensor: String,
        /// Index within the tensor.
        element: usize,
    },
    /// `|x| >= 2^value_bits`.
    #[error(
        "an update has a value outside the plan's range (exact.value_bits), in tensor {tensor:?} at element {element}"
    )]
    OutOfRange {
        /// Its name.
        tensor: String,
        /// Index within the tensor.
        element: usize,
    },
    /// More or fewer bytes than the layout's.
    #[error("an update has {given} bytes or more; an update of this plan has {expected}")]
    Length {
        /// Bytes seen.
        given: usize,
        /// Bytes of the layout.
        expected: usize,
    },
}

/// Checks a payload in pieces of any size: every f32 finite and in range.
#[derive(Clone, Debug)]
pub struct PayloadChecker {
    layout: Arc<Layout>,
    limit: u32,
    seen: usize,
    /// An element cut by the end of a piece.
    cut: [u8; 4],
}

impl PayloadChecker {
    /// Starts on an empty payload.
    #[must_use]
    pub fn new(layout: Arc<Layout>, range: ExactRange) -> Self {
        Self { layout, limit: limit_bits(range), seen: 0, cut: [0; 4] }
    }

    /// Checks the next bytes.
    ///
    /// # Errors
    /// [`PayloadFault`] with the first tensor and element at fault; nothing more may be given to it then.
    pub fn update(&mut self, mut bytes: &[u8]) -> Result<(), PayloadFault> {
        let expected = self.layout.byte_len();
        if bytes.len() > expected - self.seen {
            return Err(PayloadFault::Length { given: self.seen + bytes.len(), expected });
        }
        let floats = self.layout.f32_len() * 4;
        let held = self.seen % 4;
        if held > 0 && self.seen < floats {
            let take = bytes.len().min(4 - held);
            self.cut[held..held + take].copy_from_slice(&bytes[..take]);
            self.seen += take;
            bytes = &bytes[take..];
            if held + take == 4 && !in_range(&self.cut, self.limit) {
                return Err(self.fault(self.seen / 4 - 1, self.cut));
            }
        }
        let rest = bytes.len().min(floats.saturating_sub(self.seen));
        let (whole, cut) = bytes[..rest].as_chunks::<4>();
        // 512 elements at a time: one branch a block, and the block is found again only when it is at fault.
        for (block, elements) in whole.chunks(BLOCK).enumerate() {
            if !all_in_range(elements, self.limit) {
                let place = elements.iter().position(|e| !in_range(e, self.limit)).unwrap_or(0);
                return Err(self.fault(self.seen / 4 + block * BLOCK + place, elements[place]));
            }
        }
        self.cut[..cut.len()].copy_from_slice(cut);
        self.seen += bytes.len();
        Ok(())
    }

    /// Whether the payload is complete.
    ///
    /// # Errors
    /// [`PayloadFault::Length`] when bytes are missing.
    pub fn finish(&self) -> Result<(), PayloadFault> {
        match (self.seen, self.layout.byte_len()) {
            (given, expected) if given < expected => Err(PayloadFault::Length { given, expected }),
            _ => Ok(()),
        }
    }

    fn fault(&self, index: usize, bytes: [u8; 4]) -> PayloadFault {
        let (tensor, element) = tensor_at(&self.layout, index);
        match f32::from_le_bytes(bytes).is_finite() {
            true => PayloadFault::OutOfRange { tensor, element },
            false => PayloadFault::NotFinite { tensor, element },
        }
    }
}

/// The tensor of an f32 element, and its index there.
pub(super) fn tensor_at(layout: &Layout, index: usize) -> (String, usize) {
    let segment = layout.segments(Dtype::F32).find(|segment| segment.range.contains(&index));
    segment.map_or_else(
        || (String::new(), index),
        |s| (layout.tensors()[s.tensor].name.clone(), index - s.range.start),
    )
}

/// Bit pattern of `2^value_bits` as f32: magnitudes compare as integers.
pub(super) fn limit_bits(range: ExactRange) -> u32 {
    (127 + range.value_bits) << 23
}

fn in_range(bytes: &[u8; 4], limit: u32) -> bool {
    u32::from_le_bytes(*bytes) & 0x7fff_ffff < limit
}

/// One integer compare catches NaN, infinities and `|x| >= 2^value_bits`.
pub(super) fn all_in_range(elements: &[[u8; 4]], limit: u32) -> bool {
    let last = limit - 1;
    let signs = elements
        .iter()
        .fold(0u32, |signs, e| signs | last.wrapping_sub(u32::from_le_bytes(*e) & 0x7fff_ffff));
    signs >> 31 == 0
}

/// Elements between two branches.
pub(super) const BLOCK: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{Combine, TensorSpec};

    const RANGE: ExactRange = ExactRange { value_bits: 16, weight_bits: 29 };

    fn layout() -> Arc<Layout> {
        let steps = TensorSpec { dtype: Dtype::I64, combine: Combine::Sum, ..TensorSpec::f32("n", [1]) };
        Layout::new(vec![TensorSpec::f32("a", [600]), steps, TensorSpec::f32("b", [700])]).unwrap()
    }

    fn payload(bad: Option<(usize, f32)>) -> Vec<u8> {
        let mut values = vec![65535.99f32; 1300];
        if let Some((at, value)) = bad {
            values[at] = value;
        }
        let mut bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        bytes.extend([0xff; 8]);
        bytes
    }

    fn check(bytes: &[u8], piece: usize) -> Result<(), PayloadFault> {
        let mut checker = PayloadChecker::new(layout(), RANGE);
        bytes.chunks(piece).try_for_each(|p| checker.update(p))?;
        checker.finish()
    }

    #[test]
    fn every_bad_value_is_found_and_named_whatever_the_pieces() {
        for piece in [1, 3, 5, 7, 8, 2047, 2048, 2049, 10_000] {
            assert_eq!(check(&payload(None), piece), Ok(()), "pieces of {piece}");
            for at in [0, 1, 511, 512, 599, 600, 1298, 1299] {
                let (tensor, element) =
                    if at < 600 { ("a".to_owned(), at) } else { ("b".to_owned(), at - 600) };
                for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    let fault = PayloadFault::NotFinite { tensor: tensor.clone(), element };
                    assert_eq!(check(&payload(Some((at, bad))), piece), Err(fault));
                }
                for bad in [65536.0, -65536.0, 3e38] {
                    let fault = PayloadFault::OutOfRange { tensor: tensor.clone(), element };
                    assert_eq!(check(&payload(Some((at, bad))), piece), Err(fault));
                }
            }
        }
    }

    #[test]
    fn too_short_and_too_long_are_refused() {
        let bytes = payload(None);
        assert!(matches!(check(&bytes[..bytes.len() - 1], 100), Err(PayloadFault::Length { .. })));
        assert!(matches!(check(&[bytes.as_slice(), &[0]].concat(), 100), Err(PayloadFault::Length { .. })));
    }
}
