//! Data folders on this machine: described, and held against the plan.
//!
//! `fl-learn` reads the files, exactly as a collaborator does. Nothing here changes a data file.

mod check;
mod describe;

pub use check::{Checked, check, check_map};
pub use describe::{ColumnSummary, Moments, TableSummary, describe, tables};

use fl_learn::data::DataError;

use crate::exit::{Exit, Failure};

/// A refused data folder, as a failure.
#[must_use]
pub fn refused(error: &DataError) -> Failure {
    Failure::of(Exit::Data, error).maybe_hint(error.hint())
}
