//! Slots for whole updates: in memory, then in encrypted spill files.
//!
//! An upload task takes a slot *before* it reads a payload from the network. When no slot is free, the
//! payload stays in the network and the link slows down. Dropping a writer or a staged slot frees the slot.
//! This module does not know what the bytes mean.

mod slots;
mod spill;

use fl_engine::ByteCount;

pub use self::slots::{SlotStore, SlotWriter, StagedSlot};

/// Why an update could not be held or read back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// Neither the memory budget nor the spill budget can hold one payload.
    #[error(
        "a payload of {payload} fits neither the memory budget of {memory} nor the spill budget of {spill}"
    )]
    NoSlot {
        /// Length of one payload.
        payload: ByteCount,
        /// The memory budget.
        memory: ByteCount,
        /// The spill budget.
        spill: ByteCount,
    },
    /// More bytes were written than one payload has.
    #[error("the payload is longer than its slot of {0}")]
    Overflow(ByteCount),
    /// The slot was finished before it was full.
    #[error("only {got} of {expected} bytes of the payload have arrived")]
    Short {
        /// Bytes written.
        got: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// A range outside the payload was to be read.
    #[error("bytes {start}..{end} are outside the payload")]
    OutOfRange {
        /// The first byte.
        start: u64,
        /// The byte after the last.
        end: u64,
    },
    /// The spill file or its folder cannot be used.
    #[error("a spill file cannot be written or read")]
    Spill(#[from] std::io::Error),
    /// A spill file does not hold what this process wrote.
    #[error("the spill file of slot {slot} was changed or damaged, at chunk {chunk}")]
    Tampered {
        /// The number in the name of the file.
        slot: u64,
        /// The first chunk that cannot be decrypted.
        chunk: u32,
    },
    /// The system gave no random numbers, or encryption failed.
    #[error("the system gave no random numbers, or encryption failed")]
    Crypto,
}
