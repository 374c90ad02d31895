//! Connects a collaborator to its aggregator: dials, sends the Hello, reads until the link ends, and dials
//! again.
//!
//! Waits between attempts grow and have jitter. A failed attempt is logged at most every 30 seconds. The
//! dialler gives up when another attempt would fail in the same way: a certificate, plan or roster does not
//! fit.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use fl_engine::{
    Digest, Name,
    tensor::Layout,
    wire::{self, Hello, Rejection, VERSIONS},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{messages::CollaboratorMessage, model_receiver::ModelReceiver};
use crate::{
    actors::{
        close_code,
        greeting::{self, IntroductionError},
        mailbox::Mailbox,
    },
    exit::{Exit, Failure},
    net::{ControlReceiver, ControlSender, Endpoint, Link, LinkError, LinkHandle, backoff::Backoff},
    payload::Buffers,
    store::MemberCopies,
    system::Clock,
    trust::{SERVER_NAME, Serials},
};

/// What every attempt to connect needs.
pub(crate) struct Dialler {
    pub(crate) clock: Clock,
    pub(crate) endpoint: Endpoint,
    /// Host name or IP address.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) federation: Name,
    pub(crate) plan: Digest,
    /// The highest roster serial that this site has seen.
    pub(crate) serials: Serials,
    /// Root of the model that the collaborator holds.
    pub(crate) held: watch::Receiver<Option<Digest>>,
    pub(crate) layout: Arc<Layout>,
    pub(crate) buffers: Buffers,
    /// Where every received model is kept, if the plan says so.
    pub(crate) copies: Option<Arc<MemberCopies>>,
    pub(crate) collaborator: Mailbox<CollaboratorMessage>,
    pub(crate) backoff: Backoff,
}

/// How one attempt ended.
enum Attempt {
    /// There was a link, and it ended for this reason.
    WasUp(String),
    /// There was no link. Another attempt may succeed.
    Failed(String),
    /// Another attempt would fail in the same way.
    Final(Failure),
}

impl Dialler {
    /// Runs until the collaborator has ended, or another attempt would fail in the same way.
    pub(crate) async fn run(mut self) {
        let mut attempt_log = AttemptLog::default();
        loop {
            let attempt = self.attempt().await;
            if let Attempt::WasUp(_) = attempt {
                self.backoff.reset();
                attempt_log = AttemptLog::default();
            }
            let wait = self.backoff.next_wait();
            let (why, line) = match attempt {
                Attempt::WasUp(why) => (why, None),
                Attempt::Failed(why) => {
                    let line = attempt_log.is_due(self.clock.now()).then(|| {
                        let (host, port, wait) = (&self.host, self.port, wait.as_secs_f64());
                        format!("no aggregator at {host}:{port} yet ({why}); next attempt in {wait:.1} s")
                    });
                    (why, line)
                }
                Attempt::Final(failure) => {
                    // A collaborator that is gone has ended for another reason.
                    let _ = self.collaborator.deliver(CollaboratorMessage::GiveUp(failure)).await;
                    return;
                }
            };
            // The collaborator has ended: no more attempts.
            if self.collaborator.deliver(CollaboratorMessage::LinkDown { why }).await.is_err() {
                return;
            }
            if let Some(line) = line {
                tracing::info!("{line}");
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn attempt(&mut self) -> Attempt {
        let address = match resolve(&self.host, self.port).await {
            Ok(address) => address,
            Err(why) => return Attempt::Failed(why),
        };
        let mut link = match self.endpoint.connect(address, SERVER_NAME).await {
            Ok(link) => link,
            Err(error) => return judge_link(error),
        };
        let hello = Hello {
            versions: VERSIONS,
            features: 0,
            federation: self.federation.clone(),
            plan: self.plan,
            roster_serial: self.serials.highest(),
            holds: *self.held.borrow(),
            evidence: Vec::new(),
        };
        let welcome = match greeting::introduce(&mut link, hello).await {
            Ok(welcome) => welcome,
            Err(IntroductionError::Link(error)) => return judge_link(error),
            Err(IntroductionError::Rejected(why)) => return judge_rejection(&why, self.plan),
        };
        if let Err(error) = self.serials.saw(welcome.roster_serial) {
            tracing::warn!(
                "cannot save the roster's serial: {error}; after a restart, an older roster will not be noticed"
            );
        }
        self.serve(link, welcome).await
    }

    /// Runs the tasks of the link and reads until the link ends.
    async fn serve(&self, link: Link, welcome: wire::Welcome) -> Attempt {
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
            collaborator: self.collaborator.clone(),
        };
        tasks.spawn(models.run());
        let up = CollaboratorMessage::LinkUp { outbox, handle: handle.clone(), welcome };
        if self.collaborator.deliver(up).await.is_err() {
            return Attempt::WasUp("this collaborator ends".to_owned());
        }
        let why = self.read(&mut receiver, &handle).await;
        if let LinkError::Closed { code: close_code::REPLACED, .. } = why {
            return Attempt::Final(
                Failure::new(Exit::Refused, "another process has connected under this collaborator's name")
                    .hint(
                        "run one collaborator for each name; stop the other process before starting this one",
                    ),
            );
        }
        if let LinkError::Closed { code: close_code::UNLISTED, reason } = &why {
            return Attempt::Final(
                Failure::new(
                    Exit::Refused,
                    format!("this collaborator is no longer on the roster: {reason}"),
                )
                .hint("ask the federation's owner for the reason; `fl-host pki list` shows the roster"),
            );
        }
        Attempt::WasUp(why.to_string())
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

fn judge_link(error: LinkError) -> Attempt {
    match error {
        LinkError::Handshake(why) => Attempt::Final(
            Failure::new(Exit::Trust, format!("the TLS handshake failed: {why}"))
                .hint("compare fingerprints with the federation's owner: `fl-host pki list`; renew an expired certificate with `fl-host pki renew`"),
        ),
        LinkError::WrongProtocol => Attempt::Final(
            Failure::new(Exit::Network, "the server at this address does not speak fl/1")
                .hint("check address and port in plan/site.yaml"),
        ),
        error => Attempt::Failed(error.to_string()),
    }
}

fn judge_rejection(why: &Rejection, own: Digest) -> Attempt {
    let failure = Failure::new(Exit::Refused, format!("the aggregator rejected this collaborator: {why}"));
    Attempt::Final(match why {
        Rejection::Plan(_) => failure.hint(format!(
            "this site has plan {own}: copy the federation's plan/plan.yaml here, read it, and run `fl-host plan accept`"
        )),
        Rejection::Federation(_) => failure.hint("check that plan/plan.yaml is of this federation and that plan/site.yaml has the address of its aggregator"),
        Rejection::Identity(_) => failure.hint("ask the federation's owner to approve this site with `fl-host pki approve`"),
        Rejection::Version(..) => failure.hint("install the version of fl-runtime that the federation uses"),
        Rejection::Roster(_) => failure.hint(
            "ask the aggregator's operator to install the newest plan/cols.yaml: an older one may admit collaborators that were revoked",
        ),
        Rejection::Over => Failure { exit: Exit::Done, ..failure },
        // The cause may pass, or is a defect: the next attempt may succeed.
        Rejection::Duplicate | Rejection::Protocol(_) => return Attempt::Failed(why.to_string()),
        _ => failure,
    })
}

/// The first address of `host`. "localhost" is not resolved: under a library OS there is no resolver for it.
async fn resolve(host: &str, port: u16) -> Result<SocketAddr, String> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, port));
    }
    if host == "localhost" {
        return Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    }
    let found = tokio::net::lookup_host((host, port)).await;
    let mut addresses = found.map_err(|error| format!("cannot resolve {host}: {error}"))?;
    addresses.next().ok_or_else(|| format!("{host} has no address"))
}

/// Whether a failed attempt is logged.
#[derive(Default)]
struct AttemptLog {
    last: Option<Instant>,
}

impl AttemptLog {
    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.last.is_none_or(|at| now.duration_since(at) >= BETWEEN_LINES);
        if is_due {
            self.last = Some(now);
        }
        is_due
    }
}

/// Least time between two such lines.
const BETWEEN_LINES: Duration = Duration::from_secs(30);
/// Messages that wait for the writer.
const OUTBOX: usize = 256;
