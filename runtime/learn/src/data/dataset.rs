//! Rows: features and labels, in memory or read when a task needs them.

use std::{fmt, sync::Arc};

use ndarray::{ArrayD, Axis};

use super::error::DataError;

/// Samples and their labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// One sample a row; shape `[rows, ...input shape]`. No row where samples are read when they are needed
    /// ([`Self::gather`]).
    pub features: ArrayD<f32>,
    /// One label a row; shape `[rows, ...label shape]`. The label shape is `[]` for one number a sample: the
    /// index of its class, or the target of a regression. Masks and vectors have sides of their own
    /// ([`fl_engine::plan::Loss::label_shape`]). No row where masks are read when they are needed.
    pub labels: ArrayD<f32>,
    later: Option<Later>,
}

/// Where rows are read when they are needed.
#[derive(Clone, Debug)]
struct Later {
    source: Arc<dyn Source>,
    /// The source's rows, in the order of this set.
    rows: Vec<usize>,
}

/// Rows that are read when they are needed.
pub(super) trait Source: fmt::Debug + Send + Sync {
    /// Appends a row's features and label.
    fn read(&self, row: usize, features: &mut Vec<f32>, labels: &mut Vec<f32>) -> Result<(), DataError>;

    /// The shapes of a sample and of a label.
    fn shapes(&self) -> (&[usize], &[usize]);
}

impl PartialEq for Later {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.source, &other.source) && self.rows == other.rows
    }
}

impl Dataset {
    /// Rows in memory.
    #[must_use]
    pub fn new(features: ArrayD<f32>, labels: ArrayD<f32>) -> Self {
        Self { features, labels, later: None }
    }

    /// The first `rows` rows of a source. `labels` has the labels that are numbers, or no row.
    #[cfg(feature = "tables")]
    pub(super) fn later(source: Arc<dyn Source>, rows: usize, labels: ArrayD<f32>) -> Self {
        let later = Some(Later { source, rows: (0..rows).collect() });
        Self { features: ArrayD::zeros(vec![0]), labels, later }
    }

    /// Number of samples.
    #[must_use]
    pub fn rows(&self) -> usize {
        match &self.later {
            Some(later) => later.rows.len(),
            None => self.labels.shape().first().copied().unwrap_or(0),
        }
    }

    /// Whether rows are read when they are needed: [`Self::gather`] takes the time of a loader.
    #[cfg(feature = "train")]
    pub(crate) fn is_read_later(&self) -> bool {
        self.later.is_some()
    }

    /// The rows at these indices, in the order of the indices.
    ///
    /// # Panics
    /// If an index is out of range.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let of = |array: &ArrayD<f32>| match array.is_empty() && self.later.is_some() {
            true => array.clone(),
            false => array.select(Axis(0), rows),
        };
        let later = self.later.as_ref().map(|later| Later {
            source: Arc::clone(&later.source),
            rows: rows.iter().map(|row| later.rows[*row]).collect(),
        });
        Self { features: of(&self.features), labels: of(&self.labels), later }
    }

    /// The features of these rows end to end, and their labels.
    ///
    /// # Errors
    /// [`DataError`] for a row that is read now, and whose file cannot be read any more.
    ///
    /// # Panics
    /// If an index is out of range.
    pub fn gather(&self, rows: &[usize]) -> Result<(Vec<f32>, Vec<f32>), DataError> {
        let (mut features, mut labels) = (Vec::new(), Vec::new());
        if let Some(later) = &self.later {
            let (input, label) = later.source.shapes();
            features.reserve_exact(rows.len() * input.iter().product::<usize>());
            labels.reserve_exact(rows.len() * label.iter().product::<usize>());
            for row in rows {
                later.source.read(later.rows[*row], &mut features, &mut labels)?;
            }
            return Ok((features, labels));
        }
        let of = |array: &ArrayD<f32>, out: &mut Vec<f32>| {
            let width = array.len() / self.rows().max(1);
            out.reserve_exact(rows.len() * width);
            for &row in rows {
                match array.as_slice() {
                    Some(values) => out.extend_from_slice(&values[row * width..][..width]),
                    // The array has another memory order.
                    None => out.extend(array.index_axis(Axis(0), row)),
                }
            }
        };
        of(&self.features, &mut features);
        of(&self.labels, &mut labels);
        Ok((features, labels))
    }

    /// The same rows, all of them in memory.
    ///
    /// # Errors
    /// As [`Self::gather`]; [`DataError::Mismatch`] without memory for them.
    pub fn in_memory(self) -> Result<Self, DataError> {
        let Some(later) = &self.later else { return Ok(self) };
        let mismatch = |what: String| DataError::Mismatch { what };
        let (input, label) = later.source.shapes();
        let rows = later.rows.len();
        let empty = |sides: &[usize]| {
            let mut values = Vec::new();
            let count = sides.iter().product::<usize>().saturating_mul(rows);
            values
                .try_reserve_exact(count)
                .map_err(|_| mismatch(format!("there is no memory for {rows} rows")))?;
            Ok(values)
        };
        let (mut features, mut labels) = (empty(input)?, empty(label)?);
        for row in &later.rows {
            later.source.read(*row, &mut features, &mut labels)?;
        }
        let array = |sides: &[usize], values| {
            let shape = [&[rows], sides].concat();
            ArrayD::from_shape_vec(shape, values).map_err(|e| mismatch(e.to_string()))
        };
        Ok(Self::new(array(input, features)?, array(label, labels)?))
    }
}

/// A site's rows in three parts. No row is in two of them.
#[derive(Clone, Debug, PartialEq)]
pub struct SplitData {
    /// Rows that training reads.
    pub train: Dataset,
    /// Rows that validation tasks read.
    pub validation: Dataset,
    /// Rows that validations with `rows: test` read, and that a model can be measured on after the run.
    pub test: Dataset,
}

impl SplitData {
    /// The same rows, all of them in memory.
    ///
    /// # Errors
    /// As [`Dataset::in_memory`].
    pub fn in_memory(self) -> Result<Self, DataError> {
        Ok(Self {
            train: self.train.in_memory()?,
            validation: self.validation.in_memory()?,
            test: self.test.in_memory()?,
        })
    }
}
