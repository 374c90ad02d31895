//! Where bytes may be held: budgets, and slots for whole updates in memory or in encrypted spill files.
//!
//! Data-plane tasks take a permit or a slot *before* they read from the network, so a full budget becomes
//! back-pressure on the link. Dropping a permit, a writer or a staged slot gives everything back. Nothing here knows
//! what the bytes mean.

pub mod budget;
pub mod slots;
mod spill;

pub use budget::{Budget, Permit};
pub use slots::{SlotStore, SlotWriter, StagedSlot};

use fl_engine::Bytes;

/// Why bytes could not be held or read back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The request is larger than the whole budget and would wait for ever.
    #[error("{asked} asked of a budget of {total}")]
    Exceeds {
        /// What was asked for.
        asked: Bytes,
        /// The whole budget.
        total: Bytes,
    },
    /// Neither the memory nor the spill budget can hold even one payload.
    #[error("no room for a payload of {payload}: memory {memory}, spill {spill}")]
    NoSlot {
        /// Length of one payload.
        payload: Bytes,
        /// The memory budget.
        memory: Bytes,
        /// The spill budget.
        spill: Bytes,
    },
    /// More bytes than the slot's payload length.
    #[error("payload is longer than its slot of {0}")]
    Overflow(Bytes),
    /// The slot was finished before it was full.
    #[error("payload has {got} of {expected} bytes")]
    Short {
        /// Bytes written.
        got: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// A range outside the payload.
    #[error("bytes {start}..{end} are outside the payload")]
    OutOfRange {
        /// First byte asked for.
        start: u64,
        /// One past the last byte asked for.
        end: u64,
    },
    /// The spill file or its folder cannot be used.
    #[error("spill file failed")]
    Spill(#[from] std::io::Error),
    /// A spill file does not hold what was written to it.
    #[error("spill file was changed: slot {slot}, chunk {chunk}")]
    Tampered {
        /// Number of the slot.
        slot: u64,
        /// Index of the chunk.
        chunk: u32,
    },
    /// No randomness or no cipher.
    #[error("cryptography failed")]
    Crypto,
}
