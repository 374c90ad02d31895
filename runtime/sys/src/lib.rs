//! The few lines of fl-runtime that need `unsafe`. Each block says why it is sound.
//!
//! Linux only, and nothing but system calls: every function here is a safe wrapper that a test drives against the
//! real kernel.

pub mod udp;
