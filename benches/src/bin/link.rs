//! Measures one upload on loopback, over TCP, and over QUIC for every kind of UDP socket and two datagram
//! sizes: the throughput, and the CPU seconds of both ends together per gigabyte. The same run measures what
//! the machine can do at all: a copy in memory, plain TCP, and TLS over TCP.
//!
//! `cargo run --release -p fl-benches --bin link -- [--mib N] [--rounds N] [--json]`
//!
//! Each end has a runtime with one thread. Rounds are interleaved and medians are shown. On a busy machine
//! the CPU seconds are the steadier figure.
//!
//! Uploads over the portable sockets are measured on both ways into the kernel: through the C library's
//! function, and through the jump that is used under Gramine (marked `jump`), here to a stand-in. Where
//! gramine-direct is on the PATH and this program is static (`ci/build-static bench`), the program also
//! measures itself under Gramine, with and without `FL_GRAMINE`. The CPU seconds then include the start of
//! Gramine.

use std::{hint::black_box, path::Path};

use argh::FromArgs;
use fl_benches::{
    Failure,
    gramine::Inside,
    loopback::{Authority, Cost, Ends, PIECE, timed},
};
use fl_runtime::internal::{
    GRAMINE_VARIABLE,
    net::{Carrier, SocketKind},
};
use fl_sys::syscall::{self, Entry, stand_in};

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
    /// one upload over this portable socket, batched or plain, by the way that suits this system; prints the
    /// seconds
    #[argh(option)]
    one: Option<String>,
}

/// What is measured.
#[derive(Clone, Copy)]
enum Case {
    Copy,
    Tcp,
    /// TLS over TCP, with the simplest calls: the limit of a link over TCP.
    Tls,
    /// A link over TCP.
    OverTcp,
    Quic(SocketKind, u16),
    /// An upload over QUIC through the jump.
    Jump(SocketKind, u16),
}

impl Case {
    fn name(self) -> String {
        match self {
            Self::Copy => "memcpy".to_owned(),
            Self::Tcp => "tcp".to_owned(),
            Self::Tls => "tls over tcp".to_owned(),
            Self::OverTcp => "link over tcp".to_owned(),
            Self::Quic(SocketKind::Portable, mtu) => format!("quic portable batched {mtu}"),
            Self::Quic(SocketKind::PortablePlain, mtu) => format!("quic portable plain {mtu}"),
            Self::Quic(_, mtu) => format!("quic native {mtu}"),
            Self::Jump(kind, mtu) => format!("{} jump", Self::Quic(kind, mtu).name()),
        }
    }
}

fn main() -> Result<(), Failure> {
    let arguments: Arguments = argh::from_env();
    let (mib, rounds) = (arguments.mib.max(1), arguments.rounds.max(1));
    if let Some(socket) = &arguments.one {
        return one(socket, mib);
    }
    stand_in::start()?;
    stand_in::switch(Entry::Library);
    let ends = Ends::new()?;
    let authority = Authority::new()?;
    let mut costs = vec![Vec::new(); CASES.len()];
    for _ in 0..rounds {
        for (case, costs) in CASES.iter().zip(&mut costs) {
            costs.push(match *case {
                Case::Copy => copy(mib)?,
                Case::Tcp => ends.tcp(mib)?,
                Case::Tls => ends.tls(&authority, mib)?,
                Case::OverTcp => ends.link(&authority, Carrier::Tcp, MTU, mib)?,
                Case::Quic(kind, mtu) => ends.link(&authority, kind.into(), mtu, mib)?,
                Case::Jump(kind, mtu) => {
                    let before = stand_in::calls();
                    stand_in::switch(Entry::Gramine);
                    let cost = ends.link(&authority, kind.into(), mtu, mib)?;
                    stand_in::switch(Entry::Library);
                    if stand_in::calls() == before {
                        return Err("no call took the jump".into());
                    }
                    cost
                }
            });
        }
    }
    let mut rows: Vec<(String, Cost)> =
        CASES.iter().zip(&costs).map(|(case, costs)| (case.name(), middle(costs))).collect();
    match under_gramine(mib, rounds)? {
        Ok(more) => rows.extend(more),
        Err(why) => eprintln!("skipped under gramine-direct: {why}"),
    }
    report(&rows, mib, arguments.json);
    Ok(())
}

fn middle(costs: &[Cost]) -> Cost {
    Cost { wall: median(costs.iter().map(|cost| cost.wall)), cpu: median(costs.iter().map(|cost| cost.cpu)) }
}

/// Under Gramine: one upload.
fn one(socket: &str, mib: usize) -> Result<(), Failure> {
    syscall::choose(std::env::var_os(GRAMINE_VARIABLE).is_some_and(|value| value == "1"));
    let kind = UNDER_GRAMINE.iter().find(|(word, _)| *word == socket).ok_or("--one is batched or plain")?.1;
    let wall = Ends::new()?.link(&Authority::new()?, kind.into(), MTU, mib)?.wall;
    println!("{:?} {wall}", syscall::entry());
    Ok(())
}

/// The same uploads under gramine-direct, or the reason why they cannot be measured.
fn under_gramine(mib: usize, rounds: usize) -> Result<Result<Vec<(String, Cost)>, String>, Failure> {
    let mut rows = Vec::new();
    for (socket, kind) in UNDER_GRAMINE {
        let untold = Case::Quic(kind, MTU);
        for (told, entry, case) in [("0", "Library", untold), ("1", "Gramine", Case::Jump(kind, MTU))] {
            let mib_text = mib.to_string();
            let argv = ["link", "--one", socket, "--mib", &mib_text];
            let inside = match Inside::new(Path::new("/proc/self/exe"), &argv, (GRAMINE_VARIABLE, told))? {
                Ok(inside) => inside,
                Err(why) => return Ok(Err(why)),
            };
            let mut costs = Vec::new();
            for _ in 0..rounds {
                let (said, cpu) = inside.run()?;
                let wall =
                    said.trim().strip_prefix(entry).ok_or_else(|| format!("{entry} was meant: {said}"))?;
                costs.push(Cost { wall: wall.trim().parse()?, cpu });
            }
            rows.push((format!("gramine {}", case.name()), middle(&costs)));
        }
    }
    Ok(Ok(rows))
}

fn report(rows: &[(String, Cost)], mib: usize, json: bool) {
    // In the order of CASES.
    let (memory, tcp) = (rows[0].1, rows[1].1);
    let gigabytes = (mib << 20) as f64 / 1e9;
    if !json {
        println!("{:<36} {:>8} {:>9} {:>9} {:>12}", "", "MiB/s", "cpu s/GB", "cpu / tcp", "wall / memcpy");
    }
    for (name, cost) in rows {
        let (speed, cpu) = (mib as f64 / cost.wall, cost.cpu / gigabytes);
        let (to_tcp, to_memory) = (cost.cpu / tcp.cpu.max(1.0 / TICKS), cost.wall / memory.wall);
        if json {
            println!(
                "{{\"bench\":\"link\",\"case\":\"{name}\",\"mib\":{mib},\"mib_per_s\":{speed:.1},\"cpu_s_per_gb\":{cpu:.3},\
                 \"cpu_to_tcp\":{to_tcp:.2},\"wall_to_memcpy\":{to_memory:.2}}}"
            );
        } else {
            println!("{name:<36} {speed:>8.0} {cpu:>9.2} {to_tcp:>9.2} {to_memory:>12.1}");
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

/// Clock ticks of /proc/self/stat in a second: the smallest time that is measured.
const TICKS: f64 = 100.0;
const CASES: [Case; 14] = [
    Case::Copy,
    Case::Tcp,
    Case::Tls,
    Case::OverTcp,
    Case::Quic(SocketKind::Native, 1452),
    Case::Quic(SocketKind::Portable, 1452),
    Case::Jump(SocketKind::Portable, 1452),
    Case::Quic(SocketKind::PortablePlain, 1452),
    Case::Jump(SocketKind::PortablePlain, 1452),
    Case::Quic(SocketKind::Native, 1200),
    Case::Quic(SocketKind::Portable, 1200),
    Case::Jump(SocketKind::Portable, 1200),
    Case::Quic(SocketKind::PortablePlain, 1200),
    Case::Jump(SocketKind::PortablePlain, 1200),
];
/// The sockets that are measured under Gramine, by their words on the command line.
const UNDER_GRAMINE: [(&str, SocketKind); 2] =
    [("batched", SocketKind::Portable), ("plain", SocketKind::PortablePlain)];
/// Bytes of a datagram that pass on every path.
const MTU: u16 = 1200;
