//! An update that has arrived in full.

use fl_engine::{Name, Weight};

use crate::memory::StagedSlot;

/// An update of the round, received in full and checked, in its slot.
#[derive(Debug)]
pub struct StagedUpdate {
    /// The collaborator that sent it.
    pub name: Name,
    /// Where its bytes are.
    pub slot: StagedSlot,
    /// Its weight in the aggregate.
    pub weight: Weight,
}
