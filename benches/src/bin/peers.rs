//! Runs the same updates through other systems' aggregation code and through this system's, and prints one
//! table.
//!
//! A peer is a Python interpreter with the other system installed, named by an option or an environment
//! variable. A missing peer is skipped, and a line says so. Two figures are measured for each: the processor
//! time over all updates of a round, and the time from the last update received to the new model. Nothing is
//! written to disk, except for OpenFL's second line, which includes its database and model files. All figures
//! are for one shape: `--params`, `--layout`.
//!
//! `cargo run --release -p fl-benches --bin peers -- [--openfl PYTHON] [--flower PYTHON] [--nvflare
//! PYTHON]... [--numpy PYTHON] [--params N] [--layout one|sixty|unet] [--collaborators N]... [--threads N]
//! [--repetitions N] [--quick] [--json]`

use std::{
    env,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::Arc,
    time::Duration,
};

use argh::FromArgs;
use fl_benches::{
    Failure,
    front::{Arrival, Round},
    machine, rules,
    shape::Shape,
    updates::Updates,
};
use fl_engine::tensor::Layout;
use serde_json::{Value, json};

/// Compares with other systems.
#[derive(FromArgs)]
struct Arguments {
    /// python with openfl (environment: FL_PEER_OPENFL; python3)
    #[argh(option, default = "interpreter(\"FL_PEER_OPENFL\")")]
    openfl: String,
    /// python with flwr (environment: FL_PEER_FLOWER; python3)
    #[argh(option, default = "interpreter(\"FL_PEER_FLOWER\")")]
    flower: String,
    /// python with nvflare, and with or without torch; may be repeated (environment: FL_PEER_NVFLARE, several
    /// with colons between; python3)
    #[argh(option)]
    nvflare: Vec<String>,
    /// python with numpy (environment: FL_PEER_NUMPY; python3)
    #[argh(option, default = "interpreter(\"FL_PEER_NUMPY\")")]
    numpy: String,
    /// parameters of the model (10 million); the U-Net has its own
    #[argh(option)]
    params: Option<usize>,
    /// one, sixty or unet: how the model is cut into tensors (sixty)
    #[argh(option, default = "Shape::Sixty")]
    layout: Shape,
    /// updates of a round; may be repeated (8, 32); rules that take all of them are measured with the most
    #[argh(option)]
    collaborators: Vec<usize>,
    /// threads of the CPU pool, and of the peers' linear algebra (1)
    #[argh(option, default = "1")]
    threads: usize,
    /// rounds of each peer after one that warms up (3); robust rules and persistence are run once, without
    #[argh(option, default = "3")]
    repetitions: usize,
    /// a small model, in seconds: shows that it runs
    #[argh(switch)]
    quick: bool,
    /// one JSON object a line
    #[argh(switch)]
    json: bool,
}

fn interpreter(variable: &str) -> String {
    env::var(variable).unwrap_or_else(|_| "python3".to_owned())
}

/// One line of the table.
#[derive(Clone)]
struct Figure {
    system: String,
    cpu: f64,
    latency: f64,
    /// Processor time of the latency.
    latency_cpu: f64,
}

/// How much better than a peer's figure this system's figure has to be.
struct Goal {
    what: &'static str,
    rule: &'static str,
    collaborators: usize,
    peer: &'static str,
    of: fn(&Figure) -> f64,
    /// The same ratio in processor time, which other work on the machine hardly changes.
    steady: fn(&Figure) -> f64,
    /// The smallest ratio of the peer's figure to this system's, in both.
    least: f64,
}

fn main() -> ExitCode {
    fl_benches::ended(run(argh::from_env()))
}

fn run(mut arguments: Arguments) -> Result<(), Failure> {
    let params = arguments.params.unwrap_or(if arguments.quick { 100_000 } else { 10_000_000 });
    if arguments.collaborators.is_empty() {
        arguments.collaborators = if arguments.quick { vec![8] } else { vec![8, 32] };
    }
    if arguments.nvflare.is_empty() {
        arguments.nvflare = interpreter("FL_PEER_NVFLARE").split(':').map(str::to_owned).collect();
    }
    let layout = arguments.layout.layout(params);
    let bench = Bench { updates: Updates::new(Arc::clone(&layout)), layout, arguments };
    bench.head();
    let most = bench.arguments.collaborators.iter().copied().max().unwrap_or_default();
    let mut figures = Vec::new();
    for &collaborators in &bench.arguments.collaborators {
        bench.compare(&mut figures, "weighted_mean", collaborators)?;
    }
    for rule in ["median", "trimmed_mean", "krum"] {
        bench.compare(&mut figures, rule, most)?;
    }
    bench.goals(&figures);
    Ok(())
}

struct Bench {
    arguments: Arguments,
    layout: Arc<Layout>,
    updates: Updates,
}

/// A figure with its rule and its number of collaborators.
type Labelled = (&'static str, usize, Figure);

impl Bench {
    fn compare(
        &self,
        figures: &mut Vec<Labelled>,
        rule: &'static str,
        collaborators: usize,
    ) -> Result<(), Failure> {
        self.section(rule, collaborators);
        let Arguments { openfl, flower, nvflare, numpy, .. } = &self.arguments;
        let mut peers = vec![("run_numpy.py", numpy, false), ("run_flower.py", flower, false)];
        if rule == "weighted_mean" {
            peers.extend(nvflare.iter().map(|python| ("run_nvflare.py", python, false)));
            peers.extend([("run_openfl.py", openfl, false), ("run_openfl.py", openfl, true)]);
        }
        let ours = self.ours(rule, collaborators)?;
        self.row(rule, collaborators, &ours, &ours, "");
        for (script, python, persistence) in peers {
            match self.peer(script, python, rule, collaborators, persistence) {
                Err(why) => self.skip(script, python, rule, &why),
                Ok(answers) => {
                    for (figure, versions) in answers {
                        self.row(rule, collaborators, &figure, &ours, &versions);
                        figures.push((rule, collaborators, figure));
                    }
                }
            }
        }
        figures.push((rule, collaborators, ours));
        Ok(())
    }

    fn ours(&self, word: &str, collaborators: usize) -> Result<Figure, Failure> {
        let rule = rules::rule(word, collaborators, self.layout.f32_len())?;
        let threads = self.arguments.threads;
        let round = Round { rule, collaborators, arrival: Arrival::OneByOne, threads };
        round.fits(&self.layout, 0)?;
        let budget = Duration::from_secs_f64(if self.arguments.quick { 0.0 } else { 2.0 });
        let samples = round.measure(&self.updates, budget)?;
        Ok(Figure {
            system: OURS.to_owned(),
            cpu: samples.cpu() / 1e3,
            latency: samples.wall(0.5) / 1e3,
            latency_cpu: samples.last_cpu() / 1e3,
        })
    }

    /// Runs one peer's script.
    fn peer(
        &self,
        script: &str,
        python: &str,
        rule: &str,
        collaborators: usize,
        persistence: bool,
    ) -> Result<Vec<(Figure, String)>, String> {
        let tensors: Vec<_> = self.layout.tensors().iter().map(|t| json!([t.name, t.shape])).collect();
        let often = rule == "weighted_mean" && !persistence;
        let repetitions = if often { self.arguments.repetitions.max(1) } else { 1 };
        let job = json!({
            "tensors": tensors, "collaborators": collaborators, "rule": rule,
            "repetitions": repetitions, "persistence": persistence,
        });
        let threads = self.arguments.threads.to_string();
        let mut child = Command::new(python)
            .arg(scripts().join(script))
            .envs(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"].map(|name| (name, &threads)))
            // The library itself detects the processor.
            .env_remove("OPENBLAS_CORETYPE")
            .env_remove("OPENBLAS_L2_SIZE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{python} cannot be run: {error}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A script that ends early prints the reason itself.
            let _ = stdin.write_all(job.to_string().as_bytes());
        }
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        let answers: Vec<Value> = text
            .lines()
            .filter(|line| line.starts_with('{'))
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        if answers.is_empty() {
            let words = String::from_utf8_lossy(&output.stderr);
            return Err(words.lines().last().unwrap_or("no answer").to_owned());
        }
        answers.iter().map(figure).collect()
    }

    fn head(&self) {
        let Arguments { threads, layout: shape, json, .. } = &self.arguments;
        let (machine, params) = (machine::line(), self.layout.f32_len());
        if *json {
            println!(
                "{}",
                json!({"bench": "peers", "machine": machine, "threads": threads, "params": params, "layout": shape.to_string()})
            );
        } else {
            println!("{machine}");
            println!("peers: {params} parameters, layout {shape}, {threads} threads");
        }
    }

    fn section(&self, rule: &str, collaborators: usize) {
        if !self.arguments.json {
            println!("\n{rule}, {collaborators} updates");
            println!(
                "{:<30} {:>9} {:>11} {:>13} {:>9} {:>9}",
                "", "cpu s all", "last to new", "of it cpu s", "x cpu", "x latency"
            );
        }
    }

    fn row(&self, rule: &str, collaborators: usize, figure: &Figure, ours: &Figure, versions: &str) {
        let Figure { system, cpu, latency, latency_cpu } = figure;
        let (of_cpu, of_latency) = (cpu / ours.cpu, latency / ours.latency);
        if self.arguments.json {
            println!(
                "{}",
                json!({
                    "bench": "peers", "system": system, "versions": versions, "rule": rule,
                    "collaborators": collaborators, "cpu_s": cpu, "latency_s": latency,
                    "latency_cpu_s": latency_cpu, "cpu_to_ours": of_cpu, "latency_to_ours": of_latency,
                })
            );
        } else {
            println!(
                "{system:<30} {cpu:>9.3} {latency:>11.4} {latency_cpu:>13.4} {of_cpu:>9.2} {of_latency:>9.1}  {versions}"
            );
        }
    }

    fn skip(&self, script: &str, python: &str, rule: &str, why: &str) {
        if self.arguments.json {
            println!(
                "{}",
                json!({"bench": "peers", "script": script, "python": python, "rule": rule, "skipped": why})
            );
        } else {
            println!("skipped: {script}: {why}");
        }
    }

    /// Prints each goal with the measured figure.
    fn goals(&self, figures: &[Labelled]) {
        if !self.arguments.json {
            println!("\ngoals, set for 10 million parameters on one thread");
            println!("{:<72} {:>7} {:>9} {:>9}", "", "least", "seen", "by cpu");
        }
        for goal in GOALS {
            // numpy has one figure for both of the rules that work element by element.
            let against = if goal.rule == "trimmed_mean" { "median" } else { goal.rule };
            let of = |rule: &'static str| {
                let alike = move |(of, n, _): &&Labelled| *of == rule && *n == goal.collaborators;
                figures.iter().filter(alike).map(|(_, _, figure)| figure)
            };
            let Some(ours) = of(goal.rule).find(|figure| figure.system == OURS) else { continue };
            let persists = |figure: &&Figure| figure.system.ends_with(PERSISTENCE);
            for peer in of(against).filter(|f| f.system.starts_with(goal.peer) && !persists(f)) {
                let (seen, least) = ((goal.of)(peer) / (goal.of)(ours), goal.least);
                let steady = (goal.steady)(peer) / (goal.steady)(ours);
                let what = format!("{}, {}: {} / ours", goal.what, goal.collaborators, peer.system);
                let met = seen >= least && steady >= least;
                if self.arguments.json {
                    println!(
                        "{}",
                        json!({"bench": "peers", "goal": what, "least": least, "seen": seen, "seen_cpu": steady, "met": met})
                    );
                } else {
                    let word = if met { "met" } else { "MISSED" };
                    println!("{what:<72} {least:>7.2} {seen:>9.2} {steady:>9.2}  {word}");
                }
            }
        }
    }
}

fn figure(answer: &Value) -> Result<(Figure, String), String> {
    if let Some(why) = answer["skipped"].as_str() {
        return Err(why.to_owned());
    }
    let word = |key: &str| answer[key].as_str().unwrap_or("?").to_owned();
    let number = |key: &str| answer[key].as_f64().ok_or_else(|| format!("no {key} in the answer"));
    let persistence = if answer["persistence"] == true { PERSISTENCE } else { "" };
    let figure = Figure {
        system: word("system") + persistence,
        cpu: number("cpu_s")?,
        latency: number("latency_s")?,
        latency_cpu: number("latency_cpu_s")?,
    };
    let versions = format!("{}, numpy {}, python {}", word("version"), word("numpy"), word("python"));
    Ok((figure, versions))
}

/// The folder of the peers' scripts.
fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

fn latency(figure: &Figure) -> f64 {
    figure.latency
}

fn latency_cpu(figure: &Figure) -> f64 {
    figure.latency_cpu
}

fn cpu(figure: &Figure) -> f64 {
    figure.cpu
}

const fn latency_goal(
    what: &'static str,
    rule: &'static str,
    collaborators: usize,
    peer: &'static str,
    least: f64,
) -> Goal {
    Goal { what, rule, collaborators, peer, of: latency, steady: latency_cpu, least }
}

const fn cpu_goal(
    what: &'static str,
    rule: &'static str,
    collaborators: usize,
    peer: &'static str,
    least: f64,
) -> Goal {
    Goal { what, rule, collaborators, peer, of: cpu, steady: cpu, least }
}

const OURS: &str = "fl-runtime";
const PERSISTENCE: &str = ", persistence";
const GOALS: &[Goal] = &[
    latency_goal("last update to new model", "weighted_mean", 8, "OpenFL", 50.0),
    latency_goal("last update to new model", "weighted_mean", 32, "OpenFL", 50.0),
    latency_goal("last update to new model", "weighted_mean", 8, "Flower", 6.0),
    latency_goal("last update to new model", "weighted_mean", 32, "Flower", 20.0),
    cpu_goal("cpu of all updates", "weighted_mean", 8, "NVIDIA FLARE", 1.0 / 1.3),
    cpu_goal("cpu of all updates", "weighted_mean", 32, "NVIDIA FLARE", 1.0 / 1.3),
    latency_goal("median against its median", "median", 32, "numpy", 12.0),
    latency_goal("trimmed mean against its median", "trimmed_mean", 32, "numpy", 12.0),
    latency_goal("krum", "krum", 32, "Flower", 20.0),
];
