//! A model state: one value for every element of a layout.

use std::sync::Arc;

use super::Layout;

/// An aligned f32 segment and an i64 segment over one [`Layout`].
#[derive(Clone, Debug, PartialEq)]
pub struct ModelState {
    layout: Arc<Layout>,
    /// All f32 tensors, in layout order.
    pub f32: Vec<f32>,
    /// All i64 tensors, in layout order.
    pub i64: Vec<i64>,
}

/// A payload whose length is not the layout's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model has {given} bytes; the model of this plan has {expected}")]
pub struct StateError {
    /// Bytes offered.
    pub given: usize,
    /// Bytes of the layout.
    pub expected: usize,
}

impl ModelState {
    /// All zeros.
    #[must_use]
    pub fn zeros(layout: Arc<Layout>) -> Self {
        Self { f32: vec![0.0; layout.f32_len()], i64: vec![0; layout.i64_len()], layout }
    }

    /// The layout that the two segments follow.
    #[must_use]
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Reads the payload form: f32 segment, then i64 segment, little-endian.
    ///
    /// # Errors
    /// [`StateError`] when the length is not [`Layout::byte_len`].
    pub fn from_bytes(layout: Arc<Layout>, bytes: &[u8]) -> Result<Self, StateError> {
        if bytes.len() != layout.byte_len() {
            return Err(StateError { given: bytes.len(), expected: layout.byte_len() });
        }
        let (floats, integers) = bytes.split_at(layout.f32_len() * 4);
        let f32 = floats.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let i64 = integers.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect();
        Ok(Self { layout, f32, i64 })
    }

    /// Reads the payload form over the values that are there, which keeps their memory.
    ///
    /// # Errors
    /// As [`Self::from_bytes`]; nothing is changed then.
    pub fn read_bytes(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        self.fits(bytes.len())?;
        let (floats, integers) = bytes.split_at(self.f32.len() * 4);
        let floats = floats.as_chunks::<4>().0;
        self.f32.iter_mut().zip(floats).for_each(|(value, bytes)| *value = f32::from_le_bytes(*bytes));
        let integers = integers.as_chunks::<8>().0;
        self.i64.iter_mut().zip(integers).for_each(|(value, bytes)| *value = i64::from_le_bytes(*bytes));
        Ok(())
    }

    /// Appends the payload form to `out`.
    pub fn write_bytes(&self, out: &mut Vec<u8>) {
        let start = out.len();
        // Copied in place: appending value by value asks for room each time, which is several times slower.
        out.resize(start + self.byte_len(), 0);
        self.write(&mut out[start..]);
    }

    /// Writes the payload form over `out`.
    ///
    /// # Errors
    /// [`StateError`] when `out` is of another length; nothing is written then.
    pub fn write_over(&self, out: &mut [u8]) -> Result<(), StateError> {
        self.fits(out.len())?;
        self.write(out);
        Ok(())
    }

    fn write(&self, out: &mut [u8]) {
        let (floats, integers) = out.split_at_mut(self.f32.len() * 4);
        let floats = floats.as_chunks_mut::<4>().0;
        floats.iter_mut().zip(&self.f32).for_each(|(bytes, value)| *bytes = value.to_le_bytes());
        let integers = integers.as_chunks_mut::<8>().0;
        integers.iter_mut().zip(&self.i64).for_each(|(bytes, value)| *bytes = value.to_le_bytes());
    }

    /// Length of the payload form, bytes.
    fn byte_len(&self) -> usize {
        self.f32.len() * 4 + self.i64.len() * 8
    }

    fn fits(&self, given: usize) -> Result<(), StateError> {
        let expected = self.byte_len();
        if given == expected { Ok(()) } else { Err(StateError { given, expected }) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Combine, Dtype, TensorSpec};
    use super::*;

    #[test]
    fn payload_form_survives_a_round_trip_and_wrong_lengths_do_not() {
        let steps = TensorSpec { dtype: Dtype::I64, combine: Combine::Sum, ..TensorSpec::f32("n", []) };
        let layout = Layout::new(vec![steps, TensorSpec::f32("a", [2])]).unwrap();
        let mut state = ModelState::zeros(layout.clone());
        state.f32 = vec![1.5, -0.0];
        state.i64 = vec![-7];
        let mut bytes = Vec::new();
        state.write_bytes(&mut bytes);
        assert_eq!(bytes.len(), layout.byte_len());
        assert_eq!(ModelState::from_bytes(layout.clone(), &bytes).as_ref(), Ok(&state));
        let mut used = ModelState::zeros(layout.clone());
        used.f32[1] = 3.0;
        used.read_bytes(&bytes).unwrap();
        assert_eq!(used, state);
        let mut over = vec![9; bytes.len()];
        state.write_over(&mut over).unwrap();
        assert_eq!(over, bytes);
        bytes.pop();
        assert!(state.write_over(&mut over[1..]).is_err());
        assert!(used.read_bytes(&bytes).is_err());
        assert!(ModelState::from_bytes(layout, &bytes).is_err());
    }
}
