//! What the federation tests share: real processes in real workspaces, and readers of this repository's own source.

pub mod crowd;
pub mod elf;
pub mod federation;
pub mod source;
pub mod stranger;
