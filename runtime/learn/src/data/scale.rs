//! Scaling by the plan's statistics: in f64, rounded to f32 once. Or the sums of the values as they are, for
//! a plan whose statistics come from all sites.

use std::cell::RefCell;
#[cfg(feature = "tables")]
use std::ops::Range;

use fl_engine::{
    plan::{DataSpec, Standardise},
    statistics::{LARGEST, SiteSums},
};

use super::error::DataError;

/// What becomes of the values of the features.
#[derive(Clone, Copy)]
pub(super) enum Scaling<'a> {
    /// They are used as they are.
    AsIs,
    /// They are scaled.
    By(&'a Standardise),
    /// They are used as they are, and added up.
    Sums(&'a RefCell<SiteSums>),
}

/// How each feature of a sample becomes an f32.
pub(super) struct Scale<'a> {
    known: Known,
    sums: Option<&'a RefCell<SiteSums>>,
}

/// Statistics of each feature.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known {
    /// Mean and deviation of each feature; empty where features are used as they are.
    statistics: Vec<(f64, f64)>,
}

impl<'a> Scaling<'a> {
    /// As the plan says; `sums` are there where the sites are asked.
    pub(super) fn of(spec: &'a DataSpec, sums: Option<&'a RefCell<SiteSums>>) -> Self {
        match (&spec.standardise, sums) {
            (Some(statistics), _) => Self::By(statistics),
            (None, Some(sums)) => Self::Sums(sums),
            (None, None) => Self::AsIs,
        }
    }

    /// The mean of a feature, where it takes the place of missing values. Not a number where nobody knows it
    /// yet.
    #[cfg(feature = "tables")]
    pub(super) fn mean_of(&self, feature: usize) -> Option<f64> {
        match self {
            Self::AsIs => None,
            Self::By(statistics) => Some(statistics.mean_of(feature)),
            Self::Sums(_) => Some(f64::NAN),
        }
    }

    /// Whether values are added up: a missing value is not, whatever takes its place.
    #[cfg(feature = "tables")]
    pub(super) fn adds_up(&self) -> bool {
        matches!(self, Self::Sums(_))
    }
}

impl<'a> Scale<'a> {
    /// The scale of samples of `width` features, in as many `channels` of equal size.
    pub(super) fn new(scaling: Scaling<'a>, width: usize, channels: usize) -> Result<Self, DataError> {
        let statistics = match scaling {
            Scaling::AsIs => return Ok(Self { known: Known { statistics: Vec::new() }, sums: None }),
            Scaling::Sums(sums) => {
                return Ok(Self { known: Known { statistics: Vec::new() }, sums: Some(sums) });
            }
            Scaling::By(statistics) => statistics,
        };
        let refused = |what: String| Err(DataError::Mismatch { what });
        let Standardise { mean, std, .. } = statistics;
        for (name, list) in [("mean", mean), ("std", std)] {
            if ![1, channels, width].contains(&list.len()) {
                let values = list.len();
                return refused(format!(
                    "standardise has {values} values of {name}, but a sample has {width} features"
                ));
            }
        }
        if mean.iter().any(|m| !m.is_finite()) || std.iter().any(|s| !s.is_finite() || *s <= 0.0) {
            return refused("standardise needs finite means, and standard deviations above 0".to_owned());
        }
        // A list has one value for all features, for each channel, or for each feature.
        let at = |list: &[f32], feature: usize| feature * list.len() / width.max(1);
        let both = |feature| (statistics.mean_of(at(mean, feature)), statistics.std_of(at(std, feature)));
        Ok(Self { known: Known { statistics: (0..width).map(both).collect() }, sums: None })
    }

    /// The value of a feature, by its index in the sample. May be infinite: a value too large for f32.
    pub(super) fn apply(&self, feature: usize, value: f64) -> f32 {
        if self.sums.is_some() && value.abs() >= LARGEST {
            f32::INFINITY
        } else {
            self.known.apply(feature, value)
        }
    }

    /// The statistics alone.
    #[cfg(feature = "tables")]
    pub(super) fn known(self) -> Known {
        self.known
    }

    /// The value of a feature, which is added up where the plan asks for that. A value that is not a number
    /// stands for a missing one.
    pub(super) fn take(&self, feature: usize, value: f64) -> f32 {
        if let Some(sums) = self.sums {
            // Values that are not finite are refused by what is returned.
            sums.borrow_mut().add(feature, value);
        }
        self.apply(feature, value)
    }
}

impl Known {
    /// The value of a feature, by its index in the sample. May be infinite: a value too large for f32.
    pub(super) fn apply(&self, feature: usize, value: f64) -> f32 {
        match self.statistics.get(feature) {
            Some((mean, std)) => ((value - mean) / std) as f32,
            None => value as f32,
        }
    }

    /// What each whole value of 0 to `most`, divided by `most`, becomes in features that all have one scale;
    /// `None` where their scales differ.
    #[cfg(feature = "tables")]
    pub(super) fn table(&self, features: Range<usize>, most: u32) -> Option<Vec<f32>> {
        let first = features.start;
        let mut others = self.statistics.get(features).into_iter().flatten();
        let alike = others.all(|both| Some(both) == self.statistics.get(first));
        let value = |value: u32| self.apply(first, f64::from(value) / f64::from(most));
        alike.then(|| (0..=most).map(value).collect())
    }

    /// The value that became `scaled`.
    #[cfg(feature = "train")]
    pub(super) fn undo(&self, feature: usize, scaled: f32) -> f64 {
        let (mean, std) = self.statistics.get(feature).copied().unwrap_or((0.0, 1.0));
        f64::from(scaled) * std + mean
    }
}

/// Channels of a sample of this shape: a sample of three sides is a picture.
pub(super) fn channels(input: &[u32]) -> usize {
    match *input {
        [channels, _, _] => channels as usize,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_is_rounded_once_after_its_mean_is_taken_off() {
        // Seconds since 1970, and a mean that f32 cannot hold.
        let statistics = Standardise::new(&[1_600_000_001.0], &[10.0]);
        let scale = Scale::new(Scaling::By(&statistics), 2, 1).unwrap();
        assert_eq!([1_600_000_001.0, 1_600_000_006.0].map(|v| scale.apply(1, v)), [0.0, 0.5]);
        let plain = Scale::new(Scaling::AsIs, 2, 1).unwrap();
        assert_eq!(plain.apply(0, 0.1), 0.1);
    }

    #[test]
    fn statistics_of_channels_scale_the_values_of_each_channel() {
        let statistics = Standardise::new(&[1.0, 2.0, 3.0], &[2.0]);
        let scale = Scale::new(Scaling::By(&statistics), 12, 3).unwrap();
        let scaled: Vec<f32> = (0..12).map(|feature| scale.apply(feature, 5.0)).collect();
        assert_eq!(scaled, [[2.0; 4], [1.5; 4], [1.0; 4]].concat());
        let known = &scale.known;
        #[cfg(feature = "train")]
        assert_eq!(known.undo(4, 1.5), 5.0);
        #[cfg(feature = "tables")]
        assert_eq!((known.table(4..8, 1), known.table(3..8, 1)), (Some(vec![-1.0, -0.5]), None));
        assert_eq!(known.apply(11, 7.0), 2.0);
        assert!(Scale::new(Scaling::By(&statistics), 12, 1).is_err());
    }
}
