//! Shows each round: the aggregator's JSON lines become a progress bar for people, or lines for programs.

use std::time::Duration;

use fl_runtime::internal::observe;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::{Federation, processes::Processes};
use crate::exit::Failure;

/// One round, as the aggregator reported it.
#[derive(Clone, Debug)]
pub(super) struct Round(pub(super) Value);

impl Round {
    /// A metric that a task reported.
    pub(super) fn metric(&self, task: &str, metric: &str) -> Option<f64> {
        let metrics = self.0["metrics"].as_array()?;
        metrics.iter().find(|m| m["task"] == task && m["metric"] == metric)?["value"].as_f64()
    }

    pub(super) fn number(&self, key: &str) -> u64 {
        self.0[key].as_u64().unwrap_or(0)
    }

    pub(super) fn millis(&self, span: &str) -> Option<f64> {
        self.0["millis"][span].as_f64()
    }
}

/// The steps before the first round.
pub(super) struct Steps {
    spinner: ProgressBar,
}

impl Steps {
    pub(super) fn new(json: bool) -> Self {
        let spinner = if json { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        spinner.enable_steady_tick(TICK);
        Self { spinner }
    }

    pub(super) fn step(&mut self, step: &str) {
        self.spinner.set_message(step.to_owned());
    }

    pub(super) fn done(&self) {
        self.spinner.finish_and_clear();
    }
}

/// Reads the aggregator's lines until it has no more.
///
/// # Errors
/// When it ended without having run every round.
pub(super) fn rounds(
    processes: &mut Processes,
    federation: &Federation,
    json: bool,
) -> Result<Vec<Round>, Failure> {
    let bar = if json { ProgressBar::hidden() } else { ProgressBar::new(federation.plan.rounds.into()) };
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} rounds  {msg}  {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar.set_message(format!("{} collaborators connect and train", federation.names.len()));
    let plain = !json && bar.is_hidden();
    let mut rounds = Vec::new();
    while let Some(line) = processes.next_line() {
        let Ok(mut event) = serde_json::from_str::<Value>(&line) else { continue };
        if event["event"] != "round" {
            continue;
        }
        if json {
            event["pids"] = json!(processes.pids());
            event["processes"] = processes.names_and_pids();
            observe::say_event(&event);
        }
        let round = Round(event);
        let best = &federation.plan.best;
        let line = line_of(&round, best.task.as_str(), best.metric.word());
        bar.inc(1);
        bar.set_message(line.clone());
        if plain {
            observe::complain(format_args!("{line}\n"));
        }
        rounds.push(round);
    }
    bar.finish_and_clear();
    let early = federation.plan.stop.is_some();
    if rounds.len() == federation.plan.rounds as usize || early && processes.ended_well() {
        return Ok(rounds);
    }
    Err(processes.failure(rounds.len(), federation.plan.rounds))
}

/// The metric that is shown before the loss, in a plan whose best model has the best `metric`.
pub(super) fn before_loss(metric: &str) -> &str {
    if metric == "loss" { "accuracy" } else { metric }
}

/// `round 3: 3 updates, accuracy 0.962`.
fn line_of(round: &Round, task: &str, metric: &str) -> String {
    let metric = [before_loss(metric), "loss"]
        .into_iter()
        .find_map(|name| round.metric(task, name).map(|value| format!(", {name} {value:.3}")));
    format!(
        "round {}: {} updates{}",
        round.number("round"),
        round.number("updates"),
        metric.unwrap_or_default()
    )
}

const TICK: Duration = Duration::from_millis(100);
