//! The arithmetic of training on CPUs: convolutions, normalisation, pooling, forward and backward.
//!
//! The crate `fl-learn` calls these functions for each layer of a plan's model. Nothing here knows of plans
//! or models, starts a thread, or needs `unsafe`.
//!
//! Values lie in blocks of sixteen channels ([`Image`]). Lanes of a vector are always channels, so no sum
//! crosses lanes; each sum runs in an order that shapes alone decide. So results have the same bits for every
//! number of threads ([`Team`]) and for every vector width ([`Level`]).
//!
//! | module | what |
//! |---|---|
//! | [`conv`] | convolutions, transposed convolutions and linear layers, with both passes back |
//! | [`norm`] | batch normalisation, with the activation that follows |
//! | [`lines`] | normalisation of each sample, and softmax, over rows |
//! | [`combine`] | sums, differences and products with repeated sides |
//! | [`resize`] | images of other sides |
//! | [`pool`] | largest values and means of windows |
//! | [`pointwise`] | activations, sums and copies |
//! | [`maths`] | exponential and logarithm with the same bits on every machine |
//! | [`peak`] | the limit that benches set kernels against |

#![allow(clippy::needless_range_loop, reason = "indices below constants are what the compiler unrolls")]

pub mod combine;
pub mod conv;
mod image;
mod isa;
mod lanes;
mod level;
pub mod lines;
pub mod maths;
pub mod norm;
pub mod peak;
pub mod pointwise;
pub mod pool;
pub mod resize;
mod team;

pub use image::Image;
pub use lanes::{LANES, Lanes, by_lanes};
pub use level::Level;
pub use team::{Kit, Team, alone};

#[cfg(test)]
mod reference;
