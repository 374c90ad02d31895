//! A collaborator that misbehaves, for `tests/hostile.rs`: `hostile FOLDER NAME MISDEED…`.
//!
//! For each misdeed it makes a link of its own with NAME's certificate out of the workspace FOLDER, introduces itself,
//! takes tasks and models as it should, and does one thing wrong. What it was told goes to standard output, one JSON
//! object a line, the misdeed in each. It speaks the wire's messages over plain quinn, so that nothing of the runtime's
//! own net code keeps it from a fault.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use fl_engine::{
    Bytes, Digest, RoundNo, Weight, limits, model,
    plan::{Metric, Plan, Site},
    round::{Offer, Report, Stamp},
    tensor::{Layout, root_of},
    wire::{self, Failed, Hello, Leaving, Message, PayloadHeader, Verdict},
};
use fl_tests::stranger;
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream, VarInt, WriteError};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};
use tokio::{runtime::Builder, sync::mpsc, task::JoinHandle, time::timeout};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, name, misdeeds @ ..] = args.as_slice() else {
        eprintln!("usage: hostile FOLDER NAME MISDEED…");
        return ExitCode::from(2);
    };
    match run(Path::new(folder), name, misdeeds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(folder: &Path, name: &str, misdeeds: &[String]) -> Result<(), Failure> {
    let site = Workspace::open(folder, name)?;
    Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(async {
        for misdeed in misdeeds {
            let done = timeout(LONGEST, site.commit(misdeed)).await;
            done.map_err(|_| format!("{misdeed} does not end"))?.map_err(|e| format!("{misdeed}: {e}"))?;
            say(misdeed, json!({"event": "done"}));
        }
        Ok(())
    })
}

fn say(misdeed: &str, mut line: Value) {
    line["misdeed"] = misdeed.into();
    println!("{line}");
}

/// What is read from the folder.
struct Workspace {
    plan: Plan,
    layout: Arc<Layout>,
    aggregator: SocketAddr,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Workspace {
    fn open(folder: &Path, name: &str) -> Result<Self, Failure> {
        let plan = Plan::parse(&fs::read_to_string(folder.join("plan/plan.yaml"))?)?;
        let site = Site::parse(&fs::read_to_string(folder.join("plan/site.yaml"))?)?;
        let cert = folder.join("cert");
        Ok(Self {
            layout: model::plan_layout(&plan)?,
            aggregator: SocketAddr::new(site.address.parse::<IpAddr>()?, site.port),
            certificate: CertificateDer::from_pem_file(cert.join(format!("col_{name}.crt")))?,
            key: PrivateKeyDer::from_pem_file(cert.join(format!("col_{name}.key")))?,
            plan,
        })
    }

    async fn commit(&self, misdeed: &str) -> Result<(), Failure> {
        match misdeed {
            "wrong-plan" | "wrong-federation" | "wrong-version" | "later-roster" | "most-evidence"
            | "long-evidence" => self.wrong_hello(misdeed).await,
            "silent" | "streamless" => self.silent(misdeed).await,
            "idle" => self.enter(misdeed, WINDOW).await?.closed().await,
            "deaf" => self.deaf(misdeed).await,
            "lying-length" | "wrong-layout" | "heavy" | "stale-round" | "stale-incarnation"
            | "wrong-base" | "unknown-task" => self.wrong_offer(misdeed).await,
            "truncated" | "oversized" | "nan" | "infinity" | "minus-infinity" | "out-of-range"
            | "wrong-root" | "other-header" | "dropped" => self.wrong_payload(misdeed).await,
            "vanishing" | "drip" => self.slow_payload(misdeed).await,
            "duplicate" | "unknown-odd" | "odd-metrics" => self.counted(misdeed).await,
            "offer-flood" | "report-flood" | "failed-flood" | "ungranted" | "abandoned-streams" => {
                self.flood(misdeed).await
            }
            _ => self.broken(misdeed).await,
        }
    }

    /// Not let in.
    async fn wrong_hello(&self, misdeed: &str) -> Result<(), Failure> {
        let mut hello = self.hello();
        match misdeed {
            "wrong-plan" => hello.plan = Digest([7; 32]),
            "wrong-federation" => hello.federation = "elsewhere".parse()?,
            "wrong-version" => hello.versions = (77, 78),
            "later-roster" => hello.roster_serial = u64::MAX,
            "most-evidence" => hello.evidence = vec![9; 32 << 10],
            _ => hello.evidence = vec![9; (32 << 10) + 1],
        }
        let mut link = self.knock(misdeed, WINDOW).await?;
        link.say(&Message::Hello(hello)).await?;
        if misdeed == "most-evidence" {
            link.work().await?;
            return link.leave().await;
        }
        link.hear(|message| matches!(message, Message::Rejected(_))).await?;
        Ok(())
    }

    /// Shakes hands and says nothing.
    async fn silent(&self, misdeed: &str) -> Result<(), Failure> {
        if misdeed == "silent" {
            return self.knock(misdeed, WINDOW).await?.closed().await;
        }
        let (_endpoint, connection) = self.dial(WINDOW).await?;
        tell_end(misdeed, &connection.closed().await);
        Ok(())
    }

    /// Never reads what it is told, and asks for answers.
    async fn deaf(&self, misdeed: &str) -> Result<(), Failure> {
        let mut link = self.enter(misdeed, 4096).await?;
        let stamp = link.work().await?;
        link.reader.abort();
        let stale = Stamp { incarnation: stamp.incarnation ^ 1, ..stamp };
        let offer = Message::Offer(self.offer(stale, &[])?);
        while link.say(&offer).await.is_ok() {}
        link.closed().await
    }

    /// Refused before a byte of it comes.
    async fn wrong_offer(&self, misdeed: &str) -> Result<(), Failure> {
        let (mut link, stamp) = self.working(misdeed).await?;
        let mut body = self.body();
        if misdeed == "wrong-layout" {
            body.extend([0; 4]);
        }
        let mut offer = self.offer(stamp, &body)?;
        match misdeed {
            "lying-length" => offer.bytes = Bytes(u64::MAX),
            "heavy" => offer.weight = Weight::new(1 << 20)?,
            "stale-round" => offer.stamp.round = RoundNo(stamp.round.0.wrapping_sub(1)),
            "stale-incarnation" => offer.stamp.incarnation ^= 1,
            "wrong-base" => offer.stamp.base = Digest([7; 32]),
            "unknown-task" => offer.task = "steal".parse()?,
            _ => {}
        }
        link.say(&Message::Offer(offer)).await?;
        link.refused().await?;
        link.leave().await
    }

    /// Refused for what comes.
    async fn wrong_payload(&self, misdeed: &str) -> Result<(), Failure> {
        let (mut link, stamp) = self.working(misdeed).await?;
        let body = match misdeed {
            "nan" => self.poisoned(f32::NAN),
            "infinity" => self.poisoned(f32::INFINITY),
            "minus-infinity" => self.poisoned(f32::NEG_INFINITY),
            "out-of-range" => self.poisoned(f32::MAX),
            _ => self.body(),
        };
        let mut offer = self.offer(stamp, &body)?;
        if misdeed == "wrong-root" {
            offer.root = Digest([7; 32]);
        }
        link.granted(&offer).await?;
        if misdeed == "other-header" {
            offer.weight = Weight::new(8)?;
        }
        let mut stream = link.connection.open_uni().await?;
        let body = match misdeed {
            "truncated" | "dropped" => body[..body.len() / 2].to_vec(),
            "oversized" => [body, vec![0; 4]].concat(),
            _ => body,
        };
        // The receiver may refuse the stream before it ends.
        let _ = write_update(&mut stream, &offer, &body).await;
        let _ = match misdeed {
            "dropped" => {
                // What was written has to be there first.
                tokio::time::sleep(Duration::from_millis(50)).await;
                stream.reset(VarInt::from_u32(0))
            }
            _ => stream.finish(),
        };
        link.refused().await?;
        link.leave().await
    }

    /// `vanishing` stops half-way and waits to be killed; `drip` goes on until it is told to stop.
    async fn slow_payload(&self, misdeed: &str) -> Result<(), Failure> {
        let (mut link, stamp) = self.working(misdeed).await?;
        let body = self.body();
        let offer = self.offer(stamp, &body)?;
        link.granted(&offer).await?;
        let mut stream = link.connection.open_uni().await?;
        if misdeed == "vanishing" {
            write_update(&mut stream, &offer, &body[..body.len() / 2]).await?;
            say(misdeed, json!({"event": "halfway"}));
            return link.closed().await;
        }
        write_update(&mut stream, &offer, &[]).await?;
        for piece in body.chunks(256) {
            if stream.write_all(piece).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        link.hear(|message| matches!(message, Message::Cancel(_))).await?;
        link.leave().await
    }

    /// An update that counts, and something else.
    async fn counted(&self, misdeed: &str) -> Result<(), Failure> {
        let (mut link, stamp) = self.working(misdeed).await?;
        if misdeed == "unknown-odd" {
            link.raw(&[&901u16.to_le_bytes(), b"from later".as_slice()].concat()).await?;
        }
        let body = self.body();
        let offer = self.offer(stamp, &body)?;
        link.granted(&offer).await?;
        let mut stream = link.connection.open_uni().await?;
        write_update(&mut stream, &offer, &body).await?;
        stream.finish()?;
        link.hear(|message| matches!(message, Message::Received(_))).await?;
        if misdeed == "duplicate" {
            link.say(&Message::Offer(offer)).await?;
            link.refused().await?;
        }
        if misdeed == "odd-metrics" {
            let metrics = vec![(Metric::Loss, f64::NAN), (Metric::Accuracy, f64::INFINITY)];
            link.say(&report(stamp, u64::MAX, metrics)?).await?;
        }
        link.leave().await
    }

    async fn flood(&self, misdeed: &str) -> Result<(), Failure> {
        let (mut link, stamp) = self.working(misdeed).await?;
        let stale = Stamp { incarnation: stamp.incarnation ^ 1, ..stamp };
        let offer = self.offer(stale, &self.body())?;
        for _ in 0..FLOOD {
            let sent = match misdeed {
                "offer-flood" => link.say(&Message::Offer(offer.clone())).await,
                "report-flood" => {
                    link.say(&report(stamp, 1, vec![(Metric::Loss, 1.0); limits::METRICS])?).await
                }
                "failed-flood" => {
                    let why = "\r\n2026 error all is lost ".repeat(20);
                    let failed = Failed { stamp: stale, task: "send".parse()?, why };
                    link.say(&Message::Failed(failed)).await
                }
                _ => link.stream(&offer, misdeed == "ungranted").await,
            };
            // It may be cut off for it.
            if sent.is_err() {
                return link.closed().await;
            }
        }
        link.leave().await
    }

    /// What ends the link.
    async fn broken(&self, misdeed: &str) -> Result<(), Failure> {
        let (mut link, stamp) = self.working(misdeed).await?;
        let offer = self.offer(stamp, &self.body())?;
        let envelope = wire::encode(&Message::Offer(offer.clone()));
        let mut streams = Vec::new();
        match misdeed {
            "zero-weight" => link.raw(&with_weight(&offer, &[0])?).await?,
            "huge-weight" => link.raw(&with_weight(&offer, &[0xff, 0xff, 0xff, 0xff, 0x0f])?).await?,
            "undecodable" => link.raw(&envelope[..envelope.len() - 3]).await?,
            "trailing" => link.raw(&[envelope.as_slice(), b"more"].concat()).await?,
            "empty-envelope" => link.raw(&[]).await?,
            "unknown-even" => link.raw(&[&900u16.to_le_bytes(), b"from later".as_slice()].concat()).await?,
            "big-envelope" => link.send.write_all(&u32::MAX.to_le_bytes()).await?,
            "second-hello" => link.say(&Message::Hello(self.hello())).await?,
            "aggregators-words" => link.say(&Message::Finished(Verdict::Stopped)).await?,
            "model-header" => {
                streams.push(link.open_with(&framed(&PayloadHeader::Model(stamp).encode())).await?)
            }
            "bad-header" => streams.push(link.open_with(&framed(&[9; 100])).await?),
            "big-header" => streams.push(link.open_with(&framed(&[0; 1025])).await?),
            "half-open" => {
                // As many as may be open at once, each with a part of a header's length.
                for _ in 0..4 {
                    streams.push(link.open_with(&[40]).await?);
                }
                for stream in &mut streams {
                    stream.stopped().await?;
                }
                return link.leave().await;
            }
            other => return Err(format!("no such misdeed: {other}").into()),
        }
        link.closed().await
    }

    fn hello(&self) -> Hello {
        Hello {
            versions: wire::VERSIONS,
            features: 0,
            federation: self.plan.federation.clone(),
            plan: self.plan.hash(),
            roster_serial: 0,
            holds: None,
            evidence: Vec::new(),
        }
    }

    /// An update that nothing is wrong with.
    fn body(&self) -> Vec<u8> {
        vec![0; self.layout.byte_len()]
    }

    /// The same with `value` as its last element but one.
    fn poisoned(&self, value: f32) -> Vec<u8> {
        let mut body = self.body();
        let at = body.len() - 8;
        body[at..at + 4].copy_from_slice(&value.to_le_bytes());
        body
    }

    fn offer(&self, stamp: Stamp, body: &[u8]) -> Result<Offer, Failure> {
        let (task, weight) = ("send".parse()?, Weight::new(7)?);
        let root = root_of(self.layout.hash(), body);
        Ok(Offer { stamp, task, weight, bytes: Bytes(body.len() as u64), root })
    }

    async fn dial(&self, window: u32) -> Result<(Endpoint, Connection), Failure> {
        let config = stranger::client(Some((self.certificate.clone(), self.key.clone_key())))?;
        Ok(stranger::dial(self.aggregator, config, window).await?)
    }

    /// A link over which nothing was said yet.
    async fn knock(&self, misdeed: &str, window: u32) -> Result<Link, Failure> {
        let (endpoint, connection) = self.dial(window).await?;
        let (mut send, recv) = connection.open_bi().await?;
        send.write_all(b"fl/1").await?;
        let (put, heard) = mpsc::unbounded_channel();
        let reader = tokio::spawn(read(misdeed.to_owned(), connection.clone(), recv, put));
        tokio::spawn(take_models(connection.clone()));
        Ok(Link { misdeed: misdeed.to_owned(), connection, send, heard, reader, _endpoint: endpoint })
    }

    /// A link on which the hello was said.
    async fn enter(&self, misdeed: &str, window: u32) -> Result<Link, Failure> {
        let mut link = self.knock(misdeed, window).await?;
        link.say(&Message::Hello(self.hello())).await?;
        Ok(link)
    }

    /// A link with work.
    async fn working(&self, misdeed: &str) -> Result<(Link, Stamp), Failure> {
        let mut link = self.enter(misdeed, WINDOW).await?;
        let stamp = link.work().await?;
        Ok((link, stamp))
    }
}

/// One link to the aggregator.
struct Link {
    misdeed: String,
    connection: Connection,
    send: SendStream,
    heard: mpsc::UnboundedReceiver<Message>,
    reader: JoinHandle<()>,
    /// Drives the connection.
    _endpoint: Endpoint,
}

impl Link {
    async fn say(&mut self, message: &Message) -> Result<(), Failure> {
        self.raw(&wire::encode(message)).await
    }

    async fn raw(&mut self, envelope: &[u8]) -> Result<(), Failure> {
        Ok(self.send.write_all(&framed(envelope)).await?)
    }

    /// The next message of a kind; others are passed over.
    async fn hear(&mut self, wanted: impl Fn(&Message) -> bool) -> Result<Message, Failure> {
        while let Some(message) = self.heard.recv().await {
            if wanted(&message) {
                return Ok(message);
            }
        }
        Err("the link ended first".into())
    }

    /// Waits for a task.
    async fn work(&mut self) -> Result<Stamp, Failure> {
        loop {
            if let Message::Assign(assigned) = self.hear(|_| true).await?
                && !assigned.tasks.is_empty()
            {
                return Ok(assigned.stamp);
            }
        }
    }

    async fn granted(&mut self, offer: &Offer) -> Result<(), Failure> {
        self.say(&Message::Offer(offer.clone())).await?;
        self.hear(|message| matches!(message, Message::Grant(_))).await.map(drop)
    }

    async fn refused(&mut self) -> Result<(), Failure> {
        self.hear(|message| matches!(message, Message::Refused(_))).await.map(drop)
    }

    async fn open_with(&self, bytes: &[u8]) -> Result<SendStream, Failure> {
        let mut stream = self.connection.open_uni().await?;
        stream.write_all(bytes).await?;
        Ok(stream)
    }

    /// A stream that nobody granted: the header of an update, or a byte that is taken back.
    async fn stream(&self, offer: &Offer, named: bool) -> Result<(), Failure> {
        let mut stream = self.connection.open_uni().await?;
        if named {
            write_update(&mut stream, offer, &[]).await?;
            stream.finish()?;
        } else {
            stream.write_all(&[200]).await?;
            stream.reset(VarInt::from_u32(0))?;
        }
        Ok(())
    }

    async fn leave(mut self) -> Result<(), Failure> {
        self.say(&Message::Leaving(Leaving {})).await?;
        self.closed().await
    }

    async fn closed(self) -> Result<(), Failure> {
        let end = self.connection.closed().await;
        // What was heard before is told before.
        let _ = timeout(Duration::from_secs(1), self.reader).await;
        tell_end(&self.misdeed, &end);
        Ok(())
    }
}

/// Tells what the aggregator says.
async fn read(
    misdeed: String,
    connection: Connection,
    mut recv: RecvStream,
    put: mpsc::UnboundedSender<Message>,
) {
    let mut prefix = [0; 4];
    while recv.read_exact(&mut prefix).await.is_ok() {
        let mut envelope = vec![0; u32::from_le_bytes(prefix) as usize];
        if recv.read_exact(&mut envelope).await.is_err() {
            return;
        }
        let Ok(Some(message)) = wire::decode(&envelope) else { continue };
        match &message {
            Message::Welcome(m) => say(&misdeed, json!({"event": "welcome", "name": m.name})),
            Message::Assign(m) => say(&misdeed, json!({"event": "assigned", "round": m.stamp.round})),
            Message::Received(_) => say(&misdeed, json!({"event": "received"})),
            Message::Refused(m) => say(&misdeed, json!({"event": "refused", "why": m.refusal.to_string()})),
            Message::Rejected(why) => {
                say(&misdeed, json!({"event": "rejected", "why": why.to_string()}));
                connection.close(VarInt::from_u32(0), b"");
            }
            _ => {}
        }
        // Nobody may be listening any more.
        let _ = put.send(message);
    }
}

/// Reads every model and forgets it.
async fn take_models(connection: Connection) {
    while let Ok(mut stream) = connection.accept_uni().await {
        tokio::spawn(async move { while let Ok(Some(_)) = stream.read_chunk(1 << 20, true).await {} });
    }
}

fn tell_end(misdeed: &str, error: &ConnectionError) {
    let line = match error {
        ConnectionError::ApplicationClosed(close) => json!({
            "event": "closed",
            "code": close.error_code.into_inner(),
            "reason": String::from_utf8_lossy(&close.reason),
        }),
        other => json!({"event": "lost", "why": other.to_string()}),
    };
    say(misdeed, line);
}

fn framed(body: &[u8]) -> Vec<u8> {
    [(body.len() as u32).to_le_bytes().as_slice(), body].concat()
}

async fn write_update(stream: &mut SendStream, offer: &Offer, body: &[u8]) -> Result<(), WriteError> {
    stream.write_all(&framed(&PayloadHeader::Update(offer.clone()).encode())).await?;
    stream.write_all(body).await
}

fn report(stamp: Stamp, samples: u64, metrics: Vec<(Metric, f64)>) -> Result<Message, Failure> {
    Ok(Message::Report(Report { stamp, task: "send".parse()?, samples, metrics }))
}

/// The offer's envelope with these bytes as its weight, which no [`Weight`] can be.
fn with_weight(offer: &Offer, weight: &[u8]) -> Result<Vec<u8>, Failure> {
    let of = |weight| wire::encode(&Message::Offer(Offer { weight, ..offer.clone() }));
    let (one, two) = (of(Weight::new(1)?), of(Weight::new(2)?));
    let at = one.iter().zip(&two).position(|(a, b)| a != b).ok_or("a weight has no place")?;
    Ok([&one[..at], weight, &one[at + 1..]].concat())
}

/// Unread bytes that it allows.
const WINDOW: u32 = 8 << 20;
/// Messages or streams of a flood.
const FLOOD: usize = 3000;
/// No misdeed takes longer.
const LONGEST: Duration = Duration::from_secs(45);
