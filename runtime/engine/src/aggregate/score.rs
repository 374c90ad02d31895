//! A rule that chooses among updates by their distances: what users implement.

use std::{fmt, sync::Arc};

use super::{ColumnRule, Products, RuleError};
use crate::{Weight, plan::Scope};

/// A rule that sees the dot products of all updates' differences from the base, and gives each update a
/// weight.
///
/// ```
/// use fl_engine::Weight;
/// use fl_engine::aggregate::{Chosen, Method, Products, RuleError, ScoreRule, Then, combine};
///
/// /// Leaves out the update that is farthest from the base.
/// #[derive(Debug)]
/// struct WithoutTheFarthest;
///
/// impl ScoreRule for WithoutTheFarthest {
///     fn choose(&self, products: &Products, weights: &[Weight]) -> Result<Chosen, RuleError> {
///         let norm = |i: &usize| products.norm_squared(*i);
///         let farthest = (0..products.updates()).max_by(|a, b| norm(a).total_cmp(&norm(b)));
///         let weight = |i: usize| if Some(i) == farthest { 0 } else { weights[i].value() };
///         Ok(Chosen { weights: (0..weights.len()).map(weight).collect(), then: Then::Mean })
///     }
/// }
///
/// let method = Method::Scored(std::sync::Arc::new(WithoutTheFarthest));
/// let updates: [&[f32]; 3] = [&[1.0, 2.0], &[4.0, 5.0], &[100.0, -100.0]];
/// assert_eq!(combine(&method, &updates, &[2, 1, 9], &[0.0, 0.0]).unwrap(), [2.0, 3.0]);
/// ```
pub trait ScoreRule: fmt::Debug + Send + Sync {
    /// Chooses. Updates are in roster order; `weights` are what their collaborators claim.
    ///
    /// # Errors
    /// [`RuleError::TooFew`] or [`RuleError::Failed`] when there is no choice: the round ends with that
    /// error.
    fn choose(&self, products: &Products, weights: &[Weight]) -> Result<Chosen, RuleError>;

    /// Whether it chooses once for the model, or for each tensor by itself.
    fn scope(&self) -> Scope {
        Scope::Model
    }
}

/// A choice among a round's updates.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The weight of each update, in roster order. An update of weight 0 is left out and not read again.
    /// Weights are below `2^29`, their sum below `2^40`; each bit of `exact.value_bits` above 22 takes a bit
    /// from both.
    pub weights: Vec<u32>,
    /// How the chosen updates are combined.
    pub then: Then,
}

/// How chosen updates become a model.
#[derive(Clone, Debug)]
pub enum Then {
    /// The exact mean with their weights.
    Mean,
    /// A rule over columns, which sees the chosen ones alone, with their weights.
    Columns(Arc<dyn ColumnRule>),
}
