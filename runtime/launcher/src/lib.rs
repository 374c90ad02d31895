//! The entry point of an image: picks the role, looks whether the container has what it needs, and becomes the program.
//!
//! It is not trusted: inside an enclave the manifest fixes program and arguments, and what is decided here is only which
//! manifest the loader opens. It has no dependency and no shell, so that an image can be made from nothing else.

pub mod check;
pub mod image;
pub mod start;
