//! Connects a collaborator to its aggregator: dials, sends the Hello, reads until the link ends, and dials
//! again.
//!
//! Waits between attempts grow and have jitter. [`outage`] says what is logged meanwhile. The dialler gives
//! up only when another attempt would fail in the same way, which [`verdict`] decides.

mod addresses;
pub(crate) mod destination;
mod outage;
mod verdict;

use std::{sync::Arc, time::Duration};

use fl_engine::{
    Digest, Name,
    plan::{Standardise, host_and_port, roster::Resumption},
    tensor::Layout,
    wire::{self, FEATURES, Hello, Message, NewerFile, Resumed, VERSIONS},
};
use rustls::pki_types::CertificateDer;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::sleep,
};

use self::{
    addresses::{Addresses, Way},
    destination::Destination,
    outage::{At, Outage},
    verdict::{Cause, Verdict},
};
use super::{messages::CollaboratorMessage, model_receiver::ModelReceiver};
use crate::{
    actors::{
        attestation::Attestation,
        close_code,
        greeting::{self, IntroductionError},
        mailbox::Mailbox,
    },
    exit::{Exit, Failure},
    net::{Carrier, ControlReceiver, ControlSender, Link, LinkError, LinkHandle, Sockets, backoff::Backoff},
    payload::Buffers,
    store::MemberCopies,
    system::Clock,
    trust::{self, Authority, FlooredClock, OwnValidity, Serials, evidence::Appraised},
};

/// What every attempt to connect needs.
pub(crate) struct Dialler {
    pub(crate) clock: Clock,
    pub(crate) sockets: Arc<Sockets>,
    pub(crate) destination: Arc<Destination>,
    pub(crate) federation: Name,
    pub(crate) plan: Digest,
    /// The highest roster serial that this site has seen.
    pub(crate) serials: Arc<Serials>,
    /// Root of the model that the collaborator holds.
    pub(crate) held: watch::Receiver<Option<Digest>>,
    pub(crate) layout: Arc<Layout>,
    pub(crate) buffers: Buffers,
    /// Where every received model is kept, if the plan says so.
    pub(crate) copies: Option<Arc<MemberCopies>>,
    /// The statistics of all sites, which copies of models state; `None` for a plan without them.
    pub(crate) statistics: Option<watch::Receiver<Option<Arc<Standardise>>>>,
    pub(crate) collaborator: Mailbox<CollaboratorMessage>,
    pub(crate) backoff: Backoff,
    /// When this side's own certificate is valid.
    pub(crate) own: OwnValidity,
    /// What carried the last link.
    pub(crate) carrier: Option<Carrier>,
    /// The federation's CA.
    pub(crate) authority: Authority,
    /// What this side shows, and the judge of what the aggregator shows.
    pub(crate) attestation: Arc<Attestation>,
    /// Looks whether this side has a newer roster or newer collateral.
    pub(crate) look: Box<dyn Fn() + Send + Sync>,
    /// Takes a newer roster or newer collateral that the aggregator hands on.
    pub(crate) receive: Box<dyn Fn(NewerFile, Vec<u8>) + Send + Sync>,
}

/// How one attempt ended.
enum Attempt {
    /// There was a link, and it ended for this reason.
    WasUp(String),
    /// There was no link, or the aggregator ended it for good.
    NoLink(Verdict),
}

impl Dialler {
    /// Runs until the collaborator has ended, or another attempt would fail in the same way.
    pub(crate) async fn run(mut self) {
        let mut outage = Outage::new(self.clock.now(), false);
        let mut addresses = Addresses::new(Arc::clone(&self.destination));
        loop {
            let attempt = self.attempt(&mut addresses).await;
            if let Attempt::WasUp(_) = attempt {
                self.backoff.reset();
                outage = Outage::new(self.clock.now(), true);
            }
            let mut wait = self.backoff.next_wait();
            let (why, line) = match attempt {
                Attempt::WasUp(why) => (why, None),
                Attempt::NoLink(Verdict::Again(no_link)) => {
                    // The aggregator may have a place again soon.
                    if no_link.cause == Cause::Busy {
                        wait = wait.min(BUSY_WAIT);
                    }
                    let Destination { host, port, .. } = &*self.destination;
                    let proxy = self.destination.tunnel().map(|tunnel| tunnel.proxy().to_string());
                    let protocols = self.protocols();
                    let at = At { host, port: *port, protocols, proxy: proxy.as_deref() };
                    let line = outage.line(&no_link, at, self.clock.now(), wait);
                    (no_link.why, line)
                }
                Attempt::NoLink(Verdict::Final(failure)) => {
                    // A collaborator that is gone has ended for another reason.
                    let _ = self.collaborator.deliver(CollaboratorMessage::GiveUp(failure)).await;
                    return;
                }
            };
            // The collaborator has ended: no more attempts.
            if self.collaborator.deliver(CollaboratorMessage::LinkDown { why }).await.is_err() {
                return;
            }
            match line {
                Some(line) if line.warns => tracing::warn!("{}", line.text),
                Some(line) => tracing::info!("{}", line.text),
                None => {}
            }
            sleep(wait).await;
        }
    }

    async fn attempt(&mut self, addresses: &mut Addresses) -> Attempt {
        let (mut link, way) = match addresses.connect(&self.sockets).await {
            Ok(linked) => linked,
            Err(no_link) => return Attempt::NoLink(Verdict::Again(no_link)),
        };
        (self.look)();
        let hello = Hello {
            versions: VERSIONS,
            features: FEATURES,
            federation: self.federation.clone(),
            plan: self.plan,
            roster_serial: self.serials.highest(),
            holds: *self.held.borrow(),
            evidence: Vec::new(),
        };
        let (welcome, appraised) =
            match greeting::introduce(&mut link, hello, &self.attestation, &*self.receive).await {
                Ok(welcomed) => welcomed,
                Err(IntroductionError::Evidence(why)) => return Attempt::NoLink(verdict::of_evidence(&why)),
                Err(IntroductionError::Link(error)) => {
                    return Attempt::NoLink(verdict::of_link(&error, &self.own));
                }
                Err(IntroductionError::Rejected(why)) => {
                    return Attempt::NoLink(verdict::of_rejection(&why, self.plan));
                }
            };
        self.say_carrier(way);
        self.serials.heard(welcome.roster_serial);
        self.serve(link, welcome, appraised).await
    }

    /// What a firewall has to let through.
    fn protocols(&self) -> &'static str {
        let mut carriers = self.sockets.carriers();
        match (carriers.next(), carriers.next()) {
            (_, Some(_)) => "UDP or TCP",
            (Some(Carrier::Tcp), None) => "TCP",
            _ => "UDP",
        }
    }

    /// Says what carries the link, and why, whenever that is new.
    fn say_carrier(&mut self, (address, carrier): Way) {
        if self.carrier.replace(carrier) == Some(carrier) {
            return;
        }
        if let Destination { host, port, proxy: Some((tunnel, by)), .. } = &*self.destination {
            let to = host_and_port(host, *port);
            tracing::info!("the link to {to} goes over {carrier} through the proxy {}: {by}", tunnel.proxy());
            return;
        }
        let why = match (self.sockets.carriers().count(), carrier) {
            (..=1, Carrier::Quic(_)) => "plan/site.yaml allows no TCP, or no TCP is possible here",
            (..=1, Carrier::Tcp) => "plan/site.yaml allows no QUIC, or no QUIC is possible here",
            (_, Carrier::Quic(_)) => "QUIC has answered, and plan/site.yaml has `link: auto`",
            (_, Carrier::Tcp) => {
                "QUIC has not answered: no datagram comes back from this UDP port. plan/site.yaml has `link: auto`"
            }
        };
        tracing::info!("the link to {address} goes over {carrier}: {why}");
    }

    /// Runs the tasks of the link and reads until the link ends.
    async fn serve(&self, link: Link, welcome: wire::Welcome, appraised: Appraised) -> Attempt {
        let (sender, mut receiver, handle) = link.split();
        let (outbox, queue) = mpsc::channel(OUTBOX);
        // Dropping the set ends the link's tasks.
        let mut tasks = JoinSet::new();
        tasks.spawn(write(sender, queue));
        let models = ModelReceiver {
            handle: handle.clone(),
            layout: Arc::clone(&self.layout),
            buffers: self.buffers.clone(),
            copies: self.copies.clone(),
            statistics: self.statistics.clone(),
            collaborator: self.collaborator.clone(),
        };
        tasks.spawn(models.run());
        let up = CollaboratorMessage::LinkUp { outbox, handle: handle.clone(), appraised, welcome };
        if self.collaborator.deliver(up).await.is_err() {
            return Attempt::WasUp("this collaborator ends".to_owned());
        }
        let why = tokio::select! {
            why = self.read(&mut receiver, &handle) => why,
            () = expired(self.own.clock(), handle.peer_certificates()) => {
                handle.close(close_code::ENDED, "the aggregator's certificate has expired");
                handle.closed().await
            }
        };
        let refused = |error: String, hint: &str| {
            Attempt::NoLink(Verdict::Final(Failure::new(Exit::Refused, error).hint(hint)))
        };
        match &why {
            LinkError::Closed { code: close_code::REPLACED, .. } => refused(
                "another process has connected under this collaborator's name".to_owned(),
                "run one collaborator for each name; stop the other process before starting this one",
            ),
            LinkError::Closed { code: close_code::UNLISTED, reason } => refused(
                format!("this collaborator is no longer on the roster: {reason}"),
                "ask the federation's owner for the reason; `fl-host pki list` shows the roster",
            ),
            why => Attempt::WasUp(why.to_string()),
        }
    }

    fn is_of_the_owner(&self, order: &Resumed) -> bool {
        let Ok(order) = Resumption::try_from(order.clone()) else { return false };
        self.authority.has_signed(&order.signed_bytes(&self.federation), &order.proof)
    }

    async fn read(&self, receiver: &mut ControlReceiver, handle: &LinkHandle) -> LinkError {
        loop {
            let envelope = match receiver.recv_envelope().await {
                Ok(envelope) => envelope,
                // The aggregator has finished the control stream. The close that follows has a code and a
                // reason.
                Err(LinkError::Ended) => return handle.closed().await,
                Err(error) => return error,
            };
            let message = match wire::decode(&envelope) {
                Ok(Some(Message::Resumed(order))) if !self.is_of_the_owner(&order) => {
                    tracing::warn!(
                        "the aggregator shows an order to take the run back that the federation's owner has not signed"
                    );
                    continue;
                }
                Ok(Some(message)) => message,
                Ok(None) => continue,
                Err(error) => {
                    handle.close(close_code::PROTOCOL, &error.to_string());
                    return LinkError::Transport(format!("the aggregator broke the protocol: {error}"));
                }
            };
            if self.collaborator.deliver(CollaboratorMessage::Heard(message)).await.is_err() {
                return LinkError::ClosedHere;
            }
        }
    }
}

async fn write(mut sender: ControlSender, mut queue: mpsc::Receiver<Vec<u8>>) {
    while let Some(envelope) = queue.recv().await {
        if sender.send_envelope(&envelope).await.is_err() {
            return;
        }
    }
    // A stream that is dropped unfinished loses the last message. The link may be gone already.
    let _ = sender.finish().await;
}

/// Waits until the peer's certificate has expired, by this clock.
async fn expired(clock: &FlooredClock, certificates: &[CertificateDer<'_>]) {
    // The handshake has read the certificate.
    let until = certificates.first().and_then(|certificate| trust::validity(certificate).ok());
    while until.is_none_or(|validity| clock.now() <= validity.not_after) {
        sleep(CLOCK_LOOK).await;
    }
}

/// Time between two looks at the clock for the end of the aggregator's certificate.
const CLOCK_LOOK: Duration = Duration::from_secs(10);
/// Longest wait before the next attempt where the aggregator had no place.
const BUSY_WAIT: Duration = Duration::from_secs(2);
/// Messages that wait for the writer.
const OUTBOX: usize = 256;
