//! The few lines of fl-runtime that need `unsafe`. Each block says why it is sound.
//!
//! Linux on x86-64 only: system calls, each a safe wrapper that a test drives against the real kernel, and
//! instructions that not every processor has, each asked for first and tested against plain code.

pub mod sha256;
pub mod syscall;
pub mod udp;
