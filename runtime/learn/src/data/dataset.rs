//! Rows in memory: features and labels.

use ndarray::{ArrayD, Axis};

/// Samples and their labels, in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Shape `[rows, ...input shape]`.
    pub features: ArrayD<f32>,
    /// One value a row: a class index, or the target of a regression.
    pub labels: Vec<f32>,
}

impl Dataset {
    /// Number of samples.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.labels.len()
    }

    /// The rows at these indices, in their order.
    ///
    /// # Panics
    /// If an index is out of range.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        Self {
            features: self.features.select(Axis(0), rows),
            labels: rows.iter().map(|&row| self.labels[row]).collect(),
        }
    }
}

/// A site's rows in three parts that share no row.
#[derive(Clone, Debug, PartialEq)]
pub struct SplitData {
    /// Trained on.
    pub train: Dataset,
    /// Read by the validation tasks.
    pub validation: Dataset,
    /// Read by nothing in a run.
    pub test: Dataset,
}
