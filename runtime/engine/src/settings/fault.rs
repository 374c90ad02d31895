//! What is wrong with the draft of a plan. A fault names its place as a path of keys, which a reader of a
//! file turns into a line and a column.

/// A number that is out of bounds, a name that nothing has, or two parts that do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct Fault {
    /// Keys and indices with `/` between them: `tasks/train/epochs`.
    pub path: String,
    /// What is wrong and what is allowed.
    pub message: String,
    /// What to do, where the message does not say it.
    pub hint: Option<String>,
}

/// The answer of a check.
pub(crate) type Checked = Result<(), Fault>;

impl Fault {
    pub(crate) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), hint: None }
    }

    /// A value that its key does not take.
    pub(super) fn value(path: &str, shown: impl std::fmt::Display, takes: impl std::fmt::Display) -> Self {
        Self::new(path, format!("{} is {shown}; it takes {takes}", path.replace('/', ".")))
    }

    pub(crate) fn hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }
}

/// Refuses a number of entries above `most`; `path` is the key of the list or map.
pub(crate) fn number_of(path: &str, count: usize, most: usize) -> Checked {
    if count <= most {
        return Ok(());
    }
    Err(Fault::new(path, format!("{} has {count} entries; it takes at most {most}", path.replace('/', "."))))
}
