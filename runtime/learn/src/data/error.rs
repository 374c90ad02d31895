//! Why a data folder was refused.

use std::{io, path::PathBuf};

/// Why rows could not be loaded. Names the file and, where there are any, rows and columns.
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
    /// The path leads to something else than a file.
    #[error("{} is {what}, not a plain file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// For example `a folder`.
        what: &'static str,
    },
    /// The file name in the plan could lead out of the data folder.
    #[error("the plan's data file {name:?} is not the name of a file inside the data folder")]
    Outside {
        /// The name in the plan.
        name: String,
    },
    /// A file, or a part of a file, cannot be used.
    #[error("{file}: {what}")]
    File {
        /// File name.
        file: String,
        /// What is wrong, with rows and columns where there are any. Rows are counted from 1; in a CSV file
        /// every line counts, the header too.
        what: String,
        /// What the user can do.
        hint: String,
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
    /// This program was compiled without the feature `tables`.
    #[error("this program cannot read data files")]
    NoLoaders,
    /// The plan asks the sites for the statistics, and these are not known here.
    #[error(
        "the plan has no statistics of the features: it asks all sites for them (standardise: federated)"
    )]
    NoStatistics,
    /// A custom loader failed, in its own words.
    #[error("{0}")]
    Loader(String),
}

impl DataError {
    pub(super) fn file(file: &str, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::File { file: file.to_owned(), what: what.into(), hint: hint.into() }
    }

    /// What the user can do about the error.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::File { hint, .. } => return Some(hint.clone()),
            Self::UnknownLoader { nearest: Some(name), .. } => {
                return Some(format!("did you mean {name:?}, a loader that this program has?"));
            }
            Self::UnknownLoader { .. } => "start your own program, which adds the loader with `with_loader`",
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    "allow the user that runs the program to read the file and to enter its folder"
                }
                io::ErrorKind::NotFound => {
                    "put the file there, or correct the folder in plan/data.yaml: `data` in the plan names the file in that folder"
                }
                _ => "copy the file again from where it came from",
            },
            Self::NotAFile { .. } => {
                "put the data into a plain file of this name, or name another file in the plan's `data`"
            }
            Self::NoLoaders => "build fl-runtime with its default features (the feature `tables`)",
            Self::NoStatistics => {
                "take the statistics from the metadata of a model file of the run (`fl-host model show`), and write them as \
                 `standardise` into a copy of the plan"
            }
            Self::Mismatch { .. } => "`fl-host plan show` prints what the plan expects of the data",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
