//! What a loader read, and what a person should hear of it.

use fl_engine::Digest;

use super::dataset::Dataset;

/// A site's rows, with what is worth saying about them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Loaded {
    /// The rows, as the tasks get them.
    pub data: Dataset,
    /// Names of the columns that are features, in the order of the sample; empty for data without names.
    pub features: Vec<String>,
    /// The digest of the names of the table's columns, where the plan does not say which columns are read.
    pub columns: Option<Digest>,
    /// What was done as the plan says: rows left out, values filled.
    pub facts: Vec<String>,
    /// What is probably not meant.
    pub warnings: Vec<String>,
}

impl Loaded {
    /// Rows of which there is nothing to say.
    #[must_use]
    pub fn new(data: Dataset) -> Self {
        Self { data, features: Vec::new(), columns: None, facts: Vec::new(), warnings: Vec::new() }
    }
}
