//! Why a round's updates make no model.

use fl_engine::{
    Name,
    aggregate::{AbsorbError, PayloadFault, RuleError},
};

use crate::{memory::MemoryError, pool::PoolError};

/// Why updates were not taken, or made no model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AggregationError {
    /// An update or the base model has another length than the plan's model. Nothing has changed.
    #[error("an update or the base model has another length than the plan's model")]
    Length,
    /// A round without updates was to be finished. Nothing has changed.
    #[error("this round has no updates to make a model of")]
    Empty,
    /// The sum of the weights would exceed its bound. Nothing has changed.
    #[error(transparent)]
    Absorb(#[from] AbsorbError),
    /// Updates are clipped, and the base model is not the one that the first update of the round was clipped
    /// around. Nothing has changed.
    #[error("the rule clipped_mean needs one base model for all updates of a round")]
    Base,
    /// Updates are clipped, and the base model holds a value that cannot be summed. Nothing has changed.
    #[error("the rule clipped_mean cannot use the base model of the round")]
    UnfitBase(#[source] PayloadFault),
    /// The rule or the server's step has no answer.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// An update could not be read back: its spill file was changed, or the disk failed.
    #[error("the aggregator cannot read the stored update of {name} again")]
    Update {
        /// The collaborator that sent the update.
        name: Name,
        /// Which slot and chunk.
        source: MemoryError,
    },
    /// A job panicked, or the pool is gone.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// An earlier call failed or was dropped before its end. Only `clear` is possible now.
    #[error("internal error: an earlier step failed, so the sum of this round's updates is incomplete")]
    Incomplete,
}
