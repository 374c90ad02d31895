//! `data.standardise`: the statistics by which features are scaled.

use serde::Serialize;

use crate::settings::{Absent, Checked, Fault, Field, Key, PlanError, Range, Setting, Takes, Value, check};

/// Declared statistics: `(x − mean) / std`, feature by feature.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standardise {
    /// One value a feature, or a single one for all; rounded to f32.
    pub mean: Vec<f32>,
    /// As `mean`, each above 0.
    pub std: Vec<f32>,
    /// What the rounding of `mean` took away, where that matters: a mean such as 1 600 000 001 with a
    /// deviation of 10. Empty where no mean loses more than a thousandth of its deviation.
    pub mean_rest: Vec<f32>,
}

impl Standardise {
    /// The statistics out of lists that hold one value each, or one a feature.
    #[must_use]
    pub fn new(mean: &[f64], std: &[f64]) -> Self {
        let rest = |mean: &f64| (mean - f64::from(*mean as f32)) as f32;
        let single: Vec<f64> = std.iter().map(|value| f64::from(*value as f32)).collect();
        let least = single.iter().copied().fold(f64::INFINITY, f64::min);
        let deviation = |at: usize| if single.len() == mean.len() { single[at] } else { least };
        let matters = |(at, mean): (usize, &f64)| f64::from(rest(mean)).abs() > deviation(at) / 1024.0;
        let lost = mean.iter().enumerate().any(matters);
        Self {
            mean: mean.iter().map(|value| *value as f32).collect(),
            std: std.iter().map(|value| *value as f32).collect(),
            mean_rest: if lost { mean.iter().map(rest).collect() } else { Vec::new() },
        }
    }

    /// The mean of a feature, by its index in the sample.
    #[must_use]
    pub fn mean_of(&self, feature: usize) -> f64 {
        let at = if self.mean.len() == 1 { 0 } else { feature };
        let rest = self.mean_rest.get(at).copied().unwrap_or(0.0);
        f64::from(self.mean.get(at).copied().unwrap_or(0.0)) + f64::from(rest)
    }

    /// The standard deviation of a feature, by its index in the sample.
    #[must_use]
    pub fn std_of(&self, feature: usize) -> f64 {
        let at = if self.std.len() == 1 { 0 } else { feature };
        f64::from(self.std.get(at).copied().unwrap_or(1.0))
    }
}

impl Setting for Standardise {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let statistics = field.section()?;
        let list = |key: &str| statistics.get::<Statistics>(key).map(|Statistics(values)| values);
        Ok(Self::new(&list("mean")?, &list("std")?))
    }
}

/// A list, or its only value.
struct Statistics(Vec<f64>);

impl Setting for Statistics {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        let number = |field: &Field<'_>| {
            // As f32, too, the value has to be in its range.
            f32::read(field).and_then(|_| f64::read(field))
        };
        match field.value() {
            Value::Whole(_) | Value::Number(_) => Ok(Self(vec![number(&field.entry())?])),
            _ => field.list()?.iter().map(number).collect::<Result<_, _>>().map(Self),
        }
    }
}

/// Checks the lists against the number of values of a sample.
pub(super) fn check_in(statistics: &Standardise, features: u64) -> Checked {
    let Standardise { mean, std, mean_rest } = statistics;
    for (key, list) in [("mean", mean), ("std", std)] {
        let path = format!("data/standardise/{key}");
        if list.len() != 1 && list.len() as u64 != features {
            let message =
                format!("data.standardise.{key} has {} values; it takes 1 or {features}", list.len());
            return Err(Fault::new(path, message));
        }
        check(KEYS, &path, list)?;
    }
    let means: Vec<f64> = (0..mean.len()).map(|at| statistics.mean_of(at)).collect();
    let std: Vec<f64> = std.iter().map(|value| f64::from(*value)).collect();
    if !mean_rest.is_empty() && *statistics != Standardise::new(&means, &std) {
        return Err(Fault::new("data/standardise/mean", "data.standardise.mean is written in two ways"));
    }
    Ok(())
}

/// The keys of `standardise`.
pub(super) const KEYS: &[Key] = &[
    Key {
        name: "mean",
        takes: Takes::List {
            kind: "a number, or a list with one a feature",
            of: &Takes::Number(Range::Finite),
        },
        absent: Absent::Refused,
        meaning: "The mean of each feature, or one mean for all.",
        example: "[14.1, 19.3]",
    },
    Key {
        name: "std",
        takes: Takes::List {
            kind: "a number, or a list with one a feature",
            of: &Takes::Number(Range::AboveZero),
        },
        absent: Absent::Refused,
        meaning: "The standard deviation of each feature, or one for all.",
        example: "[3.5, 4.3]",
    },
];
