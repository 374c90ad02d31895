//! The numbers that one version of Gramine builds into an enclave. They can change with each release.
//!
//! The processor's own numbers (page sizes, the TCS, SIGSTRUCT) are where they are used.

use super::elf::PAGE;

/// One version's numbers. Offsets are into the page that the version's loader keeps for each thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gramine {
    /// Its name, for example `1.9`.
    pub version: &'static str,
    /// One frame of saved registers, bytes.
    pub ssa_frame: u64,
    /// Frames a thread.
    pub ssa_frames: u64,
    /// Stack of a thread, bytes.
    pub stack: u64,
    /// Signal stack of a thread, bytes.
    pub signal_stack: u64,
    /// Lowest address of the heap.
    pub heap_min: u64,
    /// General registers at the end of a frame, bytes.
    pub registers: u64,
    /// The stack's canary before the enclave draws a random one.
    pub canary: u64,
    /// Where the fields of a thread's page are.
    pub thread: ThreadPage,
    /// The number of threads of a manifest that states none.
    pub default_threads: u64,
    /// The size of an enclave whose manifest states none.
    pub default_size: &'static str,
    /// The same, with memory on demand (EDMM).
    pub default_size_edmm: &'static str,
}

/// Offsets of 8-byte fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadPage {
    /// The page's own address.
    pub own: usize,
    /// The canary.
    pub canary: usize,
    /// The enclave's size.
    pub enclave_size: usize,
    /// The thread's TCS.
    pub tcs: usize,
    /// Top of the stack.
    pub stack_top: usize,
    /// Low end of the signal stack.
    pub signal_low: usize,
    /// High end of the signal stack.
    pub signal_high: usize,
    /// The first frame.
    pub ssa: usize,
    /// The registers in the first frame.
    pub registers: usize,
    /// The manifest's length, with its final zero.
    pub manifest_length: usize,
    /// Lowest address of the heap.
    pub heap_min: usize,
    /// End of the heap.
    pub heap_max: usize,
}

impl Gramine {
    /// The newest version.
    pub const NEWEST: Self = VERSIONS[0];

    /// The version of this name; `None` if it is not in the table.
    #[must_use]
    pub fn of(version: &str) -> Option<Self> {
        VERSIONS.into_iter().find(|known| known.version == version)
    }

    /// The version of an installation from the text that it states: `1.9post (COMMIT)` is 1.9. `None` if it
    /// is not in the table.
    #[must_use]
    pub fn said(said: &str) -> Option<Self> {
        let is_rest = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_digit());
        VERSIONS.into_iter().find(|known| said.strip_prefix(known.version).is_some_and(is_rest))
    }

    /// Measured bytes for each thread: stacks, frames, TCS, its page.
    #[must_use]
    pub fn thread_bytes(&self) -> u64 {
        self.stack + self.signal_stack + self.ssa_frame * self.ssa_frames + 2 * PAGE
    }
}

/// Every version that can be measured, newest first.
pub const VERSIONS: [Gramine; 1] = [Gramine {
    version: "1.9",
    ssa_frame: 0x4000,
    ssa_frames: 2,
    stack: 0x4_0000,
    signal_stack: 0x1_0000,
    heap_min: 0x1_0000,
    registers: 0xb8,
    canary: 0xbadb_adba_dbad,
    thread: ThreadPage {
        own: 0x000,
        canary: 0x008,
        enclave_size: 0x110,
        tcs: 0x118,
        stack_top: 0x120,
        signal_low: 0x130,
        signal_high: 0x138,
        ssa: 0x148,
        registers: 0x150,
        manifest_length: 0x1a0,
        heap_min: 0x1a8,
        heap_max: 0x1b0,
    },
    default_threads: 4,
    default_size: "256M",
    default_size_edmm: "1024G",
}];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_costs_360_kib() {
        assert_eq!(Gramine::NEWEST.thread_bytes(), 360 << 10);
        assert_eq!(Gramine::of("1.9"), Some(Gramine::NEWEST));
        assert_eq!(Gramine::of("0.1"), None);
        for said in ["1.9", "1.9 (0123)", "1.9.1", "1.9post~UNRELEASED (0123)"] {
            assert_eq!(Gramine::said(said), Some(Gramine::NEWEST), "{said}");
        }
        assert_eq!(["1.90", "2.0 (1.9)", "unknown"].map(Gramine::said), [None; 3]);
    }
}
