//! A round's metrics, averaged over collaborators.

use std::collections::BTreeMap;

use super::{AggregatedMetric, Report};
use crate::{
    Name, limits,
    plan::{BestModel, Direction, Metric},
};

/// The metrics of one round, in an order that does not depend on the order of the reports.
#[derive(Clone, Debug, Default)]
pub(super) struct Metrics {
    by_task: BTreeMap<(Name, Metric), BTreeMap<Name, Measured>>,
}

#[derive(Clone, Copy, Debug)]
struct Measured {
    value: f64,
    samples: u64,
}

impl Metrics {
    /// Adds a report without a fault. A report over no rows is left out. A metric that is named twice counts
    /// once.
    pub(super) fn add(&mut self, peer: &Name, report: &Report) {
        if report.samples == 0 {
            return;
        }
        for (metric, value) in report.metrics.iter().take(limits::METRICS) {
            let of_metric = self.by_task.entry((report.task.clone(), *metric)).or_default();
            let measured = Measured { value: *value, samples: report.samples };
            of_metric.entry(peer.clone()).or_insert(measured);
        }
    }

    /// Means weighted by rows; by task, then metric. Values and rows have bounds, so no sum overflows.
    pub(super) fn means(&self) -> Vec<AggregatedMetric> {
        let mean = |((task, metric), of_metric): (&(Name, Metric), &BTreeMap<Name, Measured>)| {
            let rows: f64 = of_metric.values().map(|m| m.samples as f64).sum();
            let sum: f64 = of_metric.values().map(|m| m.value * m.samples as f64).sum();
            AggregatedMetric {
                task: task.clone(),
                metric: *metric,
                value: sum / rows,
                samples: of_metric.values().map(|m| m.samples).sum(),
                collaborators: u32::try_from(of_metric.len()).unwrap_or(u32::MAX),
            }
        };
        self.by_task.iter().map(mean).collect()
    }
}

/// The plan's best-model metric among `metrics`, when `least` collaborators or more have measured it and it
/// improves on the best so far.
pub(super) fn improvement(
    best: &BestModel,
    so_far: Option<f64>,
    metrics: &[AggregatedMetric],
    least: u32,
) -> Option<f64> {
    let measured = metrics.iter().find(|m| m.task == best.task && m.metric == best.metric)?;
    let measured = Some(measured.value).filter(|_| measured.collaborators >= least)?;
    let improves = |so_far| match best.direction {
        Direction::Max => measured > so_far,
        Direction::Min => measured < so_far,
    };
    so_far.is_none_or(improves).then_some(measured)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::round::Stamp;
    use crate::{Digest, RoundNo};

    fn report(samples: u64, metrics: &[(Metric, f64)]) -> Report {
        let stamp = Stamp { incarnation: 0, round: RoundNo(0), base: Digest::of(b"") };
        Report { stamp, task: "validate".parse().unwrap(), samples, metrics: metrics.to_vec() }
    }

    fn means(reports: &[(&str, Report)]) -> Vec<(f64, u64, u32)> {
        let mut metrics = Metrics::default();
        reports.iter().for_each(|(peer, report)| metrics.add(&peer.parse().unwrap(), report));
        metrics.means().into_iter().map(|m| (m.value, m.samples, m.collaborators)).collect()
    }

    #[test]
    fn a_mean_counts_rows() {
        let a = ("a", report(300, &[(Metric::Accuracy, 0.5)]));
        let b = ("b", report(100, &[(Metric::Accuracy, 1.0)]));
        assert_eq!(means(&[a, b]), [(0.625, 400, 2)]);
    }

    #[test]
    fn the_order_of_reports_changes_no_bit() {
        let reports: Vec<(String, Report)> = (0..50)
            .map(|i| (format!("p{i}"), report(i * 7 + 1, &[(Metric::Loss, 0.1 / (i as f64 + 0.3))])))
            .collect();
        let of = |reports: &mut dyn Iterator<Item = &(String, Report)>| {
            let mut metrics = Metrics::default();
            reports.for_each(|(peer, report)| metrics.add(&peer.parse().unwrap(), report));
            metrics.means()[0].value.to_bits()
        };
        assert_eq!(of(&mut reports.iter()), of(&mut reports.iter().rev()));
    }

    #[test]
    fn what_says_nothing_is_left_out() {
        let some = ("a", report(10, &[(Metric::Loss, 2.0)]));
        let no_rows = ("c", report(0, &[(Metric::Loss, 4.0)]));
        assert_eq!(means(&[some, no_rows]), [(2.0, 10, 1)]);
        let twice = ("a", report(10, &[(Metric::Loss, 1.0), (Metric::Loss, 9.0)]));
        assert_eq!(means(&[twice]), [(1.0, 10, 1)]);
    }

    #[test]
    fn best_follows_the_plans_direction_and_needs_more_than_a_draw() {
        let rule = |direction| BestModel {
            task: "validate".parse().unwrap(),
            metric: Metric::Loss,
            direction,
            against_habit: direction == Direction::Max,
        };
        let mut metrics = Metrics::default();
        metrics.add(&"a".parse().unwrap(), &report(1, &[(Metric::Loss, 3.0)]));
        let means = metrics.means();
        let (max, min) = (rule(Direction::Max), rule(Direction::Min));
        assert_eq!(improvement(&max, None, &means, 1), Some(3.0));
        assert_eq!(improvement(&max, Some(2.0), &means, 1), Some(3.0));
        assert_eq!(improvement(&min, Some(2.0), &means, 1), None);
        assert_eq!(improvement(&min, Some(4.0), &means, 1), Some(3.0));
        assert_eq!(improvement(&max, Some(3.0), &means, 1), None);
        assert_eq!(improvement(&max, None, &[], 1), None);
        assert_eq!(improvement(&max, None, &means, 2), None, "one collaborator alone has measured it");
    }
}
