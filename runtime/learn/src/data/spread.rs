//! Whether features have scales that training can use.

use ndarray::ArrayD;

/// A warning about features whose scales are too far apart, or too far from 1. `names` may be empty.
/// `standardised` says whether the plan has statistics.
pub(super) fn warning(features: &ArrayD<f32>, names: &[String], standardised: bool) -> Option<String> {
    let rows = features.shape().first().copied().filter(|rows| *rows > 0)?;
    let width = features.len() / rows;
    let values = features.as_slice()?;
    let mut sums = vec![(0.0f64, 0.0f64); width];
    let first: Vec<f64> = values.get(..width)?.iter().map(|value| f64::from(*value)).collect();
    for sample in values.chunks_exact(width.max(1)) {
        for ((sum, squares), (value, first)) in sums.iter_mut().zip(sample.iter().zip(&first)) {
            let distance = f64::from(*value) - first;
            *sum += distance;
            *squares += distance * distance;
        }
    }
    // A constant feature has no scale.
    let spread: Vec<(usize, f64, f64)> = sums
        .iter()
        .enumerate()
        .map(|(at, (sum, squares))| {
            let mean = sum / rows as f64;
            (at, first[at] + mean, (squares / rows as f64 - mean * mean).max(0.0).sqrt())
        })
        .filter(|(_, _, deviation)| *deviation > 0.0)
        .collect();
    let name = |at: usize| names.get(at).map_or_else(|| format!("value {}", at + 1), Clone::clone);
    let widest = spread.iter().max_by(|a, b| a.2.total_cmp(&b.2))?;
    let narrowest = spread.iter().min_by(|a, b| a.2.total_cmp(&b.2))?;
    let largest = spread.iter().max_by(|a, b| size(a).total_cmp(&size(b)))?;
    let cure = match standardised {
        true => "Check the statistics of `standardise`",
        false => "Add `standardise` to the plan's data",
    };
    // Common statistics for all features leave rare features narrow, as the corner pixels of an image.
    let far = if !standardised && widest.2 > FAR * narrowest.2 {
        let (wide, narrow) = (name(widest.0), name(narrowest.0));
        format!(
            "the deviation of {wide} is {:.3}, and the deviation of {narrow} is {:.3}",
            widest.2, narrowest.2
        )
    } else if size(largest) > LARGE {
        let (at, mean, deviation) = *largest;
        format!("the mean of {} is {mean:.3}, and its deviation is {deviation:.3}", name(at))
    } else {
        return None;
    };
    Some(format!(
        "features have other scales than training works well with: {far}. {cure}: `fl-host data describe FOLDER` prints the statistics"
    ))
}

/// How far from 0 a feature is.
fn size((_, mean, deviation): &(usize, f64, f64)) -> f64 {
    mean.abs().max(*deviation)
}

/// Deviations that differ by two orders.
const FAR: f64 = 100.0;
/// A mean or a deviation of more than an order above 1.
const LARGE: f64 = 10.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn told(values: &[f32], standardised: bool) -> Option<String> {
        let features = ArrayD::from_shape_vec(vec![values.len() / 2, 2], values.to_vec()).unwrap();
        warning(&features, &["a".to_owned(), "b".to_owned()], standardised)
    }

    #[test]
    fn scales_that_differ_by_orders_are_told_by_name() {
        let said = told(&[1.0, 0.001, 3.0, 0.002], false).unwrap();
        assert!(
            said.contains("the deviation of a is 1.000, and the deviation of b is 0.001. Add `standardise`"),
            "{said}"
        );
        let said = told(&[100.0, 1.0, 103.0, 2.0], false).unwrap();
        assert!(said.contains("the mean of a is 101.500, and its deviation is 1.500"), "{said}");
        assert!(told(&[100.0, 1.0, 103.0, 2.0], true).unwrap().contains("Check the statistics"));
        assert_eq!(told(&[1.0, 0.001, 3.0, 0.002], true), None);
        // A constant is no scale.
        assert_eq!(told(&[1.0, 0.0, -1.0, 0.0], false), None);
        assert_eq!(told(&[1.0, 0.5, -1.0, 0.1], false), None);
    }
}
