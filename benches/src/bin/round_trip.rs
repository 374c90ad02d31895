//! Measures whole rounds over loopback: an aggregator and its collaborators, each its own process, with
//! mutual TLS and a task that only perturbs the model. The same run measures what one bulk transfer costs
//! over the same kind of link, and over TLS on TCP.
//!
//! `cargo run --release -p fl-benches --bin round_trip -- [--params N --collaborators N] [--rounds N]
//! [--socket native|portable|tcp] [--threads N] [--mtu N] [--json] [--quick]`
//!
//! Without `--params`, three cases are measured: 100,000 parameters in one tensor with 2 and with 8
//! collaborators, and a U-Net's 142 tensors with 2. A round lasts from its first task sent to the next
//! round's first task sent: model out, task, update in, sum. The bytes of a round are every collaborator's
//! model and update. The processor time is that of all processes, with the task and every hash. The first
//! round is left out. At the end stands how a round over TCP compares with the same round over QUIC, beside
//! the limit of this ratio. Build both programs in the same profile: `cargo build --release`.

use std::time::Duration;

use argh::FromArgs;
use fl_benches::{
    Failure,
    loopback::{Authority, Cost, Ends, PIECE},
    machine, process, shape,
};
use fl_host_tools::{demo::Federation, workspace::set_key};
use fl_runtime::internal::net::{Carrier, SocketKind};
use fl_tests::federation::{Process, federation, set_block, synthetic, synthetic_with};
use serde_json::{Map, Value, json};

/// Measures whole rounds.
#[derive(FromArgs)]
struct Arguments {
    /// parameters of the model
    #[argh(option)]
    params: Option<u32>,
    /// collaborators, with --params (2)
    #[argh(option, default = "2")]
    collaborators: usize,
    /// rounds, at least 4 (60 of a small model, 8 of a large one)
    #[argh(option)]
    rounds: Option<u32>,
    /// native, portable or tcp (all three)
    #[argh(option)]
    socket: Option<String>,
    /// threads of the aggregator's and each collaborator's CPU pool (2)
    #[argh(option, default = "2")]
    threads: u32,
    /// largest datagram, bytes (1452)
    #[argh(option, default = "1452")]
    mtu: u16,
    /// one JSON object a line instead of a table
    #[argh(switch)]
    json: bool,
    /// one small case, few rounds: shows that it works
    #[argh(switch)]
    quick: bool,
}

/// One federation to be run.
#[derive(Clone, Copy)]
struct Case {
    /// Parameters of a model of one tensor; `None` for a U-Net.
    params: Option<u32>,
    collaborators: usize,
    rounds: u32,
}

/// What a round costs.
struct Figures {
    /// Shortest and median time, milliseconds.
    whole: (f64, f64),
    /// Medians of the aggregator's own spans, milliseconds.
    spans: Vec<(&'static str, f64)>,
    /// Processor time of all processes for a round, seconds.
    cpu: f64,
    /// Elements and tensors of the model.
    model: (usize, usize),
    /// Models and updates on the wire in a round, bytes.
    bytes: f64,
    /// Highest memory of the aggregator, bytes.
    peak: u64,
}

fn main() -> Result<(), Failure> {
    let arguments: Arguments = argh::from_env();
    let large = |params: Option<u32>| params.is_none_or(|params| params > 10 * SMALL);
    let rounds = |params| arguments.rounds.unwrap_or(if large(params) { 8 } else { 60 }).max(4);
    let case = |params, collaborators| Case { params, collaborators, rounds: rounds(params) };
    let cases = match arguments.params {
        _ if arguments.quick => vec![Case { params: Some(10_000), collaborators: 2, rounds: 6 }],
        Some(params) => vec![case(Some(params), arguments.collaborators)],
        None => vec![case(Some(SMALL), 2), case(Some(SMALL), 8), case(None, 2)],
    };
    let native = Carrier::Quic(SocketKind::Native);
    let portable = Carrier::Quic(SocketKind::Portable);
    let carriers = match arguments.socket.as_deref() {
        None => vec![native, portable, Carrier::Tcp],
        Some("native") => vec![native],
        Some("portable") => vec![portable],
        Some("tcp") => vec![Carrier::Tcp],
        Some(other) => return Err(format!("socket {other}: native, portable or tcp").into()),
    };
    let mib = if arguments.quick { 16 } else { 256 };
    if arguments.json {
        println!("{}", json!({"bench": "round_trip", "machine": machine::line(), "mtu": arguments.mtu}));
    } else {
        println!("{}\nround_trip: {} bytes a datagram\n", machine::line(), arguments.mtu);
    }
    let (ends, authority) = (Ends::new()?, Authority::new()?);
    // Shortest and median round of each case and carrier.
    let mut rounds: Vec<(usize, Carrier, (f64, f64))> = Vec::new();
    let best = |costs: [Cost; 3]| Cost {
        wall: costs.iter().map(|cost| cost.wall).fold(f64::MAX, f64::min),
        cpu: costs.iter().map(|cost| cost.cpu).fold(f64::MAX, f64::min),
    };
    let tls = || ends.tls(&authority, mib);
    let tls = best([tls()?, tls()?, tls()?]);
    print_limit("tls over tcp", tls, mib, arguments.json);
    for carrier in carriers {
        let link = || ends.link(&authority, carrier, arguments.mtu, mib);
        let link = best([link()?, link()?, link()?]);
        print_limit(&format!("link over {}", name(carrier)), link, mib, arguments.json);
        for (number, case) in cases.iter().enumerate() {
            let figures = measure(*case, carrier, &arguments)?;
            rounds.push((number, carrier, figures.whole));
            figures.print(*case, carrier, [("tls", tls), ("link", link)], mib, arguments.json);
        }
    }
    for (number, case) in cases.iter().enumerate() {
        let round = |carrier| rounds.iter().find(|(of, over, _)| (*of, *over) == (number, carrier));
        if let (Some((.., tcp)), Some((.., quic))) = (round(Carrier::Tcp), round(native)) {
            print_comparison(*case, *tcp, *quic, arguments.json);
        }
    }
    Ok(())
}

/// Prints the ratio of a round over TCP to the same round over QUIC's native socket.
fn print_comparison(case: Case, tcp: (f64, f64), quic: (f64, f64), json: bool) {
    let Case { params, collaborators, .. } = case;
    let limit = if params.is_some() { 1.3 } else { 1.0 };
    let (best, median) = (tcp.0 / quic.0, tcp.1 / quic.1);
    if json {
        println!(
            "{}",
            json!({
                "bench": "round_trip", "compared": "tcp to quic", "params": params, "collaborators": collaborators,
                "ratio": best, "median_ratio": median, "limit": limit, "holds": best <= limit,
            })
        );
        return;
    }
    let model = params.map_or_else(|| "a U-Net".to_owned(), |params| format!("{params} parameters"));
    let holds = if best <= limit { "holds" } else { "does NOT hold" };
    println!(
        "tcp to quic, {model}, {collaborators} collaborators: {best:.2}, median {median:.2}; limit {limit}: {holds}"
    );
}

/// The UDP socket of QUIC, or TCP.
fn name(carrier: Carrier) -> &'static str {
    match carrier {
        Carrier::Quic(kind) => kind.as_str(),
        Carrier::Tcp => "tcp",
    }
}

fn print_limit(name: &str, cost: Cost, mib: usize, json: bool) {
    let gigabytes = (mib * PIECE) as f64 / 1e9;
    let (speed, cpu) = (gigabytes / cost.wall, cost.cpu / gigabytes);
    if json {
        println!("{}", json!({"bench": "round_trip", "limit": name, "gb_per_s": speed, "cpu_s_per_gb": cpu}));
    } else {
        println!("one bulk transfer, {name}: {speed:.2} GB/s, {cpu:.2} cpu s/GB");
    }
}

fn measure(case: Case, carrier: Carrier, arguments: &Arguments) -> Result<Figures, Failure> {
    let Case { params, collaborators, rounds } = case;
    let federation = federation("round-trip", collaborators, &|plan| {
        let plan = match params {
            Some(params) => synthetic(plan, params, rounds),
            None => synthetic_with(plan, &shape::unet_in_a_row(), rounds),
        };
        let threads = format!("{{link: 2, cpu: {}}}", arguments.threads);
        let plan = set_block(&plan, "threads", &threads);
        let quorum = format!("{{count: {{min: {collaborators}}}, time: {{min: 0s, max: 10m}}}}");
        let plan = set_block(&plan, "quorum", &quorum);
        set_block(&plan, "limits", "{memory: 4GiB, spill: 64MiB}")
    });
    set_sites(&federation, carrier, arguments.mtu)?;
    let layout = federation.plan.layout()?;
    let aggregator = Process::aggregator(&federation);
    aggregator.event("listening", LATER);
    let members: Vec<_> = Process::collaborators(&federation);
    let everybody = || -> Result<f64, Failure> {
        let ids = members.iter().chain([&aggregator]).map(Process::id);
        let times = ids.map(process::cpu).collect::<Result<Vec<Duration>, Failure>>()?;
        Ok(times.iter().sum::<Duration>().as_secs_f64())
    };
    let mut lines = Vec::new();
    let mut cpu = (0.0, 0.0);
    // After the last two rounds a process may have ended.
    for round in 0..rounds - 1 {
        lines.push(aggregator.event("round", LATER));
        match round {
            0 => cpu.0 = everybody()?,
            last if last == rounds - 2 => cpu.1 = everybody()?,
            _ => {}
        }
    }
    let peak = aggregator.peak_memory();
    aggregator.events_to_the_end("round");
    drop(members);
    let _ = std::fs::remove_dir_all(&federation.dir);

    let sorted = |span: &str| {
        let values = lines.iter().skip(1).filter_map(|line| line["millis"][span].as_f64());
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let median = |span: &'static str| Some((span, *sorted(span).get(sorted(span).len() / 2)?));
    let whole = sorted("whole");
    let (Some(best), Some(middle)) = (whole.first(), whole.get(whole.len() / 2)) else {
        return Err(format!("no round was measured\n{}", aggregator.log()).into());
    };
    Ok(Figures {
        whole: (*best, *middle),
        spans: SPANS.into_iter().filter_map(median).collect(),
        cpu: (cpu.1 - cpu.0) / f64::from(rounds - 2),
        model: (layout.f32_len() + layout.i64_len(), layout.tensors().len()),
        bytes: 2.0 * collaborators as f64 * layout.byte_len() as f64,
        peak,
    })
}

/// Sets what carries the links in every machine's site file.
fn set_sites(federation: &Federation, carrier: Carrier, mtu: u16) -> Result<(), Failure> {
    let (link, socket) = match carrier {
        Carrier::Quic(kind) => ("quic", kind.as_str()),
        Carrier::Tcp => ("tcp", "auto"),
    };
    let members = federation.names.iter().map(|name| federation.dir.join(name));
    for folder in members.chain([federation.aggregator.clone()]) {
        let file = folder.join("plan/site.yaml");
        let text = set_key(&std::fs::read_to_string(&file)?, "socket", socket, "mtu");
        let text = set_key(&text, "link", link, "mtu");
        std::fs::write(&file, set_key(&text, "mtu", &mtu.to_string(), "bind"))?;
    }
    Ok(())
}

impl Figures {
    fn print(&self, case: Case, carrier: Carrier, limits: [(&str, Cost); 2], mib: usize, json: bool) {
        let (Case { collaborators, rounds, .. }, (params, tensors)) = (case, self.model);
        let gigabytes = self.bytes / 1e9;
        let per_gigabyte = self.cpu / gigabytes;
        let of = (mib * PIECE) as f64 / 1e9;
        // How much more a round costs than a transfer of its bytes.
        let ratios = limits.map(|(name, cost)| {
            let (wall, cpu) = (cost.wall / of * gigabytes, cost.cpu / of * gigabytes);
            (name, self.whole.0 / 1e3 / wall, self.cpu / cpu)
        });
        if json {
            let spans: Map<String, Value> =
                self.spans.iter().map(|(span, millis)| ((*span).to_owned(), json!(millis))).collect();
            let ratios: Map<String, Value> = ratios
                .iter()
                .map(|(name, wall, cpu)| ((*name).to_owned(), json!({"wall": wall, "cpu": cpu})))
                .collect();
            let line = json!({
                "bench": "round_trip", "params": params, "tensors": tensors, "collaborators": collaborators, "rounds": rounds,
                "socket": name(carrier), "round_ms": self.whole.0, "round_median_ms": self.whole.1,
                "round_cpu_ms": self.cpu * 1e3, "bytes": self.bytes, "cpu_s_per_gb": per_gigabyte,
                "to_limits": ratios, "spans_ms": spans, "peak_bytes": self.peak,
            });
            println!("{line}");
            return;
        }
        let (best, median) = self.whole;
        println!(
            "\n{params} elements (tensors: {tensors}), {collaborators} collaborators, {}, {rounds} rounds",
            name(carrier)
        );
        println!(
            "  round {best:.2} ms, median {median:.2} ms; {:.1} MB, {:.1} cpu ms, {per_gigabyte:.2} cpu s/GB; aggregator {:.0} MB",
            self.bytes / 1e6,
            self.cpu * 1e3,
            self.peak as f64 / 1e6,
        );
        for (name, wall, cpu) in ratios {
            println!("  to one {name} transfer of these bytes: {wall:.2} in time, {cpu:.2} in cpu time");
        }
        let spans: Vec<String> =
            self.spans.iter().map(|(span, millis)| format!("{span} {millis:.2}")).collect();
        println!("  medians, ms: {}\n", spans.join("  "));
    }
}

const SPANS: [&str; 7] = ["wait", "receive", "absorb", "finalise", "turnaround", "broadcast", "store"];
const SMALL: u32 = 100_000;

/// Longest wait for one round.
const LATER: Duration = Duration::from_secs(120);
