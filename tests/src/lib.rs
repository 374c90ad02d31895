//! What the federation tests share: real processes in real workspaces.

pub mod crowd;
pub mod elf;
pub mod federation;
pub mod forger;
pub mod stranger;
