//! A stand-in for Gramine's entry, to test and measure the jump where there is no Gramine.
//!
//! The stand-in behaves like the entry: it counts the call, executes `syscall`, leaves the answer in rax, and
//! overwrites every register that an entry may overwrite.

use std::{
    arch::naked_asm,
    ffi::c_long,
    fs, io,
    mem::offset_of,
    ptr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::{Entry, set};

/// The part of a thread's block that programs use.
#[repr(C)]
struct Block {
    others: [usize; 3],
    entry: unsafe extern "C" fn(),
}

const _: () = assert!(offset_of!(Block, entry) == 24);

/// Puts the stand-in where Gramine's entry would be, for this thread and all that are started from now on,
/// and uses it. This thread has to be the only one, because other threads would have no entry.
///
/// # Errors
/// When there are other threads, or the kernel does not set `gs`.
pub fn start() -> io::Result<()> {
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("a stand-in for Gramine's entry has to start before other threads"));
    }
    arm()?;
    IS_STARTED.store(true, Ordering::Relaxed);
    switch(Entry::Gramine);
    Ok(())
}

/// Changes the entry that the process uses, to measure one beside the other. Before [`start`] nothing
/// changes.
pub fn switch(entry: Entry) {
    if IS_STARTED.load(Ordering::Relaxed) {
        set(entry);
    }
}

/// Sets `gs` of this thread alone; threads that it starts inherit it.
pub(super) fn arm() -> io::Result<()> {
    // SAFETY: on x86-64 neither the C library nor compiled code uses `gs`, and the block is never freed.
    let answer = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_SET_GS, ptr::from_ref(&BLOCK)) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Puts the stand-in in place for one thread. A test with several threads calls this in each thread that
/// makes a call.
#[cfg(test)]
pub(crate) fn arm_and_use() -> io::Result<()> {
    arm()?;
    set(Entry::Gramine);
    Ok(())
}

/// The number of calls that the stand-in has made for this process.
#[must_use]
pub fn calls() -> u64 {
    CALLS.load(Ordering::Relaxed)
}

/// No function of any C convention: number and arguments as `syscall` has them, the address to return to in
/// rcx.
#[unsafe(naked)]
unsafe extern "C" fn enter() {
    naked_asm!(
        "lock inc qword ptr [rip + {calls}]",
        // The kernel keeps vector registers and overwrites rcx and r11.
        "movq xmm0, rcx",
        "syscall",
        "movq rcx, xmm0",
        "pcmpeqd xmm1, xmm1",
        "pcmpeqd xmm2, xmm2",
        "pcmpeqd xmm3, xmm3",
        "pcmpeqd xmm4, xmm4",
        "pcmpeqd xmm5, xmm5",
        "pcmpeqd xmm6, xmm6",
        "pcmpeqd xmm7, xmm7",
        "pcmpeqd xmm8, xmm8",
        "pcmpeqd xmm9, xmm9",
        "pcmpeqd xmm10, xmm10",
        "pcmpeqd xmm11, xmm11",
        "pcmpeqd xmm12, xmm12",
        "pcmpeqd xmm13, xmm13",
        "pcmpeqd xmm14, xmm14",
        "pcmpeqd xmm15, xmm15",
        "mov r11, -1",
        "jmp rcx",
        calls = sym CALLS,
    )
}

static CALLS: AtomicU64 = AtomicU64::new(0);
static IS_STARTED: AtomicBool = AtomicBool::new(false);
static BLOCK: Block = Block { others: [0; 3], entry: enter };

/// Of arch_prctl(2).
const ARCH_SET_GS: c_long = 0x1001;
