//! The way into the kernel, chosen once at start: the C library's `syscall`, or Gramine's own entry. The hot
//! calls of [`udp`](crate::udp) go through it.
//!
//! Under Gramine a `syscall` instruction of a static binary is caught and emulated: a signal under
//! gramine-direct, an exception that leaves the enclave under SGX. Gramine keeps the address of its entry for
//! programs that know of it in the thread's own block, at `gs:24`. A jump there is an ordinary call within
//! the process. Both ways mean the same: number, arguments and answer are equal, and so are errors.
//!
//! Everything else keeps the plain way: what the C library, the standard library and tokio do themselves.

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
    /// The C library's function: right everywhere.
    Library,
    /// Gramine's entry for programs that know of it.
    Gramine,
}

/// Chooses the entry for the whole process, and answers which it is. The program calls it once, before it
/// starts threads.
///
/// `told` is what the process was started with says: that it runs under Gramine. In an enclave that word is
/// measured. The kernel is asked as well, because outside Gramine the jump would end the process: a word that
/// it contradicts changes nothing.
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

/// Linux tells everybody the base of `gs`; Gramine keeps the register to itself and knows no such question.
fn gs_is_reserved() -> bool {
    let mut base = 0u64;
    // SAFETY: the call writes one u64 to where it is told, which lives on this stack frame, and nothing else.
    let answer = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_GET_GS, &raw mut base) };
    answer == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS)
}

/// Makes a system call with up to six arguments, zero where it has fewer; pointers as their exposed
/// addresses.
///
/// # Errors
/// What the system says.
///
/// # Safety
/// The call's own terms: what it reads or writes by the addresses among `args` must be there for it.
pub(crate) unsafe fn call(number: c_long, args: [usize; 6]) -> io::Result<usize> {
    match entry() {
        Entry::Library => {
            let [a, b, c, d, e, f] = args;
            // SAFETY: the caller's word. A call ignores arguments that it does not have.
            let answer = unsafe { libc::syscall(number, a, b, c, d, e, f) };
            // -1 is the only negative answer; the error is beside it.
            usize::try_from(answer).map_err(|_| io::Error::last_os_error())
        }
        Entry::Gramine => {
            // SAFETY: the caller's word, and `choose` found Gramine.
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
