//! Scaling by the plan's statistics: in f64, rounded to f32 once.

use fl_engine::plan::Standardise;

use super::error::DataError;

/// How each feature of a sample becomes an f32.
pub(super) struct Scale {
    /// Mean and deviation of each feature; empty where features are used as they are.
    statistics: Vec<(f64, f64)>,
}

impl Scale {
    /// The scale of samples of `width` features.
    pub(super) fn new(statistics: Option<&Standardise>, width: usize) -> Result<Self, DataError> {
        let Some(statistics) = statistics else { return Ok(Self { statistics: Vec::new() }) };
        let refused = |what: String| Err(DataError::Mismatch { what });
        let Standardise { mean, std, .. } = statistics;
        for (name, list) in [("mean", mean), ("std", std)] {
            if list.len() != 1 && list.len() != width {
                let values = list.len();
                return refused(format!(
                    "standardise has {values} values of {name}, but a sample has {width} features"
                ));
            }
        }
        if mean.iter().any(|m| !m.is_finite()) || std.iter().any(|s| !s.is_finite() || *s <= 0.0) {
            return refused("standardise needs finite means, and standard deviations above 0".to_owned());
        }
        let both = |feature| (statistics.mean_of(feature), statistics.std_of(feature));
        Ok(Self { statistics: (0..width).map(both).collect() })
    }

    /// The value of a feature, by its index in the sample. May be infinite: a value too large for f32.
    pub(super) fn apply(&self, feature: usize, value: f64) -> f32 {
        match self.statistics.get(feature) {
            Some((mean, std)) => ((value - mean) / std) as f32,
            None => value as f32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_is_rounded_once_after_its_mean_is_taken_off() {
        // Seconds since 1970, and a mean that f32 cannot hold.
        let statistics = Standardise::new(&[1_600_000_001.0], &[10.0]);
        let scale = Scale::new(Some(&statistics), 2).unwrap();
        assert_eq!([1_600_000_001.0, 1_600_000_006.0].map(|v| scale.apply(1, v)), [0.0, 0.5]);
        let plain = Scale::new(None, 2).unwrap();
        assert_eq!(plain.apply(0, 0.1), 0.1);
    }
}
