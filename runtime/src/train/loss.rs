//! The losses that are trained on, as burn tensors: means over a batch.

use burn::tensor::{Device, Int, Tensor, TensorData, activation::log_softmax};
use fl_engine::plan::Loss;

/// Mean loss of a batch; `output` is `[rows, outputs]`.
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
            (burn::tensor::activation::relu(output.clone()) - output * truth + overflow_free).mean()
        }
        Loss::Mse => (output - column(labels, device)).powi_scalar(2).mean(),
    }
}

/// What the loss takes, when that is not a model with this output on a plan with these classes.
pub(super) fn needs(loss: Loss, classes: Option<u32>, output: &[u32]) -> Option<String> {
    match (loss, classes) {
        (Loss::CrossEntropy, Some(classes)) if output == [classes] => None,
        (Loss::CrossEntropy, Some(classes)) => {
            Some(format!("cross_entropy over {classes} classes takes [{classes}]"))
        }
        (Loss::CrossEntropy, None) => Some("cross_entropy needs the plan's data.classes".to_owned()),
        (Loss::BinaryCrossEntropy, Some(2)) if output == [1] => None,
        (Loss::BinaryCrossEntropy, _) => Some("binary_cross_entropy takes [1], and 2 classes".to_owned()),
        (Loss::Mse, _) if output == [1] => None,
        (Loss::Mse, _) => Some("mse takes [1]".to_owned()),
    }
}

fn column(labels: &[f32], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(labels.to_vec(), [labels.len(), 1]), device)
}
