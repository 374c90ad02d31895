//! An update that was received in full.

use std::ops::Range;

use fl_engine::{Name, Weight};

use super::AggregationError;
use crate::{
    memory::StagedSlot,
    pool::{Pool, PoolError},
};

/// An update that was received in full and checked. Dropping it frees its slot.
#[derive(Debug)]
pub struct StagedUpdate {
    /// The collaborator that sent the update.
    pub name: Name,
    /// The slot that holds the update's payload.
    pub slot: StagedSlot,
    /// The weight of the update in the aggregate.
    pub weight: Weight,
}

impl StagedUpdate {
    /// Bytes `range` of the payload, from memory or decrypted into `scratch`.
    ///
    /// # Errors
    /// [`AggregationError::Update`].
    pub(super) fn read<'a>(
        &'a self,
        range: &Range<usize>,
        scratch: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], AggregationError> {
        let read = self.slot.read(range.start as u64..range.end as u64, scratch);
        read.map_err(|source| AggregationError::Update { name: self.name.clone(), source })
    }
}

/// Frees the slots of `updates`. Spill files are deleted on the pool, because deleting a large file takes
/// long.
///
/// # Errors
/// When the pool is gone; the slots are free then too.
pub(super) async fn free(pool: &Pool, updates: Vec<StagedUpdate>) -> Result<(), PoolError> {
    if updates.iter().any(|update| update.slot.in_memory().is_none()) {
        pool.run(move || drop(updates)).await?;
    }
    Ok(())
}
