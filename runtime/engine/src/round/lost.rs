//! A collaborator from which no update of the open round comes any more, and why.

use std::fmt;

use super::Refusal;
use crate::Name;

/// A collaborator that was asked for an update and has answered without one that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The collaborator.
    pub collaborator: Name,
    /// The task of the update.
    pub task: Name,
    /// Why.
    pub cause: LostCause,
}

/// Why no update comes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostCause {
    /// The task failed at the collaborator, which says why.
    Failed(String),
    /// The update was refused.
    Refused(Refusal),
}

/// `two: its task train failed: no row has a label`.
impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { collaborator, task, cause } = self;
        match cause {
            LostCause::Failed(why) => write!(f, "{collaborator}: its task {task} failed: {why}"),
            LostCause::Refused(refusal) => write!(f, "{collaborator}: its update was refused: {refusal}"),
        }
    }
}
