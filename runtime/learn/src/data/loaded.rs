//! What a loader read, and what a person should hear of it.

use super::dataset::Dataset;

/// A site's rows, with what is worth saying about them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Loaded {
    /// The rows, as the tasks get them.
    pub data: Dataset,
    /// Names of the columns that are features, in the order of the sample; empty for data without names.
    pub features: Vec<String>,
    /// What was done as the plan says: rows left out, values filled.
    pub facts: Vec<String>,
    /// What is probably not meant.
    pub warnings: Vec<String>,
}

impl Loaded {
    /// Rows of which there is nothing to say.
    #[must_use]
    pub fn new(data: Dataset) -> Self {
        Self { data, features: Vec::new(), facts: Vec::new(), warnings: Vec::new() }
    }
}
