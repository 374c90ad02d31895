//! What a collaborator computes in a round: training, validation, custom tasks, and the synthetic task of
//! benches.
//!
//! A collaborator owns one [`Runner`] and calls [`Runner::run`] on a pool thread for each task that the
//! aggregator pushes; the demo calls [`evaluate`]. Nothing here talks to a peer or opens a file.

mod custom;
mod error;
mod evaluation;
mod output;
mod progress;
mod runner;
mod scores;
mod seed;
mod synthetic;
mod team;
mod trainer;

pub use custom::{CustomJob, CustomTask, CustomTasks};
pub use error::TaskError;
pub use evaluation::{
    Assessment, CONFUSION_CLASSES, Prediction, assess, evaluate, majority_baseline, predict,
};
pub use output::TaskOutput;
pub use progress::Progress;
pub(crate) use runner::tasks_of;
pub use runner::{Runner, Watch, planned_memory};
pub(crate) use seed::Seed;
pub use team::{Team, alone};
