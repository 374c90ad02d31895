//! The control plane: who decides what, and who tells whom.
//!
//! Actors hold handles and take messages; bytes move in tasks and on pool threads that own slots and buffers. The
//! aggregator's side is [`aggregator`] with a [`session`] for each link, a desk for the sum ([`sum`]) and a thread for
//! the store ([`keeper`]); the collaborator's is [`collaborator`] with a [`dialler`] and a [`task`] desk. Both sides
//! meet in [`greeting`].

pub(crate) mod aggregator;
mod code;
pub(crate) mod collaborator;
pub(crate) mod dialler;
pub(crate) mod greeting;
pub(crate) mod keeper;
pub(crate) mod mailbox;
pub(crate) mod ration;
mod report;
mod session;
pub(crate) mod sum;
pub(crate) mod task;
pub(crate) mod upload;
mod window;

#[cfg(test)]
pub(crate) mod tests;
