//! The round engine as scripts with virtual time.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "rounds/closing.rs"]
mod closing;
#[path = "rounds/columns.rs"]
mod columns;
#[path = "rounds/ending.rs"]
mod ending;
#[path = "rounds/members.rs"]
mod members;
#[path = "rounds/offers.rs"]
mod offers;
#[path = "rounds/opening.rs"]
mod opening;
#[path = "rounds/rig.rs"]
mod rig;
#[path = "rounds/statistics.rs"]
mod statistics;
#[path = "rounds/threshold.rs"]
mod threshold;
#[path = "rounds/waiting.rs"]
mod waiting;
