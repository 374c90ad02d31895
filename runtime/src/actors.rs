//! The control plane: who decides what, and who tells whom.
//!
//! Actors hold handles and take messages; bytes move in tasks and on pool threads that own slots. The aggregator's side
//! is [`aggregator`], the collaborator's is [`collaborator`]. Both sides meet in [`greeting`].

pub(crate) mod aggregator;
mod close_code;
pub(crate) mod collaborator;
#[cfg(test)]
pub(crate) mod fixture;
pub(crate) mod greeting;
pub(crate) mod mailbox;
mod transfer;
