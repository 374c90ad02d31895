//! Why the store cannot be opened, or a round cannot be kept.

use std::{io, path::PathBuf};

use fl_engine::{ByteCount, Digest, RoundNo, model::ModelFileError, tensor::LayoutError};

use crate::sealed::SealError;

/// A refusal that names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The operating system refused to read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// The operating system refused to write. What the file replaces, and every round before, is still there.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// There is nothing to start from.
    #[error("there is no initial model {}", path.display())]
    NoInit {
        /// Where it should be.
        path: PathBuf,
    },
    /// The initial model is not one of the plan's.
    #[error("initial model {} is refused", path.display())]
    Init {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ModelFileError,
    },
    /// The initial model's file is larger than any of this model.
    #[error("{} has {length}; a file of this model has at most {room}", path.display())]
    InitSize {
        /// The file.
        path: PathBuf,
        /// Its length.
        length: ByteCount,
        /// Longest header and the layout's bytes.
        room: ByteCount,
    },
    /// The initial model was changed after it was written.
    #[error("{} states root {stated}; its tensors have {found}", path.display())]
    InitRoot {
        /// The file.
        path: PathBuf,
        /// As its text says.
        stated: String,
        /// Worked out from its tensors.
        found: Digest,
    },
    /// The initial model was made for another plan.
    #[error("{} was made for plan {theirs}; this plan is {ours}", path.display())]
    InitOfOtherPlan {
        /// The file.
        path: PathBuf,
        /// As its text says.
        theirs: String,
        /// The plan's hash.
        ours: Digest,
    },
    /// The folder holds rounds of another plan.
    #[error("{} is a round of plan {theirs}; this plan is {ours}", path.display())]
    OtherPlan {
        /// The generation.
        path: PathBuf,
        /// Its plan.
        theirs: Digest,
        /// The plan's hash.
        ours: Digest,
    },
    /// The newest round was kept without the state that the plan's server step goes on from.
    #[error("{} has no state of the server's step, which this plan goes on from", path.display())]
    NoState {
        /// The generation.
        path: PathBuf,
    },
    /// Generations are there, and none is whole.
    #[error("none of the {count} generations in {} is whole", dir.display())]
    NoneWhole {
        /// Their folder.
        dir: PathBuf,
        /// How many there are.
        count: usize,
    },
    /// A line of the history is not the one that the line after it was written behind.
    #[error("{}: line {line} was changed after it was written", path.display())]
    History {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// The payload is not one of the plan's model.
    #[error("{given} given to keep where the model has {expected}")]
    Length {
        /// Bytes given.
        given: ByteCount,
        /// The layout's.
        expected: ByteCount,
    },
    /// The plan's server step keeps a state that is no layout.
    #[error("the server's state is no layout")]
    StateLayout(#[source] LayoutError),
    /// The state given is not one of the plan's server step.
    #[error("{given} of server's state given to keep where the plan's step has {expected}")]
    StateLength {
        /// Bytes given.
        given: ByteCount,
        /// The layout's; 0 when the plan's step keeps none.
        expected: ByteCount,
    },
    /// Nothing can be released to the plan's key.
    #[error("the plan's release cannot be sealed")]
    Seal(#[source] SealError),
    /// The best model's file holds another model than was kept.
    #[error("{} is not the best model that was kept", path.display())]
    BestChanged {
        /// The file.
        path: PathBuf,
    },
    /// Rounds are kept one after another.
    #[error("round {given} given to keep where round {expected} is next")]
    Order {
        /// The round given.
        given: RoundNo,
        /// The round after the last durable.
        expected: RoundNo,
    },
}

impl StoreError {
    /// What to do about it, where there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Write { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "make room on the disk and start again: the run goes on after the last round that was kept"
                }
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                    "save/ must be a folder that this user may write to"
                }
                io::ErrorKind::FileTooLarge => "raise the limit on the size of a file (ulimit -f)",
                _ => return None,
            },
            Self::NoInit { .. } => {
                "`fl-host plan initialize` makes it; then copy it to save/ on the aggregator's machine"
            }
            Self::Init { source, .. } => return source.hint(),
            Self::InitSize { .. } | Self::InitRoot { .. } | Self::InitOfOtherPlan { .. } => {
                "make it again with `fl-host plan initialize`, and copy it to save/ on the aggregator's machine"
            }
            Self::OtherPlan { .. } => {
                "move save/ away and make the initial model anew, or start with --fresh to give those rounds up"
            }
            Self::NoState { .. } => {
                "bring save/generations back from a copy, or start with --fresh to begin at the initial model"
            }
            Self::NoneWhole { .. } => {
                "bring save/generations back from a copy, or start with --fresh to begin at the initial model"
            }
            Self::Seal(_) => {
                "`fl-host model key` makes a key pair; its public half goes into release.to of the plan"
            }
            Self::History { .. } => "keep the file for whoever audits the run, and move it out of save/",
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// For `map_err` on a read of `path`.
    pub(super) fn read(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Read { path, source }
    }

    /// For `map_err` on a write to `path`.
    pub(super) fn write(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Write { path, source }
    }
}
