//! The losses that training minimises, as burn tensors: means over a batch.

use burn_tensor::{Device, Int, Tensor, TensorData, activation::log_softmax};
use fl_engine::plan::Loss;

/// The mean loss of a batch. `output` has the shape `[rows, outputs]`.
pub(super) fn mean(loss: Loss, output: Tensor<2>, labels: &[f32], device: &Device) -> Tensor<1> {
    let rows = labels.len();
    match loss {
        Loss::CrossEntropy => {
            let classes: Vec<i64> = labels.iter().map(|&label| label as i64).collect();
            let classes = Tensor::<2, Int>::from_data(TensorData::new(classes, [rows, 1]), device);
            log_softmax(output, 1).gather(1, classes).mean().neg()
        }
        Loss::BinaryCrossEntropy => {
            // max(x, 0) − x·y + log(1 + e^−|x|): neither sign of x overflows.
            let truth = column(labels, device);
            let overflow_free = output.clone().abs().neg().exp().add_scalar(1.0).log();
            (burn_tensor::activation::relu(output.clone()) - output * truth + overflow_free).mean()
        }
        Loss::Mse => (output - column(labels, device)).powi_scalar(2).mean(),
    }
}

fn column(labels: &[f32], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(labels.to_vec(), [labels.len(), 1]), device)
}
