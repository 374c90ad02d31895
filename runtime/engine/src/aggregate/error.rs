//! Why a rule has no answer.

/// Why a rule has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// A rule that tolerates hostile updates has too few updates.
    #[error("the rule {rule} needs {needed} updates or more, and this round has {updates}")]
    TooFew {
        /// The rule, with its setting.
        rule: String,
        /// Fewest that it works with.
        needed: usize,
        /// How many there are.
        updates: usize,
    },
    /// A plan's custom rule that nobody registered.
    #[error("the plan names the aggregation rule {0:?}, which this program does not have")]
    Unknown(String),
    /// An invalid choice: no update, a wrong number of weights, or weights whose sum overflows.
    #[error("the aggregation rule chose {0}")]
    Choice(String),
    /// An answer that is NaN or infinite.
    #[error("the result of the aggregation rule is not finite, in tensor {tensor:?} at element {element}")]
    NotFinite {
        /// Its name.
        tensor: String,
        /// Index within the tensor.
        element: usize,
    },
    /// An answer with `|x| >= 2^value_bits`, which no update could follow.
    #[error(
        "the result of the aggregation rule is outside the plan's range (exact.value_bits), in tensor {tensor:?} at element {element}"
    )]
    OutOfRange {
        /// Its name.
        tensor: String,
        /// Index within the tensor.
        element: usize,
    },
    /// The error of a user's rule.
    #[error("{0}")]
    Failed(String),
}
