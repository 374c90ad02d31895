//! One upload over QUIC on loopback, for every kind of UDP socket and two datagram sizes: throughput, and CPU seconds of
//! both ends together per gigabyte. Beside them, in the same run, what the machine can do at all: a copy in memory and plain
//! TCP.
//!
//! `cargo run --release -p fl-benches --bin link -- [--mib N] [--rounds N] [--json]`
//!
//! Each end has a runtime with one thread. Rounds are interleaved and medians are shown; on a busy machine the CPU
//! seconds are the steadier figure.

use std::{
    error::Error,
    fs,
    hint::black_box,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use argh::FromArgs;
use bytes::Bytes;
use fl_runtime::net::{
    Endpoint, Link, NetLimits, SocketKind,
    payload::{self, Progress},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ED25519};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};

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

type Failure = Box<dyn Error + Send + Sync>;

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const SERVER_NAME: &str = "aggregator.fl";
const PIECE: usize = 1 << 20;
const PROGRESS: Progress = Progress { window: Duration::from_secs(60), bytes: 1 };
/// Clock ticks of /proc/self/stat in a second: fixed on Linux, whatever the kernel's own clock.
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

/// Cost of one upload.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    cpu: f64,
}

/// The two ends' runtimes, one thread each.
struct Ends {
    here: Runtime,
    there: Runtime,
}

fn main() -> Result<(), Failure> {
    let arguments: Arguments = argh::from_env();
    let (mib, rounds) = (arguments.mib.max(1), arguments.rounds.max(1));
    let runtime = || Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let ends = Ends { here: runtime()?, there: runtime()? };
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

/// CPU seconds of this process so far, both modes, all threads.
fn cpu() -> Result<f64, Failure> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The program's name may hold anything, in parentheses.
    let fields = stat.rsplit_once(") ").ok_or("unreadable /proc/self/stat")?.1;
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / TICKS)
}

/// What `work` costs from here to its end.
fn timed(work: impl FnOnce() -> Result<(), Failure>) -> Result<Cost, Failure> {
    let (cpu_before, started) = (cpu()?, Instant::now());
    work()?;
    Ok(Cost { wall: started.elapsed().as_secs_f64(), cpu: cpu()? - cpu_before })
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

fn body(mib: usize) -> Vec<Bytes> {
    vec![Bytes::from(vec![7; PIECE]); mib]
}

impl Ends {
    fn tcp(&self, mib: usize) -> Result<Cost, Failure> {
        let listener = self.here.block_on(TcpListener::bind(LOOPBACK))?;
        let addr = listener.local_addr()?;
        let receiving = self.here.spawn(async move {
            let mut stream = listener.accept().await?.0;
            let mut buffer = vec![0; 256 << 10];
            let mut held = 0;
            loop {
                match stream.read(&mut buffer).await? {
                    0 => return Ok::<usize, std::io::Error>(held),
                    got => held += got,
                }
            }
        });
        let mut stream = self.there.block_on(TcpStream::connect(addr))?;
        let body = body(mib);
        timed(|| {
            self.there.block_on(self.there.spawn(async move {
                for piece in &body {
                    stream.write_all(piece).await?;
                }
                stream.shutdown().await
            }))??;
            let held = self.here.block_on(receiving)??;
            if held == mib * PIECE { Ok(()) } else { Err("tcp lost bytes".into()) }
        })
    }

    fn quic(&self, authority: &Authority, kind: SocketKind, mtu: u16, mib: usize) -> Result<Cost, Failure> {
        let limits = |limits: NetLimits| NetLimits { mtu, ..limits };
        let server = {
            let _here = self.here.enter();
            Endpoint::server(authority.server()?, LOOPBACK, kind, limits(NetLimits::server()))?
        };
        let client = {
            let _there = self.there.enter();
            Endpoint::client(authority.client()?, LOOPBACK, kind, limits(NetLimits::client()))?
        };
        let addr = server.local_addr()?;
        let accepting = self.here.spawn({
            let server = server.clone();
            async move { server.accept().await.ok_or("closed")?.admit().await.map_err(Failure::from) }
        });
        let there = self.there.block_on(client.connect(addr, SERVER_NAME))?;
        let here = self.here.block_on(accepting)??;
        here.handle().grant(8 << 20);
        let (there, here) = (Arc::new(there), Arc::new(here));
        // Opens the congestion window and touches every buffer.
        self.upload(&there, &here, 16)?;
        let cost = timed(|| self.upload(&there, &here, mib))?;
        match here.handle().path_mtu() {
            Some(found) if found == mtu => {}
            other => return Err(format!("{mtu} bytes a datagram were meant, {other:?} were used").into()),
        }
        client.close(0, "done");
        self.there.block_on(client.wait_idle());
        server.close(0, "done");
        Ok(cost)
    }

    fn upload(&self, there: &Arc<Link>, here: &Arc<Link>, mib: usize) -> Result<(), Failure> {
        let (there, here) = (Arc::clone(there), Arc::clone(here));
        let receiving = self.here.spawn(async move {
            let mut stream = here.handle().accept_uni().await?;
            payload::recv_header(&mut stream, PROGRESS.window).await?;
            let sink = |piece: &[u8]| {
                black_box(piece);
                Ok::<_, std::convert::Infallible>(())
            };
            payload::recv_payload(&mut stream, (mib * PIECE) as u64, PROGRESS, sink)
                .await
                .map_err(Failure::from)
        });
        let mut body = body(mib);
        let sending = self.there.spawn(async move {
            let mut stream = there.handle().open_uni().await?;
            payload::send_payload(&mut stream, b"bench", &mut body).await?;
            stream.delivered().await
        });
        self.there.block_on(sending)??;
        self.here.block_on(receiving)?
    }
}

/// A certificate authority that lives as long as the run.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

type Leaf = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Authority {
    fn new() -> Result<Self, Failure> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, key)? })
    }

    fn leaf(&self, name: &str) -> Result<Leaf, Failure> {
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let certificate = CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, &self.issuer)?;
        Ok((vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der())?))
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, Failure> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone())?;
        Ok(Arc::new(roots))
    }

    fn server(&self) -> Result<ServerConfig, Failure> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(self.roots()?, Arc::clone(&provider)).build()?;
        let (chain, key) = self.leaf(SERVER_NAME)?;
        Ok(ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?)
    }

    fn client(&self) -> Result<ClientConfig, Failure> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (chain, key) = self.leaf("site-1.fl")?;
        Ok(ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(chain, key)?)
    }
}
