//! Slots for whole updates: in memory, then in encrypted spill files.
//!
//! An upload task takes a slot *before* it reads a payload from the network. When no slot is free, the payload stays in
//! the network and the link slows down. Dropping a writer or a staged slot frees the slot. This module does not know
//! what the bytes mean.

pub mod slots;
mod spill;

use fl_engine::ByteCount;

pub use slots::{SlotStore, SlotWriter, StagedSlot};

/// Why bytes could not be held or read back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// Neither the memory nor the spill budget can hold even one payload.
    #[error("no room for a payload of {payload}: memory {memory}, spill {spill}")]
    NoSlot {
        /// Length of one payload.
        payload: ByteCount,
        /// The memory budget.
        memory: ByteCount,
        /// The spill budget.
        spill: ByteCount,
    },
    /// More bytes than the slot's payload length.
    #[error("payload is longer than its slot of {0}")]
    Overflow(ByteCount),
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
