//! What the program reads from its folder, and the links, offers and updates that it makes with it.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use fl_engine::{
    ByteCount, Weight,
    plan::{Plan, Site},
    round::{Offer, Stamp},
    tensor::{Layout, root_of},
    wire::{self, Hello, Message},
};
use fl_runtime::internal::net::{self, Carrier, Endpoint, LinkError, NetLimits};
use fl_tests::{each_link::carrier, stranger};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::task::spawn_blocking;

use super::{Failure, LONGEST, link::Link, misdeed::Misdeed};

/// What is read from the folder.
pub(super) struct Workspace {
    plan: Plan,
    layout: Arc<Layout>,
    aggregator: SocketAddr,
    carrier: Carrier,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Workspace {
    pub(super) fn open(folder: &Path, name: &str) -> Result<Self, Failure> {
        let plan = Plan::parse(&fs::read_to_string(folder.join("plan/plan.yaml"))?)?;
        let site = Site::parse(&fs::read_to_string(folder.join("plan/site.yaml"))?)?;
        let cert = folder.join("cert");
        Ok(Self {
            layout: plan.layout()?,
            aggregator: SocketAddr::new(site.address.parse::<IpAddr>()?, site.port),
            carrier: carrier(&site),
            certificate: CertificateDer::from_pem_file(cert.join(format!("col_{name}.crt")))?,
            key: PrivateKeyDer::from_pem_file(cert.join(format!("col_{name}.key")))?,
            plan,
        })
    }

    pub(super) fn hello(&self) -> Hello {
        Hello {
            versions: wire::VERSIONS,
            features: wire::FEATURES,
            federation: self.plan.federation.clone(),
            plan: self.plan.hash(),
            roster_serial: 0,
            holds: None,
            evidence: Vec::new(),
        }
    }

    /// An update that nothing is wrong with.
    pub(super) fn body(&self) -> Vec<u8> {
        vec![0; self.layout.byte_len()]
    }

    /// The same with `value` as its last element but one.
    pub(super) fn poisoned(&self, value: f32) -> Vec<u8> {
        let mut body = self.body();
        let at = body.len() - 8;
        body[at..at + 4].copy_from_slice(&value.to_le_bytes());
        body
    }

    pub(super) fn offer(&self, stamp: Stamp, body: &[u8]) -> Result<Offer, Failure> {
        let (task, weight) = ("send".parse()?, Weight::new(7)?);
        let root = root_of(self.layout.hash(), body);
        Ok(Offer { stamp, task, weight, bytes: ByteCount(body.len() as u64), root })
    }

    fn tls(&self) -> Result<rustls::ClientConfig, Failure> {
        Ok(stranger::config(Some((self.certificate.clone(), self.key.clone_key())))?)
    }

    async fn dial(&self, window: u32) -> Result<(Endpoint, net::Link), Failure> {
        let window = u64::from(window);
        let limits = NetLimits { first_window: window, most_window: window, ..NetLimits::client() };
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let endpoint = Endpoint::client(self.tls()?, here, self.carrier, limits)?;
        let link = endpoint.connect(self.aggregator, "aggregator.fl").await?;
        Ok((endpoint, link))
    }

    /// Shakes hands and opens no stream; returns how the connection ends.
    pub(super) async fn dial_only(&self, window: u32) -> Result<LinkError, Failure> {
        if self.carrier == Carrier::Tcp {
            let (to, config) = (self.aggregator, self.tls()?);
            let ended = spawn_blocking(move || stranger::read_over_tcp(to, config, LONGEST)).await?;
            let ended = ended.map_or_else(|error| error.to_string(), |read| format!("{read} bytes"));
            return Ok(LinkError::Transport(ended));
        }
        let config = stranger::client(Some((self.certificate.clone(), self.key.clone_key())))?;
        let (_endpoint, connection) = stranger::dial(self.aggregator, config, window).await?;
        Ok(connection.closed().await.into())
    }

    /// A link over which nothing was said yet.
    pub(super) async fn knock(&self, misdeed: Misdeed, window: u32) -> Result<Link, Failure> {
        let (endpoint, link) = self.dial(window).await?;
        Ok(Link::open(misdeed, endpoint, link))
    }

    /// A link on which the hello was said.
    pub(super) async fn enter(&self, misdeed: Misdeed, window: u32) -> Result<Link, Failure> {
        let mut link = self.knock(misdeed, window).await?;
        link.say(&Message::Hello(self.hello())).await?;
        Ok(link)
    }

    /// A link with work.
    pub(super) async fn working(&self, misdeed: Misdeed) -> Result<(Link, Stamp), Failure> {
        let mut link = self.enter(misdeed, WINDOW).await?;
        let stamp = link.work().await?;
        Ok((link, stamp))
    }
}

/// Unread bytes that this side allows in flight.
pub(super) const WINDOW: u32 = 8 << 20;
