//! Why a plan, site or data-map file was refused, and where.

/// A place in a file, both numbers from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

/// A refusal that points at a line and a column: `plan/plan.yaml:12:7: unknown key "roudns"; …`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
#[non_exhaustive]
pub struct PlanError {
    /// The file, as a reader knows it.
    pub file: &'static str,
    /// From 1.
    pub line: u64,
    /// From 1, in characters.
    pub column: u64,
    /// What is wrong and what is allowed.
    pub message: String,
    /// What to do, where the message does not say it.
    pub hint: Option<String>,
}

impl PlanError {
    pub(crate) fn new(file: &'static str, at: At, message: impl Into<String>) -> Self {
        let At { line, column } = at;
        Self { file, line, column, message: message.into(), hint: None }
    }

    pub(crate) fn with_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    /// What to do about it, where there is something to add.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}
