//! The few lines of fl-runtime that need `unsafe`. A comment at each block explains why the block is sound.
//!
//! Linux on x86-64 only. The crate has system calls behind safe functions, which are tested against the real
//! kernel, and instructions that some processors lack. Before it uses such instructions, the code asks the
//! processor for them; tests compare them with plain code.

pub mod crew;
pub mod sha256;
pub mod signals;
pub mod syscall;
pub mod udp;
