//! The way into the kernel, chosen once at start: the C library's `syscall`, or Gramine's own entry. The hot
//! calls of [`udp`](crate::udp) go through it.
//!
//! Gramine catches and emulates a `syscall` instruction of a static binary: by a signal under gramine-direct,
//! by an exception that leaves the enclave under SGX. Gramine keeps the address of an entry for informed
//! programs in the thread's own block, at `gs:24`. A jump to this entry is an ordinary call within the
//! process. Both ways take the same number and arguments, and give the same answers and errors.
//!
//! The C library, the standard library and tokio make their own calls in the plain way.

use std::{
    arch::asm,
    ffi::c_long,
    io,
    sync::atomic::{AtomicBool, Ordering},
};

#[cfg(any(test, feature = "stand-in"))]
pub mod stand_in;

/// A way into the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The C library's function, which works everywhere.
    Library,
    /// Gramine's own entry.
    Gramine,
}

/// Chooses the entry for the whole process, and returns it. The program calls this function once, before it
/// starts threads.
///
/// `told` says whether the environment claims that the process runs under Gramine. In an enclave this claim
/// is measured. The kernel is asked too, because outside of Gramine the jump would end the process: a claim
/// that the kernel contradicts changes nothing.
pub fn choose(told: bool) -> Entry {
    let entry = if told && gs_is_reserved() { Entry::Gramine } else { Entry::Library };
    set(entry);
    entry
}

/// The entry in use.
#[must_use]
pub fn entry() -> Entry {
    if GRAMINE.load(Ordering::Relaxed) { Entry::Gramine } else { Entry::Library }
}

fn set(entry: Entry) {
    GRAMINE.store(entry == Entry::Gramine, Ordering::Relaxed);
}

/// Linux answers this question about the base of `gs`. Gramine does not support the question, because it uses
/// the register itself.
fn gs_is_reserved() -> bool {
    let mut base = 0u64;
    // SAFETY: the call writes one u64 to the given address, which is on this stack frame, and nothing else.
    let answer = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_GET_GS, &raw mut base) };
    answer == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS)
}

/// Makes a system call with up to six arguments, zero where it has fewer; pointers as their exposed
/// addresses.
///
/// # Errors
/// The error of the system.
///
/// # Safety
/// The caller keeps the terms of the system call: memory at the addresses among `args` must be valid for what
/// the call reads or writes.
pub(crate) unsafe fn call(number: c_long, args: [usize; 6]) -> io::Result<usize> {
    match entry() {
        Entry::Library => {
            let [a, b, c, d, e, f] = args;
            // SAFETY: the caller keeps the terms. A call ignores arguments that it does not have.
            let answer = unsafe { libc::syscall(number, a, b, c, d, e, f) };
            // -1 is the only negative answer; errno holds the error.
            usize::try_from(answer).map_err(|_| io::Error::last_os_error())
        }
        Entry::Gramine => {
            // SAFETY: the caller keeps the terms, and `choose` found Gramine.
            checked(unsafe { through_gramine(number, args) })
        }
    }
}

/// An answer as the kernel itself gives it: errors are the last 4095 numbers below zero.
fn checked(answer: isize) -> io::Result<usize> {
    match answer {
        -4095..=-1 => Err(io::Error::from_raw_os_error(-answer as i32)),
        _ => Ok(answer.cast_unsigned()),
    }
}

/// # Safety
/// As [`call`]; and `gs:24` must hold the address of Gramine's entry.
#[inline(always)]
unsafe fn through_gramine(number: c_long, args: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = args;
    let answer;
    // SAFETY: the entry takes number and arguments where `syscall` does, returns to the address in rcx with
    // the answer in rax, and keeps the stack and every register that a C function keeps; like one it may
    // change all others, x87, SSE and AVX state too. Memory is touched as the call's terms say, which are the
    // caller's word.
    unsafe {
        asm!(
            "lea rcx, [rip + 2f]",
            "jmp qword ptr gs:[24]",
            "2:",
            inlateout("rax") number => answer,
            inlateout("rdi") a => _,
            inlateout("rsi") b => _,
            inlateout("rdx") c => _,
            inlateout("r10") d => _,
            inlateout("r8") e => _,
            inlateout("r9") f => _,
            clobber_abi("sysv64"),
        );
    }
    answer
}

/// Whether [`Entry::Gramine`] was chosen.
static GRAMINE: AtomicBool = AtomicBool::new(false);

/// Of arch_prctl(2).
const ARCH_GET_GS: c_long = 0x1004;

#[cfg(test)]
mod tests;
