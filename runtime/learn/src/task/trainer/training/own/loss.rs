//! The losses that training minimises, with their gradients: means over a batch, summed in f64 in the order
//! of the rows.

use fl_engine::plan::Loss;
use fl_kernels::maths::{exp, ln, sigmoid};

/// The mean loss of a batch of `rows`, and in `slopes` its gradient by each of `output`. The values of a row
/// stand together, the classes of a pixel one plane after another; `labels` has as many values for each row.
pub(in super::super) fn mean(
    loss: &Loss,
    output: &[f32],
    labels: &[f32],
    rows: usize,
    slopes: &mut Vec<f32>,
) -> f32 {
    slopes.clear();
    slopes.resize(output.len(), 0.0);
    let mut each = |of: &dyn Fn(f64, f64) -> [f64; 2]| each(output, labels, slopes, of);
    let (value, count) = match loss {
        Loss::CrossEntropy { weights, smoothing } => {
            return entropy(weights, *smoothing, output, labels, rows, slopes);
        }
        Loss::Dice { logits } => return dice(*logits, output, labels, rows, slopes) as f32,
        Loss::BceDice => {
            let sum = each(&binary);
            let count = output.len() as f64;
            slopes.iter_mut().for_each(|slope| *slope = (f64::from(*slope) / count) as f32);
            return (sum / count + dice(true, output, labels, rows, slopes)) as f32;
        }
        Loss::BinaryCrossEntropy => (each(&binary), output.len()),
        Loss::Mse => (each(&|x, t| [(x - t) * (x - t), 2.0 * (x - t)]), output.len()),
        Loss::L1 => (each(&|x, t| [(x - t).abs(), sign(x - t)]), output.len()),
        Loss::Huber { delta } => {
            let huber = |x: f64, t: f64| {
                let (error, near) = ((x - t).abs(), (x - t).abs().min(*delta));
                [0.5 * near * near + (error - near) * delta, near * sign(x - t)]
            };
            (each(&huber), output.len())
        }
        Loss::Focal { gamma, alpha } => (each(&|x, t| focal(*gamma, *alpha, x, t)), output.len()),
    };
    let count = count as f64;
    slopes.iter_mut().for_each(|slope| *slope = (f64::from(*slope) / count) as f32);
    (value / count) as f32
}

/// The sum of a loss over pairs of an output and its label; `of` gives the value and the slope of each.
fn each(output: &[f32], labels: &[f32], slopes: &mut [f32], of: &dyn Fn(f64, f64) -> [f64; 2]) -> f64 {
    let mut sum = 0.0;
    for ((x, t), slope) in output.iter().zip(labels).zip(slopes) {
        let [value, by_x] = of(f64::from(*x), f64::from(*t));
        sum += value;
        *slope = by_x as f32;
    }
    sum
}

fn sign(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.signum() }
}

/// max(x, 0) − x·y + log(1 + e^−|x|): neither sign of x overflows.
fn binary(x: f64, truth: f64) -> [f64; 2] {
    [x.max(0.0) - x * truth + ln(1.0 + exp(-x.abs())), sigmoid(x) - truth]
}

/// Lin et al., arXiv:1708.02002, equation 5.
fn focal(gamma: f64, alpha: f64, x: f64, truth: f64) -> [f64; 2] {
    let [loss, slope] = binary(x, truth);
    let (share, other) = (sigmoid(x), 1.0 - truth);
    let weight = truth * alpha + other * (1.0 - alpha);
    if gamma <= 0.0 {
        return [loss * weight, slope * weight];
    }
    let missed = share * other + (1.0 - share) * truth;
    // The power's slope at 0 may be infinite.
    let base = missed.max(LEAST);
    let power = exp(gamma * ln(base));
    let by_x = if missed > LEAST { share * (1.0 - share) * (other - truth) } else { 0.0 };
    [loss * weight * power, weight * (slope * power + loss * gamma * power / base * by_x)]
}

/// 1 less the mean over the rows of 2 (Σ pm + 1) / (Σ p + Σ m + 1). Adds the gradient.
fn dice(logits: bool, output: &[f32], labels: &[f32], rows: usize, slopes: &mut [f32]) -> f64 {
    let width = (output.len() / rows.max(1)).max(1);
    let mut sum = 0.0;
    let share = |x: f32| if logits { sigmoid(f64::from(x)) } else { f64::from(x) };
    for ((x, t), slopes) in output.chunks(width).zip(labels.chunks(width)).zip(slopes.chunks_mut(width)) {
        let (mut both, mut sums) = (1.0, 1.0);
        for (x, t) in x.iter().zip(t) {
            let (p, m) = (share(*x), f64::from(*t));
            both += p * m;
            sums += p + m;
        }
        sum += 2.0 * both / sums;
        for ((x, t), slope) in x.iter().zip(t).zip(slopes) {
            let p = share(*x);
            let inner = if logits { p * (1.0 - p) } else { 1.0 };
            let by_share = -2.0 * (f64::from(*t) * sums - both) / (sums * sums * rows as f64);
            *slope += (by_share * inner) as f32;
        }
    }
    1.0 - sum / rows as f64
}

/// The cross-entropy with class weights (none: all 1) and label smoothing (Szegedy et al., arXiv:1512.00567).
fn entropy(
    weights: &[f64],
    smoothing: f64,
    output: &[f32],
    labels: &[f32],
    rows: usize,
    slopes: &mut [f32],
) -> f32 {
    let (width, places) = (output.len() / rows.max(1), labels.len() / rows.max(1));
    let classes = width / places.max(1);
    let weight = |class: usize| weights.get(class).copied().unwrap_or(1.0);
    let divisor: f64 = labels.iter().map(|&label| weight(label as usize)).sum();
    let mut sum = 0.0;
    let mut shares = vec![0.0; classes];
    for (at, &label) in labels.iter().enumerate() {
        let (row, place) = (at / places, at % places);
        let index = |class: usize| row * width + class * places + place;
        let most = (0..classes).map(|class| output[index(class)]).fold(f32::NEG_INFINITY, f32::max);
        let most = f64::from(most);
        let mut all = 0.0;
        for (class, share) in shares.iter_mut().enumerate() {
            *share = exp(f64::from(output[index(class)]) - most);
            all += *share;
        }
        let log = ln(all) + most;
        let own = label as usize;
        let mut total = 0.0;
        for class in 0..classes {
            let soft = smoothing / classes as f64 * weight(class);
            let hard = if class == own { (1.0 - smoothing) * weight(class) } else { 0.0 };
            let wanted = soft + hard;
            if wanted != 0.0 {
                sum -= wanted * (f64::from(output[index(class)]) - log);
            }
            total += wanted;
        }
        for (class, share) in shares.iter().enumerate() {
            let soft = smoothing / classes as f64 * weight(class);
            let hard = if class == own { (1.0 - smoothing) * weight(class) } else { 0.0 };
            slopes[index(class)] = ((share / all * total - soft - hard) / divisor) as f32;
        }
    }
    (sum / divisor) as f32
}

/// Smallest base of a power.
const LEAST: f64 = 1e-12;
