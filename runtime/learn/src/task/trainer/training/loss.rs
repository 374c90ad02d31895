//! The losses that training minimises, as burn tensors: means over a batch.

use burn_tensor::{
    Device, Int, Tensor, TensorData,
    activation::{log_softmax, relu, sigmoid},
};
use fl_engine::plan::Loss;

/// The mean loss of a batch. `output` has the shape `[rows, outputs]`, the classes of a pixel one plane after
/// another. `labels` has as many values for each row.
pub(super) fn mean(loss: &Loss, output: Tensor<2>, labels: &[f32], device: &Device) -> Tensor<1> {
    let [rows, width] = output.dims();
    let places = labels.len() / rows.max(1);
    let truth = || Tensor::<2>::from_data(TensorData::new(labels.to_vec(), [rows, places]), device);
    match loss {
        Loss::CrossEntropy { weights, smoothing } => {
            let weighting = Weighting { weights, smoothing: *smoothing };
            if places == 1 {
                return entropy(output, labels, &weighting, device);
            }
            let by_place: Tensor<3> = output.reshape([rows, width / places.max(1), places]);
            entropy(by_place, labels, &weighting, device)
        }
        Loss::BinaryCrossEntropy => binary(output, truth()).mean(),
        Loss::Mse => (output - truth()).powi_scalar(2).mean(),
        Loss::Dice { logits: false } => less_dice(output, truth()),
        Loss::Dice { logits: true } => less_dice(sigmoid(output), truth()),
        Loss::BceDice => binary(output.clone(), truth()).mean() + less_dice(sigmoid(output), truth()),
        Loss::Focal { gamma, alpha } => {
            let (share, truth) = (sigmoid(output.clone()), truth());
            let other = truth.clone().neg().add_scalar(1.0);
            let missed = share.clone() * other.clone() + share.neg().add_scalar(1.0) * truth.clone();
            let weight = truth.clone().mul_scalar(*alpha) + other.mul_scalar(1.0 - alpha);
            let loss = binary(output, truth) * weight;
            // The power's slope at 0 may be infinite.
            let loss =
                if *gamma > 0.0 { loss * missed.clamp_min(LEAST).powf_scalar(*gamma as f32) } else { loss };
            loss.mean()
        }
        Loss::L1 => (output - truth()).abs().mean(),
        Loss::Huber { delta } => {
            let error = (output - truth()).abs();
            let near = error.clone().clamp_max(*delta);
            (near.clone().powi_scalar(2).mul_scalar(0.5) + (error - near).mul_scalar(*delta)).mean()
        }
    }
}

/// Of a cross-entropy.
struct Weighting<'a> {
    /// Empty where all classes count the same.
    weights: &'a [f64],
    smoothing: f64,
}

/// The classes are the second axis.
fn entropy<const D: usize>(
    output: Tensor<D>,
    labels: &[f32],
    weighting: &Weighting<'_>,
    device: &Device,
) -> Tensor<1> {
    let mut shape = output.dims();
    let classes = std::mem::replace(&mut shape[1], 1);
    let indices: Vec<i64> = labels.iter().map(|&label| label as i64).collect();
    let indices = Tensor::<D, Int>::from_data(TensorData::new(indices, shape), device);
    let shares = log_softmax(output, 1);
    let own = shares.clone().gather(1, indices);
    let Weighting { weights, smoothing } = *weighting;
    if weights.is_empty() && smoothing == 0.0 {
        return own.mean().neg();
    }
    let weight = |class: usize| weights.get(class).copied().unwrap_or(1.0);
    let of_labels: Vec<f32> = labels.iter().map(|&label| weight(label as usize) as f32).collect();
    let divisor: f64 = labels.iter().map(|&label| weight(label as usize)).sum();
    let hard = (own * Tensor::from_data(TensorData::new(of_labels, shape), device)).sum();
    let hard = hard.mul_scalar(1.0 - smoothing);
    let sum = if smoothing > 0.0 {
        let mut sides = [1; D];
        sides[1] = classes;
        let of_classes: Vec<f32> = (0..classes).map(|class| weight(class) as f32).collect();
        let soft = (shares * Tensor::from_data(TensorData::new(of_classes, sides), device)).sum();
        hard + soft.mul_scalar(smoothing / classes as f64)
    } else {
        hard
    };
    sum.div_scalar(divisor).neg()
}

/// max(x, 0) − x·y + log(1 + e^−|x|): neither sign of x overflows.
fn binary(output: Tensor<2>, truth: Tensor<2>) -> Tensor<2> {
    let overflow_free = output.clone().abs().neg().exp().add_scalar(1.0).log();
    relu(output.clone()) - output * truth + overflow_free
}

/// 1 less the mean over the rows of 2 (Σ pm + 1) / (Σ p + Σ m + 1).
fn less_dice(share: Tensor<2>, truth: Tensor<2>) -> Tensor<1> {
    let both = (share.clone() * truth.clone()).sum_dim(1).add_scalar(1.0);
    let sums = (share.sum_dim(1) + truth.sum_dim(1)).add_scalar(1.0);
    (both.mul_scalar(2.0) / sums).mean().neg().add_scalar(1.0)
}

/// Smallest base of a power.
const LEAST: f32 = 1e-12;
