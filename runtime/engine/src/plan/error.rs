//! Why a plan, site or data-map file was refused, and where.

use std::borrow::Cow;

use super::yaml::At;

/// A refusal that points at a line and a column: `plan/plan.yaml:12:7: unknown key "roudns"; …`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
#[non_exhaustive]
pub struct PlanError {
    /// The file, as a reader knows it.
    pub file: Cow<'static, str>,
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
    pub(super) fn new(file: &'static str, at: At, message: impl Into<String>) -> Self {
        let At { line, column } = at;
        Self { file: Cow::Borrowed(file), line, column, message: message.into(), hint: None }
    }

    pub(super) fn with_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    /// What to do about it, where there is something to add.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The same refusal under another file name: of a file that does not lie in a workspace.
    #[must_use]
    pub fn in_file(mut self, file: impl Into<String>) -> Self {
        self.file = Cow::Owned(file.into());
        self
    }
}
