//! A closed round as its operator reads it: one line, a line for each refused or missing collaborator, or a
//! JSON object.

use std::{fmt::Write as _, time::Duration};

use fl_engine::{
    Name,
    plan::{MetricsTo, Plan},
    printable::one_line,
    round::{LostCause, RoundSummary, WhyClosed},
};
use serde_json::{Value, json};

use super::MetricJson;

/// The spans of a round's time that are known when its line is written. Spans may overlap: updates are
/// received while the round waits for others, and a round is stored while the next one runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// From the round's opening until the first update was staged: mostly training.
    pub wait: Option<Duration>,
    /// From the first update's first byte until the last update was staged.
    pub receive: Option<Duration>,
    /// Adding updates to the sum.
    pub absorb: Option<Duration>,
    /// Turning the sum into a model.
    pub finalise: Option<Duration>,
    /// Writing generation and history, until the round was durable.
    pub store: Option<Duration>,
    /// Sending the model to everybody.
    pub broadcast: Option<Duration>,
    /// From the last staged update until the first task of the next round was sent.
    pub turnaround: Option<Duration>,
    /// From the round's first task until the next round's. Unknown for the first round of a run.
    pub whole: Option<Duration>,
}

/// A closed round, to be rendered.
#[derive(Clone, Copy, Debug)]
pub struct RoundLine<'a> {
    /// What the engine says about the round.
    pub summary: &'a RoundSummary,
    /// The times that the shell measured.
    pub times: Timeline,
    /// Whether the round's base is the best model so far.
    pub best: bool,
    /// The plan: it says which metrics the line shows, and who may see them.
    pub plan: &'a Plan,
}

impl Timeline {
    /// The spans that the engine's own times give, in whole milliseconds: `wait`, and `finalise` except in
    /// the closing round.
    #[must_use]
    pub fn of(summary: &RoundSummary) -> Self {
        let between = |from: u64, to: u64| Some(Duration::from_millis(to.saturating_sub(from)));
        Self {
            wait: summary.first_staged.and_then(|first| between(summary.opened.0, first.0)),
            finalise: between(summary.closed.0, summary.finalised.0).filter(|_| !summary.closing),
            ..Self::default()
        }
    }

    fn spans(&self) -> [(&'static str, Option<Duration>); 6] {
        [
            ("wait", self.wait),
            ("receive", self.receive),
            ("absorb", self.absorb),
            ("finalise", self.finalise),
            ("store", self.store),
            ("broadcast", self.broadcast),
        ]
    }
}

impl RoundLine<'_> {
    /// The line for people.
    #[must_use]
    pub fn text(&self) -> String {
        let summary = self.summary;
        let mut parts = Vec::new();
        if summary.closing {
            parts.push("final model".to_owned());
        } else {
            parts.push(format!("round {}", summary.stamp.round));
            parts.push(match summary.contributors.len() {
                0 => "no updates".to_owned(),
                1 => format!("1 update of {} rows", grouped(self.rows())),
                updates => format!("{updates} updates of {} rows", grouped(self.rows())),
            });
        }
        parts.extend(self.metrics_text());
        let spans = self.times.spans().into_iter();
        let spans = spans.filter_map(|(name, span)| Some(format!("{name} {}", duration(span?))));
        parts.push(spans.collect::<Vec<_>>().join(" "));
        parts.extend(self.times.turnaround.map(|t| format!("turnaround {}", duration(t))));
        parts.extend(match summary.reopened {
            0 => None,
            1 => Some("opened again once".to_owned()),
            times => Some(format!("opened again {times} times")),
        });
        parts.extend((summary.why == WhyClosed::Deadline).then(|| "closed at its deadline".to_owned()));
        parts.extend(self.best.then(|| "best so far".to_owned()));
        parts.retain(|part| !part.is_empty());
        parts.join("  ")
    }

    /// A line for each refused update, each report that does not count, and each missing collaborator, with
    /// the reason.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let summary = self.summary;
        let round =
            if summary.closing { "final model".to_owned() } else { format!("round {}", summary.stamp.round) };
        let refused = summary
            .refused
            .iter()
            .map(|(who, why)| format!("{round}  refused {who}: {}", one_line(&why.to_string())));
        let missing =
            summary.missing.iter().map(|who| format!("{round}  missing {who}: {}", self.why_missing()));
        let ignored = summary
            .ignored
            .iter()
            .map(|(who, task, why)| format!("{round}  ignored the metrics of {who} for task {task}: {why}"));
        refused.chain(ignored).chain(missing).collect()
    }

    /// The round as one JSON object. Spans are in milliseconds.
    #[must_use]
    pub fn json(&self) -> Value {
        let summary = self.summary;
        let turnaround = [("turnaround", self.times.turnaround), ("whole", self.times.whole)];
        let millis = self
            .times
            .spans()
            .into_iter()
            .chain(turnaround)
            .filter_map(|(name, span)| Some((name.to_owned(), json!(span?.as_micros() as f64 / 1000.0))));
        let contributors = summary.contributors.iter();
        let mut object = json!({
            "event": if summary.closing { "final" } else { "round" },
            "round": summary.stamp.round,
            "base": summary.stamp.base.to_string(),
            "updates": summary.contributors.len(),
            "rows": self.rows(),
            "contributors": contributors
                .map(|(name, weight)| json!({"collaborator": name, "weight": weight}))
                .collect::<Vec<_>>(),
            "refused": summary.refused
                .iter()
                .map(|(name, why)| json!({"collaborator": name, "reason": why.to_string()}))
                .collect::<Vec<_>>(),
            "missing": summary.missing,
            "failed": summary.lost
                .iter()
                .filter_map(|lost| match &lost.cause {
                    LostCause::Failed(why) => {
                        Some(json!({"collaborator": lost.collaborator, "task": lost.task, "reason": why}))
                    }
                    _ => None,
                })
                .collect::<Vec<_>>(),
            "reopened": summary.reopened,
            "ignored": summary.ignored
                .iter()
                .map(|(name, task, why)| json!({"collaborator": name, "task": task, "reason": why.to_string()}))
                .collect::<Vec<_>>(),
            "closed": closed(summary.why),
            "millis": millis.collect::<serde_json::Map<_, _>>(),
            "best": self.best,
        });
        if self.shows_metrics() {
            object["metrics"] = json!(MetricJson::all(&summary.metrics));
        }
        object
    }

    /// The collaborator that holds over half of the weights of a round with others, where weights count.
    #[must_use]
    pub fn heaviest(&self) -> Option<&Name> {
        let counts = self.plan.aggregation().is_some_and(|aggregation| aggregation.rule.counts_weights());
        let all = self.summary.contributors.iter().filter(|_| counts && self.summary.contributors.len() > 1);
        let (name, weight) = all.max_by_key(|(_, weight)| *weight)?;
        (2 * u64::from(weight.value()) > self.rows()).then_some(name)
    }

    /// The warning about [`Self::heaviest`].
    #[must_use]
    pub fn heavy(&self, name: &Name) -> String {
        let weight =
            self.summary.contributors.iter().find(|(of, _)| of == name).map_or(0, |(_, w)| w.value());
        let (round, all) = (self.summary.stamp.round, grouped(self.rows()));
        format!(
            "round {round}  {name} claims {} of the round's {all} rows, over half: {name} has more influence on the model \
             than all other collaborators together. `limits.rows` in the plan bounds what one collaborator may claim",
            grouped(weight.into())
        )
    }

    /// Rows that the updates stand for: their weights.
    fn rows(&self) -> u64 {
        self.summary.contributors.iter().map(|(_, weight)| u64::from(weight.value())).sum()
    }

    fn shows_metrics(&self) -> bool {
        self.plan.metrics != MetricsTo::None
    }

    /// Metrics of the task that decides the best model: `accuracy 0.962 loss 0.104`.
    fn metrics_text(&self) -> Option<String> {
        let of_task = self.summary.metrics.iter().filter(|m| m.task == self.plan.best.task);
        let shown: Vec<String> =
            of_task.map(|m| format!("{} {}", m.metric.word(), number(m.value))).collect();
        (self.shows_metrics() && !shown.is_empty()).then(|| shown.join(" "))
    }

    fn why_missing(&self) -> &'static str {
        match self.summary.why {
            WhyClosed::Enough => "enough others had answered first",
            WhyClosed::Deadline => "no answer before the deadline",
            _ => "disconnected before it answered",
        }
    }
}

fn closed(why: WhyClosed) -> &'static str {
    match why {
        WhyClosed::Everybody => "everybody",
        WhyClosed::Enough => "enough",
        WhyClosed::Deadline => "deadline",
        _ => "other",
    }
}

/// Three decimals, or four digits in scientific notation for very small and very large values.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0.000".to_owned(),
        v if (0.001..10_000.0).contains(&v) => format!("{value:.3}"),
        _ => format!("{value:.3e}"),
    }
}

/// `1 438`.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// `0.4 ms`, `12 ms`, `1.2 s`, `45 s`, `3 min 20 s`.
pub(super) fn duration(span: Duration) -> String {
    let micros = span.as_micros();
    let seconds = span.as_secs_f64();
    match micros {
        0..950 => format!("{:.1} ms", micros as f64 / 1000.0),
        950..999_500 => format!("{:.0} ms", micros as f64 / 1000.0),
        999_500..9_950_000 => format!("{seconds:.1} s"),
        9_950_000..59_500_000 => format!("{seconds:.0} s"),
        _ => {
            let seconds = seconds.round() as u64;
            let mut text = format!("{} min", grouped(seconds / 60));
            if !seconds.is_multiple_of(60) {
                // Writing to a String cannot fail.
                let _ = write!(text, " {} s", seconds % 60);
            }
            text
        }
    }
}

#[cfg(test)]
mod tests;
