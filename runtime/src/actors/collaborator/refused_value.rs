//! Which value of an update was refused. Only the site itself says so: the aggregator's host reads no values.

use fl_engine::{
    plan::ExactRange,
    round::Refusal,
    tensor::{Dtype, Layout},
};

/// `1.100e5 in bn0.running_var at element 12 is outside of the plan's range: exact.value_bits 16 …`; `None`
/// for a refusal that is not about a value.
pub(super) fn explain(
    refusal: &Refusal,
    payload: &[u8],
    layout: &Layout,
    exact: ExactRange,
) -> Option<String> {
    match refusal {
        Refusal::OutOfRange { tensor, element } => {
            let value = value(payload, layout, tensor, *element)?;
            let (bits, most) = (exact.value_bits, 1_u64 << exact.value_bits.min(63));
            Some(format!(
                "the value {value:.3e} in tensor {tensor:?} at element {element} is outside of the plan's range: \
                 exact.value_bits {bits} takes values between -{most} and {most}"
            ))
        }
        Refusal::NotFinite { tensor, element } => {
            let value = value(payload, layout, tensor, *element)?;
            Some(format!("the value {value} in tensor {tensor:?} at element {element} is not finite"))
        }
        _ => None,
    }
}

fn value(payload: &[u8], layout: &Layout, tensor: &str, element: u64) -> Option<f32> {
    let index = layout.tensors().iter().position(|t| t.name == tensor && t.dtype == Dtype::F32)?;
    let at = layout.place(index).start.checked_add(usize::try_from(element).ok()?)?;
    let bytes = payload.get(at * 4..at * 4 + 4)?;
    Some(f32::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use fl_engine::tensor::TensorSpec;

    use super::*;

    #[test]
    fn a_refused_value_is_named_with_its_tensor_and_the_plans_range() {
        let tensors = vec![TensorSpec::f32("fc1.bias", [2]), TensorSpec::f32("bn0.running_var", [3])];
        let layout = Layout::new(tensors).unwrap();
        let payload: Vec<u8> =
            [0.0_f32, 1.0, 2.0, -1.1e5, f32::NAN].into_iter().flat_map(f32::to_le_bytes).collect();
        let exact = ExactRange { value_bits: 16, weight_bits: 20 };
        let tensor = "bn0.running_var".to_owned();
        let told = |refusal| explain(&refusal, &payload, &layout, exact);
        assert_eq!(
            told(Refusal::OutOfRange { tensor: tensor.clone(), element: 1 }).unwrap(),
            "the value -1.100e5 in tensor \"bn0.running_var\" at element 1 is outside of the plan's range: \
             exact.value_bits 16 takes values between -65536 and 65536"
        );
        assert!(
            told(Refusal::NotFinite { tensor: tensor.clone(), element: 2 })
                .unwrap()
                .starts_with("the value NaN")
        );
        assert_eq!(told(Refusal::OutOfRange { tensor, element: 3 }), None);
        assert_eq!(told(Refusal::Root), None);
    }
}
