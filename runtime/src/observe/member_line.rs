//! The lines that a collaborator logs: one for each of its tasks, and one for each round of the federation.

use fl_engine::{Name, RoundNo, plan::Metric, wire::RoundDone};

use super::round_line::number;

/// A task of this site that has ended: `round 3  train  96 rows  loss 0.104`.
#[must_use]
pub fn task_line(round: RoundNo, task: &Name, rows: u64, metrics: &[(Metric, f64)]) -> String {
    let measured: Vec<String> =
        metrics.iter().map(|(metric, value)| format!("{} {}", metric.word(), number(*value))).collect();
    let line = format!("round {round}  {task}  {rows} rows  {}", measured.join(" "));
    line.trim_end().to_owned()
}

/// A closed round, as the aggregator describes it to members: `round 4 done by 2 sites check accuracy 0.500`.
#[must_use]
pub fn done_line(done: &RoundDone) -> String {
    let mut line = format!("round {}  done by {} sites", done.round, done.contributors);
    let mut task = None;
    for metric in &done.metrics {
        if task != Some(&metric.task) {
            line.push_str(&format!("  {}", metric.task));
            task = Some(&metric.task);
        }
        line.push_str(&format!(" {} {}", metric.metric.word(), number(metric.value)));
    }
    line
}

#[cfg(test)]
mod tests {
    use fl_engine::round::AggregatedMetric;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn lines_name_task_rows_and_metrics() {
        let metrics = [(Metric::Loss, 0.10449), (Metric::Accuracy, 1.0)];
        assert_eq!(
            task_line(RoundNo(3), &name("train"), 96, &metrics),
            "round 3  train  96 rows  loss 0.104 accuracy 1.000"
        );
        assert_eq!(task_line(RoundNo(3), &name("send"), 5, &[]), "round 3  send  5 rows");
        let metric = |task: &str, metric, value| AggregatedMetric {
            task: name(task),
            metric,
            value,
            samples: 9,
            collaborators: 2,
        };
        let metrics = vec![
            metric("check", Metric::Accuracy, 0.5),
            metric("check", Metric::Loss, 2.0),
            metric("train", Metric::Loss, 1.0),
        ];
        let done = RoundDone { round: RoundNo(4), contributors: 2, metrics };
        assert_eq!(
            done_line(&done),
            "round 4  done by 2 sites  check accuracy 0.500 loss 2.000  train loss 1.000"
        );
    }
}
