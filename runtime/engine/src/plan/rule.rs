//! `rule`: how the updates of a round become one model.

use std::fmt;

use serde::Serialize;

use crate::{
    limits,
    settings::{Absent, Key, Range, Takes, Text, words},
};

words! {
    /// How the updates of a round become one model.
    #[derive(Clone, Debug, PartialEq, Serialize)]
    #[non_exhaustive]
    pub enum Rule {
        /// Mean weighted by samples (McMahan et al., arXiv:1602.05629).
        WeightedMean = "weighted_mean",
        /// Mean in which every update counts the same.
        Mean = "mean",
        /// Mean weighted by samples, after each update is cut to a largest distance from the base (norm
        /// clipping: Sun et al., arXiv:1911.07963).
        ClippedMean = "clipped_mean" {
            /// Largest Euclidean distance of an update from the base.
            norm: f64 = Takes::Number(Range::AboveZero), Absent::Refused, "1.0";
        },
        /// Median of each element (Yin et al., arXiv:1803.01498). Weights do not count.
        Median = "median",
        /// Weighted median of each element.
        WeightedMedian = "weighted_median",
        /// Mean of each element without its largest and smallest values (Yin et al., arXiv:1803.01498).
        /// Weights do not count.
        TrimmedMean = "trimmed_mean" {
            /// Share of the updates left out at each end: of the largest and of the smallest values.
            trim: f64 = Takes::Number(Range::FromZeroBelowHalf), Absent::Refused, "0.2";
        },
        /// The update nearest to its neighbours (Blanchard et al., NeurIPS 2017). Weights do not count. A
        /// round needs at least 2 byzantine + 3 updates.
        Krum = "krum" {
            /// The largest number of hostile updates that the rule withstands.
            byzantine: u32 = BYZANTINE, Absent::Refused, "1";
        },
        /// Mean of the updates nearest to their neighbours (Blanchard et al., NeurIPS 2017). Weights do not
        /// count. A round needs at least 2 byzantine + 3 updates.
        MultiKrum = "multi_krum" {
            /// The largest number of hostile updates that the rule withstands.
            byzantine: u32 = BYZANTINE, Absent::Refused, "1";
            /// Updates that are kept. A round needs at least byzantine + keep updates.
            keep: Option<u32> =
                Takes::Whole { least: 1, most: limits::COLLABORATORS as u64, unit: "updates" },
                Absent::Means("all but `byzantine` of a round's updates"),
                "3";
        },
        /// The choice of Krum, made again and again, then a trimmed mean around the median (El Mhamdi et al.,
        /// arXiv:1802.07927). Weights do not count. A round needs at least 4 byzantine + 3 updates.
        Bulyan = "bulyan" {
            /// The largest number of hostile updates that the rule withstands.
            byzantine: u32 = BYZANTINE, Absent::Refused, "1";
        },
        /// Geometric median by smoothed Weiszfeld iterations (RFA: Pillutla et al., arXiv:1912.13445).
        // The defaults are those of the authors' program.
        GeometricMedian = "geometric_median" {
            /// The largest number of iterations in one round.
            iterations: u32 =
                Takes::Whole { least: 1, most: 1_000, unit: "iterations" }, Absent::Default("4"), "10";
            /// A distance below this number counts as this number.
            smoothing: f64 = Takes::Number(Range::AboveZero), Absent::Default("1e-5"), "0.001";
            /// What the rule measures distances over: the whole update, or each tensor by itself.
            scope: Scope = Takes::Word(Scope::TABLE), Absent::Default("model"), "tensor";
        },
        /// A rule that a user's crate registered.
        Custom = "custom" {
            /// The name under which the rule is registered.
            name: String = Takes::Text(Text::Registered("registered name")), Absent::Refused, "my_rule";
        },
    }
}

words! {
    /// What a rule that measures distances looks at.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    pub enum Scope {
        /// The whole model.
        Model = "model",
        /// Each tensor by itself.
        Tensor = "tensor",
    }
}

impl Rule {
    /// Whether an update with a larger weight has more influence.
    #[must_use]
    pub fn counts_weights(&self) -> bool {
        match self {
            Self::WeightedMean
            | Self::ClippedMean { .. }
            | Self::WeightedMedian
            | Self::GeometricMedian { .. }
            | Self::Custom { .. } => true,
            Self::Mean
            | Self::Median
            | Self::TrimmedMean { .. }
            | Self::Krum { .. }
            | Self::MultiKrum { .. }
            | Self::Bulyan { .. } => false,
        }
    }

    /// Fewest updates of a round that the rule can work with and does what it is for.
    #[must_use]
    pub fn least_updates(&self) -> u64 {
        match *self {
            Self::WeightedMean
            | Self::Mean
            | Self::ClippedMean { .. }
            | Self::Median
            | Self::WeightedMedian
            | Self::GeometricMedian { .. }
            | Self::Custom { .. } => 1,
            Self::Krum { byzantine } => 2 * u64::from(byzantine) + 3,
            Self::MultiKrum { byzantine, keep } => {
                let byzantine = u64::from(byzantine);
                (2 * byzantine + 3).max(byzantine + u64::from(keep.unwrap_or(0)))
            }
            Self::Bulyan { byzantine } => 4 * u64::from(byzantine) + 3,
            // With fewer updates, no value would be cut off.
            Self::TrimmedMean { trim } if trim > 0.0 => {
                let near = (1.0 / trim).ceil();
                if (trim * near).floor() >= 1.0 { near as u64 } else { (near as u64).saturating_add(1) }
            }
            Self::TrimmedMean { .. } => 1,
        }
    }
}

/// `trimmed_mean, trim 0.2`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self {
            Self::WeightedMean | Self::Mean | Self::Median | Self::WeightedMedian => Ok(()),
            Self::ClippedMean { norm } => write!(f, ", norm {norm}"),
            Self::TrimmedMean { trim } => write!(f, ", trim {trim}"),
            Self::Krum { byzantine } | Self::Bulyan { byzantine } => write!(f, ", byzantine {byzantine}"),
            Self::MultiKrum { byzantine, keep } => {
                write!(f, ", byzantine {byzantine}, keep ")?;
                match keep {
                    Some(keep) => write!(f, "{keep}"),
                    None => write!(f, "all but {byzantine}"),
                }
            }
            Self::GeometricMedian { iterations, smoothing, scope } => {
                let scope = match scope {
                    Scope::Model => "the model",
                    Scope::Tensor => "each tensor",
                };
                write!(f, " over {scope}, iterations {iterations}, smoothing {smoothing:e}")
            }
            Self::Custom { name } => write!(f, " {name}"),
        }
    }
}

const BYZANTINE: Takes = Takes::Whole { least: 0, most: limits::COLLABORATORS as u64, unit: "updates" };

pub(super) const RULE: Key = Key {
    name: "rule",
    takes: Takes::Variant(Rule::TABLE),
    absent: Absent::Refused,
    meaning: "How the updates of a round become one model. All tasks that send updates have the same rule.",
    example: "{trimmed_mean: {trim: 0.2}}",
};
