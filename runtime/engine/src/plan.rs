//! The plan: the experiment that every party agrees on, and the three files around it.
//!
//! A [`Plan`] is *resolved*: defaults are filled in, names are checked, ranges hold. Its canonical bytes are
//! what the plan hash covers, so comments and key order in `plan.yaml` change nothing.

mod canonical;
mod check;
mod data_map;
mod error;
mod field;
mod loss;
mod read;
pub mod roster;
mod site;
mod trial;
mod types;
mod units;
mod yaml;

pub use canonical::CanonicalError;
pub use data_map::DataMap;
pub use error::PlanError;
pub use site::{Site, SocketKind, is_host};
pub use types::*;
