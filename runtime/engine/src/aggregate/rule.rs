//! What a plan's rule asks of the shell, and why a rule can fail.

use std::sync::Arc;

use super::{
    Bulyan, Clip, ColumnRule, GeometricMedian, Krum, Median, MultiKrum, ScoreRule, TrimmedMean,
    WeightedMedian,
};
use crate::plan::{Aggregation, ExactRange, Rule};

/// How updates are combined: which data a rule needs, and when.
#[derive(Clone, Debug)]
pub enum Method {
    /// An exact sum that absorbs updates as they arrive, in memory of the order of the model.
    Stream(Stream),
    /// A function of one element of all updates at a time. Needs all of them, in one pass.
    Columns(Arc<dyn ColumnRule>),
    /// A choice by the distances between whole updates, then a combination of the chosen. Needs all of them, in two
    /// passes.
    Scored(Arc<dyn ScoreRule>),
}

/// A sum over updates, in [`super::ExactMean`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stream {
    /// Every update with its weight.
    WeightedMean,
    /// Every update with weight 1.
    Mean,
    /// Every update with its weight, cut to a largest distance from the base.
    Clipped(Clip),
}

/// Why a rule has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// A rule that tolerates hostile updates has too few in all.
    #[error("{rule} needs {needed} updates or more, and this round has {updates}")]
    TooFew {
        /// The rule, with its setting.
        rule: String,
        /// Fewest that it works with.
        needed: usize,
        /// How many there are.
        updates: usize,
    },
    /// A plan's custom rule that nobody registered.
    #[error("no aggregation rule {0:?} is registered")]
    Unknown(String),
    /// A choice that is none: no update, another number of weights than updates, or weights too large to be summed.
    #[error("the rule chose {0}")]
    Choice(String),
    /// An answer that is NaN or infinite.
    #[error("the rule's answer for tensor {tensor:?} is not finite, at element {element}")]
    NotFinite {
        /// Its name.
        tensor: String,
        /// Index within the tensor.
        element: usize,
    },
    /// An answer with `|x| >= 2^value_bits`, which no update could follow.
    #[error("the rule's answer for tensor {tensor:?} is outside the plan's range, at element {element}")]
    OutOfRange {
        /// Its name.
        tensor: String,
        /// Index within the tensor.
        element: usize,
    },
    /// What a user's rule says of itself.
    #[error("{0}")]
    Failed(String),
}

/// The method of a plan's rule. `custom` finds what a user's crate registered under a name; it is called for
/// [`Rule::Custom`] alone.
///
/// ```
/// use std::sync::Arc;
/// use fl_engine::aggregate::{Median, Method, method};
/// use fl_engine::plan::{Aggregation, ExactRange, Rule};
///
/// let exact = ExactRange { value_bits: 16, weight_bits: 29 };
/// let rule = Rule::Custom { name: "mine".to_owned() };
/// let aggregation = Aggregation { rule: &rule, server: None, threshold: None };
/// let mine = |name: &str| (name == "mine").then(|| Method::Columns(Arc::new(Median)));
/// assert!(matches!(method(&aggregation, exact, mine), Ok(Method::Columns(_))));
/// assert!(method(&aggregation, exact, |_| None).is_err());
/// ```
///
/// # Errors
/// [`RuleError::Unknown`] for a custom rule that `custom` does not know.
pub fn method(
    aggregation: &Aggregation<'_>,
    exact: ExactRange,
    custom: impl FnOnce(&str) -> Option<Method>,
) -> Result<Method, RuleError> {
    Ok(match aggregation.rule {
        Rule::WeightedMean => Method::Stream(Stream::WeightedMean),
        Rule::Mean => Method::Stream(Stream::Mean),
        Rule::ClippedMean { norm } => Method::Stream(Stream::Clipped(Clip::new(*norm, exact))),
        Rule::Median => Method::Columns(Arc::new(Median)),
        Rule::WeightedMedian => Method::Columns(Arc::new(WeightedMedian)),
        Rule::TrimmedMean { trim } => Method::Columns(Arc::new(TrimmedMean { trim: *trim })),
        Rule::Krum { byzantine } => Method::Scored(Arc::new(Krum { byzantine: *byzantine })),
        Rule::MultiKrum { byzantine, keep } => {
            Method::Scored(Arc::new(MultiKrum { byzantine: *byzantine, keep: *keep }))
        }
        Rule::Bulyan { byzantine } => Method::Scored(Arc::new(Bulyan { byzantine: *byzantine })),
        Rule::GeometricMedian { iterations, smoothing, scope } => {
            Method::Scored(Arc::new(GeometricMedian::new(*iterations, *smoothing, *scope, exact)))
        }
        Rule::Custom { name } => custom(name).ok_or_else(|| RuleError::Unknown(name.clone()))?,
    })
}

/// Bits of an integer weight that is no collaborator's claim but a rule's own: as many as the bins leave beside the
/// plan's values, at most 29.
#[must_use]
pub fn share_bits(exact: ExactRange) -> u32 {
    crate::limits::WEIGHT_BITS.min(51 - exact.value_bits)
}
