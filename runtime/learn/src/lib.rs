//! What a collaborator computes in a round, as a library: data loading, models, tasks and metrics.
//!
//! The crate `fl-runtime` calls this crate on its CPU pool. This crate opens the files of a site's data
//! folder. It opens no socket, starts no thread and reads no clock; all randomness comes from the plan's
//! seed.
//!
//! | module | what |
//! |---|---|
//! | [`data`] | loaders, standardisation, splits, shards |
//! | [`task`] | training, validation, synthetic and custom tasks |
//! | [`registry`] | tasks, loaders and rules of a user's crate |

pub mod data;
#[cfg(test)]
mod fixture;
pub mod registry;
pub mod task;

/// The version of ndarray whose arrays a [`data::Dataset`] holds.
pub use ndarray;
