//! Mean and deviation of each feature over the rows of all sites (`standardise: federated`).
//!
//! Each site adds its values up ([`SiteSums`]), the aggregator adds the sites up ([`Pool`]). All sums are
//! exact, so the result does not depend on the order of the sites, nor on which site has which row.

mod sums;

use std::fmt;

pub use sums::{ColumnSums, LARGEST};

use crate::plan::{PlanDraft, Standardise, columns_of};

/// What a site adds up while it reads its rows.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteSums {
    columns: Vec<ColumnSums>,
    /// Values that a row gives to each column.
    values: u64,
}

/// The sums of all sites.
#[derive(Clone, Debug)]
pub struct Pool {
    columns: Vec<ColumnSums>,
    /// Fewest and most values of a column that a site may send.
    least: u64,
    most: u64,
}

/// Why a site's sums do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SumsFault {
    /// Another number of columns than the plan has.
    #[error("the sums have {given} columns; the plan's data has {expected}")]
    Columns {
        /// At least as many were sent.
        given: usize,
        /// The plan's.
        expected: usize,
    },
    /// Fewer values than the plan's least count, and not none.
    #[error("column {} has a value in {count} rows, but the plan asks for at least {least} such rows", .column + 1)]
    Few {
        /// From 0.
        column: usize,
        /// Values.
        count: u64,
        /// The plan's, in values.
        least: u64,
    },
    /// More values than a site may have rows.
    #[error("column {} has {count} values; one site may have at most {most} (limits.rows)", .column + 1)]
    Many {
        /// From 0.
        column: usize,
        /// Values.
        count: u64,
        /// The plan's, in values.
        most: u64,
    },
    /// The names of the columns of the site's table are not those of the others.
    #[error("the names of its columns have another digest than those of the other sites")]
    OtherColumns,
    /// No numbers have these sums.
    #[error("the sums of column {} are the sums of no numbers", .column + 1)]
    Impossible {
        /// From 0.
        column: usize,
    },
}

/// Why a column has no statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoStatistics {
    /// From 0.
    pub column: usize,
    /// What is wrong with it.
    pub why: ColumnFault,
}

/// What is wrong with a column of all sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ColumnFault {
    /// No site has as many values as the plan's least count, in rows.
    Few {
        /// The plan's.
        least: u32,
    },
    /// All values are the same: the deviation is 0.
    Constant,
}

impl SiteSums {
    /// Sums of no rows, for a model of this input shape.
    #[must_use]
    pub fn new(input: &[u32]) -> Self {
        let (columns, values) = columns_of(input);
        Self { columns: vec![ColumnSums::default(); columns], values }
    }

    /// Adds the value of a feature, by its index in the sample. Returns false for a value that is not finite
    /// or at least [`LARGEST`]: the value is not in the sums.
    pub fn add(&mut self, feature: usize, value: f64) -> bool {
        let at = if self.values > 1 { 0 } else { feature };
        self.columns.get_mut(at).is_some_and(|column| column.add(value))
    }

    /// Columns with fewer values than `least` rows give.
    #[must_use]
    pub fn few(&self, least: u32) -> Vec<usize> {
        let least = u64::from(least).saturating_mul(self.values);
        (0..self.columns.len()).filter(|&at| self.columns[at].count() < least).collect()
    }

    /// What the site sends: a column with fewer values than `least` rows give is left empty.
    #[must_use]
    pub fn to_send(&self, least: u32) -> Vec<ColumnSums> {
        let mut columns: Vec<ColumnSums> = self.columns.iter().map(ColumnSums::trimmed).collect();
        self.few(least).into_iter().for_each(|at| columns[at] = ColumnSums::default());
        columns
    }
}

impl Pool {
    /// No sums yet, of the plan's columns; `None` for a plan that does not ask for any.
    #[must_use]
    pub fn new(plan: &PlanDraft) -> Option<Self> {
        let least = plan.data.federated?.least;
        let (columns, values) = columns_of(&plan.model.input);
        let bound = |rows: u32| u64::from(rows).saturating_mul(values);
        let most = bound(plan.most_rows()).min(MOST_VALUES);
        Some(Self { columns: vec![ColumnSums::default(); columns], least: bound(least), most })
    }

    /// How many columns a site sends.
    #[must_use]
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// Adds the sums of one site, after all checks.
    ///
    /// # Errors
    /// [`SumsFault`]; then nothing was added.
    pub fn add(&mut self, site: &[ColumnSums]) -> Result<(), SumsFault> {
        let (given, expected) = (site.len(), self.columns.len());
        if given != expected {
            return Err(SumsFault::Columns { given, expected });
        }
        let (least, most) = (self.least, self.most);
        for (column, sums) in site.iter().enumerate() {
            match sums.count() {
                0 if sums.is_empty() => {}
                0 => return Err(SumsFault::Impossible { column }),
                count if count < least => return Err(SumsFault::Few { column, count, least }),
                count if count > most => return Err(SumsFault::Many { column, count, most }),
                _ if !sums.is_possible() => return Err(SumsFault::Impossible { column }),
                _ => {}
            }
        }
        self.columns.iter_mut().zip(site).for_each(|(pooled, sums)| pooled.merge(sums));
        Ok(())
    }

    /// Mean and deviation of each column, with the number of values as divisor.
    ///
    /// # Errors
    /// [`NoStatistics`] names the first column that has none.
    pub fn statistics(&self, plan: &PlanDraft) -> Result<Standardise, NoStatistics> {
        let (mut means, mut deviations) = (Vec::new(), Vec::new());
        for (column, sums) in self.columns.iter().enumerate() {
            let refused = |why| NoStatistics { column, why };
            if sums.count() == 0 {
                let least = plan.data.federated.map_or(0, |federated| federated.least);
                return Err(refused(ColumnFault::Few { least }));
            }
            let (mean, deviation) = sums.moments();
            // A plan's deviation is an f32 above 0.
            if deviation as f32 <= 0.0 {
                return Err(refused(ColumnFault::Constant));
            }
            means.push(mean);
            deviations.push(deviation);
        }
        Ok(Standardise::settled(&means, &deviations))
    }
}

impl NoStatistics {
    /// `column age: no site has …`, by the plan's name of the column.
    #[must_use]
    pub fn words(&self, plan: &PlanDraft) -> String {
        let column = plan.data.feature_name(&plan.model.input, &[], self.column);
        format!("{column}: {}", self.why)
    }
}

impl fmt::Display for ColumnFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Few { least } => {
                write!(
                    f,
                    "no site has {least} rows with a value of it, the least count of the plan's data.standardise"
                )
            }
            Self::Constant => f.write_str("all its values are the same, so its deviation is 0"),
        }
    }
}

/// Most values of a column that one site may claim; sums of [`limits::COLLABORATORS`] such sites fit.
const MOST_VALUES: u64 = 1 << 40;

#[cfg(test)]
mod tests;
