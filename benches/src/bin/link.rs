//! One upload over QUIC on loopback, for every kind of UDP socket and two datagram sizes: throughput, and CPU seconds of
//! both ends together per gigabyte. Beside them, in the same run, what the machine can do at all: a copy in memory and plain
//! TCP.
//!
//! `cargo run --release -p fl-benches --bin link -- [--mib N] [--rounds N] [--json]`
//!
//! Each end has a runtime with one thread. Rounds are interleaved and medians are shown; on a busy machine the CPU
//! seconds are the steadier figure.

use std::hint::black_box;

use argh::FromArgs;
use fl_benches::{
    Failure,
    loopback::{Authority, Cost, Ends, PIECE, timed},
};
use fl_runtime::net::SocketKind;

/// Measures links on loopback.
#[derive(FromArgs)]
struct Arguments {
    /// mebibytes of one upload (256)
    #[argh(option, default = "256")]
    mib: usize,
    /// rounds; medians are shown (3)
    #[argh(option, default = "3")]
    rounds: usize,
    /// one JSON object a line instead of a table
    #[argh(switch)]
    json: bool,
}

/// Clock ticks of /proc/self/stat in a second, below which nothing is measured.
const TICKS: f64 = 100.0;

/// What is measured.
#[derive(Clone, Copy)]
enum Case {
    Copy,
    Tcp,
    Quic(SocketKind, u16),
}

const CASES: [Case; 8] = [
    Case::Copy,
    Case::Tcp,
    Case::Quic(SocketKind::Native, 1452),
    Case::Quic(SocketKind::Portable, 1452),
    Case::Quic(SocketKind::PortablePlain, 1452),
    Case::Quic(SocketKind::Native, 1200),
    Case::Quic(SocketKind::Portable, 1200),
    Case::Quic(SocketKind::PortablePlain, 1200),
];

impl Case {
    fn name(self) -> String {
        match self {
            Self::Copy => "memcpy".to_owned(),
            Self::Tcp => "tcp".to_owned(),
            Self::Quic(SocketKind::Portable, mtu) => format!("quic portable batched {mtu}"),
            Self::Quic(SocketKind::PortablePlain, mtu) => format!("quic portable plain {mtu}"),
            Self::Quic(_, mtu) => format!("quic native {mtu}"),
        }
    }
}

fn main() -> Result<(), Failure> {
    let arguments: Arguments = argh::from_env();
    let (mib, rounds) = (arguments.mib.max(1), arguments.rounds.max(1));
    let ends = Ends::new()?;
    let authority = Authority::new()?;
    let mut costs = vec![Vec::new(); CASES.len()];
    for _ in 0..rounds {
        for (case, costs) in CASES.iter().zip(&mut costs) {
            costs.push(match *case {
                Case::Copy => copy(mib)?,
                Case::Tcp => ends.tcp(mib)?,
                Case::Quic(kind, mtu) => ends.quic(&authority, kind, mtu, mib)?,
            });
        }
    }
    let medians: Vec<Cost> = costs
        .iter()
        .map(|costs| Cost {
            wall: median(costs.iter().map(|cost| cost.wall)),
            cpu: median(costs.iter().map(|cost| cost.cpu)),
        })
        .collect();
    report(&medians, mib, arguments.json);
    Ok(())
}

fn report(medians: &[Cost], mib: usize, json: bool) {
    let (memory, tcp) = (medians[0], medians[1]);
    let gigabytes = (mib << 20) as f64 / 1e9;
    if !json {
        println!("{:<28} {:>8} {:>9} {:>9} {:>12}", "", "MiB/s", "cpu s/GB", "cpu / tcp", "wall / memcpy");
    }
    for (case, cost) in CASES.iter().zip(medians) {
        let name = case.name();
        let (speed, cpu) = (mib as f64 / cost.wall, cost.cpu / gigabytes);
        let (to_tcp, to_memory) = (cost.cpu / tcp.cpu.max(1.0 / TICKS), cost.wall / memory.wall);
        if json {
            println!(
                "{{\"bench\":\"link\",\"case\":\"{name}\",\"mib\":{mib},\"mib_per_s\":{speed:.1},\"cpu_s_per_gb\":{cpu:.3},\
                 \"cpu_to_tcp\":{to_tcp:.2},\"wall_to_memcpy\":{to_memory:.2}}}"
            );
        } else {
            println!("{name:<28} {speed:>8.0} {cpu:>9.2} {to_tcp:>9.2} {to_memory:>12.1}");
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn copy(mib: usize) -> Result<Cost, Failure> {
    let from = vec![7u8; 64 * PIECE];
    let mut to = from.clone();
    timed(|| {
        for piece in 0..mib {
            let at = piece % 64 * PIECE;
            to[at..at + PIECE].copy_from_slice(black_box(&from[at..at + PIECE]));
            black_box(&mut to);
        }
        Ok(())
    })
}
