//! The loss of one sample in f64, without overflow: what metrics report.

use fl_engine::plan::Loss;

use super::masks;

/// A sample's part of the mean loss: what it adds to the sum, and its weight. Losses over pixels are means
/// over the sample's pixels; a weighted cross-entropy divides by the weights of its labels, as PyTorch does.
pub(super) fn of(loss: &Loss, outputs: &[f32], labels: &[f32]) -> (f64, f64) {
    let pairs = || outputs.iter().zip(labels).map(|(x, y)| (f64::from(*x), f64::from(*y)));
    let mean =
        |of: &dyn Fn(f64, f64) -> f64| pairs().map(|(x, y)| of(x, y)).sum::<f64>() / labels.len() as f64;
    let value = match loss {
        Loss::CrossEntropy { weights, smoothing } => return entropy(weights, *smoothing, outputs, labels),
        Loss::BinaryCrossEntropy => mean(&binary),
        Loss::Mse => mean(&|x, y| (x - y) * (x - y)),
        Loss::L1 => mean(&|x, y| (x - y).abs()),
        Loss::Huber { delta } => mean(&|x, y| {
            let error = (x - y).abs();
            if error <= *delta { 0.5 * error * error } else { delta * (error - 0.5 * delta) }
        }),
        Loss::Dice { .. } => 1.0 - masks::dice(&shares(loss, outputs), labels),
        Loss::BceDice => mean(&binary) + 1.0 - masks::dice(&shares(loss, outputs), labels),
        Loss::Focal { gamma, alpha } => mean(&|x, y| {
            let share = sigmoid(x);
            let missed = share * (1.0 - y) + (1.0 - share) * y;
            binary(x, y) * missed.powf(*gamma) * (alpha * y + (1.0 - alpha) * (1.0 - y))
        }),
    };
    (value, 1.0)
}

/// How likely each output is yes.
pub(super) fn shares(loss: &Loss, outputs: &[f32]) -> Vec<f64> {
    let share = |x: &f32| match loss {
        Loss::Dice { logits: false } => f64::from(*x),
        _ => sigmoid(f64::from(*x)),
    };
    outputs.iter().map(share).collect()
}

/// −y log σ(x) − (1 − y) log σ(−x), without overflow on either side.
fn binary(x: f64, y: f64) -> f64 {
    x.max(0.0) - x * y + (-x.abs()).exp().ln_1p()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The logits of a place are one a class, the places of each class one after another.
fn entropy(weights: &[f64], smoothing: f64, outputs: &[f32], labels: &[f32]) -> (f64, f64) {
    let (places, classes) = (labels.len(), outputs.len() / labels.len().max(1));
    let weight = |class: usize| weights.get(class).copied().unwrap_or(1.0);
    let (mut total, mut divisor) = (0.0, 0.0);
    for (place, label) in labels.iter().enumerate() {
        let logits = || (0..classes).map(|class| outputs[class * places + place]);
        let largest = f64::from(logits().fold(f32::NEG_INFINITY, f32::max));
        let sum: f64 = logits().map(|x| (f64::from(x) - largest).exp()).sum();
        let of = |x: f32| sum.ln() + largest - f64::from(x);
        let truth = *label as usize;
        let own = of(logits().nth(truth).unwrap_or(f32::NAN));
        divisor += weight(truth);
        total += weight(truth) * (1.0 - smoothing) * own;
        if smoothing > 0.0 {
            let all: f64 = logits().enumerate().map(|(class, x)| weight(class) * of(x)).sum();
            total += smoothing / classes as f64 * all;
        }
    }
    (total, divisor)
}
