//! Rows in memory: features and labels.

use ndarray::{ArrayD, Axis};

/// Samples and their labels, in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// One sample a row; shape `[rows, ...input shape]`.
    pub features: ArrayD<f32>,
    /// One label a row; shape `[rows, ...label shape]`. The label shape is `[]` for one number a sample: the
    /// index of its class, or the target of a regression. Masks and vectors have sides of their own
    /// ([`fl_engine::plan::Loss::label_shape`]).
    pub labels: ArrayD<f32>,
}

impl Dataset {
    /// Number of samples.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.labels.shape().first().copied().unwrap_or(0)
    }

    /// The rows at these indices, in the order of the indices.
    ///
    /// # Panics
    /// If an index is out of range.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        Self { features: self.features.select(Axis(0), rows), labels: self.labels.select(Axis(0), rows) }
    }
}

/// A site's rows in three parts. No row is in two of them.
#[derive(Clone, Debug, PartialEq)]
pub struct SplitData {
    /// Rows that training reads.
    pub train: Dataset,
    /// Rows that validation tasks read.
    pub validation: Dataset,
    /// Rows that no task reads: for measuring a model after the run.
    pub test: Dataset,
}
