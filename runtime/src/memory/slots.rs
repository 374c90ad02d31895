//! Slots for whole payloads of one length: reused buffers in memory, then encrypted spill files.
//!
//! An upload task reserves a slot before it reads a payload, writes the bytes as they arrive, and gives the
//! staged slot to the round. An upload that fails, stalls or is refused drops its slot.

use std::{
    ops::Range,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use fl_engine::ByteCount;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::{
    MemoryError,
    spill::{self, CHUNK, SpillFile, SpillKey},
};
use crate::{files::Files, system::System};

/// Slots for payloads of one length. Clones share them.
#[derive(Clone, Debug)]
pub struct SlotStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    payload: u64,
    memory: Arc<Semaphore>,
    disk: Arc<Semaphore>,
    /// Notified when an upload finds no free slot in memory.
    wanted: Notify,
    files: Files,
    dir: PathBuf,
    key: SpillKey,
    next: AtomicU64,
    /// Free payload buffers, at most one for each memory slot.
    buffers: Mutex<Vec<Vec<u8>>>,
    /// Free chunk buffers of spilling writers, at most one for each disk slot.
    chunks: Mutex<Vec<Vec<u8>>>,
}

impl SlotStore {
    /// As many slots of `payload_len` bytes as fit into `memory` and, as files in `spill_dir`, into `spill`.
    /// The folder is created when a slot on disk is possible. It belongs to this store alone: spill files
    /// that an earlier process left there are deleted. A writer that spills also holds one buffer outside the
    /// budgets, of 64 KiB or of the payload's length if that is less.
    ///
    /// # Errors
    /// [`MemoryError::NoSlot`] when neither budget holds one payload, [`MemoryError::Spill`] when the folder
    /// cannot be used, [`MemoryError::Crypto`] when the system gives no random numbers.
    pub fn new(
        system: &System,
        memory: ByteCount,
        spill: ByteCount,
        spill_dir: PathBuf,
        payload_len: u64,
    ) -> Result<Self, MemoryError> {
        let count = |budget: u64, each: u64| {
            let slots = budget.checked_div(each).unwrap_or(u64::MAX);
            usize::try_from(slots).unwrap_or(usize::MAX).min(u32::MAX as usize)
        };
        let in_memory = count(memory.0, payload_len);
        let on_disk = spill::stored_len(payload_len).map_or(0, |stored| count(spill.0, stored));
        if in_memory == 0 && on_disk == 0 {
            return Err(MemoryError::NoSlot { payload: ByteCount(payload_len), memory, spill });
        }
        if on_disk > 0 {
            system.files.create_folder(&spill_dir)?;
            spill::sweep(&system.files, &spill_dir)?;
        }
        let inner = Inner {
            payload: payload_len,
            memory: Arc::new(Semaphore::new(in_memory)),
            disk: Arc::new(Semaphore::new(on_disk)),
            wanted: Notify::new(),
            files: system.files.clone(),
            dir: spill_dir,
            key: SpillKey::random(&system.random)?,
            next: AtomicU64::new(0),
            buffers: Mutex::default(),
            chunks: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Waits for a free slot, in memory before on disk.
    ///
    /// # Errors
    /// [`MemoryError::Spill`] when the spill file cannot be created.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn reserve(&self) -> Result<SlotWriter, MemoryError> {
        if let Ok(permit) = Arc::clone(&self.inner.memory).try_acquire_owned() {
            return self.writer(permit, false);
        }
        self.inner.wanted.notify_one();
        let memory = Arc::clone(&self.inner.memory).acquire_owned();
        let disk = Arc::clone(&self.inner.disk).acquire_owned();
        // Neither semaphore is ever closed.
        let (permit, spills) = tokio::select! {
            biased;
            permit = memory => (permit, false),
            permit = disk => (permit, true),
        };
        self.writer(permit.map_err(|_| MemoryError::Crypto)?, spills)
    }

    /// A free slot now, or `None`.
    ///
    /// # Errors
    /// As [`Self::reserve`].
    pub fn try_reserve(&self) -> Result<Option<SlotWriter>, MemoryError> {
        if let Ok(permit) = Arc::clone(&self.inner.memory).try_acquire_owned() {
            return self.writer(permit, false).map(Some);
        }
        let permit = Arc::clone(&self.inner.disk).try_acquire_owned().ok();
        permit.map(|permit| self.writer(permit, true)).transpose()
    }

    /// Waits until an upload had to go without a memory slot (edge-triggered since the last call). The staged
    /// updates should then be absorbed at once, so that their slots become free.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn wanted(&self) {
        self.inner.wanted.notified().await;
    }

    /// Length of each payload, bytes.
    #[must_use]
    pub fn payload_len(&self) -> u64 {
        self.inner.payload
    }

    /// Free slots in memory, and free slots on disk.
    #[must_use]
    pub fn free(&self) -> (usize, usize) {
        (self.inner.memory.available_permits(), self.inner.disk.available_permits())
    }

    fn writer(&self, permit: OwnedSemaphorePermit, spills: bool) -> Result<SlotWriter, MemoryError> {
        let inner = Arc::clone(&self.inner);
        let place = if spills {
            let slot = inner.next.fetch_add(1, Ordering::Relaxed);
            let file = SpillFile::create(&inner.files, &inner.dir, slot, inner.payload)?;
            let chunk = inner.payload.min(CHUNK as u64) as usize;
            Place::Disk { file, chunk: pooled(&inner.chunks, chunk + 64) }
        } else {
            // The length fits, because the number of memory slots was computed from it.
            let len = usize::try_from(inner.payload).unwrap_or(usize::MAX);
            Place::Memory(pooled(&inner.buffers, len))
        };
        Ok(SlotWriter { slot: Slot { place, store: inner, permit }, written: 0 })
    }
}

/// A slot being filled. Dropping it frees the slot and deletes its file.
#[derive(Debug)]
pub struct SlotWriter {
    slot: Slot,
    written: u64,
}

impl SlotWriter {
    /// Appends `bytes`. A spilling writer encrypts and writes up to 64 KiB at a time on the calling thread.
    ///
    /// # Errors
    /// [`MemoryError::Overflow`] when the payload would become too long; then nothing is appended.
    /// [`MemoryError::Spill`] when the disk fails; then drop the writer.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), MemoryError> {
        let Slot { place, store, .. } = &mut self.slot;
        if bytes.len() as u64 > store.payload - self.written {
            return Err(MemoryError::Overflow(ByteCount(store.payload)));
        }
        self.written += bytes.len() as u64;
        match place {
            Place::Memory(buffer) => buffer.extend_from_slice(bytes),
            Place::Disk { file, chunk } => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    let (now, later) = rest.split_at(rest.len().min(CHUNK - chunk.len()));
                    chunk.extend_from_slice(now);
                    rest = later;
                    if chunk.len() == CHUNK {
                        file.append(&store.key, chunk)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Bytes written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Makes the full slot readable.
    ///
    /// # Errors
    /// [`MemoryError::Short`] when bytes are missing, [`MemoryError::Spill`] when the disk fails. Either way
    /// the slot is free again.
    pub fn finish(mut self) -> Result<StagedSlot, MemoryError> {
        let expected = self.slot.store.payload;
        if self.written != expected {
            return Err(MemoryError::Short { got: self.written, expected });
        }
        if let Place::Disk { file, chunk } = &mut self.slot.place {
            if !chunk.is_empty() {
                file.append(&self.slot.store.key, chunk)?;
            }
            give_back(&self.slot.store.chunks, chunk);
        }
        Ok(StagedSlot { slot: self.slot })
    }
}

/// A complete payload in its slot. Dropping it frees the slot and deletes its file.
#[derive(Debug)]
pub struct StagedSlot {
    slot: Slot,
}

impl StagedSlot {
    /// Bytes `range` of the payload, borrowed from memory or decrypted into `scratch`. The buffer grows once,
    /// and the caller should use it again. A range that begins and ends at multiples of 64 KiB
    /// ([`fl_engine::limits::SPILL_CHUNK_BYTES`]) decrypts no other bytes. A range within one chunk needs 64
    /// KiB and a tag of scratch.
    ///
    /// # Errors
    /// [`MemoryError::OutOfRange`], [`MemoryError::Tampered`] when the host changed the spill file,
    /// [`MemoryError::Spill`] when the disk fails.
    pub fn read<'a>(&'a self, range: Range<u64>, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], MemoryError> {
        let Range { start, end } = range;
        let Slot { place, store, .. } = &self.slot;
        if start > end || end > store.payload {
            return Err(MemoryError::OutOfRange { start, end });
        }
        match place {
            Place::Memory(buffer) => Ok(&buffer[start as usize..end as usize]),
            Place::Disk { file, .. } => file.read(&store.key, start, end, scratch),
        }
    }

    /// The payload's length, bytes.
    #[must_use]
    pub fn payload_len(&self) -> u64 {
        self.slot.store.payload
    }

    /// The whole payload, if the slot is in memory.
    #[must_use]
    pub fn in_memory(&self) -> Option<&[u8]> {
        match &self.slot.place {
            Place::Memory(buffer) => Some(buffer),
            Place::Disk { .. } => None,
        }
    }
}

/// A slot in use. Its permit is given back last.
#[derive(Debug)]
struct Slot {
    // Fields drop in this order: the file is deleted before its bytes on disk count as free.
    place: Place,
    store: Arc<Inner>,
    #[expect(dead_code, reason = "held for its drop")]
    permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Place {
    Memory(Vec<u8>),
    Disk { file: SpillFile, chunk: Vec<u8> },
}

impl Drop for Slot {
    fn drop(&mut self) {
        match &mut self.place {
            Place::Memory(buffer) => give_back(&self.store.buffers, buffer),
            Place::Disk { chunk, .. } => give_back(&self.store.chunks, chunk),
        }
    }
}

fn pooled(pool: &Mutex<Vec<Vec<u8>>>, capacity: usize) -> Vec<u8> {
    let reused = pool.lock().unwrap_or_else(PoisonError::into_inner).pop();
    reused.unwrap_or_else(|| Vec::with_capacity(capacity))
}

fn give_back(pool: &Mutex<Vec<Vec<u8>>>, buffer: &mut Vec<u8>) {
    let mut buffer = std::mem::take(buffer);
    if buffer.capacity() > 0 {
        buffer.clear();
        pool.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

#[cfg(test)]
mod tests;
