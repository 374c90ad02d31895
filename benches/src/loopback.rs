//! Two ends of a loopback connection in this process, each with a runtime of one thread. Shows what the
//! machine's network can do.
//!
//! Plain TCP and TLS over TCP are the limits; the runtime's links over QUIC and over TCP use its own
//! endpoints and payload code.

use std::{
    hint::black_box,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use fl_runtime::internal::net::{
    Carrier, Endpoint, Link, NetLimits,
    payload::{self, Progress},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ED25519};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};

use crate::{Failure, process};

/// Cost of one upload, seconds.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Wall time.
    pub wall: f64,
    /// Processor time of both ends.
    pub cpu: f64,
}

/// The two ends' runtimes, one thread each.
pub struct Ends {
    here: Runtime,
    there: Runtime,
}

/// What `work` costs.
///
/// # Errors
/// Those of `work`.
pub fn timed(work: impl FnOnce() -> Result<(), Failure>) -> Result<Cost, Failure> {
    let cpu = || process::cpu(std::process::id());
    let (before, started) = (cpu()?, Instant::now());
    work()?;
    Ok(Cost { wall: started.elapsed().as_secs_f64(), cpu: cpu()?.saturating_sub(before).as_secs_f64() })
}

fn body(mib: usize) -> Vec<Bytes> {
    vec![Bytes::from(vec![7; PIECE]); mib]
}

impl Ends {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system refuses one.
    pub fn new() -> Result<Self, Failure> {
        let runtime = || Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Ok(Self { here: runtime()?, there: runtime()? })
    }

    /// `mib` mebibytes over plain TCP.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn tcp(&self, mib: usize) -> Result<Cost, Failure> {
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

    /// The same over TLS 1.3 with certificates of both ends, with blocking calls, the simplest way.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn tls(&self, authority: &Authority, mib: usize) -> Result<Cost, Failure> {
        let listener = std::net::TcpListener::bind(LOOPBACK)?;
        let addr = listener.local_addr()?;
        let server = Arc::new(authority.server()?);
        let (ready, start) = std::sync::mpsc::channel();
        let receiving = thread::spawn(move || -> Result<usize, Failure> {
            let mut stream = StreamOwned::new(ServerConnection::new(server)?, listener.accept()?.0);
            let mut buffer = vec![0; 256 << 10];
            let mut held = 0;
            // The first byte ends the handshake.
            stream.read_exact(&mut buffer[..1])?;
            ready.send(())?;
            while held < mib * PIECE {
                held += stream.read(&mut buffer)?;
            }
            Ok(held)
        });
        let connection =
            ClientConnection::new(Arc::new(authority.client()?), ServerName::try_from(SERVER_NAME)?)?;
        let mut stream = StreamOwned::new(connection, std::net::TcpStream::connect(addr)?);
        stream.write_all(&[0])?;
        start.recv()?;
        let piece = vec![7; PIECE];
        timed(|| {
            for _ in 0..mib {
                stream.write_all(&piece)?;
            }
            stream.flush()?;
            let held = receiving.join().map_err(|_| "the receiver panicked")??;
            if held == mib * PIECE { Ok(()) } else { Err("tls lost bytes".into()) }
        })
    }

    /// The same over one stream of a link, with mutual TLS.
    ///
    /// # Errors
    /// When the link breaks, or uses other datagrams than `mtu` bytes.
    pub fn link(
        &self,
        authority: &Authority,
        carrier: Carrier,
        mtu: u16,
        mib: usize,
    ) -> Result<Cost, Failure> {
        let limits = |limits: NetLimits| NetLimits { mtu, ..limits };
        let server = {
            let _here = self.here.enter();
            Endpoint::server(authority.server()?, LOOPBACK, carrier, limits(NetLimits::server()))?
        };
        let client = {
            let _there = self.there.enter();
            Endpoint::client(authority.client()?, LOOPBACK, carrier, limits(NetLimits::client()))?
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
            None if carrier == Carrier::Tcp => {}
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

/// A certificate authority for one run.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

type Leaf = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Authority {
    /// Makes the authority's key.
    ///
    /// # Errors
    /// Without randomness.
    pub fn new() -> Result<Self, Failure> {
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

/// Bytes that are written at once.
pub const PIECE: usize = 1 << 20;
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const SERVER_NAME: &str = "aggregator.fl";
const PROGRESS: Progress = Progress { window: Duration::from_secs(60), bytes: 1 };
