//! Times a step of training: forward pass, both passes back and the optimiser, for some networks, on some
//! numbers of threads, beside the most that the processor can multiply and add in the same run.
//!
//! A Python interpreter with PyTorch, named by `--torch` or the environment variable `FL_PEER_TORCH`, runs
//! the same networks on the same data from the same parameters. Without such an interpreter, a line says so.
//!
//! `cargo run --release -p fl-benches --bin training -- [--network WORD]... [--threads N]... [--backend
//! own|burn]... [--torch PYTHON] [--steps N] [--repetitions N] [--quick] [--json]`

use std::{
    env,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::Arc,
    thread,
};

use argh::FromArgs;
use fl_benches::{
    Failure, machine, resident,
    timing::{Took, timed},
};
use fl_engine::{
    Draws, Name, RoundNo,
    model::{self, ModelSpec},
    plan::{Metric, Plan},
};
use fl_kernels::{Kit, Level, peak};
use fl_learn::{
    data::{Dataset, SplitData},
    ndarray::ArrayD,
    task::{CustomTasks, Runner, Team, Watch},
};
use fl_sys::crew::Crew;
use serde_json::{Value, json};

/// Times a step of training.
#[derive(FromArgs)]
struct Arguments {
    /// mlp, cnn, convolutions, resnet, unet or unet_large; may be repeated (all but unet_large)
    #[argh(option)]
    network: Vec<String>,
    /// threads; may be repeated (1, 2)
    #[argh(option)]
    threads: Vec<usize>,
    /// own or burn; may be repeated (own)
    #[argh(option)]
    backend: Vec<String>,
    /// python with torch (environment: FL_PEER_TORCH; python3)
    #[argh(option, default = "env::var(\"FL_PEER_TORCH\").unwrap_or_else(|_| \"python3\".to_owned())")]
    torch: String,
    /// steps of one repetition (8)
    #[argh(option, default = "8")]
    steps: u32,
    /// repetitions after one that warms up (7)
    #[argh(option, default = "7")]
    repetitions: usize,
    /// two small networks, in seconds: shows that it runs
    #[argh(switch)]
    quick: bool,
    /// one JSON object a line
    #[argh(switch)]
    json: bool,
}

/// A network to train.
struct Network {
    word: &'static str,
    about: &'static str,
    model: &'static str,
    batch: usize,
    /// The classes of a sample; none where each pixel of the output is a share.
    classes: Option<u32>,
}

fn main() -> ExitCode {
    fl_benches::ended(run(argh::from_env()))
}

fn run(mut arguments: Arguments) -> Result<(), Failure> {
    if arguments.quick {
        (arguments.steps, arguments.repetitions) = (1, 1);
    }
    if arguments.threads.is_empty() {
        arguments.threads = vec![1, 2];
    }
    if arguments.backend.is_empty() {
        arguments.backend = vec!["own".to_owned()];
    }
    let asked = |network: &&Network| match &arguments.network[..] {
        [] if arguments.quick => ["mlp", "cnn"].contains(&network.word),
        [] => network.word != "unet_large",
        words => words.iter().any(|word| word == network.word),
    };
    let networks: Vec<&Network> = NETWORKS.iter().filter(asked).collect();
    if let Some(strange) = arguments.network.iter().find(|word| NETWORKS.iter().all(|n| n.word != **word)) {
        return Err(format!("no network is called {strange}; see --help").into());
    }
    let level = Level::best();
    let about = format!("{}, {}", machine::line(), level.name());
    if arguments.json {
        println!("{}", json!({ "bench": "training", "machine": about }));
    } else {
        println!("{about}\n{HEAD}");
    }
    for network in networks {
        let bench = Bench::new(network, &arguments)?;
        for &threads in &arguments.threads {
            let most = most(level, threads, arguments.quick);
            for backend in &arguments.backend {
                bench.ours(backend, threads, most)?;
            }
            for channels_last in [false, true] {
                if !channels_last || bench.spec.input.len() == 3 {
                    bench.torch(threads, most, channels_last)?;
                }
            }
        }
    }
    Ok(())
}

/// Operations a second that so many threads reach with multiply-adds in registers.
fn most(level: Level, threads: usize, quick: bool) -> f64 {
    let rounds = if quick { 1 << 16 } else { 1 << 22 };
    with_team(threads, |team| {
        let mut operations = 0;
        let best = (0..5).map(|_| {
            timed(|| operations = peak::multiply_adds(Kit { level, team }, rounds)).wall.as_secs_f64()
        });
        let best = best.fold(f64::INFINITY, f64::min);
        operations as f64 * threads as f64 / best
    })
}

/// Calls `work` with a team of so many threads.
fn with_team<T>(threads: usize, work: impl FnOnce(Team<'_>) -> T) -> T {
    let crew = Crew::default();
    thread::scope(|scope| {
        (1..threads).for_each(|_| drop(scope.spawn(|| crew.help())));
        let out = work(&|work: &(dyn Fn() + Sync)| crew.run(work));
        crew.end();
        out
    })
}

/// One network with its data.
struct Bench<'a> {
    network: &'a Network,
    arguments: &'a Arguments,
    spec: ModelSpec,
    features: Vec<f32>,
    labels: Vec<f32>,
    /// Operations of a step: a multiply-add is two.
    operations: f64,
}

/// What a step took.
struct Figure {
    system: String,
    wall: f64,
    cpu: f64,
    peak: u64,
    loss: f64,
}

impl<'a> Bench<'a> {
    fn new(network: &'a Network, arguments: &'a Arguments) -> Result<Self, Failure> {
        let spec = ModelSpec::parse(network.model).map_err(|error| error.to_string())?;
        let mut draws = Draws::new(7);
        let of_sample: usize = spec.input.iter().map(|side| *side as usize).product();
        let features = (0..network.batch * of_sample).map(|_| (2.0 * draws.unit() - 1.0) as f32).collect();
        let outputs: usize = model::output_shape(&spec)?.iter().map(|side| *side as usize).product();
        let labels = match network.classes {
            Some(classes) => (0..network.batch).map(|row| (row as u32 % classes) as f32).collect(),
            None => {
                (0..network.batch * outputs).map(|_| if draws.unit() < 0.5 { 0.0 } else { 1.0 }).collect()
            }
        };
        let operations = operations(&spec)? * network.batch as f64;
        Ok(Self { network, arguments, spec, features, labels, operations })
    }

    fn plan(&self, backend: &str, threads: usize) -> Result<Plan, Failure> {
        let (loss, classes) = match self.network.classes {
            Some(classes) => ("cross_entropy", format!(", classes: {classes}")),
            None => ("binary_cross_entropy", String::new()),
        };
        let (model, batch, steps) = (self.network.model, self.network.batch, self.arguments.steps);
        Ok(Plan::parse(&format!(
            "schema: 1\nfederation: bench\nrounds: 1\nmodel: {model}\nthreads: {{link: 1, cpu: {threads}}}\n\
             backend: {backend}\ndata: {{loader: npy, features: x, labels: y{classes}}}\n\
             tasks: {{train: {{kind: train, steps: {steps}, batch: {batch}, loss: {loss}, metrics: [loss], \
             optimiser: {{sgd: {{learning_rate: {RATE}, momentum: {MOMENTUM}}}}}}}}}\n"
        ))?)
    }

    fn ours(&self, backend: &str, threads: usize, most: f64) -> Result<(), Failure> {
        let plan = Arc::new(self.plan(backend, threads)?);
        let name: Name = "one".parse()?;
        let task: Name = "train".parse()?;
        let shape: Vec<usize> = [self.network.batch]
            .into_iter()
            .chain(self.spec.input.iter().map(|side| *side as usize))
            .collect();
        let rows = Dataset::new(
            ArrayD::from_shape_vec(shape, self.features.clone())?,
            ArrayD::from_shape_vec(self.label_shape()?, self.labels.clone())?,
        );
        let data = SplitData { train: rows.clone(), validation: rows.clone(), test: rows };
        let base = plan.initial_state()?;
        resident::reset_peak();
        let mut runner =
            Runner::new(Arc::clone(&plan), Arc::clone(base.layout()), &name, Some(data), CustomTasks::new())?;
        if let Some(note) = runner.note() {
            println!("{note}");
        }
        let mut loss = 0.0;
        let mut samples: Vec<Took> = Vec::new();
        with_team(threads, |team| {
            let watch = Watch { cancelled: &|| false, progress: &|_| {}, team };
            for repetition in 0..=self.arguments.repetitions {
                let base = base.clone();
                let mut output = None;
                let took = timed(|| output = Some(runner.run_watched(&task, RoundNo(0), base, watch)));
                let metrics = output.ok_or("no output")??.metrics;
                loss =
                    metrics.iter().find(|(metric, _)| *metric == Metric::Loss).map_or(0.0, |(_, loss)| *loss);
                if repetition > 0 {
                    samples.push(took);
                }
            }
            Ok::<_, Failure>(())
        })?;
        let median = |of: fn(&Took) -> f64| {
            let mut times: Vec<f64> = samples.iter().map(of).collect();
            times.sort_by(f64::total_cmp);
            times[times.len() / 2] / f64::from(self.arguments.steps)
        };
        let (wall, cpu) = (median(|took| took.wall.as_secs_f64()), median(|took| took.cpu.as_secs_f64()));
        let system = format!("fl-runtime, {backend}");
        self.row(&Figure { system, wall, cpu, peak: resident::peak(), loss }, threads, most);
        Ok(())
    }

    fn label_shape(&self) -> Result<Vec<usize>, Failure> {
        let sides = model::output_shape(&self.spec)?.into_iter().map(|side| side as usize);
        let rows = [self.network.batch].into_iter();
        Ok(if self.network.classes.is_some() { rows.collect() } else { rows.chain(sides).collect() })
    }

    /// Runs the peer's script.
    fn torch(&self, threads: usize, most: f64, channels_last: bool) -> Result<(), Failure> {
        let dir = env::temp_dir().join(format!("fl-training-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        let state = self.plan("own", threads)?.initial_state()?;
        let mut files = serde_json::Map::new();
        for (name, values) in
            [("features", &self.features), ("labels", &self.labels), ("parameters", &state.f32)]
        {
            let path = dir.join(name);
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            std::fs::write(&path, bytes)?;
            files.insert(name.to_owned(), json!(path));
        }
        let job = json!({
            "model": self.spec, "files": files, "rows": self.network.batch, "threads": threads,
            "loss": if self.network.classes.is_some() { "cross_entropy" } else { "binary_cross_entropy" },
            "learning_rate": RATE, "momentum": MOMENTUM, "channels_last": channels_last,
            "steps": self.arguments.steps, "repetitions": self.arguments.repetitions,
        });
        let answer = self.answer(&job);
        std::fs::remove_dir_all(&dir)?;
        match answer {
            Ok(answer) => {
                let number =
                    |key: &str| answer[key].as_f64().ok_or_else(|| format!("no {key} in the answer"));
                let last = if channels_last { ", channels_last" } else { "" };
                let figure = Figure {
                    system: answer["system"].as_str().unwrap_or("PyTorch").to_owned() + last,
                    wall: number("wall_s")?,
                    cpu: number("cpu_s")?,
                    peak: number("peak_bytes")? as u64,
                    loss: number("loss")?,
                };
                self.row(&figure, threads, most);
            }
            Err(why) if self.arguments.json => {
                println!("{}", json!({"bench": "training", "script": SCRIPT, "skipped": why}));
            }
            Err(why) => println!("skipped: {SCRIPT}: {why}"),
        }
        Ok(())
    }

    fn answer(&self, job: &Value) -> Result<Value, String> {
        let mut child = Command::new(&self.arguments.torch)
            .arg(scripts().join(SCRIPT))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", self.arguments.torch))?;
        if let Some(mut input) = child.stdin.take() {
            // A script that ends early says why itself.
            let _ = input.write_all(job.to_string().as_bytes());
        }
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        let answer: Value =
            text.lines().last().and_then(|line| serde_json::from_str(line).ok()).ok_or_else(|| {
                let errors = String::from_utf8_lossy(&output.stderr);
                errors.lines().last().unwrap_or("the script printed no answer").to_owned()
            })?;
        match answer["skipped"].as_str() {
            Some(why) => Err(why.to_owned()),
            None => Ok(answer),
        }
    }

    fn row(&self, figure: &Figure, threads: usize, most: f64) {
        let Network { word, about, batch, .. } = self.network;
        let Figure { system, wall, cpu, peak, loss } = figure;
        let (wall_ms, cpu_ms, megabytes) = (wall * 1e3, cpu * 1e3, *peak as f64 / 1e6);
        let (samples, speed) = (*batch as f64 / wall, self.operations / wall);
        let share = speed / most;
        let gflops = speed / 1e9;
        if self.arguments.json {
            println!(
                "{}",
                json!({
                    "bench": "training", "network": word, "about": about, "system": system, "threads": threads,
                    "wall_ms": wall_ms, "cpu_ms": cpu_ms, "samples_s": samples, "gflop_s": gflops,
                    "of_peak": share, "peak_bytes": peak, "loss": loss,
                })
            );
        } else {
            println!(
                "{word:<13} {threads:>2}  {system:<32} {wall_ms:>9.2} {cpu_ms:>9.2} {samples:>9.0} {gflops:>8.1} \
                 {share:>6.2} {megabytes:>7.0}  {loss:.5}"
            );
        }
    }
}

/// Operations of one sample's step: the sums of convolutions and linear layers, forward, by the weights, and
/// by the input, except for the sample.
fn operations(spec: &ModelSpec) -> Result<f64, Failure> {
    let mut sum = 0.0;
    for at in model::place(spec)? {
        let product = |sides: &[u32]| sides.iter().map(|side| f64::from(*side)).product::<f64>();
        let passes = if at.from.contains(&0) { 2.0 } else { 3.0 };
        let sums = match (at.layer, at.layer.window(at.input.len() - 1)) {
            (_, Some(window)) => window.weights.map_or(0.0, |weights| {
                let taps = product(&window.kernel);
                let of_image = if weights.transposed { &at.input } else { &at.output };
                let channels = f64::from(at.input[0]) * f64::from(at.output[0]) / f64::from(weights.groups);
                channels * taps * product(&of_image[1..])
            }),
            (model::Layer::Linear { out, .. }, None) => f64::from(*out) * product(&at.input),
            _ => 0.0,
        };
        sum += 2.0 * passes * sums;
    }
    Ok(sum)
}

/// The folder of the peers' scripts.
fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

const SCRIPT: &str = "run_torch.py";
const RATE: f64 = 0.001;
const MOMENTUM: f64 = 0.9;
const HEAD: &str = "network  threads  system                                ms wall    ms cpu samples/s  GFLOP/s of peak      MB  loss";

const NETWORKS: &[Network] = &[
    Network {
        word: "mlp",
        about: "784-128-10",
        model: "{network: mlp, input: [784], hidden: [128], outputs: 10}",
        batch: 64,
        classes: Some(10),
    },
    Network {
        word: "cnn",
        about: "convolutions of 16 and 32 channels, 1×28×28",
        model: "{network: cnn, input: [1, 28, 28], channels: [16, 32], outputs: 10}",
        batch: 64,
        classes: Some(10),
    },
    Network {
        word: "convolutions",
        about: "eight convolutions of 16 to 128 channels with batch normalisation, 3×64×64",
        model: EIGHT,
        batch: 8,
        classes: Some(10),
    },
    Network {
        word: "resnet",
        about: "ResNet-18, 3×64×64",
        model: "{network: resnet, input: [3, 64, 64], depth: 18, outputs: 10}",
        batch: 16,
        classes: Some(10),
    },
    Network {
        word: "unet",
        about: "U-Net of base 16, 3×64×64",
        model: "{network: unet, input: [3, 64, 64], base: 16, sigmoid: false}",
        batch: 4,
        classes: None,
    },
    Network {
        word: "unet_large",
        about: "U-Net of base 64, 3×332×332",
        model: "{network: unet, input: [3, 332, 332], base: 64, sigmoid: false}",
        batch: 1,
        classes: None,
    },
];

const EIGHT: &str = "{input: [3, 64, 64], blocks: {
    one: [{conv2d: {name: conv, out: $out, kernel: 3, padding: 1}}, {batch_norm: {name: norm}}, relu],
    two: [{block: one, name: a, out: $out}, {block: one, name: b, out: $out}, {max_pool: {kernel: 2}}]},
    layers: [{block: two, name: s1, out: 16}, {block: two, name: s2, out: 32}, {block: two, name: s3, out: 64},
    {block: two, name: s4, out: 128}, flatten, {linear: {name: fc, out: 10}}]}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_of_pytorch_knows_every_layer_of_the_networks() -> Result<(), Failure> {
        let script = std::fs::read_to_string(scripts().join(SCRIPT))?;
        for network in NETWORKS {
            let spec = ModelSpec::parse(network.model).map_err(|error| error.to_string())?;
            let written = json!(spec);
            let layers = written["layers"].as_array().ok_or("a model is written without layers")?;
            for layer in layers {
                let word = layer.as_str().or_else(|| layer.as_object()?.keys().next().map(String::as_str));
                let word = word.ok_or("a layer is written without a word")?;
                assert!(script.contains(&format!("\"{word}\"")), "{}: {word}", network.word);
            }
        }
        Ok(())
    }
}
