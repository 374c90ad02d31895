//! How a plan's rule, server and threshold are told: by `plan show`, in refusals, in logs.

use std::fmt;

use super::{Direction, Rule, Scope, Server, Threshold};

impl Rule {
    /// Every rule's word, as a plan spells it; a crate's own last.
    pub const WORDS: [&'static str; 11] = [
        "weighted_mean",
        "mean",
        "clipped_mean",
        "median",
        "weighted_median",
        "trimmed_mean",
        "krum",
        "multi_krum",
        "bulyan",
        "geometric_median",
        "custom",
    ];

    /// As a plan spells it, without its settings.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::WeightedMean => "weighted_mean",
            Self::Mean => "mean",
            Self::ClippedMean { .. } => "clipped_mean",
            Self::Median => "median",
            Self::WeightedMedian => "weighted_median",
            Self::TrimmedMean { .. } => "trimmed_mean",
            Self::Krum { .. } => "krum",
            Self::MultiKrum { .. } => "multi_krum",
            Self::Bulyan { .. } => "bulyan",
            Self::GeometricMedian { .. } => "geometric_median",
            Self::Custom { .. } => "custom",
        }
    }

    /// Fewest updates of a round that the rule can work with and does what it is for.
    #[must_use]
    pub fn least_updates(&self) -> u64 {
        match *self {
            Self::Krum { byzantine } => 2 * u64::from(byzantine) + 3,
            Self::MultiKrum { byzantine, keep } => {
                let byzantine = u64::from(byzantine);
                (2 * byzantine + 3).max(byzantine + u64::from(keep.unwrap_or(0)))
            }
            Self::Bulyan { byzantine } => 4 * u64::from(byzantine) + 3,
            // With fewer it would cut nothing off.
            Self::TrimmedMean { trim } if trim > 0.0 => {
                let near = (1.0 / trim).ceil();
                if (trim * near).floor() >= 1.0 { near as u64 } else { (near as u64).saturating_add(1) }
            }
            _ => 1,
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

impl Server {
    /// Every step's word, as a plan spells it.
    pub(super) const WORDS: [&'static str; 5] = ["fedavgm", "fedadagrad", "fedadam", "fedyogi", "smoothing"];

    /// As a plan spells it, without its settings.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::FedAvgM { .. } => "fedavgm",
            Self::FedAdagrad { .. } => "fedadagrad",
            Self::FedAdam { .. } => "fedadam",
            Self::FedYogi { .. } => "fedyogi",
            Self::Smoothing { .. } => "smoothing",
        }
    }
}

/// `fedadam, learning rate 0.1, beta1 0.9, beta2 0.99, tau 0.001`.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, ", self.word())?;
        match self {
            Self::FedAvgM { learning_rate, momentum } => {
                write!(f, "learning rate {learning_rate}, momentum {momentum}")
            }
            Self::FedAdagrad { learning_rate, beta1, tau } => {
                write!(f, "learning rate {learning_rate}, beta1 {beta1}, tau {tau}")
            }
            Self::FedAdam { learning_rate, beta1, beta2, tau }
            | Self::FedYogi { learning_rate, beta1, beta2, tau } => {
                write!(f, "learning rate {learning_rate}, beta1 {beta1}, beta2 {beta2}, tau {tau}")
            }
            Self::Smoothing { keep } => write!(f, "keep {keep} of the base"),
        }
    }
}

/// `accuracy of aggregated_model_validation at least 0.7`.
impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { task, metric, bound, direction } = self;
        let side = match direction {
            Direction::Max => "least",
            Direction::Min => "most",
        };
        write!(f, "{} of {task} at {side} {bound}", metric.word())
    }
}
