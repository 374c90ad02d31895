//! Measures the end of a round: the time from the last update staged until the next model, with its bytes and
//! their root, is ready to send.
//!
//! The cases differ in the size of the model, the number of collaborators, the rule, and how the model is cut
//! into tensors. All run through the product's own slots, buffers, pool and aggregation. Updates come *one by
//! one*, each taken in as it is staged, or *all at once*, when the updates of a round arrive together. The
//! same run measures the processor time over all updates, a copy of the model on one core, and an f32 axpy of
//! each update on one core.
//!
//! `cargo run --release -p fl-benches --bin aggregation_latency -- [--quick] [--params N]... [--collaborators
//! N]... [--rule WORD]... [--layout one|sixty|unet]... [--threads N] [--seconds S] [--json]`

use std::{process::ExitCode, time::Duration};

use argh::FromArgs;
use fl_benches::{
    Failure,
    front::{Arrival, Round},
    limits::Limits,
    machine, resident,
    rules::{self, WORDS},
    shape::Shape,
    timing::Samples,
    updates::Updates,
};
use fl_engine::ByteCount;
use serde_json::json;

/// Measures the end of a round.
#[derive(FromArgs)]
struct Arguments {
    /// parameters of the model; may be repeated (100000, 1000000, 10000000, 100000000); the U-Net has its own
    #[argh(option)]
    params: Vec<usize>,
    /// updates of a round; may be repeated (2, 8, 32, 128, and 1000 up to 100000 parameters)
    #[argh(option)]
    collaborators: Vec<usize>,
    /// a plan's word for a rule; may be repeated (all)
    #[argh(option)]
    rule: Vec<String>,
    /// one, sixty or unet: how the model is cut into tensors; may be repeated (all)
    #[argh(option)]
    layout: Vec<Shape>,
    /// threads of the CPU pool (1); the limits are measured on one
    #[argh(option, default = "1")]
    threads: usize,
    /// seconds for each case, which is run three times at least (1)
    #[argh(option, default = "1.0")]
    seconds: f64,
    /// a small model and eight collaborators, in seconds: shows that it runs
    #[argh(switch)]
    quick: bool,
    /// one JSON object a line
    #[argh(switch)]
    json: bool,
}

/// A model that cases are measured with.
struct Model {
    shape: Shape,
    updates: Updates,
    limits: Limits,
}

fn main() -> ExitCode {
    fl_benches::ended(run(argh::from_env()))
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let arguments = arguments.filled();
    if let Some(word) = arguments.rule.iter().find(|word| !WORDS.contains(&word.as_str())) {
        return Err(format!("rule {word:?}: {}", WORDS.join(", ")).into());
    }
    let sink = Sink { json: arguments.json };
    sink.head(arguments.threads);
    for shape in &arguments.layout {
        for params in arguments.sizes(*shape) {
            let layout = shape.layout(params);
            // The updates' noise, and the buffers of the limits.
            let (needed, room) = (3 * layout.byte_len() as u64, resident::available());
            if needed > room {
                let why = format!("needs {} of {}", ByteCount(needed), ByteCount(room));
                sink.skip(&format!("{shape}, {}", short(layout.f32_len())), &why);
                continue;
            }
            let updates = Updates::new(layout);
            let limits = Limits::of(&updates.bytes(0), if arguments.quick { 3 } else { 11 });
            arguments.cases(&Model { shape: *shape, updates, limits }, &sink)?;
        }
    }
    Ok(())
}

impl Arguments {
    /// Fills in the defaults.
    fn filled(mut self) -> Self {
        if self.quick {
            self.seconds = 0.0;
        }
        let or = |given: &mut Vec<usize>, quick: usize, all: &[usize]| {
            if given.is_empty() {
                *given = if self.quick { vec![quick] } else { all.to_vec() };
            }
        };
        or(&mut self.params, 100_000, &[100_000, 1_000_000, 10_000_000, 100_000_000]);
        or(&mut self.collaborators, 8, &[2, 8, 32, 128, MANY]);
        if self.rule.is_empty() {
            self.rule = WORDS.iter().map(|word| (*word).to_owned()).collect();
        }
        if self.layout.is_empty() {
            self.layout = if self.quick { vec![Shape::Sixty] } else { Shape::ALL.to_vec() };
        }
        self
    }

    fn sizes(&self, shape: Shape) -> Vec<usize> {
        if shape == Shape::Unet { vec![0] } else { self.params.clone() }
    }

    fn cases(&self, model: &Model, sink: &Sink) -> Result<(), Failure> {
        let layout = model.updates.layout();
        for &collaborators in &self.collaborators {
            if collaborators == MANY && layout.f32_len() > FEW_PARAMETERS && self.collaborators.len() > 1 {
                continue;
            }
            for word in &self.rule {
                let case = format!("{}, {}, {collaborators}, {word}", model.shape, short(layout.f32_len()));
                let rule = match rules::rule(word, collaborators, layout.f32_len()) {
                    Ok(rule) => rule,
                    Err(why) => {
                        sink.skip(&case, &why);
                        continue;
                    }
                };
                for arrival in Arrival::ALL {
                    let round = Round { rule: rule.clone(), collaborators, arrival, threads: self.threads };
                    if let Err(why) = round.fits(layout, 0) {
                        sink.skip(&format!("{case}, {}", arrival.word()), &why);
                        continue;
                    }
                    resident::reset_peak();
                    let samples = round.measure(&model.updates, Duration::from_secs_f64(self.seconds))?;
                    sink.row(model, word, &round, &samples);
                }
            }
        }
        Ok(())
    }
}

/// Prints the figures.
struct Sink {
    json: bool,
}

impl Sink {
    fn head(&self, threads: usize) {
        let machine = machine::line();
        if self.json {
            println!("{}", json!({"bench": "aggregation_latency", "machine": machine, "threads": threads}));
            return;
        }
        println!("{machine}");
        println!("aggregation_latency: {threads} threads; last update staged to model ready to send\n");
        println!(
            "{:<7} {:>6} {:>5} {:<17} {:<10} {:>9} {:>9} {:>4} {:>9} {:>7} {:>9} {:>9} {:>8}",
            "layout",
            "params",
            "n",
            "rule",
            "arrival",
            "p50 ms",
            "p99 ms",
            "of",
            "cpu s all",
            "GB/s",
            "x memcpy",
            "x n axpy",
            "peak MB"
        );
    }

    fn skip(&self, case: &str, why: &str) {
        if self.json {
            println!("{}", json!({"bench": "aggregation_latency", "case": case, "skipped": why}));
        } else {
            println!("skipped: {case}: {why}");
        }
    }

    fn row(&self, model: &Model, rule: &str, round: &Round, samples: &Samples) {
        let Round { collaborators, arrival, threads, .. } = *round;
        let layout = model.updates.layout();
        let (p50, p99, cpu) = (samples.wall(0.5), samples.wall(0.99), samples.cpu());
        let gigabytes = layout.byte_len() as f64 * collaborators as f64 / cpu / 1e6;
        let of_memcpy = p50 / model.limits.memcpy.wall;
        let of_axpy = cpu / (model.limits.axpy.cpu * collaborators as f64);
        let peak = resident::peak();
        if self.json {
            println!(
                "{}",
                json!({
                    "bench": "aggregation_latency", "layout": model.shape.to_string(),
                    "params": layout.f32_len(), "collaborators": collaborators, "rule": rule,
                    "arrival": arrival.word(), "threads": threads, "repetitions": samples.count(),
                    "p50_ms": p50, "p99_ms": p99, "cpu_s": cpu / 1e3, "gb_per_cpu_s": gigabytes,
                    "memcpy_ms": model.limits.memcpy.wall, "axpy_cpu_ms": model.limits.axpy.cpu,
                    "latency_to_memcpy": of_memcpy, "cpu_to_axpy": of_axpy, "peak_bytes": peak,
                })
            );
            return;
        }
        println!(
            "{:<7} {:>6} {:>5} {:<17} {:<10} {:>9.2} {:>9.2} {:>4} {:>9.3} {:>7.2} {:>9.1} {:>9.2} {:>8}",
            model.shape.to_string(),
            short(layout.f32_len()),
            collaborators,
            rule,
            arrival.word(),
            p50,
            p99,
            samples.count(),
            cpu / 1e3,
            gigabytes,
            of_memcpy,
            of_axpy,
            peak >> 20
        );
    }
}

/// A number of parameters in short form.
fn short(params: usize) -> String {
    match params {
        1_000_000.. => format!("{}M", params / 1_000_000),
        1000.. => format!("{}k", params / 1000),
        _ => params.to_string(),
    }
}

/// The number of collaborators that only small models are measured with by default.
const MANY: usize = 1000;
const FEW_PARAMETERS: usize = 100_000;
