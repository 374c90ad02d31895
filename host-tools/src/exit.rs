//! How a command ends; the table is the same as fl-runtime's.

pub use fl_runtime::exit::{Exit, Failure};
