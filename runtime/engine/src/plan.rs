//! The plan: the experiment that every party agrees on, and the three files around it.
//!
//! A [`Plan`] is *resolved*: defaults are filled in, names are checked, ranges hold. Its canonical bytes are
//! what the plan hash covers, so comments and key order in `plan.yaml` change nothing.

pub mod roster;
mod trial;
mod types;

pub use types::*;
