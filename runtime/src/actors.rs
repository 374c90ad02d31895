//! The control plane: the parts of a role that decide, and the messages between them.
//!
//! Actors hold handles and handle messages. Models and updates move in tasks and on pool threads, which own
//! slots and buffers. The aggregator's side is [`aggregator`], the collaborator's is [`collaborator`]. Both
//! use [`greeting`] and [`attestation`].

pub(crate) mod aggregator;
pub(crate) mod attestation;
mod close_code;
pub(crate) mod collaborator;
#[cfg(test)]
pub(crate) mod fixture;
pub(crate) mod greeting;
pub(crate) mod mailbox;
mod transfer;
