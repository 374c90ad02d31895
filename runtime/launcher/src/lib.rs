//! The entry point of an image: reads the role, checks that the container has what the role needs, and
//! becomes the program. Under Gramine the launcher stays, and passes signals on.
//!
//! The launcher is not trusted. For an enclave, the manifest fixes program and arguments; the launcher only
//! decides which manifest Gramine's loader opens. The launcher needs no library and no shell, so an image
//! needs no other files.

pub mod check;
pub mod image;
pub mod start;
pub mod stay;
