//! Why the store cannot be opened, or a round cannot be stored.

use std::{io, path::PathBuf};

use fl_engine::{
    ByteCount, Digest, RoundNo, aggregate::OutsideRange, model::ModelFileError, plan::roster::Resumption,
    tensor::LayoutError,
};

use super::LockError;
use crate::sealed::SealError;

/// What the store refused or could not do; each names the file.
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
    /// The operating system refused to write. The file's previous content and all earlier rounds are still
    /// there.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// There is no initial model to start from.
    #[error("there is no initial model {}", path.display())]
    NoInit {
        /// Where it should be.
        path: PathBuf,
    },
    /// The initial model's file does not hold the plan's model.
    #[error("initial model {} is refused", path.display())]
    Init {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ModelFileError,
    },
    /// The initial model's file is larger than any file of this model can be.
    #[error("{} is {length} long, but a file of this model has at most {room}", path.display())]
    InitSize {
        /// The file.
        path: PathBuf,
        /// Its length.
        length: ByteCount,
        /// The longest header and the layout's bytes.
        room: ByteCount,
    },
    /// The plan's range does not hold a value of the initial model.
    #[error("initial model {} is refused", path.display())]
    InitRange {
        /// The file.
        path: PathBuf,
        /// The value.
        source: OutsideRange,
    },
    /// The initial model was changed after it was written.
    #[error("{} states the root {stated} (the hash of all tensors), but its tensors have the root {found}", path.display())]
    InitRoot {
        /// The file.
        path: PathBuf,
        /// What the file states.
        stated: String,
        /// The root of its tensors.
        found: Digest,
    },
    /// The initial model was made for another plan.
    #[error("{} was made for plan {theirs}, but this plan is {ours}", path.display())]
    InitOfOtherPlan {
        /// The file.
        path: PathBuf,
        /// What the file states.
        theirs: String,
        /// The plan's hash.
        ours: Digest,
    },
    /// The folder holds rounds of another plan.
    #[error("{} is a round of plan {theirs}, but this plan is {ours}", path.display())]
    OtherPlan {
        /// The generation.
        path: PathBuf,
        /// Its plan.
        theirs: Digest,
        /// The plan's hash.
        ours: Digest,
    },
    /// The newest round was stored without the state that the plan's server step needs.
    #[error("{} has no state for the plan's server step", path.display())]
    NoState {
        /// The generation.
        path: PathBuf,
    },
    /// A stored round's file is damaged.
    #[error("{} is damaged: {why}", path.display())]
    NotWhole {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A stored round's file holds another round than its name says.
    #[error("{} holds another round than its name says", path.display())]
    OtherRound {
        /// The file.
        path: PathBuf,
    },
    /// The owner takes the run back to a round whose model is not there any more.
    #[error("the roster resumes the run after round {}, but the model of that round is not kept{}", order.round, kept_before(earlier))]
    NotKept {
        /// The roster's section `resume`.
        order: Box<Resumption>,
        /// Earlier rounds whose model is there.
        earlier: Vec<RoundNo>,
    },
    /// The owner takes the run back to a round that was not run yet.
    #[error("the roster resumes the run after round {round}, but the newest finished round here is {newest}")]
    NotReached {
        /// The roster's.
        round: RoundNo,
        /// The newest finished round.
        newest: RoundNo,
    },
    /// There are stored rounds, and none of their files is whole.
    #[error("all {count} stored rounds in {} are damaged", dir.display())]
    NoneWhole {
        /// Their folder.
        dir: PathBuf,
        /// The number of files.
        count: usize,
    },
    /// The history has rounds of this plan, and there is no stored model.
    #[error("{} has no stored round, but the history says that {rounds} rounds were run", dir.display())]
    NoGeneration {
        /// The folder of the stored rounds.
        dir: PathBuf,
        /// Rounds in the history.
        rounds: u32,
    },
    /// Rounds are stored, and the history does not say by which statistics their data were scaled.
    #[error("{} does not have the statistics of the sites' data any more", path.display())]
    NoStatistics {
        /// The history.
        path: PathBuf,
    },
    /// A line of the history does not have the digest that the next line states.
    #[error("line {line} of {} was changed after the line was written", path.display())]
    History {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// The payload is not the length of the plan's model.
    #[error("cannot store a model of {given}: the layout needs {expected}")]
    Length {
        /// Bytes given.
        given: ByteCount,
        /// The layout's.
        expected: ByteCount,
    },
    /// The state of the plan's server step would have no valid layout.
    #[error("the plan's model leaves no room for the state of the server optimiser")]
    StateLayout(#[source] LayoutError),
    /// The state is not the length of the state of the plan's server step.
    #[error("cannot store a server state of {given}: the plan's server step needs {expected}")]
    StateLength {
        /// Bytes given.
        given: ByteCount,
        /// The layout's; 0 when the plan's step keeps no state.
        expected: ByteCount,
    },
    /// The models that the plan releases cannot be sealed to the plan's key.
    #[error("cannot seal models to the key that the plan releases them to")]
    Seal(#[source] SealError),
    /// The best model's file holds another model than the store wrote.
    #[error("{} does not hold the best model that was stored", path.display())]
    BestChanged {
        /// The file.
        path: PathBuf,
    },
    /// The folder belongs to another aggregator now.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Rounds are stored one after another.
    #[error("cannot store round {given}: round {expected} is next")]
    Order {
        /// The round given.
        given: RoundNo,
        /// The round after the last durable one.
        expected: RoundNo,
    },
}

impl StoreError {
    /// What to do, where there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotKept { order, earlier } => return Some(other_round(order, earlier.last().copied())),
            Self::NotReached { newest, .. } => {
                return Some(format!(
                    "ask the federation's owner to sign a roster that names round {newest} at most"
                ));
            }
            Self::Write { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "free some space on the disk and start the aggregator again: the run continues after the last stored round"
                }
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                    "allow this user to write to the folder save/"
                }
                io::ErrorKind::FileTooLarge => "raise the limit on the size of a file (`ulimit -f`)",
                _ => return None,
            },
            Self::NoInit { .. } => {
                "make the model with `fl-host plan initialize`, then copy the file to save/ on the aggregator's machine"
            }
            Self::Init { source, .. } => return source.hint(),
            Self::InitRange { .. } => {
                "set exact.value_bits in the plan so that the plan's range holds the value, and run `fl-host plan initialize` again"
            }
            Self::InitSize { .. } | Self::InitRoot { .. } | Self::InitOfOtherPlan { .. } => {
                "make the model again with `fl-host plan initialize`, then copy the file to save/ on the aggregator's machine"
            }
            Self::OtherPlan { .. } => {
                "to begin with the initial model, start the aggregator with --fresh, which deletes the stored rounds; copy save/ first to keep them"
            }
            Self::NoState { .. } | Self::NoneWhole { .. } | Self::NoGeneration { .. } => {
                "restore save/generations from a backup, or start the aggregator with --fresh to begin with the initial model"
            }
            Self::NoStatistics { .. } => {
                "restore the history from a backup, or start the aggregator with --fresh to begin with the initial model"
            }
            Self::Seal(_) => {
                "make a key pair with `fl-host model key`, and put its public key into release.to of the plan"
            }
            Self::Lock(error) => error.hint(),
            Self::History { .. } => "keep the file for an audit of the run, and move it out of save/",
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// Whether the system refused to read or write, in place of what a file contains.
    #[must_use]
    pub fn is_of_the_system(&self) -> bool {
        matches!(self, Self::Read { .. } | Self::Write { .. } | Self::Lock(_))
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

/// `; earlier rounds that are kept: 0, 2, 4`, the newest few of them.
fn kept_before(earlier: &[RoundNo]) -> String {
    let newest: Vec<String> = earlier.iter().rev().take(NAMED).rev().map(ToString::to_string).collect();
    if newest.is_empty() {
        String::new()
    } else {
        format!("; earlier rounds that are kept: {}", newest.join(", "))
    }
}

fn other_round(order: &Resumption, earlier: Option<RoundNo>) -> String {
    let without: String = order.without.iter().map(|name| format!(" --without {name}")).collect();
    match earlier {
        Some(round) => format!(
            "ask the federation's owner to sign a roster for the nearest earlier round: `fl-host pki resume --round {round}{without}`"
        ),
        None => "no earlier model is kept. To begin with the initial model, start the aggregator with --fresh, which deletes \
                 the stored rounds; copy save/ first to keep them"
            .to_owned(),
    }
}

/// Most kept rounds that an error names.
const NAMED: usize = 12;
