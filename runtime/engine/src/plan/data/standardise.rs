//! `data.standardise`: the statistics by which features are scaled, or that the sites are asked for them.

use serde::Serialize;

use crate::{
    limits,
    settings::{Absent, Checked, Fault, Field, Key, PlanError, Range, Setting, Takes, Value, check},
};

/// Declared statistics: `(x − mean) / std`, feature by feature.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standardise {
    /// One value a feature, one a channel of a picture, or a single one for all; rounded to f32.
    pub mean: Vec<f32>,
    /// As `mean`, each above 0.
    pub std: Vec<f32>,
    /// What the rounding of `mean` took away, where that matters: a mean such as 1 600 000 001 with a
    /// deviation of 10. Empty where no mean loses more than a thousandth of its deviation.
    pub mean_rest: Vec<f32>,
}

/// The statistics come from the sites: before the first round, the aggregator adds up what every site sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Federated {
    /// Fewest rows with a value in a column that a site sends the sums of.
    pub least: u32,
}

/// What the key says: at most one of the two.
#[derive(Default)]
pub(super) struct Scaling {
    pub(super) declared: Option<Standardise>,
    pub(super) federated: Option<Federated>,
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

    /// `{"mean":[…],"std":[…]}`: JSON, and a value of the plan's key `standardise`. Read back, it gives the
    /// same bits.
    #[must_use]
    pub fn to_text(&self) -> String {
        let list = |count: usize, of: &dyn Fn(usize) -> f64| {
            (0..count).map(|at| of(at).to_string()).collect::<Vec<_>>().join(",")
        };
        let means = list(self.mean.len(), &|at| self.mean_of(at));
        let deviations = list(self.std.len(), &|at| self.std_of(at));
        format!("{{\"mean\":[{means}],\"std\":[{deviations}]}}")
    }

    /// Reads what [`Self::to_text`] wrote; `None` for anything else.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let lists = text.strip_prefix("{\"mean\":[")?.strip_suffix("]}")?;
        let (means, deviations) = lists.split_once("],\"std\":[")?;
        let list =
            |text: &str| text.split(',').map(|number| number.parse().ok()).collect::<Option<Vec<f64>>>();
        Self::from_values(&list(means)?, &list(deviations)?)
    }

    /// Statistics that a peer or a file has named: as many means as deviations, and each within its bounds.
    #[must_use]
    pub fn from_values(means: &[f64], deviations: &[f64]) -> Option<Self> {
        let single = |value: &f64| (*value as f32).is_finite();
        let above = |value: &f64| single(value) && *value as f32 > 0.0;
        let sound = means.len() == deviations.len()
            && (1..=limits::STATISTICS_COLUMNS).contains(&means.len())
            && means.iter().all(single)
            && deviations.iter().all(above);
        sound.then(|| Self::settled(means, deviations))
    }

    /// The one form of these statistics that is read back as itself; the lists are equally long.
    pub(crate) fn settled(means: &[f64], deviations: &[f64]) -> Self {
        let first = Self::new(means, deviations);
        let all = |of: &dyn Fn(usize) -> f64| (0..means.len()).map(of).collect::<Vec<_>>();
        Self::new(&all(&|at| first.mean_of(at)), &all(&|at| first.std_of(at)))
    }
}

impl Setting for Scaling {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        if matches!(field.value(), Value::Text(word) if word == FEDERATED) {
            return Ok(Self { declared: None, federated: Some(Federated { least: LEAST }) });
        }
        if !matches!(field.value(), Value::Map(_)) {
            return Err(field.wrong("the word federated, or a map with the keys mean and std"));
        }
        let statistics = field.section()?;
        let list = |key: &str| statistics.get::<Statistics>(key).map(|Statistics(values)| values);
        let Some(federated) = statistics.get::<Option<Federated>>(FEDERATED)? else {
            return Ok(Self {
                declared: Some(Standardise::new(&list("mean")?, &list("std")?)),
                federated: None,
            });
        };
        match ["mean", "std"].into_iter().find_map(|key| statistics.optional(key)) {
            Some(both) => Err(both.error(format!("{} is beside federated; write one of them", both.path()))),
            None => Ok(Self { declared: None, federated: Some(federated) }),
        }
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}

impl Setting for Federated {
    fn read(field: &Field<'_>) -> Result<Self, PlanError> {
        Ok(Self { least: field.section()?.get("least")? })
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

/// How many columns have statistics of their own, and how many values of a sample each of them has: every
/// feature of a flat sample is a column, and all values of another sample, as a picture, are one.
#[must_use]
pub fn columns_of(input: &[u32]) -> (usize, u64) {
    let values = input.iter().map(|side| u64::from(*side)).fold(1, u64::saturating_mul);
    match input.iter().filter(|side| **side != 1).count() {
        // A flat sample has at most `STATISTICS_COLUMNS` features: the plan's check.
        0 | 1 => (usize::try_from(values).unwrap_or(0).min(limits::STATISTICS_COLUMNS), 1),
        _ => (1, values),
    }
}

/// Checks the lists against the number of values of a sample, and of channels of a picture.
pub(super) fn check_in(statistics: &Standardise, features: u64, channels: u64) -> Checked {
    let Standardise { mean, std, mean_rest } = statistics;
    for (key, list) in [("mean", mean), ("std", std)] {
        let path = format!("data/standardise/{key}");
        if ![1, channels, features].contains(&(list.len() as u64)) {
            let one_each = if channels > 1 { format!(", {channels}") } else { String::new() };
            let message = format!(
                "data.standardise.{key} has {} values; it takes 1{one_each} or {features}",
                list.len()
            );
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

/// Checks that the sites can be asked for the statistics of samples of this shape.
pub(super) fn check_federated(federated: &Federated, declared: bool, input: &[u32]) -> Checked {
    let path = "data/standardise/federated";
    if declared {
        return Err(Fault::new(path, "data.standardise has statistics, and federated beside them"));
    }
    check(SITES, &format!("{path}/least"), &federated.least)?;
    let features: u64 = input.iter().map(|side| u64::from(*side)).product();
    if columns_of(input).1 == 1 && features > limits::STATISTICS_COLUMNS as u64 {
        let most = limits::STATISTICS_COLUMNS;
        let message =
            format!("data.standardise is federated, and a sample has {features} features; it takes {most}");
        let hint = "write the statistics into the plan: `standardise: {mean: M, std: S}`".to_owned();
        return Err(Fault::new(path, message).hint(Some(hint)));
    }
    Ok(())
}

/// The keys of `standardise`.
pub(super) const KEYS: &[Key] = &[
    Key {
        name: "mean",
        takes: Takes::List {
            kind: "a number, or a list with one number for each feature or channel",
            of: &Takes::Number(Range::Finite),
        },
        absent: Absent::Means("needed, unless `federated` is there"),
        meaning: "The mean of each feature, of each channel of a picture, or one mean for all.",
        example: "[14.1, 19.3]",
    },
    Key {
        name: "std",
        takes: Takes::List {
            kind: "a number, or a list with one number for each feature or channel",
            of: &Takes::Number(Range::AboveZero),
        },
        absent: Absent::Means("needed, unless `federated` is there"),
        meaning: "The standard deviation of each feature, of each channel of a picture, or one for all.",
        example: "[3.5, 4.3]",
    },
    Key {
        name: FEDERATED,
        takes: Takes::Section(SITES),
        absent: Absent::Means("the plan has the statistics: `mean` and `std`"),
        meaning: "Before the first round, every site sends the count, the sum and the sum of squares of each feature. The \
                  aggregator adds the sums of all sites exactly, and sends mean and standard deviation to every site. The \
                  word `federated` alone takes the default.",
        example: "{least: 20}",
    },
];

/// The keys of `federated`.
pub(super) const SITES: &[Key] = &[Key {
    name: "least",
    takes: Takes::Whole { least: 2, most: 1_000_000, unit: "rows" },
    absent: Absent::Default("10"),
    meaning: "Fewest rows with a value of a feature. A site with fewer rows does not send the sums of the feature: a mean of \
              few people tells about each of them.",
    example: "20",
}];

const FEDERATED: &str = "federated";
/// The default of `least`.
const LEAST: u32 = 10;
