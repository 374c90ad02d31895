//! Many collaborators in one process, each with its own certificate and link, over one UDP socket or over
//! TCP.
//!
//! The collaborators speak the real protocol with the runtime's own links, payloads and messages. They have
//! no model of their own and do not train: that would cost memory and time here, and the aggregator would not
//! notice a difference. The first collaborator that has received a round's model makes the update that all of
//! them send.

use std::{
    collections::{BTreeMap, HashMap},
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use fl_engine::{
    ByteCount, Digest, Name, RoundNo, Weight,
    plan::Plan,
    round::{Offer, Report, Stamp},
    tensor::{Layout, root_of},
    wire::{self, Hello, Leaving, Message, PayloadHeader, VERSIONS, Verdict},
};
use fl_host_tools::demo::Federation;
use fl_runtime::internal::{
    net::{
        Carrier, Endpoint, Link, LinkHandle, NetLimits, RecvStream,
        payload::{self, Progress},
    },
    trust::SERVER_NAME,
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{Semaphore, mpsc, watch},
};

use crate::{Failure, enrolment::Enrolment};

/// The collaborators' process.
pub struct Crowd {
    runtime: Runtime,
    shared: Arc<Shared>,
    enrolment: Enrolment,
    heard: mpsc::UnboundedReceiver<Heard>,
}

/// What a collaborator reports.
enum Heard {
    Welcome,
    /// The update of this round was taken.
    Received(RoundNo),
    /// The collaborator's run is over, or its link broke.
    Over(Result<(), String>),
}

struct Shared {
    endpoint: Endpoint,
    aggregator: SocketAddr,
    plan: Plan,
    hash: Digest,
    layout: Arc<Layout>,
    task: Name,
    /// Handshakes under way.
    handshakes: Semaphore,
    /// Updates by the root of their base.
    updates: Mutex<HashMap<Digest, (Bytes, Digest)>>,
    /// When a round's first task came.
    began: Mutex<BTreeMap<RoundNo, Instant>>,
    tell: mpsc::UnboundedSender<Heard>,
    /// From this round on, the last collaborator keeps its update back.
    kept_back: watch::Sender<RoundNo>,
}

impl Crowd {
    /// The collaborators of `enrolment`; none is connected yet. The plan's only task is `send`.
    ///
    /// # Errors
    /// When there is no socket or no thread.
    pub fn new(
        federation: &Federation,
        enrolment: Enrolment,
        threads: usize,
        carrier: Carrier,
    ) -> Result<Self, Failure> {
        let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
        let first = enrolment.names.first().ok_or("nobody is enrolled")?;
        let endpoint = {
            let _runtime = runtime.enter();
            let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let limits = NetLimits { handshake_time: PATIENCE, ..NetLimits::client() };
            Endpoint::client(enrolment.tls(first)?, bind, carrier, limits)?
        };
        let plan = federation.plan.clone();
        let (tell, heard) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            endpoint,
            aggregator: SocketAddr::from((Ipv4Addr::LOCALHOST, federation.port)),
            hash: plan.hash(),
            layout: plan.layout()?,
            task: "send".parse()?,
            plan,
            handshakes: Semaphore::new(HANDSHAKES),
            updates: Mutex::default(),
            began: Mutex::default(),
            tell,
            kept_back: watch::Sender::new(RoundNo(u32::MAX)),
        });
        Ok(Self { runtime, shared, enrolment, heard })
    }

    /// Connects these collaborators and waits until each one is admitted.
    ///
    /// # Errors
    /// When one is not admitted.
    pub fn connect(&mut self, who: Range<usize>) -> Result<(), Failure> {
        let count = who.len();
        for number in who {
            let name = &self.enrolment.names[number];
            let member = Member {
                tls: self.enrolment.tls(name)?,
                keeps_back: number + 1 == self.enrolment.names.len(),
                shared: Arc::clone(&self.shared),
            };
            self.runtime.spawn(member.run());
        }
        self.await_each(count, |heard| matches!(heard, Heard::Welcome))
    }

    /// From this round on the last collaborator keeps its update back, so that the round stays open.
    pub fn keep_back_from(&self, round: RoundNo) {
        self.shared.kept_back.send_replace(round);
    }

    /// Waits until the updates of `count` collaborators were received in `round`.
    ///
    /// # Errors
    /// When the run ends first.
    pub fn await_received(&mut self, round: RoundNo, count: usize) -> Result<(), Failure> {
        self.await_each(count, |heard| matches!(heard, Heard::Received(of) if *of == round))
    }

    /// Waits until the run is over for everybody.
    ///
    /// # Errors
    /// When a link broke first.
    pub fn await_end(&mut self) -> Result<(), Failure> {
        for _ in 0..self.enrolment.names.len() {
            loop {
                match self.next()? {
                    Heard::Over(Ok(())) => break,
                    Heard::Over(Err(why)) => return Err(why.into()),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// How long each round took: from its first task to the next round's first task.
    #[must_use]
    pub fn rounds(&self) -> Vec<Duration> {
        let began: Vec<Instant> = lock(&self.shared.began).values().copied().collect();
        began.windows(2).map(|pair| pair[1].duration_since(pair[0])).collect()
    }

    fn await_each(&mut self, count: usize, wanted: impl Fn(&Heard) -> bool) -> Result<(), Failure> {
        let mut left = count;
        while left > 0 {
            match self.next()? {
                Heard::Over(end) => return Err(end.err().unwrap_or_else(|| "the run is over".into()).into()),
                heard => left -= usize::from(wanted(&heard)),
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Heard, Failure> {
        let next = async { tokio::time::timeout(LONGEST, self.heard.recv()).await };
        Ok(self
            .runtime
            .block_on(next)
            .map_err(|_| "nothing was heard for minutes")?
            .ok_or("nobody is left")?)
    }
}

/// One collaborator.
struct Member {
    tls: rustls::ClientConfig,
    keeps_back: bool,
    shared: Arc<Shared>,
}

/// What it holds and owes.
#[derive(Default)]
struct Work {
    held: Option<Digest>,
    assigned: Option<Stamp>,
    offered: Option<Stamp>,
}

impl Member {
    async fn run(self) {
        let tell = self.shared.tell.clone();
        let ended = self.take_part().await.map_err(|e| e.to_string());
        // The bench may have ended.
        let _ = tell.send(Heard::Over(ended));
    }

    async fn take_part(self) -> Result<(), Failure> {
        let mut link = self.enter().await?;
        let _ = self.shared.tell.send(Heard::Welcome);
        let handle = link.handle().clone();
        let mut work = Work::default();
        loop {
            tokio::select! {
                stream = handle.accept_uni() => {
                    work.held = Some(self.model(stream?).await?);
                    self.offer_when_ready(&mut link, &mut work).await?;
                }
                envelope = link.recv_envelope() => {
                    let Some(message) = wire::decode(&envelope?)? else { continue };
                    match message {
                        Message::Assign(assigned) => {
                            let now = Instant::now();
                            lock(&self.shared.began).entry(assigned.stamp.round).or_insert(now);
                            work.assigned = Some(assigned.stamp).filter(|_| !assigned.tasks.is_empty());
                            self.offer_when_ready(&mut link, &mut work).await?;
                        }
                        Message::Grant(granted) => self.send(&handle, granted.stamp).await?,
                        Message::Received(of) => drop(self.shared.tell.send(Heard::Received(of.stamp.round))),
                        Message::Refused(refused) => return Err(refused.refusal.to_string().into()),
                        Message::Finished(Verdict::Completed { .. }) => {
                            link.send_envelope(&wire::encode(&Message::Leaving(Leaving {}))).await?;
                            // It closes the link when it has read this.
                            handle.closed().await;
                            return Ok(());
                        }
                        Message::Finished(other) => return Err(format!("the run ended early: {other:?}").into()),
                        _ => {}
                    }
                }
            }
        }
    }

    /// A link on which the aggregator has said welcome.
    async fn enter(&self) -> Result<Link, Failure> {
        let Shared { endpoint, aggregator, plan, hash, handshakes, .. } = &*self.shared;
        let _turn = handshakes.acquire().await?;
        let mut link = endpoint.connect_as(self.tls.clone(), *aggregator, SERVER_NAME).await?;
        let hello = Hello {
            versions: VERSIONS,
            features: 0,
            federation: plan.federation.clone(),
            plan: *hash,
            roster_serial: 0,
            holds: None,
            evidence: Vec::new(),
        };
        link.send_envelope(&wire::encode(&Message::Hello(hello))).await?;
        match wire::decode(&link.recv_envelope().await?)? {
            Some(Message::Welcome(_)) => Ok(link),
            other => Err(format!("not let in: {other:?}").into()),
        }
    }

    /// Takes a model in; the first that does makes the update of all.
    async fn model(&self, mut stream: RecvStream) -> Result<Digest, Failure> {
        let header = payload::recv_header(&mut stream, PATIENCE).await?;
        let PayloadHeader::Model(stamp) = PayloadHeader::decode(&header)? else {
            return Err("an aggregator sends models alone".into());
        };
        let makes = lock(&self.shared.updates).get(&stamp.base).is_none();
        let mut held = Vec::new();
        let length = self.shared.layout.byte_len();
        let sink = |piece: &[u8]| {
            if makes {
                held.extend_from_slice(piece);
            }
            Ok::<_, std::convert::Infallible>(())
        };
        payload::recv_payload(&mut stream, length as u64, PATIENT, sink).await?;
        if makes {
            if root_of(self.shared.layout.hash(), &held) != stamp.base {
                return Err("the model has another root".into());
            }
            perturb(&mut held[..self.shared.layout.f32_len() * 4], stamp.round);
            let root = root_of(self.shared.layout.hash(), &held);
            let mut updates = lock(&self.shared.updates);
            // Nobody works on an older model than the one before this.
            if updates.len() > 1 && !updates.contains_key(&stamp.base) {
                updates.clear();
            }
            updates.entry(stamp.base).or_insert((held.into(), root));
        }
        Ok(stamp.base)
    }

    /// Reports and offers the update, once task and model are here.
    async fn offer_when_ready(&self, link: &mut Link, work: &mut Work) -> Result<(), Failure> {
        let Some(stamp) = work.assigned.filter(|s| work.held == Some(s.base) && work.offered != Some(*s))
        else {
            return Ok(());
        };
        work.offered = Some(stamp);
        if self.keeps_back {
            self.shared.kept_back.subscribe().wait_for(|from| stamp.round < *from).await?;
        }
        let report = Report { stamp, task: self.shared.task.clone(), samples: 1, metrics: Vec::new() };
        link.send_envelope(&wire::encode(&Message::Report(report))).await?;
        let offer = self.offer(stamp)?;
        Ok(link.send_envelope(&wire::encode(&Message::Offer(offer))).await?)
    }

    fn offer(&self, stamp: Stamp) -> Result<Offer, Failure> {
        let (_, root) = self.update(stamp)?;
        let bytes = ByteCount(self.shared.layout.byte_len() as u64);
        Ok(Offer { stamp, task: self.shared.task.clone(), weight: Weight::new(7)?, bytes, root })
    }

    fn update(&self, stamp: Stamp) -> Result<(Bytes, Digest), Failure> {
        lock(&self.shared.updates).get(&stamp.base).cloned().ok_or_else(|| "the update is not there".into())
    }

    async fn send(&self, handle: &LinkHandle, stamp: Stamp) -> Result<(), Failure> {
        let mut stream = handle.open_uni().await?;
        let header = PayloadHeader::Update(self.offer(stamp)?).encode();
        payload::send_payload(&mut stream, &header, &mut [self.update(stamp)?.0]).await?;
        Ok(())
    }
}

/// Another last bit in every value: the model moves, and stays in range.
fn perturb(floats: &mut [u8], round: RoundNo) {
    for value in floats.chunks_exact_mut(4) {
        value[0] ^= 1 << (round.0 % 8);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As many handshakes at a time as the aggregator allows one socket.
const HANDSHAKES: usize = 24;
/// Longest handshake, and longest wait for a header.
const PATIENCE: Duration = Duration::from_secs(30);
/// Thousands of models are on their way at once, on a machine with few cores.
const PATIENT: Progress = Progress { window: LONGEST, bytes: 1 };
/// Nothing here takes longer.
const LONGEST: Duration = Duration::from_secs(300);
