//! What a loader read, and what a person should hear of it.

use fl_engine::{Digest, statistics::SiteSums};

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
    /// Sums of the features, for a plan that asks the sites for them. Then the rows are not scaled, and a
    /// missing value is not a number.
    pub sums: Option<SiteSums>,
    /// Where each row stands: the name of its picture, or the number of its row in the table. Empty where
    /// rows stand in an array, and unless [`super::samples`] has read them.
    pub places: Vec<String>,
    /// Files of the samples that cannot be read and are left out, as the plan allows.
    pub left_out: Vec<String>,
    /// What was done as the plan says: rows left out, values filled.
    pub facts: Vec<String>,
    /// What is probably not meant.
    pub warnings: Vec<String>,
}

impl Loaded {
    /// Rows of which there is nothing to say.
    #[must_use]
    pub fn new(data: Dataset) -> Self {
        let (columns, sums, places) = (None, None, Vec::new());
        let (features, left_out, facts, warnings) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { data, features, columns, sums, places, left_out, facts, warnings }
    }
}
