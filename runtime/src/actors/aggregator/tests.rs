//! A whole aggregator in one process, over links in memory. Tests play the collaborators.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use fl_engine::{
    Millis, RoundNo, Weight,
    aggregate::{Block, Chosen, ColumnRule, Order, Products, RuleError, ScoreRule},
    model::{Layer, safetensors},
    plan::{PlanDraft, Rule, TaskKind},
    round::{Offer, Reason, Refusal, Report, Stamp},
    tensor::root_of,
    wire::{self, Hello, Leaving, Message, PayloadHeader, Side, VERSIONS, Verdict},
};
use fl_learn::registry::Registry;
use rustls::pki_types::CertificateDer;
use tokio::time::{sleep, timeout};

use super::{
    messages::{SessionNo, StoreJob},
    *,
};
use crate::{
    actors::{
        close_code,
        fixture::{self, plan},
        greeting,
        mailbox::{Actor, Context},
    },
    net::{
        Endpoint, Link, LinkError, NetLimits, SocketKind,
        fixture::{Authority, SERVER_NAME},
        payload::{self, Progress},
    },
    system::System,
    trust::{PeerAdmitted, Refused},
};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// Admits everybody, by the name that a certificate of one word says. Another certificate is of "quic".
#[derive(Default)]
struct Everybody {
    revoked: Mutex<Option<Name>>,
}

impl Admission for Everybody {
    fn admit(&self, certificates: &[CertificateDer<'_>]) -> Result<PeerAdmitted, Refused> {
        Ok(PeerAdmitted::unchecked(name(std::str::from_utf8(&certificates[0]).unwrap_or("quic"))))
    }

    fn still_admits(&self, peer: &PeerAdmitted) -> Result<(), Refused> {
        match &*self.revoked.lock().unwrap() {
            Some(name) if name == peer.name() => {
                Err(Refused::Revoked { name: name.clone(), why: "left".to_owned() })
            }
            _ => Ok(()),
        }
    }

    fn serial(&self) -> u64 {
        1
    }
}

/// What an aggregator is made from, in a folder of its own.
struct Workspace {
    dir: PathBuf,
    plan: Arc<Plan>,
    layout: Arc<Layout>,
}

impl Workspace {
    fn new(plan: Plan) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("fl-actors-{}-{n}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let init = safetensors::write(&plan.initial_state().unwrap(), &safetensors::Texts::new());
        fs::write(dir.join("trial_init.safetensors"), init).unwrap();
        let layout = plan.layout().unwrap();
        Self { dir, plan: Arc::new(plan), layout }
    }

    fn store(&self) -> (Store, Resume) {
        Store::open(&System::real(), &self.dir, "trial", &self.plan, self.plan.hash(), &self.layout).unwrap()
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// An aggregator that runs.
struct Rig {
    aggregator: Mailbox<AggregatorMessage>,
    outcome: oneshot::Receiver<Result<AggregatorOutcome, Failure>>,
    store: Option<StoreThread>,
    greeter: Arc<Greeter>,
    everybody: Arc<Everybody>,
    workspace: Workspace,
}

impl Rig {
    async fn new(plan: Plan, members: &[&str]) -> Self {
        Self::with(plan, members, &Registry::new()).await
    }

    async fn with(plan: Plan, members: &[&str], registry: &Registry) -> Self {
        let workspace = Workspace::new(plan);
        let (plan, layout) = (Arc::clone(&workspace.plan), Arc::clone(&workspace.layout));
        let (store, resume) = workspace.store();
        let length = layout.byte_len() as u64;
        let spill = workspace.dir.join("spill");
        let everybody = Arc::new(Everybody::default());
        let parts = Parts {
            system: System::real(),
            plan_hash: plan.hash(),
            method: registry.method(&plan).unwrap(),
            pool: Pool::new(&System::real().threads, 1).unwrap(),
            slots: SlotStore::new(&System::real(), ByteCount(4 * length), ByteCount(0), spill, length)
                .unwrap(),
            plan,
            layout,
            store,
            resume,
            members: members.iter().map(|n| name(n)).collect(),
            admission: Arc::clone(&everybody) as Arc<dyn Admission>,
            attestation: fixture::attestation(Side::Aggregator),
            incarnation: 77,
            secret: [1; 32],
            json: false,
        };
        let Running { mailbox, greeter, outcome, store, .. } = start(parts).await.unwrap();
        Self { aggregator: mailbox, outcome, store: Some(store), greeter, everybody, workspace }
    }

    async fn join(&self, who: &str) -> Player {
        let certificate = CertificateDer::from(who.as_bytes().to_vec());
        let (there, here) = Link::pair(vec![certificate], Vec::new());
        self.join_over(there, here).await
    }

    async fn join_over(&self, mut there: Link, here: Link) -> Player {
        let hello = Hello {
            versions: VERSIONS,
            features: 0,
            federation: self.greeter.federation.clone(),
            plan: self.greeter.plan,
            roster_serial: 1,
            holds: None,
            evidence: Vec::new(),
        };
        let own = fixture::attestation(Side::Collaborator);
        let (admitted, welcome) = tokio::join!(
            greeting::welcome(here, &self.greeter),
            greeting::introduce(&mut there, hello, &own, &|_, _| ())
        );
        welcome.unwrap();
        self.aggregator.deliver(AggregatorMessage::Admitted(admitted.unwrap())).await.unwrap();
        Player { link: there, layout: Arc::clone(&self.workspace.layout) }
    }

    /// Waits until the run has ended and everything is written.
    async fn end(&mut self) -> Result<AggregatorOutcome, Failure> {
        let outcome = timeout(PATIENCE, &mut self.outcome).await.expect("the run does not end").unwrap();
        if let Some(store) = self.store.take() {
            let stored = timeout(PATIENCE, store.join()).await.expect("the store does not end");
            assert!(stored.is_ok() || outcome.is_err(), "{stored:?}");
        }
        outcome
    }

    async fn nobody_is_left(&self) {
        let mut status = self.greeter.status.clone();
        let gone = timeout(Duration::from_secs(2), status.wait_for(|now| now.links == 0)).await;
        gone.expect("links are left").unwrap();
    }
}

/// A collaborator that a test plays.
struct Player {
    link: Link,
    layout: Arc<Layout>,
}

impl Player {
    async fn hear(&mut self) -> Result<Message, LinkError> {
        let envelope = timeout(PATIENCE, self.link.recv_envelope()).await.expect("nothing is said")?;
        Ok(wire::decode(&envelope).unwrap().unwrap())
    }

    async fn say(&mut self, message: Message) {
        self.link.send_envelope(&wire::encode(&message)).await.unwrap();
    }

    /// Skips messages until the next assignment.
    async fn assigned(&mut self) -> Stamp {
        loop {
            if let Message::Assign(assigned) = self.hear().await.unwrap() {
                return assigned.stamp;
            }
        }
    }

    async fn take_model(&mut self) -> Stamp {
        let mut stream = self.link.handle().accept_uni().await.unwrap();
        let header = payload::recv_header(&mut stream, PATIENCE).await.unwrap();
        let Ok(PayloadHeader::Model(stamp)) = PayloadHeader::decode(&header) else { panic!("no model") };
        let len = self.layout.byte_len() as u64;
        payload::recv_payload(&mut stream, len, PROGRESS, |_| Ok::<_, ()>(())).await.unwrap();
        stamp
    }

    fn update(&self, stamp: Stamp, value: f32) -> (Offer, Vec<u8>) {
        let body: Vec<u8> = (0..self.layout.f32_len()).flat_map(|_| value.to_le_bytes()).collect();
        let (bytes, root) = (ByteCount(body.len() as u64), root_of(self.layout.hash(), &body));
        (Offer { stamp, task: name("send"), weight: Weight::new(5).unwrap(), bytes, root }, body)
    }

    /// Reports, offers, and uploads once the offer is granted.
    async fn contribute(&mut self, stamp: Stamp) {
        self.contribute_value(stamp, 1.0 + stamp.round.0 as f32).await;
    }

    async fn contribute_value(&mut self, stamp: Stamp, value: f32) {
        let (offer, body) = self.update(stamp, value);
        self.say(Message::Report(Report { stamp, task: name("send"), samples: 5, metrics: vec![] })).await;
        self.say(Message::Offer(offer.clone())).await;
        while !matches!(self.hear().await.unwrap(), Message::Grant(_)) {}
        let mut stream = self.link.handle().open_uni().await.unwrap();
        let header = PayloadHeader::Update(offer).encode();
        payload::send_payload(&mut stream, &header, &mut [body.into()]).await.unwrap();
        stream.delivered().await.unwrap();
    }

    /// Takes part in every round and says good-bye after the last.
    async fn play(mut self) -> Verdict {
        loop {
            match self.hear().await.unwrap() {
                Message::Assign(assigned) => {
                    assert_eq!(self.take_model().await, assigned.stamp);
                    if !assigned.tasks.is_empty() {
                        self.contribute(assigned.stamp).await;
                    }
                }
                Message::Finished(verdict) => {
                    self.say(Message::Leaving(Leaving {})).await;
                    return verdict;
                }
                _ => {}
            }
        }
    }

    /// Skips messages until the link ends. Returns why it ended.
    async fn farewell(&mut self) -> LinkError {
        loop {
            if let Err(why) = self.hear().await {
                return why;
            }
        }
    }
}

fn run(test: impl AsyncFnOnce()) {
    actix::System::new().block_on(test());
}

#[test]
fn every_round_is_run_and_stored_and_everybody_hears_the_end() {
    run(async || {
        let mut rig = Rig::new(plan(3), &["one", "two"]).await;
        let (one, two) = (rig.join("one").await, rig.join("two").await);
        let (one, two) = tokio::join!(one.play(), two.play());
        let ended = rig.end().await.unwrap();
        assert_eq!((ended.reason, ended.round), (Reason::Completed, RoundNo(3)));
        assert_eq!((one, two.clone()), (two, Verdict::Completed { rounds: 3, root: ended.root }));
        rig.nobody_is_left().await;
        let history = fs::read_to_string(rig.workspace.dir.join("trial_history.jsonl")).unwrap();
        assert_eq!(history.lines().count(), 3);
    });
}

/// The largest value of each element: a rule that no plan knows.
#[derive(Debug)]
struct Largest;

impl ColumnRule for Largest {
    fn order(&self, updates: usize) -> Order {
        Order::Ranks(updates - 1..updates)
    }

    fn combine(&self, block: &mut Block<'_>, out: &mut [f32]) {
        out.copy_from_slice(block.row(block.updates() - 1));
    }
}

/// A rule that makes no choice.
#[derive(Debug)]
struct Undecided;

impl ScoreRule for Undecided {
    fn choose(&self, _: &Products, _: &[Weight]) -> Result<Chosen, RuleError> {
        Err(RuleError::Failed("all updates are equally far".to_owned()))
    }
}

/// [`plan`] with this rule.
fn ruled(rounds: u32, rule: Rule) -> Plan {
    let kind = TaskKind::Synthetic { weight: 5, rule: Some(rule) };
    plan(rounds).edited(|plan| plan.tasks[0].kind = kind).unwrap()
}

#[test]
fn rule_of_a_users_crate_makes_the_rounds_models() {
    run(async || {
        let registry = Registry::new().with_rule("largest", Arc::new(Largest));
        let plan = ruled(2, Rule::Custom { name: "largest".to_owned() });
        let mut rig = Rig::with(plan.clone(), &["one", "two"], &registry).await;
        let (mut one, mut two) = (rig.join("one").await, rig.join("two").await);
        for round in 0..2 {
            let (stamp, again) = (one.assigned().await, two.assigned().await);
            assert_eq!((stamp.round, again), (RoundNo(round), stamp));
            assert_eq!((one.take_model().await, two.take_model().await), (stamp, stamp));
            let value = round as f32 * 10.0;
            two.contribute_value(stamp, value + 3.0).await;
            one.contribute_value(stamp, value - 3.0).await;
        }
        let (one, two) = tokio::join!(one.play(), two.play());
        assert_eq!(one, two);
        rig.end().await.unwrap();
        let layout = plan.layout().unwrap();
        let file = fs::read(rig.workspace.dir.join("trial_last.safetensors")).unwrap();
        let (model, _) = safetensors::read(&file, &layout).unwrap();
        assert!(model.f32.iter().all(|value| *value == 13.0), "{:?}", &model.f32[..3]);
    });
}

#[test]
fn rule_that_cannot_choose_ends_the_run_with_its_words() {
    run(async || {
        let registry = Registry::new().with_score_rule("undecided", Arc::new(Undecided));
        let plan = ruled(2, Rule::Custom { name: "undecided".to_owned() });
        let mut rig = Rig::with(plan, &["one", "two"], &registry).await;
        let (mut one, mut two) = (rig.join("one").await, rig.join("two").await);
        let (stamp, _) = (one.assigned().await, two.assigned().await);
        one.contribute(stamp).await;
        two.contribute(stamp).await;
        let failure = rig.end().await.unwrap_err();
        assert_eq!(failure.exit, Exit::Failed);
        assert_eq!(failure.error, "the updates could not be combined: all updates are equally far");
    });
}

#[test]
fn failed_store_ends_the_run_and_every_link() {
    run(async || {
        let mut rig = Rig::new(plan(3), &["one"]).await;
        fs::remove_dir_all(rig.workspace.dir.join("generations")).unwrap();
        fs::write(rig.workspace.dir.join("generations"), "in the way").unwrap();
        let mut one = rig.join("one").await;
        let stamp = one.assigned().await;
        one.contribute(stamp).await;
        assert_eq!(rig.end().await.unwrap_err().exit, Exit::File);
        let why = timeout(Duration::from_secs(2), one.farewell()).await.expect("nobody told it");
        assert!(matches!(why, LinkError::Closed { code: close_code::LEAVING, .. }), "{why:?}");
        rig.nobody_is_left().await;
    });
}

#[test]
fn collaborator_that_comes_after_the_end_is_sent_away() {
    run(async || {
        let mut rig = Rig::new(plan(3), &["one"]).await;
        rig.aggregator.deliver(AggregatorMessage::PartFailed("a pipe".to_owned())).await.unwrap();
        rig.end().await.unwrap_err();
        let mut late = rig.join("one").await;
        let why = timeout(Duration::from_secs(2), late.farewell()).await;
        assert!(why.is_ok(), "it waits for a run that has ended");
        rig.nobody_is_left().await;
    });
}

#[test]
fn member_that_comes_before_its_roster_is_asked_once_that_is_here() {
    run(async || {
        let rig = Rig::new(plan(3), &["one"]).await;
        let mut one = rig.join("one").await;
        one.assigned().await;
        let mut two = rig.join("two").await;
        rig.aggregator
            .deliver(AggregatorMessage::RosterChanged(vec![name("one"), name("two")]))
            .await
            .unwrap();
        let stamp = timeout(Duration::from_secs(2), two.assigned()).await.expect("it is not asked");
        assert_eq!(stamp.round, RoundNo(0));
    });
}

#[test]
fn member_that_the_new_roster_refuses_is_cut_off_with_the_reason() {
    run(async || {
        let rig = Rig::new(plan(3), &["one", "two"]).await;
        let (mut one, mut two) = (rig.join("one").await, rig.join("two").await);
        let _ = (one.assigned().await, two.assigned().await);
        *rig.everybody.revoked.lock().unwrap() = Some(name("two"));
        rig.aggregator.deliver(AggregatorMessage::RosterChanged(vec![name("one")])).await.unwrap();
        let why = timeout(Duration::from_secs(2), two.farewell()).await.expect("it may stay");
        let reason = "two was revoked: left".to_owned();
        assert_eq!(why, LinkError::Closed { code: close_code::UNLISTED, reason });
        let stamp = one.take_model().await;
        one.contribute(stamp).await;
        assert_eq!(one.assigned().await.round, RoundNo(1));
    });
}

#[test]
fn replaced_link_is_closed_and_its_session_ends() {
    run(async || {
        let mut rig = Rig::new(plan(1), &["one"]).await;
        let mut old = rig.join("one").await;
        old.assigned().await;
        let new = rig.join("one").await;
        let why = old.farewell().await;
        assert!(matches!(why, LinkError::Closed { code: close_code::REPLACED, .. }), "{why:?}");
        assert!(matches!(new.play().await, Verdict::Completed { .. }));
        rig.end().await.unwrap();
        rig.nobody_is_left().await;
    });
}

#[test]
fn collaborator_that_lets_go_of_its_model_is_cut_off_so_that_it_comes_back() {
    run(async || {
        let rig = Rig::new(plan(1), &["one"]).await;
        let mut one = rig.join("one").await;
        one.assigned().await;
        let mut stream = one.link.handle().accept_uni().await.unwrap();
        payload::recv_header(&mut stream, PATIENCE).await.unwrap();
        drop(stream);
        let why = timeout(Duration::from_secs(2), one.farewell()).await.expect("it waits without a model");
        assert!(matches!(why, LinkError::Closed { .. }), "{why:?}");
        let mut again = rig.join("one").await;
        assert_eq!(again.assigned().await, again.take_model().await);
    });
}

#[test]
fn session_that_cannot_take_its_messages_is_closed() {
    run(async || {
        let rig = Rig::new(plan(1), &["one"]).await;
        let mut one = rig.join("one").await;
        let mut stamp = one.assigned().await;
        stamp.base = Digest([0; 32]);
        // All at once: the session runs on this thread, and takes no message in between.
        for _ in 0..600 {
            let message = Message::Offer(one.update(stamp, 0.0).0);
            rig.aggregator
                .tell(AggregatorMessage::Heard { peer: name("one"), session: SessionNo(1), message })
                .unwrap();
        }
        let mut answers = 0;
        while answers < 600 {
            match timeout(Duration::from_secs(2), one.hear()).await.expect("answers are missing") {
                Ok(_) => answers += 1,
                Err(why) => {
                    assert!(matches!(why, LinkError::Closed { code: close_code::SLOW, .. }), "{why:?}");
                    break;
                }
            }
        }
    });
}

#[test]
fn refusal_of_an_earlier_rounds_update_is_not_taken_for_this_rounds() {
    run(async || {
        let rig = Rig::new(plan(3), &["one"]).await;
        let mut one = rig.join("one").await;
        let first = one.assigned().await;
        one.contribute(first).await;
        let second = one.assigned().await;
        let (offer, _) = one.update(first, 9.0);
        let refusal = Refusal::Root;
        let peer = name("one");
        rig.aggregator.deliver(AggregatorMessage::UpdateRefused { peer, offer, refusal }).await.unwrap();
        one.say(Message::Offer(one.update(second, 2.0).0)).await;
        loop {
            match one.hear().await.unwrap() {
                Message::Refused(refused) => panic!("{refused:?}"),
                Message::Grant(_) => break,
                _ => {}
            }
        }
    });
}

/// The model has twelve megabytes: more than the windows of a link.
#[test]
fn collaborator_that_never_reads_its_model_holds_nobody_up() {
    run(async || {
        let large = |plan: &mut PlanDraft| {
            plan.model.input = vec![1500];
            plan.model.layers = vec![Layer::Linear { name: "fc".to_owned(), out: 2000, bias: false }];
            plan.quorum.count_max = Some(1);
            plan.quorum.time_max = Millis(10_000);
        };
        let mut rig = Rig::new(plan(4).edited(large).unwrap(), &["one", "quic"]).await;
        let authority = Authority::new();
        let any = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        let server =
            Endpoint::server(authority.server(), any, SocketKind::Auto, NetLimits::server()).unwrap();
        let config = authority.client(&authority).0;
        let client = Endpoint::client(config, any, SocketKind::Auto, NetLimits::client()).unwrap();
        let address = server.local_addr().unwrap();
        let admitting = async { server.accept().await.unwrap().admit().await };
        let (there, here) = tokio::join!(client.connect(address, SERVER_NAME), admitting);
        let deaf = rig.join_over(there.unwrap(), here.unwrap()).await;
        let unread = deaf.link.handle().clone();
        let one = tokio::spawn(rig.join("one").await.play());
        for _ in 0..3 {
            // The streams are accepted and never read.
            drop(timeout(Duration::from_millis(1), unread.accept_uni()).await);
            let mut status = rig.greeter.status.clone();
            let round = status.borrow_and_update().round;
            let next = timeout(PATIENCE, status.wait_for(|now| now.round > round)).await;
            next.expect("the run stands still").unwrap();
        }
        assert_eq!(rig.end().await.unwrap().reason, Reason::Completed);
        one.abort();
        drop(deaf);
    });
}

/// Drops every message.
struct Busy;

impl Actor for Busy {
    type Message = AggregatorMessage;

    fn on(&mut self, _: AggregatorMessage, _: &mut Context<'_, Self>) {}

    fn panicked(&mut self, words: &str) {
        panic!("{words}");
    }
}

#[test]
fn store_ends_although_the_aggregators_mailbox_is_full() {
    run(async || {
        let workspace = Workspace::new(plan(3));
        let aggregator = mailbox::open(Busy, 1);
        let (jobs, todo) = mpsc::unbounded_channel();
        let store =
            store_thread::start(&System::real(), workspace.store().0, todo, aggregator.clone()).unwrap();
        while aggregator.tell(AggregatorMessage::Tick).is_ok() {}
        let (round, root) = (RoundNo(0), Digest([0; 32]));
        let model = crate::payload::Payload::with_root(bytes::Bytes::new(), root);
        jobs.send(StoreJob::Best { round, root, value: 0.0, metrics: vec![], model }).unwrap();
        drop(jobs);
        let failed = timeout(PATIENCE, store.join()).await.expect("the store waits for the aggregator");
        assert!(failed.is_err(), "what the store could not write is lost without a word");
    });
}

#[test]
fn stopped_run_lets_its_collaborators_go() {
    run(async || {
        let mut rig = Rig::new(plan(3), &["one"]).await;
        let one = rig.join("one").await;
        let playing = tokio::spawn(one.play());
        sleep(Duration::from_millis(50)).await;
        rig.aggregator.deliver(AggregatorMessage::Stop).await.unwrap();
        assert!(matches!(rig.end().await.unwrap().reason, Reason::Stopped | Reason::Completed));
        playing.await.unwrap();
        rig.nobody_is_left().await;
    });
}

const PATIENCE: Duration = Duration::from_secs(20);
const PROGRESS: Progress = Progress { window: PATIENCE, bytes: 1 };
