//! The collaborator's side: a [`coordinator`] with a [`dialler`] and a [`task_runner`].

pub(crate) mod coordinator;
pub(crate) mod dialler;
pub(crate) mod task_runner;
