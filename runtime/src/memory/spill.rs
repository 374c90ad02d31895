//! A payload in an encrypted file, for slots beyond the memory budget.
//!
//! The folder belongs to the host, which may read, change, swap or cut files at will. So every chunk is
//! sealed with AES-256-GCM under a key that never leaves the process. A chunk is bound to its slot and index,
//! and no nonce is used twice.

use std::{
    io,
    path::{Path, PathBuf},
};

use fl_engine::limits;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::MemoryError;
use crate::{
    files::{File, Files, OWNER_ONLY},
    system::Random,
};

/// The key of one process. No number of a slot is used twice under one key.
#[derive(Debug)]
pub(super) struct SpillKey(LessSafeKey);

impl SpillKey {
    pub(super) fn random(random: &Random) -> Result<Self, MemoryError> {
        let bytes: [u8; 32] = random.bytes().map_err(|_| MemoryError::Crypto)?;
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| MemoryError::Crypto)?;
        Ok(Self(LessSafeKey::new(key)))
    }
}

/// Bytes on disk for a payload of `len` bytes. `None` when the payload has too many chunks to be numbered.
pub(super) fn stored_len(len: u64) -> Option<u64> {
    let chunks = u32::try_from(len.div_ceil(CHUNK as u64)).ok()?;
    len.checked_add(u64::from(chunks) * TAG as u64)
}

/// Deletes the spill files that a crashed process left in `dir`.
pub(super) fn sweep(files: &Files, dir: &Path) -> io::Result<()> {
    for path in files.list(dir)? {
        if path.extension().is_some_and(|suffix| suffix == SUFFIX) {
            files.remove(&path)?;
        }
    }
    Ok(())
}

/// The file of one payload. Dropping it deletes the file.
#[derive(Debug)]
pub(super) struct SpillFile {
    files: Files,
    file: File,
    path: PathBuf,
    slot: u64,
    len: u64,
    /// Chunks sealed so far. Each index is sealed once, so each nonce is used once.
    sealed: u32,
}

impl SpillFile {
    pub(super) fn create(files: &Files, dir: &Path, slot: u64, len: u64) -> io::Result<Self> {
        let path = dir.join(format!("slot-{slot}.{SUFFIX}"));
        let file = files.create_new(&path, OWNER_ONLY)?;
        Ok(Self { files: files.clone(), file, path, slot, len, sealed: 0 })
    }

    /// Seals `chunk` as the next chunk of the file. Then `chunk` is empty and keeps its memory.
    pub(super) fn append(&mut self, key: &SpillKey, chunk: &mut Vec<u8>) -> Result<(), MemoryError> {
        let index = self.sealed;
        self.sealed += 1;
        let (nonce, aad) = self.binding(index);
        let tag = key.0.seal_in_place_separate_tag(nonce, aad, chunk).map_err(|_| MemoryError::Crypto)?;
        chunk.extend_from_slice(tag.as_ref());
        let wrote = self.file.write_all_at(chunk, offset(index));
        chunk.clear();
        Ok(wrote?)
    }

    /// Opens chunk `index` into `out`, which has the length of the chunk and its tag. Returns the plain
    /// length.
    fn open(&self, key: &SpillKey, index: u32, out: &mut [u8]) -> Result<usize, MemoryError> {
        let tampered = || MemoryError::Tampered { slot: self.slot, chunk: index };
        self.file.read_exact_at(out, offset(index)).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => tampered(),
            _ => MemoryError::Spill(error),
        })?;
        let (nonce, aad) = self.binding(index);
        Ok(key.0.open_in_place(nonce, aad, out).map_err(|_| tampered())?.len())
    }

    /// Bytes `start..end` of the payload, decrypted into `scratch`. The caller has checked the range.
    pub(super) fn read<'a>(
        &self,
        key: &SpillKey,
        start: u64,
        end: u64,
        scratch: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], MemoryError> {
        if start >= end {
            return Ok(&[]);
        }
        let too_many = |_| MemoryError::OutOfRange { start, end };
        let first = u32::try_from(start / CHUNK as u64).map_err(too_many)?;
        let last = u32::try_from((end - 1) / CHUNK as u64).map_err(too_many)?;
        let need = (last - first + 1) as usize * CHUNK + TAG;
        if scratch.len() < need {
            scratch.resize(need, 0);
        }
        let mut filled = 0;
        for index in first..=last {
            let plain = (self.len - u64::from(index) * CHUNK as u64).min(CHUNK as u64) as usize;
            // The tag comes after the plain bytes, and the next chunk overwrites the tag.
            filled += self.open(key, index, &mut scratch[filled..filled + plain + TAG])?;
        }
        let skip = (start - u64::from(first) * CHUNK as u64) as usize;
        Ok(&scratch[skip..skip + (end - start) as usize])
    }

    fn binding(&self, chunk: u32) -> (Nonce, Aad<[u8; 20]>) {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&self.slot.to_le_bytes());
        nonce[8..].copy_from_slice(&chunk.to_le_bytes());
        let mut aad = [0; 20];
        aad[..12].copy_from_slice(&nonce);
        aad[12..].copy_from_slice(&self.len.to_le_bytes());
        (Nonce::assume_unique_for_key(nonce), Aad::from(aad))
    }
}

impl Drop for SpillFile {
    fn drop(&mut self) {
        if let Err(error) = self.files.remove(&self.path) {
            tracing::warn!(%error, "cannot delete a spill file");
        }
    }
}

fn offset(chunk: u32) -> u64 {
    u64::from(chunk) * (CHUNK + TAG) as u64
}

/// Plain bytes of one chunk: a quarter of a leaf of the chunk tree, because a buffered rule reads one chunk
/// of each update at a time. With smaller chunks, system calls would cost more than decryption.
pub(super) const CHUNK: usize = limits::SPILL_CHUNK_BYTES;
/// Bytes that sealing adds to a chunk.
const TAG: usize = 16;
/// Suffix of every spill file, by which the files of a crashed process are found.
const SUFFIX: &str = "spill";
