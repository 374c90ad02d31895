//! The lines that a collaborator logs: one for each of its tasks, and one for each round of the federation.

use std::time::Duration;

use fl_engine::{Name, RoundNo, plan::Metric, wire::RoundDone};
use fl_learn::task::Progress;

use super::round_line::number;

/// A task of this site that has ended: `round 3  train  96 rows  loss 0.104`. `rounds`: the plan's.
#[must_use]
pub fn task_line(round: RoundNo, rounds: u32, task: &Name, rows: u64, metrics: &[(Metric, f64)]) -> String {
    let measured: Vec<String> =
        metrics.iter().map(|(metric, value)| format!("{} {}", metric.word(), number(*value))).collect();
    let line = format!("{}  {task}  {rows} rows  {}", named(round, rounds), measured.join(" "));
    line.trim_end().to_owned()
}

/// An epoch of a training that has several: `round 3  train  epoch 1 of 2  96 rows  loss 0.104  1200 rows/s`.
#[must_use]
pub fn epoch_line(round: RoundNo, rounds: u32, task: &Name, epoch: &Progress, took: Duration) -> String {
    let Progress { epoch, epochs, rows, loss } = epoch;
    let speed = *rows as f64 / took.as_secs_f64().max(1e-3);
    format!(
        "{}  {task}  epoch {epoch} of {epochs}  {rows} rows  loss {}  {speed:.0} rows/s",
        named(round, rounds),
        number(*loss)
    )
}

/// A closed round, as the aggregator describes it to members: `round 4  2 updates  check accuracy 0.500`. The
/// round after the last one measures the final model. `asked`: whether this site was asked for an update. The
/// last round of a run that ends early asks for none.
#[must_use]
pub fn done_line(done: &RoundDone, rounds: u32, asked: bool) -> String {
    let mut line = named(done.round, rounds);
    if done.round.0 < rounds {
        match done.contributors {
            0 if asked => line.push_str("  ended without an update"),
            0 => {}
            1 => line.push_str("  1 update"),
            updates => line.push_str(&format!("  {updates} updates")),
        }
    }
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

/// `round 3`, or `final model` after the last round.
fn named(round: RoundNo, rounds: u32) -> String {
    if round.0 < rounds { format!("round {round}") } else { "final model".to_owned() }
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
            task_line(RoundNo(3), 10, &name("train"), 96, &metrics),
            "round 3  train  96 rows  loss 0.104 accuracy 1.000"
        );
        let epoch = Progress { epoch: 1, epochs: 2, rows: 96, loss: 0.10449 };
        assert_eq!(
            epoch_line(RoundNo(3), 10, &name("train"), &epoch, Duration::from_millis(80)),
            "round 3  train  epoch 1 of 2  96 rows  loss 0.104  1200 rows/s"
        );
        assert_eq!(task_line(RoundNo(3), 10, &name("send"), 5, &[]), "round 3  send  5 rows");
        assert_eq!(task_line(RoundNo(10), 10, &name("check"), 5, &[]), "final model  check  5 rows");
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
        let mut done = RoundDone { round: RoundNo(4), contributors: 2, metrics };
        assert_eq!(
            done_line(&done, 10, true),
            "round 4  2 updates  check accuracy 0.500 loss 2.000  train loss 1.000"
        );
        done.metrics.truncate(1);
        done.contributors = 1;
        assert_eq!(done_line(&done, 10, true), "round 4  1 update  check accuracy 0.500");
        done.contributors = 0;
        assert_eq!(
            done_line(&done, 4, true),
            "final model  check accuracy 0.500",
            "no updates are asked for"
        );
        assert_eq!(done_line(&done, 10, true), "round 4  ended without an update  check accuracy 0.500");
        assert_eq!(
            done_line(&done, 10, false),
            "round 4  check accuracy 0.500",
            "the last round of a run that ends early"
        );
    }
}
