//! Readers of this repository's own source. They need the standard library alone, so that `ci/check` builds
//! them in seconds.

pub mod code;
pub mod imports;
pub mod prose;
