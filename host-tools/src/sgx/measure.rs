//! MRENCLAVE: the hash that the processor computes while it builds an enclave, computed without the
//! processor.
//!
//! The processor hashes a record of 64 bytes for the enclave, one for each page, and one with the contents
//! for each 256 bytes of a measured page (Intel SDM volume 3D: ECREATE, EADD, EEXTEND). Which pages there
//! are, in which order, and what they hold is what Gramine decides:
//!
//! ```text
//! enclave's end ─┬─ manifest   the text and a zero                    R
//!                ├─ ssa        saved registers, two frames a thread   RW
//!                ├─ tcs        one page a thread                      TCS
//!                ├─ tls        one page a thread                      RW
//!                ├─ stacks     one a thread                           RW
//!                ├─ signal stacks
//!                ├─ pal        libpal.so's segments
//!                ├─ free       the heap, not measured, not with EDMM  RWX
//! heap_min ──────┘
//! ```
//!
//! Hand-written: Fortanix's `sgxs` hashes the same records, but Gramine's layout, the larger part, is in no
//! crate.

use fl_engine::Digest;
use ring::digest::{Context, SHA256};

use super::{
    Attributes,
    elf::{Image, PAGE},
    gramine_version::Gramine,
};
use crate::exit::{Exit, Failure};

/// The measurement of the enclave that Gramine builds from a manifest's exact text and its own `libpal.so`.
///
/// # Errors
/// [`Exit::Failed`] when the enclave is too small for its contents.
pub fn measure(
    manifest: &str,
    attributes: &Attributes,
    pal: &Image<'_>,
    gramine: &Gramine,
) -> Result<Digest, Failure> {
    let layout = Layout::new(manifest.len() as u64 + 1, attributes, pal, gramine)?;
    let mut hash = EnclaveHash::create(gramine, attributes.enclave_size);
    layout.manifest.pages().zip(pages_of(manifest.as_bytes())).for_each(|(at, page)| {
        hash.page(at, READ | REGULAR, &page);
    });
    layout.ssa.pages().for_each(|at| hash.page(at, READ | WRITE | REGULAR, &ZEROS));
    for (thread, at) in layout.tcs.pages().enumerate() {
        hash.page(at, TCS, &layout.tcs_page(thread as u64, pal, gramine));
    }
    for (thread, at) in layout.tls.pages().enumerate() {
        hash.page(at, READ | WRITE | REGULAR, &layout.thread_page(thread as u64, gramine));
    }
    for area in layout.stacks.iter().chain(&layout.signal_stacks) {
        area.pages().for_each(|at| hash.page(at, READ | WRITE | REGULAR, &ZEROS));
    }
    for segment in pal.segments() {
        let mut flags = REGULAR;
        for (allowed, flag) in [(segment.read, READ), (segment.write, WRITE), (segment.execute, EXECUTE)] {
            flags |= if allowed { flag } else { 0 };
        }
        for at in segment.pages().step_by(PAGE as usize) {
            hash.page(layout.pal.address + at, flags, &segment.page(at));
        }
    }
    if !attributes.edmm {
        for at in (gramine.heap_min..layout.pal.address).step_by(PAGE as usize) {
            hash.add(at, READ | WRITE | EXECUTE | REGULAR);
        }
    }
    Ok(hash.finish())
}

/// Where everything is; addresses are from the enclave's start.
#[derive(Clone, Debug)]
struct Layout {
    enclave_size: u64,
    manifest_length: u64,
    manifest: Area,
    ssa: Area,
    tcs: Area,
    tls: Area,
    stacks: Vec<Area>,
    signal_stacks: Vec<Area>,
    pal: Area,
}

#[derive(Clone, Copy, Debug)]
struct Area {
    address: u64,
    size: u64,
}

impl Layout {
    fn new(
        manifest_length: u64,
        attributes: &Attributes,
        pal: &Image<'_>,
        gramine: &Gramine,
    ) -> Result<Self, Failure> {
        let threads = attributes.max_threads;
        // Neither overflows: `Attributes` bounds the threads, `Image` the span, and a text in memory its
        // length.
        let manifest = manifest_length.next_multiple_of(PAGE);
        let needed = manifest + threads * gramine.thread_bytes() + pal.span();
        let room = attributes.enclave_size.saturating_sub(gramine.heap_min);
        if needed > room {
            let error = format!(
                "sgx.enclave_size is {} bytes, but the manifest, {threads} threads and libpal.so need {} bytes",
                attributes.enclave_size,
                needed + gramine.heap_min
            );
            return Err(Failure::new(Exit::Failed, error)
                .hint("raise sgx.enclave_size to the next power of two, or lower sgx.max_threads"));
        }
        let mut end = attributes.enclave_size;
        let mut area = |size: u64| {
            end -= size;
            Area { address: end, size }
        };
        Ok(Self {
            enclave_size: attributes.enclave_size,
            manifest_length,
            manifest: area(manifest),
            ssa: area(threads * gramine.ssa_frame * gramine.ssa_frames),
            tcs: area(threads * PAGE),
            tls: area(threads * PAGE),
            stacks: (0..threads).map(|_| area(gramine.stack)).collect(),
            signal_stacks: (0..threads).map(|_| area(gramine.signal_stack)).collect(),
            pal: area(pal.span()),
        })
    }

    fn frames(&self, thread: u64, gramine: &Gramine) -> u64 {
        self.ssa.address + thread * gramine.ssa_frame * gramine.ssa_frames
    }

    /// Intel SDM volume 3D, layout of the thread control structure.
    fn tcs_page(&self, thread: u64, pal: &Image<'_>, gramine: &Gramine) -> Page {
        let mut page = ZEROS;
        let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        put(0x10, &self.frames(thread, gramine).to_le_bytes());
        put(0x1c, &(gramine.ssa_frames as u32).to_le_bytes());
        put(0x20, &(self.pal.address + pal.entry()).to_le_bytes());
        put(0x38, &(self.tls.address + thread * PAGE).to_le_bytes());
        put(0x40, &0xfff_u32.to_le_bytes());
        put(0x44, &0xfff_u32.to_le_bytes());
        page
    }

    fn thread_page(&self, thread: u64, gramine: &Gramine) -> Page {
        let (stack, signal) = (self.stacks[thread as usize], self.signal_stacks[thread as usize]);
        let (frames, field) = (self.frames(thread, gramine), gramine.thread);
        let mut page = ZEROS;
        let fields = [
            (field.own, self.tls.address + thread * PAGE),
            (field.canary, gramine.canary),
            (field.enclave_size, self.enclave_size),
            (field.tcs, self.tcs.address + thread * PAGE),
            (field.stack_top, stack.address + stack.size),
            (field.signal_low, signal.address),
            (field.signal_high, signal.address + signal.size),
            (field.ssa, frames),
            (field.registers, frames + gramine.ssa_frame - gramine.registers),
            (field.manifest_length, self.manifest_length),
            (field.heap_min, gramine.heap_min),
            (field.heap_max, self.pal.address),
        ];
        for (at, value) in fields {
            page[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        page
    }
}

impl Area {
    fn pages(self) -> impl Iterator<Item = u64> {
        (self.address..self.address + self.size).step_by(PAGE as usize)
    }
}

/// The hash over the records so far.
struct EnclaveHash(Context);

impl EnclaveHash {
    fn create(gramine: &Gramine, enclave_size: u64) -> Self {
        let mut context = Context::new(&SHA256);
        let mut record = [0; 64];
        record[..8].copy_from_slice(b"ECREATE\0");
        record[8..12].copy_from_slice(&((gramine.ssa_frame / PAGE) as u32).to_le_bytes());
        record[12..20].copy_from_slice(&enclave_size.to_le_bytes());
        context.update(&record);
        Self(context)
    }

    /// A page whose contents are not measured.
    fn add(&mut self, at: u64, flags: u64) {
        let mut record = [0; 64];
        record[..8].copy_from_slice(b"EADD\0\0\0\0");
        record[8..16].copy_from_slice(&at.to_le_bytes());
        record[16..24].copy_from_slice(&flags.to_le_bytes());
        self.0.update(&record);
    }

    /// A page and its contents.
    fn page(&mut self, at: u64, flags: u64, content: &Page) {
        self.add(at, flags);
        for (number, slice) in content.chunks_exact(SLICE).enumerate() {
            let mut record = [0; 64];
            record[..8].copy_from_slice(b"EEXTEND\0");
            record[8..16].copy_from_slice(&(at + (number * SLICE) as u64).to_le_bytes());
            self.0.update(&record);
            self.0.update(slice);
        }
    }

    fn finish(self) -> Digest {
        let mut digest = [0; 32];
        digest.copy_from_slice(self.0.finish().as_ref());
        Digest(digest)
    }
}

/// The bytes, page by page, and after them pages of zeros without end.
fn pages_of(bytes: &[u8]) -> impl Iterator<Item = Page> {
    let mut chunks = bytes.chunks(PAGE as usize);
    std::iter::repeat_with(move || {
        let mut page = ZEROS;
        if let Some(chunk) = chunks.next() {
            page[..chunk.len()].copy_from_slice(chunk);
        }
        page
    })
}

type Page = [u8; PAGE as usize];

const ZEROS: Page = [0; PAGE as usize];
/// The bytes that one EEXTEND measures.
const SLICE: usize = 256;

// Intel SDM volume 3D, SECINFO.FLAGS: permissions, and the page's type from bit 8 on.
const READ: u64 = 1;
const WRITE: u64 = 2;
const EXECUTE: u64 = 4;
const TCS: u64 = 0x100;
const REGULAR: u64 = 0x200;
