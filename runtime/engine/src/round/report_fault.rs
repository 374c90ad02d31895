//! Why a collaborator's report does not count.

use super::Report;
use crate::plan::{Metric, Plan};

/// Why a report is left out of a round's metrics. The texts have no values: the plan may hide metrics from
/// the aggregator's host, which logs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReportFault {
    /// More rows than one collaborator may have.
    #[error("it claims {given} rows; one collaborator may claim {most} (limits.rows, exact.weight_bits)")]
    Samples {
        /// In the report.
        given: u64,
        /// The plan's bound.
        most: u32,
    },
    /// A value that the metric cannot have.
    #[error("its {} is not a number {}", .0.word(), .0.range())]
    Value(Metric),
    /// The collaborator measured on other columns than the others.
    #[error("the columns of its table are not those of the other sites")]
    Columns,
}

impl Report {
    /// Why the report does not count, if it does not.
    #[must_use]
    pub fn fault(&self, plan: &Plan) -> Option<ReportFault> {
        let most = plan.most_rows();
        if self.samples > most.into() {
            return Some(ReportFault::Samples { given: self.samples, most });
        }
        let wrong = self.metrics.iter().find(|(metric, value)| !metric.allows(*value));
        wrong.map(|(metric, _)| ReportFault::Value(*metric))
    }
}
