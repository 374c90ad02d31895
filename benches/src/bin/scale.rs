//! Measures one aggregator, the real program, with more and more collaborators: the memory of a connection,
//! and the time of a round.
//!
//! `cargo run --release -p fl-benches --bin scale -- [--collaborators 100,1000] [--params N] [--rounds N]
//! [--tcp] [--json] [--quick]`
//!
//! The collaborators run in this process ([`fl_benches::crowd`]). Memory is measured of the aggregator alone,
//! at three times: before a collaborator is connected; when all but one are connected, and the aggregator
//! waits for the last one (*idle*); and in the middle of a later round, when all but one have sent their
//! updates (*used*). The differences are divided by the number of connections. The processor time of a round
//! is that of the aggregator and of the crowd, over the rounds after the first. Build both programs in the
//! same profile: `cargo build --release`.

use std::{thread, time::Duration};

use argh::FromArgs;
use fl_benches::{Failure, crowd::Crowd, enrolment::Enrolment, machine, process};
use fl_engine::{RoundNo, aggregate::footprint, plan::Plan};
use fl_runtime::internal::net::{Carrier, SocketKind};
use fl_tests::federation::{Process, federation, set_block, synthetic};
use serde_json::json;

/// Measures an aggregator with many collaborators.
#[derive(FromArgs)]
struct Arguments {
    /// collaborators, one or more numbers with commas (100,1000)
    #[argh(option, default = "String::from(\"100,1000\")")]
    collaborators: String,
    /// parameters of the model (10000)
    #[argh(option, default = "10_000")]
    params: u32,
    /// rounds, at least 2 (6)
    #[argh(option, default = "6")]
    rounds: u32,
    /// links over TCP instead of QUIC
    #[argh(switch)]
    tcp: bool,
    /// one JSON object a line instead of a table
    #[argh(switch)]
    json: bool,
    /// 50 collaborators, 3 rounds: shows that it works
    #[argh(switch)]
    quick: bool,
}

/// What one number of collaborators costs.
struct Figures {
    collaborators: usize,
    /// Aggregator alone, bytes.
    alone: u64,
    /// A connection that was only made, bytes.
    idle: f64,
    /// A connection that carried a model and an update, bytes.
    used: f64,
    /// Connecting all, wall and the aggregator's processor time.
    connecting: (Duration, Duration),
    /// Shortest and median round.
    round: (Duration, Duration),
    /// Processor time of a round, of the aggregator and of the crowd.
    cpu: (Duration, Duration),
}

fn main() -> Result<(), Failure> {
    let Arguments { collaborators, params, rounds, tcp, json, quick } = argh::from_env();
    let carrier = if tcp { Carrier::Tcp } else { Carrier::Quic(SocketKind::Native) };
    let (counts, rounds) = match quick {
        true => (vec![50], 3),
        false => {
            (collaborators.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>()?, rounds.max(2))
        }
    };
    let machine = machine::line();
    if json {
        println!(
            "{}",
            json!({"bench": "scale", "machine": machine, "carrier": carrier.as_str(), "params": params, "rounds": rounds})
        );
    } else {
        println!("{machine}\nscale: {params} parameters, {rounds} rounds, links over {carrier}\n");
        println!(
            "{:>13} {:>9} {:>9} {:>9} {:>11} {:>12} {:>9} {:>10} {:>10} {:>10}",
            "collaborators",
            "alone MB",
            "idle kB",
            "used kB",
            "connect s",
            "cpu ms each",
            "round ms",
            "median ms",
            "cpu ms",
            "crowd ms"
        );
    }
    for count in counts {
        let figures = measure(count.max(2), params, rounds, carrier)?;
        figures.print(json);
    }
    Ok(())
}

fn measure(count: usize, params: u32, rounds: u32, carrier: Carrier) -> Result<Figures, Failure> {
    let federation = federation("scale", 1, &|plan| {
        let plan = synthetic(plan, params, rounds);
        let plan =
            set_block(&plan, "quorum", &format!("{{count: {{min: {count}}}, time: {{min: 0s, max: 10m}}}}"));
        with_memory(&plan, count)
    });
    let enrolment = Enrolment::make(&federation, count)?;
    let mut crowd = Crowd::new(&federation, enrolment, 2, carrier)?;
    let mut aggregator = Process::aggregator(&federation);
    let id = aggregator.id();
    aggregator.event("listening", LATER);
    let alone = settled(&aggregator);

    let (started, cpu) = (std::time::Instant::now(), process::cpu(id)?);
    crowd.connect(0..count - 1)?;
    let connecting = (started.elapsed(), process::cpu(id)?.saturating_sub(cpu));
    let idle = settled(&aggregator);

    let last = RoundNo(rounds - 1);
    crowd.keep_back_from(last);
    crowd.connect(count - 1..count)?;
    crowd.await_received(RoundNo(0), count)?;
    let before = (process::cpu(id)?, process::cpu(std::process::id())?);
    crowd.await_received(last, count - 1)?;
    let after = (process::cpu(id)?, process::cpu(std::process::id())?);
    let used = settled(&aggregator);
    crowd.keep_back_from(RoundNo(u32::MAX));
    crowd.await_end()?;
    let status = aggregator.ended(LATER);
    if !status.success() {
        return Err(format!("the aggregator failed: {status}\n{}", aggregator.log()).into());
    }
    let _ = std::fs::remove_dir_all(&federation.dir);

    let mut times = crowd.rounds();
    // The last round was kept open, and the closing round has no updates.
    times.truncate(rounds as usize - 1);
    times.sort();
    let each = |bytes: u64, links: usize| (bytes as f64 - alone as f64) / links as f64;
    Ok(Figures {
        collaborators: count,
        alone,
        idle: each(idle, count - 1),
        used: each(used, count),
        connecting,
        round: (times[0], times[times.len() / 2]),
        cpu: ((after.0 - before.0) / (rounds - 1), (after.1 - before.1) / (rounds - 1)),
    })
}

/// A plan whose memory holds only a few updates at once, so that updates do not count as memory of
/// connections.
fn with_memory(plan: &str, count: usize) -> String {
    let set = |memory: u64| set_block(plan, "limits", &format!("{{memory: {memory}MiB, spill: 0MiB}}"));
    let least = || -> Result<u64, Failure> {
        let plan = Plan::parse(&set(1 << 20))?;
        let layout = plan.layout()?;
        let need = footprint(&plan, &layout, u32::try_from(count)?);
        Ok(need.least().0 + UPDATES * layout.byte_len() as u64)
    };
    // The command that initialises the plan reports what is wrong with the plan.
    set(least().unwrap_or_default().div_ceil(1 << 20))
}

/// The memory of a process that has nothing to do.
fn settled(process: &Process) -> u64 {
    thread::sleep(SETTLING);
    process.memory()
}

impl Figures {
    fn print(&self, json: bool) {
        let Self { collaborators, alone, idle, used, connecting, round, cpu } = self;
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        let each = millis(connecting.1) / *collaborators as f64;
        if json {
            println!(
                "{}",
                json!({
                    "bench": "scale", "collaborators": collaborators, "alone_bytes": alone, "idle_bytes": idle.round(),
                    "used_bytes": used.round(), "connect_s": connecting.0.as_secs_f64(), "connect_cpu_ms": each,
                    "round_ms": millis(round.0), "round_median_ms": millis(round.1), "round_cpu_ms": millis(cpu.0),
                    "round_crowd_cpu_ms": millis(cpu.1),
                })
            );
            return;
        }
        println!(
            "{collaborators:>13} {:>9.1} {:>9.1} {:>9.1} {:>11.2} {each:>12.3} {:>9.0} {:>10.0} {:>10.0} {:>10.0}",
            *alone as f64 / 1e6,
            idle / 1e3,
            used / 1e3,
            connecting.0.as_secs_f64(),
            millis(round.0),
            millis(round.1),
            millis(cpu.0),
            millis(cpu.1),
        );
    }
}

/// Updates in memory at once.
const UPDATES: u64 = 16;
/// Longest wait for the aggregator.
const LATER: Duration = Duration::from_secs(60);
/// Time for the timers of the handshakes to pass and for acknowledgements to be sent.
const SETTLING: Duration = Duration::from_millis(1500);
