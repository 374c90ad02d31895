//! Why a data folder was refused.

use std::{io, path::PathBuf};

/// A refusal that names the file and, where there is one, the row and column.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// The plan's file name would leave the data folder.
    #[error("data file {name:?} is not a plain name inside the data folder")]
    Outside {
        /// As the plan has it.
        name: String,
    },
    /// A cell of a CSV file.
    #[error("{file}: row {row}, column {column}: {what}")]
    Cell {
        /// File name.
        file: String,
        /// Line of the file, from 1.
        row: u64,
        /// Column, from 1.
        column: usize,
        /// What is wrong with it.
        what: String,
    },
    /// A line of a CSV file.
    #[error("{file}: row {row}: {what}")]
    Row {
        /// File name.
        file: String,
        /// Line of the file, from 1.
        row: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The file as a whole.
    #[error("{file}: {what}")]
    File {
        /// File name.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// Data and plan do not agree.
    #[error("the data does not fit the plan: {what}")]
    Mismatch {
        /// Where they differ.
        what: String,
    },
    /// The plan names a loader that this build does not know.
    #[error("no data loader named {name:?} is registered")]
    UnknownLoader {
        /// As the plan has it.
        name: String,
        /// A registered one that may be meant.
        nearest: Option<String>,
    },
    /// What a registered loader found, in its own words.
    #[error("{0}")]
    Loader(String),
}

impl DataError {
    /// What to do about it, where there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::UnknownLoader { nearest: Some(name), .. } => {
                return Some(format!("{name:?} is registered"));
            }
            Self::UnknownLoader { .. } => "run the binary of the crate in src/ that registers it",
            Self::Io { .. } => {
                "plan/data.yaml says where this site's folder is, and the plan's `data` which file is in it"
            }
            Self::Cell { .. } | Self::Row { .. } => {
                "nothing is repaired here: correct the file or leave the row out"
            }
            Self::File { .. } | Self::Mismatch { .. } => {
                "`fl-host plan show` says what the plan expects of the data"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
