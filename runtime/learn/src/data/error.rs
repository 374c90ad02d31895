//! Why a data folder was refused.

use std::{io, path::PathBuf};

/// Why rows could not be loaded. Names the file and, where there is one, the row and column.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused to open or read a file.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file name in the plan could lead out of the data folder.
    #[error("the plan's data file {name:?} is not the name of a file inside the data folder")]
    Outside {
        /// The name in the plan.
        name: String,
    },
    /// A value of a file cannot be used.
    #[error("{file}: row {row}, column {column}: {what}")]
    Cell {
        /// File name.
        file: String,
        /// Row of the file, from 1. In a CSV file the header line counts.
        row: u64,
        /// Column, from 1.
        column: usize,
        /// What is wrong with the value.
        what: String,
    },
    /// A row of a file cannot be used.
    #[error("{file}: row {row}: {what}")]
    Row {
        /// File name.
        file: String,
        /// Row of the file, from 1. In a CSV file the header line counts.
        row: u64,
        /// What is wrong with the row.
        what: String,
    },
    /// A file as a whole cannot be used.
    #[error("{file}: {what}")]
    File {
        /// File name.
        file: String,
        /// What is wrong with the file.
        what: String,
    },
    /// The rows do not fit the plan.
    #[error("the data does not fit the plan: {what}")]
    Mismatch {
        /// How they differ.
        what: String,
    },
    /// The plan names a loader that this program does not have.
    #[error("the plan needs the data loader {name:?}, which this program does not have")]
    UnknownLoader {
        /// The name in the plan.
        name: String,
        /// A registered name that is close to that name.
        nearest: Option<String>,
    },
    /// A custom loader failed, in its own words.
    #[error("{0}")]
    Loader(String),
}

impl DataError {
    /// What the user can do about the error.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::UnknownLoader { nearest: Some(name), .. } => {
                return Some(format!("this program has the loader {name:?}: is that the one?"));
            }
            Self::UnknownLoader { .. } => "start your own program, which adds the loader with `with_loader`",
            Self::Io { .. } => {
                "plan/data.yaml names this site's data folder; `data` in the plan names the file in that folder"
            }
            Self::Cell { .. } | Self::Row { .. } => "correct the value in the file, or remove the row",
            Self::File { .. } | Self::Mismatch { .. } => {
                "`fl-host plan show` prints what the plan expects of the data"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
