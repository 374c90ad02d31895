//! Many collaborators in one process, without models. Each collaborator claims that it has the round's base
//! already, and sends an update from a short table that all of them share. For tests of an aggregator with
//! more collaborators than this machine could run.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use bytes::Bytes as Piece;
use fl_engine::{
    ByteCount, Digest, Draws, Name, Weight,
    plan::{Plan, Site},
    round::{Offer, Report, Stamp},
    tensor::{Layout, RootHasher},
    wire::{self, Hello, Leaving, Message, PayloadHeader},
};
use fl_runtime::internal::{
    net::{Carrier, Endpoint, Link, LinkHandle, NetLimits, payload},
    system::System,
    trust::{Credentials, FlooredClock, Role, SERVER_NAME, client_config},
};

use crate::each_link::carrier;

/// Any failure of a client.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Element `at` of the update of collaborator number `who`, in ±8.
#[must_use]
pub fn value(who: usize, at: usize) -> f32 {
    of_table((who * AHEAD + at) % PERIOD)
}

fn of_table(at: usize) -> f32 {
    ((Draws::nth(0, at as u64 + 1) >> 40) as i32 - (1 << 23)) as f32 / (1 << 20) as f32
}

/// One collaborator's update, in pieces of the table.
pub struct Update {
    pieces: Vec<Piece>,
    root: Digest,
}

/// What the clients share.
pub struct Crowd {
    plan: Plan,
    layout: Arc<Layout>,
    aggregator: SocketAddr,
    carrier: Carrier,
    /// One period of an update.
    table: Piece,
    /// The base that each collaborator claims to have.
    holds: Digest,
}

impl Crowd {
    /// The clients of the federation whose plan the workspace `site` has. `holds` is the root of the initial
    /// model.
    ///
    /// # Errors
    /// When plan or site file cannot be read.
    pub fn open(site: &Path, holds: Digest) -> Result<Self, Failure> {
        let plan = Plan::parse(&std::fs::read_to_string(site.join("plan/plan.yaml"))?)?;
        let at = Site::parse(&std::fs::read_to_string(site.join("plan/site.yaml"))?)?;
        let table: Vec<u8> = (0..PERIOD).flat_map(|at| of_table(at).to_le_bytes()).collect();
        let aggregator = SocketAddr::new(at.address.parse::<IpAddr>()?, at.port);
        let carrier = carrier(&at);
        Ok(Self { layout: plan.layout()?, plan, aggregator, carrier, table: table.into(), holds })
    }

    /// The update of collaborator number `who`. Hashing the update takes a while: call this before a link
    /// waits.
    #[must_use]
    pub fn update(&self, who: usize) -> Update {
        let pieces = self.pieces(who);
        let mut hasher = RootHasher::new(self.layout.hash());
        pieces.iter().for_each(|piece| hasher.update(piece));
        Update { pieces, root: hasher.finish() }
    }

    /// Sends the first round's update as `name`, with the keys of the workspace `site`, and leaves when the
    /// next task arrives.
    ///
    /// # Errors
    /// When the client is not admitted, or its update is not accepted.
    pub async fn send(&self, update: Update, name: &Name, site: &Path) -> Result<(), Failure> {
        let (Update { mut pieces, root }, weight) = (update, Weight::new(WEIGHT)?);
        let (_endpoint, mut link) = self.enter(name, site).await?;
        let _forgetting = tokio::spawn(forget_models(link.handle().clone()));
        let stamp = work(&mut link).await?;
        let task: Name = "send".parse()?;
        let report = Report { stamp, task: task.clone(), samples: WEIGHT, metrics: Vec::new() };
        link.send_envelope(&wire::encode(&Message::Report(report))).await?;
        let bytes = ByteCount(self.layout.byte_len() as u64);
        let offer = Offer { stamp, task, weight, bytes, root };
        link.send_envelope(&wire::encode(&Message::Offer(offer.clone()))).await?;
        hear(&mut link, |message| matches!(message, Message::Grant(_))).await?;
        let mut stream = link.handle().open_uni().await?;
        let header = PayloadHeader::Update(offer).encode();
        payload::send_payload(&mut stream, &header, &mut pieces).await?;
        // The round's model follows, which no client here needs.
        hear(&mut link, |message| matches!(message, Message::Assign(_))).await?;
        link.send_envelope(&wire::encode(&Message::Leaving(Leaving {}))).await?;
        link.handle().closed().await;
        Ok(())
    }

    async fn enter(&self, name: &Name, site: &Path) -> Result<(Endpoint, Link), Failure> {
        let System { clock, files, .. } = System::real();
        let clock = FlooredClock::of(&clock);
        let (cert, role) = (site.join("cert"), Role::Collaborator);
        let credentials = Credentials::load_or_request(&files, &cert, role, Some(name), &clock)?;
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let tls = client_config(&credentials, &clock, &[])?;
        let endpoint = Endpoint::client(tls, here, self.carrier, NetLimits::client())?;
        let mut link = endpoint.connect(self.aggregator, SERVER_NAME).await?;
        let hello = Hello {
            versions: wire::VERSIONS,
            features: 0,
            federation: self.plan.federation.clone(),
            plan: self.plan.hash(),
            roster_serial: 0,
            holds: Some(self.holds),
            evidence: Vec::new(),
        };
        link.send_envelope(&wire::encode(&Message::Hello(hello))).await?;
        Ok((endpoint, link))
    }

    fn pieces(&self, who: usize) -> Vec<Piece> {
        let (mut from, mut left) = (who * AHEAD % PERIOD * 4, self.layout.byte_len());
        let mut pieces = Vec::new();
        while left > 0 {
            let to = self.table.len().min(from + left);
            pieces.push(self.table.slice(from..to));
            left -= to - from;
            from = 0;
        }
        pieces
    }
}

/// Reads and drops every model. An unread model would block the messages after it.
async fn forget_models(link: LinkHandle) {
    while let Ok(mut stream) = link.accept_uni().await {
        while let Ok(Some(_)) = stream.read(1 << 20).await {}
    }
}

async fn work(link: &mut Link) -> Result<Stamp, Failure> {
    match hear(link, |message| matches!(message, Message::Assign(_))).await? {
        Message::Assign(assigned) => Ok(assigned.stamp),
        _ => Err("no work".into()),
    }
}

/// The next message of a kind. Other messages are ignored, unless they end the wait.
async fn hear(link: &mut Link, wanted: impl Fn(&Message) -> bool) -> Result<Message, Failure> {
    loop {
        match wire::decode(&link.recv_envelope().await?)? {
            Some(Message::Refused(refused)) => return Err(refused.refusal.to_string().into()),
            Some(Message::Rejected(why)) => return Err(why.to_string().into()),
            Some(message) if wanted(&message) => return Ok(message),
            _ => {}
        }
    }
}

/// Elements after which an update repeats: unlike every size that the runtime works in.
const PERIOD: usize = 65_521;
/// Elements by which one update is ahead of the one before it.
const AHEAD: usize = 7_919;
/// Rows that every collaborator claims.
const WEIGHT: u64 = 7;
