//! The pure half of fl-runtime.
//!
//! Plan, tensors, wire types, the round engine and the arithmetic of aggregation: this crate decides and
//! never acts. It reaches no socket, file, clock, environment variable, thread or random source; time and
//! randomness arrive as arguments. The shell (crate `fl-runtime`) carries out what this crate returns.

pub mod aggregate;
pub mod digest;
pub mod draws;
pub mod hex;
pub mod limits;
pub mod model;
pub mod name;
pub mod plan;
pub mod printable;
pub mod round;
mod settings;
pub mod statistics;
pub mod tensor;
pub mod units;
pub mod wire;

pub use digest::Digest;
pub use draws::Draws;
pub use name::Name;
pub use units::{ByteCount, Millis, RoundNo, Weight};
