//! The method that runs a plan's rule.

use std::sync::Arc;

use super::{
    Bulyan, Clip, ColumnRule, GeometricMedian, Krum, Median, MultiKrum, RuleError, ScoreRule, TrimmedMean,
    WeightedMedian,
};
use crate::plan::{Aggregation, ExactRange, Rule};

/// How updates are combined: which data a rule needs, and when.
#[derive(Clone, Debug)]
pub enum Method {
    /// An exact sum that absorbs updates as they arrive. Its memory grows with the model alone.
    Stream(Stream),
    /// A function of one element of all updates at a time. It needs all updates, in one pass.
    Columns(Arc<dyn ColumnRule>),
    /// A choice by the distances between whole updates, then a combination of the chosen updates. It needs
    /// all updates, in two passes.
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

/// The method of a plan's rule. `custom` finds the method that a user's crate registered under a name; it is
/// called for [`Rule::Custom`] alone.
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
