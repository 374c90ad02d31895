//! The first value of a model that the plan's range does not hold. No update of such a model would be taken.

use super::check::{limit_bits, tensor_at};
use crate::{plan::ExactRange, tensor::ModelState};

/// A value of a model that the plan's range does not hold.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{value:e} in tensor {tensor:?} at element {element}: exact.value_bits: {value_bits} holds values below {}", 1_u64 << value_bits)]
pub struct OutsideRange {
    /// The tensor's name.
    pub tensor: String,
    /// Index within the tensor.
    pub element: usize,
    /// The value.
    pub value: f32,
    /// The plan's key.
    pub value_bits: u32,
}

/// The first value of `state` outside of `range`, or one that is not finite.
#[must_use]
pub fn outside_range(state: &ModelState, range: ExactRange) -> Option<OutsideRange> {
    let limit = limit_bits(range);
    let at = state.f32.iter().position(|value| value.to_bits() & 0x7fff_ffff >= limit)?;
    let (tensor, element) = tensor_at(state.layout(), at);
    Some(OutsideRange { tensor, element, value: state.f32[at], value_bits: range.value_bits })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Layer, ModelSpec};
    use crate::plan::{DataSpec, Loader, PlanDraft, Split};

    #[test]
    fn first_value_outside_the_range_is_named_with_its_tensor_and_the_key() {
        let layers = vec![Layer::Linear { name: "fc".to_owned(), out: 2, bias: true }];
        let model = ModelSpec::chain(vec![3], layers);
        let data = DataSpec {
            loader: Loader::Custom { name: "none".to_owned() },
            standardise: None,
            split: Split { train: 1.0, validation: 0.0, test: 0.0 },
            classes: Some(2),
            federated: None,
        };
        let plan = PlanDraft::trial("trial", model, data).unwrap();
        let mut state = plan.initial_state().unwrap();
        let range = ExactRange { value_bits: 16, weight_bits: 20 };
        assert_eq!(outside_range(&state, range), None);
        state.f32[7] = -1.1e5;
        let said = outside_range(&state, range).unwrap().to_string();
        assert_eq!(
            said,
            "-1.1e5 in tensor \"fc.bias\" at element 1: exact.value_bits: 16 holds values below 65536"
        );
        state.f32[7] = 65535.9;
        assert_eq!(outside_range(&state, range), None);
        state.f32[0] = f32::NAN;
        assert_eq!(outside_range(&state, range).unwrap().element, 0);
    }
}
