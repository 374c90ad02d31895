//! Whole rounds over loopback: an aggregator and its collaborators, each its own process, with a task that only perturbs
//! the model. Shows where a round's time goes, and the turnaround: from a round's last update staged to the next round's
//! first task sent. Beside it, in the same run, a copy of the same model in memory and a SHA-256 of it.
//!
//! `cargo run --release -p fl-benches --bin federation -- [--params N] [--collaborators N] [--rounds N] [--threads N] [--json]`
//!
//! Both programs must be built in the same profile: `cargo build --release`.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use argh::FromArgs;
use fl_engine::Digest;
use fl_tests::federation::{Process, federation, set_block, synthetic};
use serde_json::{Value, json};

/// Measures whole rounds.
#[derive(FromArgs)]
struct Arguments {
    /// parameters of the model (1000000)
    #[argh(option, default = "1_000_000")]
    params: u32,
    /// collaborators (3)
    #[argh(option, default = "3")]
    collaborators: usize,
    /// rounds; the first is left out, medians are shown (20)
    #[argh(option, default = "20")]
    rounds: u32,
    /// threads of the aggregator's and each collaborator's CPU pool (2)
    #[argh(option, default = "2")]
    threads: u32,
    /// one JSON object instead of a table
    #[argh(switch)]
    json: bool,
}

const SPANS: [&str; 7] = ["wait", "receive", "absorb", "finalise", "store", "broadcast", "turnaround"];

fn main() {
    let Arguments { params, collaborators, rounds, threads, json } = argh::from_env();
    let federation = federation("bench", collaborators, &|plan| {
        set_block(&synthetic(plan, params, rounds), "threads", &format!("{{link: 2, cpu: {threads}}}"))
    });
    let aggregator = Process::aggregator(&federation);
    let ready = aggregator.event("listening", Duration::from_secs(20))["ready_ms"].clone();
    let members: Vec<_> =
        federation.names.iter().map(|name| Process::collaborator(&federation, name)).collect();
    let lines = aggregator.events_to_the_end("round");
    let peak = aggregator.peak_memory();
    drop(members);
    let _ = std::fs::remove_dir_all(&federation.dir);
    assert_eq!(lines.len(), rounds as usize, "{}", aggregator.log());

    let bytes = params as usize * 4;
    let (copy, hash) = (copy_ms(bytes), hash_ms(bytes));
    let spans: Vec<(&str, f64, f64)> = SPANS
        .iter()
        .filter_map(|span| {
            let mut values: Vec<f64> =
                lines.iter().skip(1).filter_map(|line| line["millis"][span].as_f64()).collect();
            values.sort_by(f64::total_cmp);
            let most = *values.last()?;
            Some((*span, *values.get(values.len() / 2)?, most))
        })
        .collect();
    if json {
        let spans: serde_json::Map<String, Value> = spans
            .iter()
            .map(|(span, median, most)| ((*span).to_owned(), json!({"median_ms": median, "most_ms": most})))
            .collect();
        let object = json!({
            "params": params, "collaborators": collaborators, "rounds": rounds, "threads": threads, "ready_ms": ready,
            "copy_ms": copy, "sha256_ms": hash, "spans": spans, "peak_bytes": peak,
        });
        println!("{object}");
        return;
    }
    println!("{params} parameters, {collaborators} collaborators, {rounds} rounds; ready after {ready} ms");
    println!("a copy of the model {copy:.2} ms, its SHA-256 {hash:.2} ms");
    println!("{:<12}{:>12}{:>12}{:>16}", "span", "median ms", "most ms", "median / copy");
    for (span, median, most) in spans {
        println!("{span:<12}{median:>12.2}{most:>12.2}{:>16.1}", median / copy);
    }
}

/// Median time of copying `bytes` between buffers that are in use.
fn copy_ms(bytes: usize) -> f64 {
    let from = vec![1_u8; bytes];
    let mut to = vec![0_u8; bytes];
    median(|| {
        to.copy_from_slice(black_box(&from));
        black_box(&to);
    })
}

fn hash_ms(bytes: usize) -> f64 {
    let from = vec![1_u8; bytes];
    median(|| {
        black_box(Digest::of(black_box(&from)));
    })
}

fn median(mut run: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..11)
        .map(|_| {
            let started = Instant::now();
            run();
            started.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
