//! Signals as the answer of a call, for a program that waits for a child and passes signals on to the child.

use std::{io, mem::MaybeUninit, ptr};

/// Signals that wait until they are asked for, in place of their usual effect on this thread. A program that
/// starts a child with [`std::process::Command`] gives the child an empty mask.
#[derive(Clone, Copy)]
pub struct HeldSignals(libc::sigset_t);

impl HeldSignals {
    /// Holds `STOPPING` and the signal about a child that ended. Call this in a program of one thread:
    /// other threads would still receive the signals.
    ///
    /// # Errors
    /// The error of the system.
    pub fn hold() -> io::Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the call fills the set at the given address, which is on this stack frame.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: sigemptyset has filled it.
        let mut set = unsafe { set.assume_init() };
        for signal in STOPPING.into_iter().chain([libc::SIGCHLD]) {
            // SAFETY: the set was filled, and is on this stack frame.
            unsafe { libc::sigaddset(&raw mut set, signal) };
        }
        // SAFETY: the call reads the set and changes the mask of this thread alone; the old mask is not asked
        // for.
        let error = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) };
        if error == 0 { Ok(Self(set)) } else { Err(io::Error::from_raw_os_error(error)) }
    }

    /// Waits for the next of them. Returns whether it asks for a stop; the other one tells that a child has
    /// ended.
    ///
    /// # Errors
    /// The error of the system.
    pub fn asks_to_stop(&self) -> io::Result<bool> {
        let mut signal = 0;
        // SAFETY: the set was filled by `hold`, and the number is on this stack frame.
        let error = unsafe { libc::sigwait(&raw const self.0, &raw mut signal) };
        if error == 0 { Ok(STOPPING.contains(&signal)) } else { Err(io::Error::from_raw_os_error(error)) }
    }
}

impl std::fmt::Debug for HeldSignals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HeldSignals")
    }
}

/// Sends SIGTERM to a process. A process that has ended is not an error while its parent has not asked for
/// its status.
///
/// # Errors
/// The error of the system.
pub fn terminate(process: u32) -> io::Result<()> {
    let process = libc::pid_t::try_from(process).map_err(io::Error::other)?;
    // SAFETY: the call takes two numbers.
    match unsafe { libc::kill(process, libc::SIGTERM) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Signals by which terminals, shells and container engines ask a program to stop.
const STOPPING: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGQUIT, libc::SIGHUP];
