//! The few lines of fl-runtime that need `unsafe`. Each block says why it is sound.
