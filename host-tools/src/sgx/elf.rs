//! The loadable segments of Gramine's `libpal.so`, read from bytes that may be anything.
//!
//! Only what a measurement needs: the entry point, and each segment's address, lengths, permissions and
//! bytes. Sections, symbols and relocations are never read. Every number of a header is checked against the
//! file before it is used, so that a caller can walk the segments without a check.
//!
//! Hand-written: the crate `object`, which finds a program's libraries elsewhere in this crate, would name
//! the fields but make none of these checks, and the code on top of it was longer than this.

use std::ops::Range;

/// A shared object as the loader maps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image<'a> {
    entry: u64,
    segments: Vec<Segment<'a>>,
}

/// One loadable segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Address of its first byte, from the image's start.
    pub address: u64,
    /// Its length in memory; what the file does not hold is zero.
    pub memory: u64,
    /// What the file holds.
    pub bytes: &'a [u8],
    /// May be read.
    pub read: bool,
    /// May be written.
    pub write: bool,
    /// May be executed.
    pub execute: bool,
}

/// Why bytes are no such image. Offsets are into the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ElfError {
    /// The header is cut short, or does not begin as one.
    #[error("the file is not an ELF file")]
    Magic,
    /// For another machine, or of another kind.
    #[error("byte {at:#x} is {found:#x}, not {expected}: the file must be a shared object for 64-bit x86")]
    Kind {
        /// Offset of the field.
        at: usize,
        /// What it holds.
        found: u64,
        /// What it should hold.
        expected: &'static str,
    },
    /// Program headers outside the file, of another size, or too many.
    #[error(
        "the program headers ({count} of {size} bytes at {at:#x}) are outside the file, too many, or of a wrong size"
    )]
    Headers {
        /// Where they should be.
        at: u64,
        /// How many.
        count: u64,
        /// Size of each.
        size: u64,
    },
    /// A segment that is wrong by itself.
    #[error("segment {number}: {what}")]
    Segment {
        /// The number of its program header, from 0.
        number: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// There is nothing to load.
    #[error("the file has no loadable segment")]
    Empty,
    /// The entry point is in no executable segment.
    #[error("the entry point {0:#x} is in no executable segment")]
    Entry(u64),
}

impl<'a> Image<'a> {
    /// Reads the headers and checks them.
    ///
    /// # Errors
    /// [`ElfError`].
    pub fn parse(file: &'a [u8]) -> Result<Self, ElfError> {
        if file.len() < HEADER || !file.starts_with(b"\x7fELF") {
            return Err(ElfError::Magic);
        }
        let kind = |at: usize, found: u64, allowed: &[u64], expected: &'static str| {
            if allowed.contains(&found) { Ok(()) } else { Err(ElfError::Kind { at, found, expected }) }
        };
        kind(4, u64::from(file[4]), &[2], "2 (64 bits)")?;
        kind(5, u64::from(file[5]), &[1], "1 (little-endian)")?;
        kind(16, number(file, 16..18), &[3], "3 (shared object)")?;
        kind(18, number(file, 18..20), &[62], "62 (x86-64)")?;
        let (entry, at) = (number(file, 24..32), number(file, 32..40));
        let (size, count) = (number(file, 54..56), number(file, 56..58));
        let headers = usize::try_from(at)
            .ok()
            .filter(|_| size == PROGRAM_HEADER as u64 && count <= HEADERS as u64)
            .and_then(|at| file.get(at..)?.get(..PROGRAM_HEADER * count as usize))
            .ok_or(ElfError::Headers { at, count, size })?;
        let mut segments: Vec<Segment<'a>> = Vec::new();
        for (number_, header) in headers.chunks_exact(PROGRAM_HEADER).enumerate() {
            if number(header, 0..4) != LOAD {
                continue;
            }
            let refused = |what| ElfError::Segment { number: number_, what };
            let segment = segment(file, header).map_err(refused)?;
            if segments.is_empty() && segment.pages().start != 0 {
                return Err(refused("the lowest address is not 0"));
            }
            // The hardware adds each page once.
            if segments.last().is_some_and(|before| segment.pages().start < before.pages().end) {
                return Err(refused(
                    "the segment overlaps the segment before: no page may be in two segments",
                ));
            }
            segments.push(segment);
        }
        if segments.is_empty() {
            return Err(ElfError::Empty);
        }
        let enters = |s: &Segment<'_>| s.execute && entry.wrapping_sub(s.address) < s.memory;
        if !segments.iter().any(enters) {
            return Err(ElfError::Entry(entry));
        }
        Ok(Self { entry, segments })
    }

    /// Where execution begins, from the image's start.
    #[must_use]
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// In rising order of address; no two share a page.
    #[must_use]
    pub fn segments(&self) -> &[Segment<'a>] {
        &self.segments
    }

    /// Bytes from 0 to the end of the last page.
    #[must_use]
    pub fn span(&self) -> u64 {
        self.segments.last().map_or(0, |last| last.pages().end)
    }
}

impl Segment<'_> {
    /// The addresses of its pages; both ends are whole pages.
    #[must_use]
    pub fn pages(&self) -> Range<u64> {
        self.address / PAGE * PAGE..(self.address + self.memory).next_multiple_of(PAGE)
    }

    /// What the page at `page`, one of [`Self::pages`], holds.
    #[must_use]
    pub fn page(&self, page: u64) -> [u8; PAGE as usize] {
        let mut content = [0; PAGE as usize];
        // One of the two is 0: the segment begins within its first page.
        let before = self.address.saturating_sub(page) as usize;
        let from = (page.saturating_sub(self.address) as usize).min(self.bytes.len());
        let held = (self.bytes.len() - from).min(content.len().saturating_sub(before));
        content[before.min(PAGE as usize)..][..held].copy_from_slice(&self.bytes[from..from + held]);
        content
    }
}

fn segment<'a>(file: &'a [u8], header: &[u8]) -> Result<Segment<'a>, &'static str> {
    let flags = number(header, 4..8);
    let (offset, address) = (number(header, 8..16), number(header, 16..24));
    let (stored, memory) = (number(header, 32..40), number(header, 40..48));
    if stored > memory {
        return Err("the segment is longer in the file than in memory");
    }
    if address.checked_add(memory).is_none_or(|end| end > SPAN) {
        return Err("the segment reaches beyond the first GiB");
    }
    if offset % PAGE != address % PAGE {
        return Err("offset and address of the segment differ within a page");
    }
    let bytes = usize::try_from(offset)
        .ok()
        .zip(usize::try_from(stored).ok())
        .and_then(|(offset, stored)| file.get(offset..)?.get(..stored))
        .ok_or("the segment is outside the file")?;
    let flag = |bit: u64| flags & bit != 0;
    Ok(Segment { address, memory, bytes, read: flag(4), write: flag(2), execute: flag(1) })
}

/// A little-endian integer of at most eight bytes; the range is inside `bytes`.
fn number(bytes: &[u8], range: Range<usize>) -> u64 {
    bytes[range].iter().rev().fold(0, |n, byte| (n << 8) | u64::from(*byte))
}

/// A page, bytes.
pub const PAGE: u64 = 4096;
/// Longest file that is read, bytes. Gramine's own has less than one MiB.
pub const FILE_BYTES: usize = 64 << 20;
/// Most program headers; Gramine's own has fewer than twelve.
const HEADERS: usize = 64;
/// Furthest that segments may reach, bytes: a measurement walks every page of them.
const SPAN: u64 = 1 << 30;
/// Length of the file's header.
const HEADER: usize = 64;
/// Length of a program header.
const PROGRAM_HEADER: usize = 56;
/// The type of a loadable segment.
const LOAD: u64 = 1;

#[cfg(test)]
mod tests;
