//! How far a sample's mask and the model's answer overlap.

/// 2 (Σ pm + 1) / (Σ p + Σ m + 1), for probabilities p and the mask m. 2 for an empty pair.
pub(super) fn dice(shares: &[f64], mask: &[f32]) -> f64 {
    let both: f64 = shares.iter().zip(mask).map(|(p, m)| p * f64::from(*m)).sum();
    let sums = shares.iter().sum::<f64>() + mask.iter().map(|m| f64::from(*m)).sum::<f64>();
    2.0 * (both + 1.0) / (sums + 1.0)
}

/// Intersection over union of the outputs above `bound` and the mask above one half; 1 for an empty pair.
pub(super) fn iou(outputs: &[f32], mask: &[f32], bound: f32) -> f64 {
    let pairs = || outputs.iter().zip(mask).map(|(x, m)| (*x > bound, *m > 0.5));
    share(pairs().filter(|(a, b)| *a && *b).count(), pairs().filter(|(a, b)| *a || *b).count())
}

/// The same for the classes of pixels. With two classes, the overlap of class 1; with more, the mean over the
/// classes that either has.
pub(super) fn iou_of_classes(found: &[usize], truth: &[usize], classes: usize) -> f64 {
    let pairs = || found.iter().zip(truth);
    let of = |class: usize| {
        let both = pairs().filter(|(a, b)| **a == class && **b == class).count();
        (both, pairs().filter(|(a, b)| **a == class || **b == class).count())
    };
    if classes == 2 {
        let (both, either) = of(1);
        return share(both, either);
    }
    let there: Vec<f64> = (0..classes)
        .map(of)
        .filter(|(_, either)| *either > 0)
        .map(|(both, either)| share(both, either))
        .collect();
    there.iter().sum::<f64>() / there.len().max(1) as f64
}

fn share(both: usize, either: usize) -> f64 {
    if either == 0 { 1.0 } else { both as f64 / either as f64 }
}
