//! What the federation tests share: real processes in real workspaces.

pub mod crowd;
pub mod each_link;
pub mod elf;
pub mod federation;
pub mod forger;
pub mod relay;
pub mod shim;
pub mod stranger;
