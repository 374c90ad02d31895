//! `fl-host demo`: a whole federation on one machine, from an empty folder to a trained model.
//!
//! [`prepare`] runs the commands that a federation's owner and sites would run. Then the real processes
//! train, and each round is shown. At the end the model is evaluated on rows that were held out of training.
//! The folder stays.

mod evaluation;
mod prepare;
mod processes;
mod stop;
mod table;
mod watch;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use serde_json::{Value, json};

pub use prepare::{Command, Federation, Request, prepare};

use crate::{
    exit::{Exit, Failure},
    files, workspace,
};
use evaluation::Evaluation;
use processes::Processes;
use stop::Stop;

/// The options of `fl-host demo`.
#[derive(Clone, Debug)]
pub struct Options {
    /// A template's name.
    pub template: String,
    /// How many collaborators.
    pub collaborators: usize,
    /// Number of rounds; `None` for the template's.
    pub rounds: Option<u32>,
    /// What carries the links: `auto`, `quic` or `tcp`.
    pub link: String,
    /// The folder; `None` for the first free `fl-demo`.
    pub dir: Option<PathBuf>,
    /// Whether a program reads standard output.
    pub json: bool,
}

/// The result of a demonstration.
pub struct Shown {
    /// For people: a table of the rounds, the evaluation, the files, what to try next.
    pub text: String,
    /// `rounds`, `metrics`, `baseline`, `pids`, `model`, `wall_s`, `exit`.
    pub json: Value,
}

/// Runs the demonstration; `command` runs each step. Progress goes to standard error; with `json`, one object
/// a round goes to standard output.
///
/// # Errors
/// The failure of a step or of the aggregator. A collaborator may fail while the aggregator goes on.
pub fn run(options: &Options, command: &Command) -> Result<Shown, Failure> {
    let started = Instant::now();
    let template = workspace::template(&options.template)?;
    let dir = folder(options.dir.as_deref())?;
    let request = Request {
        dir: dir.clone(),
        template,
        collaborators: options.collaborators,
        rounds: options.rounds,
        link: &options.link,
        edit: None,
    };
    let mut steps = watch::Steps::new(options.json);
    let federation = prepare(&request, command, &mut |step| steps.step(step))?;
    steps.done();

    let mut processes = Processes::start(&federation)?;
    let stop = Stop::watch(processes.pids())?;
    let rounds = watch::rounds(&mut processes, &federation, options.json).map_err(|failure| {
        if !stop.asked() {
            return failure;
        }
        Failure::new(Exit::Stopped, "the demonstration was stopped")
            .hint(format!("the finished rounds are in {}", federation.dir.display()))
    })?;
    let ended = processes.wait();
    let exit = ended.aggregator_exit;
    let evaluation = evaluation::on_held_out_rows(&federation)?;
    let wall = started.elapsed().as_secs_f64();
    let model = federation.last_model();
    let links = carrier(&options.link);
    let json = json!({
        "event": "demo",
        "rounds": rounds.len(),
        "metrics": evaluation.metrics_json(),
        "baseline": evaluation.baseline,
        "test_rows": evaluation.rows,
        "pids": processes.pids(),
        "processes": processes.names_and_pids(),
        "lost": ended.lost,
        "links": links,
        "model": model,
        "dir": dir,
        "wall_s": (wall * 1000.0).round() / 1000.0,
        "exit": exit,
    });
    let text = told(&rounds, &evaluation, &federation, &ended.lost, wall, links);
    Ok(Shown { text, json })
}

/// What carries the links, in words.
fn carrier(link: &str) -> &'static str {
    match link {
        "quic" => "QUIC",
        "tcp" => "TLS over TCP",
        _ => "QUIC, or by TLS over TCP where QUIC does not answer",
    }
}

fn told(
    rounds: &[watch::Round],
    evaluation: &Evaluation,
    federation: &Federation,
    lost: &[String],
    wall: f64,
    links: &str,
) -> String {
    let best = &federation.plan.best;
    let mut text = table::of(rounds, best.task.as_str(), best.metric.word());
    text.push('\n');
    for who in lost {
        text.push_str(&format!("{who}; the others went on\n"));
    }
    text.push_str(&format!(
        "result   {} on {} rows that were held out of training\n",
        evaluation.summary(),
        evaluation.rows,
    ));
    if let Some(baseline) = evaluation.baseline {
        text.push_str(&format!(
            "         (always guessing the most frequent class has accuracy {baseline:.3})\n"
        ));
    }
    let collaborators = federation.names.len();
    text.push_str(&format!(
        "time     {wall:.1} s: an aggregator and {collaborators} collaborators, connected by {links}\n"
    ));
    text.push_str(&format!("model    {}\n", federation.last_model().display()));
    text.push_str(&format!("folders  {}: one for each machine\n", federation.dir.display()));
    text.push_str(&format!(
        "next     {} is a script of all steps: change the script, and run it with `sh` in an empty folder\n",
        federation.dir.join("steps.txt").display(),
    ));
    text
}

/// The folder to use. A folder that was asked for must be missing or empty.
fn folder(asked: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = asked {
        return files::refuse_occupied(path, "--dir").map(|()| path.to_owned());
    }
    let numbered = (2..).map(|n| format!("fl-demo-{n}"));
    let mut names = std::iter::once("fl-demo".to_owned()).chain(numbered).map(PathBuf::from);
    // The sequence does not end.
    Ok(names.find(|path| files::is_free(path)).unwrap_or_else(|| PathBuf::from("fl-demo")))
}
